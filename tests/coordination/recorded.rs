//! Locks and semaphores in use, and what they did as it is compared with the simplest objects that there can be.
//!
//! That a holder is told of its loss is an operation of its own, which has to come before anybody else's acquisition. What ended in an
//! error may have happened or not.

use crate::recorder::Recorder;
use anabranch::{
    coordination::{Lock, Semaphore},
    testing::{
        Dice,
        check::{self, LockOp, LockRet, Model},
    },
    time::Clock,
};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Some units.
#[derive(Debug, Clone)]
pub(crate) struct Units(pub(crate) u32);

/// How many are left, and who holds how many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    left: u32,
    by: BTreeMap<u64, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum UnitsOp {
    /// By a call that has a number of its own.
    Acquire(u64, u32),
    Release(u64),
}

impl Model for Units {
    type State = Held;
    type Op = UnitsOp;
    type Ret = ();

    fn initial(&self) -> Held {
        Held { left: self.0, by: BTreeMap::new() }
    }

    fn step(&self, state: &Held, op: &UnitsOp, ret: Option<&()>) -> Vec<Held> {
        let mut next = state.clone();
        let possible = match (op, ret) {
            (UnitsOp::Acquire(call, units), Some(())) => {
                next.by.insert(*call, *units);
                next.left = state.left.saturating_sub(*units);
                *units <= state.left
            }
            // What ended in an error holds nothing that the others could not have: it may be over at any time.
            (UnitsOp::Acquire(call, _), None) => next.by.insert(*call, 0).is_none(),
            (UnitsOp::Release(call), _) => {
                let units = next.by.remove(call);
                next.left += units.unwrap_or(0);
                units.is_some()
            }
        };
        if possible { vec![next] } else { vec![] }
    }
}

/// Numbers of clients and of calls, which are used once.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::SeqCst)
}

/// Locks and unlocks so many times, and records it.
pub(crate) async fn use_lock(
    lock: Lock,
    clock: Clock,
    history: Recorder<check::Lock>,
    rounds: u32,
    mut dice: Dice,
    work: u64,
) -> u32 {
    let (who, mut held) = (number(), 0);
    for _ in 0..rounds {
        let call = history.begins(who, LockOp::Acquire);
        let Ok(guard) = lock.acquire().await else { continue };
        let token = guard.token().get();
        history.ends(call, LockRet::Token(token));
        held += 1;
        let lost = guard.lost();
        let cut = clock.timeout(Duration::from_millis(dice.roll(work)), lost).await.is_some();
        if cut || !guard.is_held() {
            let call = history.begins(who, LockOp::Lose(token));
            history.ends(call, LockRet::Done);
            continue;
        }
        let call = history.begins(who, LockOp::Release(token));
        if guard.release().await.is_ok() {
            history.ends(call, LockRet::Done);
        }
    }
    held
}

/// Takes and gives back some units so many times, and records it.
pub(crate) async fn use_units(
    semaphore: Semaphore,
    most: u32,
    clock: Clock,
    history: Recorder<Units>,
    rounds: u32,
    mut dice: Dice,
    work: u64,
) -> u32 {
    let (who, mut held) = (number(), 0);
    for _ in 0..rounds {
        let units = 1 + u32::try_from(dice.roll(u64::from(most))).unwrap();
        let mine = number();
        let call = history.begins(who, UnitsOp::Acquire(mine, units));
        let Ok(guard) = semaphore.acquire_many(NonZeroU32::new(units).unwrap()).await else { continue };
        history.ends(call, ());
        held += 1;
        // A loss and the begin of a release are the same to the others: from here on they may have it.
        clock.timeout(Duration::from_millis(dice.roll(work)), guard.lost()).await;
        let call = history.begins(who, UnitsOp::Release(mine));
        if !guard.is_held() || guard.release().await.is_ok() {
            history.ends(call, ());
        }
    }
    held
}
