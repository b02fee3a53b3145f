//! What a counter is when everything happens one after the other: what histories are compared with.

use anabranch::{
    coordination::{CoordinationError, Counter},
    testing::Dice,
};
use stateright::semantics::{LinearizabilityTester, SequentialSpec};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// What a counter is when everything happens one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct OneCounter {
    value: i64,
    /// The operations that were counted, and how they were answered.
    counted: BTreeMap<u64, i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Add(i64),
    AddOnce(u64, i64),
    Read,
    Reset,
}

impl SequentialSpec for OneCounter {
    type Op = Act;
    /// The value that the caller is told.
    type Ret = i64;

    fn invoke(&mut self, act: &Act) -> i64 {
        match *act {
            Act::Add(n) => self.value += n,
            Act::AddOnce(id, n) => {
                return *self.counted.entry(id).or_insert_with(|| {
                    self.value += n;
                    self.value
                });
            }
            Act::Read => {}
            Act::Reset => return std::mem::take(&mut self.value),
        }
        self.value
    }
}

/// What happened so far, as the clients saw it.
pub(crate) type History = Arc<Mutex<LinearizabilityTester<usize, OneCounter>>>;

pub(crate) fn history() -> History {
    Arc::new(Mutex::new(LinearizabilityTester::new(OneCounter::default())))
}

/// Does it to a real counter.
pub(crate) async fn perform(counter: &Counter, act: Act) -> Result<i64, CoordinationError> {
    match act {
        Act::Add(n) => counter.add(n).await,
        Act::AddOnce(id, n) => counter.add_once(&id.to_string(), n).await.map(|counted| counted.value),
        Act::Read => counter.value().await,
        Act::Reset => counter.reset().await,
    }
}

/// Draws what to do next; the operations with ids are the same three for everybody: redelivered.
pub(crate) fn draw(dice: &mut Dice) -> Act {
    match dice.roll(8) {
        0 | 1 => Act::Add(1 + i64::try_from(dice.roll(3)).unwrap()),
        2..5 => {
            let id = dice.roll(3);
            Act::AddOnce(id, 10 + i64::try_from(id).unwrap())
        }
        5 | 6 => Act::Read,
        _ => Act::Reset,
    }
}
