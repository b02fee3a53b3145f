//! What clients do to a counter, and how it is recorded.

use crate::recorder::Recorder;
use anabranch::{
    coordination::{CoordinationError, Counter},
    testing::{
        Dice,
        check::{self, CounterOp},
    },
};

/// What happened so far, as the clients saw it.
pub(crate) type History = Recorder<check::Counter>;

pub(crate) fn history() -> History {
    Recorder::new(check::Counter)
}

/// Does it to a real counter.
pub(crate) async fn perform(counter: &Counter, act: &CounterOp) -> Result<i64, CoordinationError> {
    match act {
        CounterOp::Add(n) => counter.add(*n).await,
        CounterOp::AddOnce(id, n) => counter.add_once(id, *n).await.map(|counted| counted.value),
        CounterOp::Read => counter.value().await,
        CounterOp::Reset => counter.reset().await,
    }
}

/// Draws what to do next; the operations with ids are the same three for everybody: redelivered.
pub(crate) fn draw(dice: &mut Dice) -> CounterOp {
    match dice.roll(8) {
        0 | 1 => CounterOp::Add(1 + i64::try_from(dice.roll(3)).unwrap()),
        2..5 => {
            let id = dice.roll(3);
            CounterOp::AddOnce(id.to_string().into(), 10 + i64::try_from(id).unwrap())
        }
        5 | 6 => CounterOp::Read,
        _ => CounterOp::Reset,
    }
}
