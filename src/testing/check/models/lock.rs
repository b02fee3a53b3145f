//! A lock, whose holders have tokens.

use super::super::Model;
use serde::{Deserialize, Serialize};

/// A mutex that gives each holder a fencing token that is greater than all before.
///
/// What [`coordination::Lock`](crate::coordination::Lock) promises as its holders see it: the bullet "Two holders are impossible" of
/// `docs/semantics.md`, and that tokens grow. A hold that ends by its lease ends when the guard is told: record a [`LockOp::Lose`] then,
/// invoked and returned. An acquisition whose outcome is unknown may hold, and whatever it holds may be over at any time. A call that
/// found the lock taken is recorded as refused.
///
/// ```
/// use anabranch::testing::check::{History, Lock, LockOp, LockRet, linearizable};
///
/// let history = History::new();
/// for (client, token, at) in [("a", 1, 10), ("b", 2, 20)] {
///     let call = history.invoke(client, LockOp::Acquire, at);
///     history.returned(call, LockRet::Token(token), at + 5);
/// }
/// // Nobody has released it, and two hold it.
/// assert!(linearizable(&Lock, &history).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lock;

/// What is asked of a [`Lock`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LockOp {
    /// Waits for the lock, and returns a token.
    Acquire,
    /// Gives back what was acquired with this token.
    Release(u64),
    /// The holder of this token is told that it holds no more.
    Lose(u64),
}

/// What a [`Lock`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LockRet {
    /// To [`LockOp::Acquire`].
    Token(u64),
    /// To the other ones.
    Done,
}

/// Who holds, and the greatest token that is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[doc(hidden)]
pub struct Held {
    by: Holder,
    newest: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Nobody,
    Token(u64),
    /// An acquisition of which nobody knows the outcome: with a token that is not known, for as long as it lasts.
    Somebody,
}

impl Model for Lock {
    type State = Held;
    type Op = LockOp;
    type Ret = LockRet;

    fn initial(&self) -> Held {
        Held { by: Holder::Nobody, newest: 0 }
    }

    fn step(&self, state: &Held, op: &LockOp, ret: Option<&LockRet>) -> Vec<Held> {
        let next = match (op, ret, state.by) {
            (LockOp::Acquire, Some(LockRet::Token(token)), Holder::Nobody | Holder::Somebody) if *token > state.newest => {
                Held { by: Holder::Token(*token), newest: *token }
            }
            (LockOp::Acquire, None, Holder::Nobody | Holder::Somebody) => Held { by: Holder::Somebody, newest: state.newest },
            (LockOp::Release(token) | LockOp::Lose(token), Some(LockRet::Done) | None, Holder::Token(held))
                if held == *token =>
            {
                Held { by: Holder::Nobody, newest: state.newest }
            }
            // Its token tells who it was.
            (LockOp::Release(token) | LockOp::Lose(token), Some(LockRet::Done) | None, Holder::Somebody)
                if *token > state.newest =>
            {
                Held { by: Holder::Nobody, newest: *token }
            }
            _ => return vec![],
        };
        vec![next]
    }
}
