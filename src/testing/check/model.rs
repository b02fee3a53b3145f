//! What an object is when everything happens to it in turn.

use std::{borrow::Cow, fmt, hash::Hash};

/// An object as its users may think of it: one operation after the other, each at once.
///
/// ```
/// use anabranch::testing::check::{History, Model, linearizable};
///
/// /// Holds the largest number that was ever told to it.
/// struct Largest;
///
/// impl Model for Largest {
///     type State = u64;
///     type Op = u64;
///     type Ret = u64;
///
///     fn initial(&self) -> u64 {
///         0
///     }
///
///     fn step(&self, state: &u64, told: &u64, ret: Option<&u64>) -> Vec<u64> {
///         let next = *state.max(told);
///         if ret.is_none_or(|ret| *ret == next) { vec![next] } else { vec![] }
///     }
/// }
///
/// let history = History::new();
/// for (told, ret, at) in [(3, 3, 10), (2, 2, 20)] {
///     let call = history.invoke("a", told, at);
///     history.returned(call, ret, at + 5);
/// }
/// let violation = linearizable(&Largest, &history).unwrap_err();
/// assert!(violation.to_string().contains("a's 2 -> 2"), "{violation}");
/// ```
pub trait Model {
    /// All that is to know of the object at a moment.
    type State: Clone + Eq + Hash + fmt::Debug;
    /// What is asked of it. Equal operations do the same.
    type Op: Clone + Eq + Hash + fmt::Debug;
    /// What it answers.
    type Ret: Clone + fmt::Debug;

    /// Returns the state before anything happened.
    fn initial(&self) -> Self::State;

    /// Returns the states in which an operation with this result may leave the object: none when the result is impossible in this state.
    ///
    /// Without a result the outcome is unknown: any that is possible, also for whatever comes later. (What was never done is not a step, so
    /// the state as it was need not be among them.) A history is shrunk on the premise that an unknown result allows at least what each
    /// known one does.
    fn step(&self, state: &Self::State, op: &Self::Op, ret: Option<&Self::Ret>) -> Vec<Self::State>;

    /// Returns whether an operation with this result leaves every state as it is in which it is possible: it only looks.
    ///
    /// To say so is never necessary; it makes the search shorter.
    fn only_looks(&self, op: &Self::Op, ret: Option<&Self::Ret>) -> bool {
        let _ = (op, ret);
        false
    }

    /// Returns the part of the object that an operation is about, when it has parts that know nothing of each other, such as keys.
    ///
    /// A history is linearizable exactly if that of each part is (Herlihy and Wing, "Linearizability: A Correctness Condition for
    /// Concurrent Objects", 1990), which is much less to search. The states are then those of one part.
    fn part<'a>(&self, op: &'a Self::Op) -> Option<Cow<'a, str>> {
        let _ = op;
        None
    }
}

/// Many objects of one kind, each with a key: an operation is a key and what is asked of the object there.
///
/// ```
/// use anabranch::testing::check::{Counter, CounterOp, History, Keyed, linearizable};
///
/// let history = History::new();
/// for key in ["x", "y"] {
///     let call = history.invoke("a", (Box::from(key), CounterOp::Add(1)), 10);
///     history.returned(call, 1, 20);
/// }
/// linearizable(&Keyed(Counter), &history)?;
/// # Ok::<(), anabranch::testing::check::Violation>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Keyed<M>(pub M);

impl<M: Model> Model for Keyed<M> {
    type State = M::State;
    type Op = (Box<str>, M::Op);
    type Ret = M::Ret;

    fn initial(&self) -> M::State {
        self.0.initial()
    }

    fn step(&self, state: &M::State, (_, op): &Self::Op, ret: Option<&M::Ret>) -> Vec<M::State> {
        self.0.step(state, op, ret)
    }

    fn only_looks(&self, (_, op): &Self::Op, ret: Option<&M::Ret>) -> bool {
        self.0.only_looks(op, ret)
    }

    fn part<'a>(&self, (key, _): &'a Self::Op) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(key))
    }
}
