//! A counter, whose operations may have ids.

use super::super::Model;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A counter that begins at zero: what [`coordination::Counter`](crate::coordination::Counter) promises, with ids that are never
/// forgotten.
///
/// Each operation returns the value after it, but for [`CounterOp::Reset`]. A sum that needs more than 64 bits is no result: such a call is
/// recorded as refused.
///
/// ```
/// use anabranch::testing::check::{Counter, CounterOp, History, linearizable};
///
/// let history = History::new();
/// for (client, at) in [("a", 10), ("b", 15)] {
///     let call = history.invoke(client, CounterOp::Add(1), at);
///     history.returned(call, 1, at + 10);
/// }
/// // One of two additions was lost.
/// assert!(linearizable(&Counter, &history).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter;

/// What is asked of a [`Counter`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CounterOp {
    /// Adds, and returns the new value.
    Add(i64),
    /// Adds if no operation of this id was counted, and returns the value after the one that was.
    AddOnce(Box<str>, i64),
    /// Returns the value.
    Read,
    /// Sets the value to zero, and returns the one before.
    Reset,
}

/// The value, and the operations with ids that were counted, each with its answer.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
#[doc(hidden)]
pub struct Counted {
    value: i64,
    once: BTreeMap<Box<str>, i64>,
}

impl Model for Counter {
    type State = Counted;
    type Op = CounterOp;
    type Ret = i64;

    fn initial(&self) -> Counted {
        Counted::default()
    }

    fn step(&self, state: &Counted, op: &CounterOp, ret: Option<&i64>) -> Vec<Counted> {
        let (by, id) = match op {
            CounterOp::Add(by) => (*by, None),
            CounterOp::AddOnce(id, by) => match state.once.get(id) {
                Some(answer) => return if ret.is_none_or(|ret| ret == answer) { vec![state.clone()] } else { vec![] },
                None => (*by, Some(id)),
            },
            CounterOp::Read => (0, None),
            CounterOp::Reset if ret.is_none_or(|ret| *ret == state.value) => {
                return vec![Counted { value: 0, once: state.once.clone() }];
            }
            CounterOp::Reset => return vec![],
        };
        let Some(value) = state.value.checked_add(by).filter(|value| ret.is_none_or(|ret| ret == value)) else { return vec![] };
        let mut next = Counted { value, once: state.once.clone() };
        if let Some(id) = id {
            next.once.insert(id.clone(), value);
        }
        vec![next]
    }

    fn only_looks(&self, op: &CounterOp, _: Option<&i64>) -> bool {
        *op == CounterOp::Read
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value)?;
        if self.once.is_empty() { Ok(()) } else { write!(f, " with {:?}", self.once) }
    }
}
