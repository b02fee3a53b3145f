//! A register: one value at one key, which may be absent, with a revision.

use super::super::Model;
use serde::{Deserialize, Serialize};
use std::{fmt, hash::Hash};

/// A value that is written, read, compared and deleted: what a key of a store is, or a cell.
///
/// Revisions grow with each write and are never reused (`docs/semantics.md`, Stores); a result without them is as good. A
/// [`RegisterRet::Conflict`] has to be a real one; one that a test injected is recorded as refused. Reads that may be stale by the contract
/// of a store are no reads of a register, and are not to be recorded.
///
/// Many keys are [`Keyed`](super::super::Keyed)`(Register::default())`.
///
/// ```
/// use anabranch::testing::check::{Expected, History, Register, RegisterOp, RegisterRet, linearizable};
///
/// let history = History::new();
/// // Two writers create the same key, and both are told that they did.
/// for (client, revision, at) in [("a", 1, 10), ("b", 2, 12)] {
///     let call = history.invoke(client, RegisterOp::Put("v", Expected::Absent), at);
///     history.returned(call, RegisterRet::Revision(revision), at + 5);
/// }
/// assert!(linearizable(&Register::default(), &history).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register<V> {
    initial: Option<V>,
}

/// What is asked of a [`Register`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RegisterOp<V> {
    /// Returns the value, or the value with its revision.
    Read,
    /// Replaces whatever is there.
    Write(V),
    /// Replaces what is there if it is this value, or if nothing is there.
    CompareAndSet(Option<V>, V),
    /// Replaces what is there if its revision is the expected one.
    Put(V, Expected),
    /// Removes what is there, if its revision is the expected one. To remove nothing is no error.
    Delete(Expected),
}

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Expected {
    /// Anything or nothing.
    Anything,
    /// Nothing.
    Absent,
    /// What was written at this revision.
    At(u64),
}

/// What a [`Register`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RegisterRet<V> {
    /// To a read: what is there.
    Value(Option<V>),
    /// To a read: what is there, and its revision.
    Entry(Option<(V, u64)>),
    /// To a write or a delete: it is done.
    Done,
    /// To a write or a delete: it is done, and this is its revision.
    Revision(u64),
    /// To a conditional write or delete: something else is there, and nothing was changed.
    Conflict,
}

/// What is there, and at which revision.
#[derive(Clone, PartialEq, Eq, Hash)]
#[doc(hidden)]
pub struct Stored<V> {
    value: Option<V>,
    revision: Revision,
}

/// The revision of the newest change.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Revision {
    Known(u64),
    /// Nobody was told, but it is greater than this.
    Above(u64),
}

impl Revision {
    fn can_be(self, revision: u64) -> bool {
        match self {
            Self::Known(known) => known == revision,
            Self::Above(below) => revision > below,
        }
    }

    fn least(self) -> u64 {
        match self {
            Self::Known(known) => known,
            Self::Above(below) => below,
        }
    }
}

impl<V> Register<V> {
    /// Makes a register with something in it from the beginning, at revision zero.
    #[must_use]
    pub fn holding(value: V) -> Self {
        Self { initial: Some(value) }
    }
}

impl<V> Default for Register<V> {
    /// An empty one.
    fn default() -> Self {
        Self { initial: None }
    }
}

impl<V: Clone + Eq + Hash + fmt::Debug> Model for Register<V> {
    type State = Stored<V>;
    type Op = RegisterOp<V>;
    type Ret = RegisterRet<V>;

    fn initial(&self) -> Stored<V> {
        Stored { value: self.initial.clone(), revision: Revision::Known(0) }
    }

    fn step(&self, state: &Stored<V>, op: &RegisterOp<V>, ret: Option<&RegisterRet<V>>) -> Vec<Stored<V>> {
        match op {
            RegisterOp::Read => read(state, ret),
            RegisterOp::Write(value) => write(state, Some(value), state.revision, ret).into_iter().collect(),
            RegisterOp::CompareAndSet(from, to) if *from == state.value => {
                write(state, Some(to), state.revision, ret).into_iter().collect()
            }
            RegisterOp::CompareAndSet(..) => refused(state, ret),
            RegisterOp::Put(value, expected) => conditional(state, Some(value), *expected, ret),
            RegisterOp::Delete(expected) => conditional(state, None, *expected, ret),
        }
    }

    fn only_looks(&self, op: &RegisterOp<V>, ret: Option<&RegisterRet<V>>) -> bool {
        match ret {
            // Whoever reads a revision tells it.
            Some(RegisterRet::Entry(Some(_))) => false,
            Some(RegisterRet::Conflict) => true,
            _ => matches!(op, RegisterOp::Read),
        }
    }
}

fn read<V: Clone + Eq>(state: &Stored<V>, ret: Option<&RegisterRet<V>>) -> Vec<Stored<V>> {
    let possible = match ret {
        None => true,
        Some(RegisterRet::Value(value)) => *value == state.value,
        Some(RegisterRet::Entry(None)) => state.value.is_none(),
        Some(RegisterRet::Entry(Some((value, revision)))) => {
            if state.value.as_ref() == Some(value) && state.revision.can_be(*revision) {
                return vec![Stored { value: state.value.clone(), revision: Revision::Known(*revision) }];
            }
            false
        }
        Some(_) => false,
    };
    if possible { vec![state.clone()] } else { vec![] }
}

/// What a write leaves that found the revision that it was to find.
fn write<V: Clone>(state: &Stored<V>, value: Option<&V>, found: Revision, ret: Option<&RegisterRet<V>>) -> Option<Stored<V>> {
    let revision = match ret {
        None | Some(RegisterRet::Done) if value.is_none() && state.value.is_none() => return Some(state.clone()),
        None | Some(RegisterRet::Done) => Revision::Above(found.least()),
        Some(RegisterRet::Revision(revision)) if *revision > found.least() => Revision::Known(*revision),
        Some(_) => return None,
    };
    Some(Stored { value: value.cloned(), revision })
}

fn refused<V: Clone>(state: &Stored<V>, ret: Option<&RegisterRet<V>>) -> Vec<Stored<V>> {
    if matches!(ret, None | Some(RegisterRet::Conflict)) { vec![state.clone()] } else { vec![] }
}

fn conditional<V: Clone + Eq>(
    state: &Stored<V>,
    value: Option<&V>,
    expected: Expected,
    ret: Option<&RegisterRet<V>>,
) -> Vec<Stored<V>> {
    // Whether it can find what it expects, and whether it can find something else.
    let (fits, differs, found) = match expected {
        Expected::Anything => (true, false, state.revision),
        Expected::Absent => (state.value.is_none(), state.value.is_some(), state.revision),
        Expected::At(revision) => {
            let fits = state.value.is_some() && state.revision.can_be(revision);
            let certain = state.value.is_some() && state.revision == Revision::Known(revision);
            (fits, !certain, Revision::Known(revision))
        }
    };
    let mut next = Vec::new();
    if fits {
        next.extend(write(state, value, found, ret));
    }
    if differs {
        for state in refused(state, ret) {
            if !next.contains(&state) {
                next.push(state);
            }
        }
    }
    next
}

impl<V: fmt::Debug> fmt::Debug for Stored<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{value:?} at ")?,
            None => f.write_str("nothing at ")?,
        }
        match self.revision {
            Revision::Known(revision) => write!(f, "revision {revision}"),
            Revision::Above(below) => write!(f, "a revision above {below}"),
        }
    }
}
