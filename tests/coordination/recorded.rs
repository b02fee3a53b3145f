//! Histories of locks and semaphores, recorded as they happen and compared with the simplest objects that there can be.
//!
//! A mutex whose tokens grow, and a counter of units. That a holder is told of its loss is an operation of its own, which has to
//! come before anybody else's acquisition. What ended in an error may have happened or not.

use anabranch::{
    coordination::{Lock, Semaphore},
    testing::Dice,
    time::Clock,
};
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A mutex with tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mutual {
    holder: Option<u64>,
    newest: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LockOp {
    Acquire,
    Release(u64),
    /// The holder is told that it holds no more.
    Lose(u64),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LockRet {
    Token(u64),
    Done,
}

/// Held by a call that ended in an error: it may be gone at any time.
const NOBODY_KNOWS: u64 = 0;

impl SequentialSpec for Mutual {
    type Op = LockOp;
    type Ret = LockRet;

    /// What may have happened although it ended in an error.
    fn invoke(&mut self, op: &LockOp) -> LockRet {
        match op {
            LockOp::Acquire if self.holder.is_none() => self.holder = Some(NOBODY_KNOWS),
            LockOp::Release(token) | LockOp::Lose(token) if self.holder == Some(*token) => self.holder = None,
            _ => {}
        }
        LockRet::Done
    }

    fn is_valid_step(&mut self, op: &LockOp, ret: &LockRet) -> bool {
        match (op, ret) {
            (LockOp::Acquire, LockRet::Token(token)) => {
                let free = self.holder.is_none_or(|holder| holder == NOBODY_KNOWS);
                let grows = *token > self.newest;
                (self.holder, self.newest) = (Some(*token), *token);
                free && grows
            }
            (LockOp::Release(token) | LockOp::Lose(token), LockRet::Done) => self.holder.take() == Some(*token),
            _ => false,
        }
    }
}

/// Some units.
#[derive(Debug, Clone)]
pub(crate) struct Units {
    left: u32,
    held: BTreeMap<u64, u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum UnitsOp {
    /// By a call that has a number of its own.
    Acquire(u64, u32),
    Release(u64),
}

impl SequentialSpec for Units {
    type Op = UnitsOp;
    type Ret = bool;

    /// What ended in an error holds nothing that the others could not have had: it is only left out.
    fn invoke(&mut self, op: &UnitsOp) -> bool {
        matches!(op, UnitsOp::Release(call) if self.give_back(*call))
    }

    fn is_valid_step(&mut self, op: &UnitsOp, ret: &bool) -> bool {
        let possible = match op {
            UnitsOp::Acquire(call, units) if *units <= self.left => {
                self.left -= units;
                self.held.insert(*call, *units);
                true
            }
            UnitsOp::Acquire(..) => false,
            UnitsOp::Release(call) => self.give_back(*call),
        };
        possible && *ret
    }
}

impl Units {
    fn give_back(&mut self, call: u64) -> bool {
        let units = self.held.remove(&call);
        self.left += units.unwrap_or(0);
        units.is_some()
    }
}

/// What happened, as it happens.
#[derive(Clone)]
pub(crate) struct History<S: SequentialSpec> {
    tester: Arc<Mutex<LinearizabilityTester<u64, S>>>,
    /// Whoever got an error does nothing more under its number.
    numbers: Arc<AtomicU64>,
}

impl<S: SequentialSpec + Clone> History<S>
where
    S::Op: Clone + PartialEq + std::fmt::Debug,
    S::Ret: Clone + PartialEq + std::fmt::Debug,
{
    pub(crate) fn new(spec: S) -> Self {
        Self { tester: Arc::new(Mutex::new(LinearizabilityTester::new(spec))), numbers: Arc::new(AtomicU64::new(1)) }
    }

    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn begins(&self, who: u64, op: S::Op) {
        self.tester.lock().unwrap().on_invoke(who, op).unwrap();
    }

    pub(crate) fn ends(&self, who: u64, ret: S::Ret) {
        self.tester.lock().unwrap().on_return(who, ret).unwrap();
    }

    pub(crate) fn is_linearizable(&self) -> bool {
        self.tester.lock().unwrap().is_consistent()
    }

    pub(crate) fn len(&self) -> usize {
        self.tester.lock().unwrap().len()
    }
}

/// Locks and unlocks so many times, and records it.
pub(crate) async fn use_lock(
    lock: Lock,
    clock: Clock,
    history: History<Mutual>,
    rounds: u32,
    mut dice: Dice,
    work: u64,
) -> u32 {
    let (mut who, mut held) = (history.number(), 0);
    for _ in 0..rounds {
        history.begins(who, LockOp::Acquire);
        let Ok(guard) = lock.acquire().await else {
            who = history.number();
            continue;
        };
        let token = guard.token().get();
        history.ends(who, LockRet::Token(token));
        held += 1;
        let lost = guard.lost();
        let cut = clock.timeout(Duration::from_millis(dice.roll(work)), lost).await.is_some();
        if cut || !guard.is_held() {
            history.begins(who, LockOp::Lose(token));
            history.ends(who, LockRet::Done);
            continue;
        }
        history.begins(who, LockOp::Release(token));
        match guard.release().await {
            Ok(()) => history.ends(who, LockRet::Done),
            Err(_) => who = history.number(),
        }
    }
    held
}

/// Takes and gives back some units so many times, and records it.
pub(crate) async fn use_units(
    semaphore: Semaphore,
    most: u32,
    clock: Clock,
    history: History<Units>,
    rounds: u32,
    mut dice: Dice,
    work: u64,
) -> u32 {
    let (mut who, mut held) = (history.number(), 0);
    for _ in 0..rounds {
        let units = 1 + u32::try_from(dice.roll(u64::from(most))).unwrap();
        let call = history.number();
        history.begins(who, UnitsOp::Acquire(call, units));
        let Ok(guard) = semaphore.acquire_many(NonZeroU32::new(units).unwrap()).await else {
            who = history.number();
            continue;
        };
        history.ends(who, true);
        held += 1;
        // A loss and the begin of a release are the same to the others: from here on they may have it.
        clock.timeout(Duration::from_millis(dice.roll(work)), guard.lost()).await;
        history.begins(who, UnitsOp::Release(call));
        if !guard.is_held() || guard.release().await.is_ok() {
            history.ends(who, true);
        } else {
            who = history.number();
        }
    }
    held
}

pub(crate) fn units(capacity: u32) -> Units {
    Units { left: capacity, held: BTreeMap::new() }
}
