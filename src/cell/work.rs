//! One closure that waits for its turn on a key, with whoever waits for its result.
//!
//! A closure may run many times and on many values; only the run whose draft was written, or confirmed, is answered. One that
//! panics fails its caller, where the panic goes on, and nobody else. This file does not know when it runs.

use super::{draft::Draft, error::CellError};
use crate::{engine::Revision, time::Instant};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What an edit returned, and the write that it is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edited<R> {
    /// What the closure returned.
    pub result: R,
    /// The revision of the write; `None` when there was nothing to write.
    pub revision: Option<Revision>,
}

/// What became of a closure.
pub(super) enum Answer<R> {
    Settled(Result<Edited<R>, CellError>),
    Panicked(Box<dyn Any + Send>),
}

/// A closure in line, whatever it returns.
pub(super) trait Work<T>: Send {
    /// Runs it on the draft; false when it panicked, after which the draft is good for nothing.
    fn run(&mut self, draft: &mut Draft<T>) -> bool;
    /// Answers with what its last run returned, or with the panic that it ended in.
    fn done(self: Box<Self>, revision: Option<Revision>);
    /// Answers with an error.
    fn fail(self: Box<Self>, error: CellError);
    /// When it is given up.
    fn deadline(&self) -> Instant;
}

/// A closure with what it needs on its way.
pub(super) struct Job<F, R> {
    pub(super) change: F,
    pub(super) result: Option<Result<R, Box<dyn Any + Send>>>,
    pub(super) answer: oneshot::Sender<Answer<R>>,
    pub(super) ttl: Option<Duration>,
    pub(super) deadline: Instant,
    /// Its place in the line, which is bounded.
    pub(super) _room: OwnedSemaphorePermit,
}

impl<T, F, R> Work<T> for Job<F, R>
where
    F: FnMut(&mut Draft<T>) -> R + Send,
    R: Send,
{
    fn run(&mut self, draft: &mut Draft<T>) -> bool {
        let turn = draft.begin(self.ttl);
        // What a closure left half done is thrown away with the draft.
        self.result = Some(catch_unwind(AssertUnwindSafe(|| (self.change)(draft))));
        draft.end(turn);
        matches!(self.result, Some(Ok(_)))
    }

    fn done(self: Box<Self>, revision: Option<Revision>) {
        let answer = match self.result.expect("it ran before it was written") {
            Ok(result) => Answer::Settled(Ok(Edited { result, revision })),
            Err(panic) => Answer::Panicked(panic),
        };
        // Whoever asked may have stopped to wait; what happened has happened.
        drop(self.answer.send(answer));
    }

    fn fail(self: Box<Self>, error: CellError) {
        drop(self.answer.send(Answer::Settled(Err(error))));
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }
}
