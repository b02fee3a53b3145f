//! What is kept of a job: how many deliveries did not count, what went wrong, how far it is, and how it ended.

use crate::time::Timestamp;
use bytes::Bytes;

/// How many failures a record keeps; older ones are only counted.
pub const MOST_FAILURES: usize = 16;

/// What is kept of a job that is not an ordinary first success.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The job's topic.
    pub topic: String,
    /// How often it was put back after it had been given up.
    pub generation: u32,
    /// Whether it has ended, and how.
    pub state: State,
    /// The newest delivery whose end is in here.
    pub decided: u32,
    /// Deliveries that used no attempt up.
    pub spared: u32,
    /// How often in a row it was handed back because something that it needs was taken.
    pub blocked: u32,
    /// How many attempts failed.
    pub failed: u32,
    /// The newest of them, oldest first.
    pub failures: Vec<Failure>,
    /// The newest report of the job itself.
    pub progress: Option<Progress>,
    /// When it is tried again.
    pub resume_at: Option<Timestamp>,
    /// Somebody asked that it ends.
    pub cancel: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Whether a job has ended, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// It waits, runs, or waits for another attempt.
    #[default]
    Open,
    /// It is done.
    Completed {
        /// What it returned, as JSON; `None` when results are not kept.
        result: Option<Bytes>,
    },
    /// It was cancelled.
    Cancelled,
    /// It was given up.
    Dead {
        /// Why.
        reason: String,
    },
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which one, counted from 1.
    pub attempt: u32,
    /// In what way.
    pub how: How,
    /// The error and its causes.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// In what way an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum How {
    /// Its handler returned an error.
    Error,
    /// Its handler panicked.
    Panic,
    /// It took longer than it may.
    Timeout,
}

/// How far a job says it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// 0 to 100.
    pub percent: Option<u8>,
    /// For people.
    pub text: String,
    /// Whatever else it says, in an encoding of its own.
    pub data: Option<Bytes>,
    /// When it said so.
    pub at: Timestamp,
}

impl Record {
    /// Tells whether it has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state != State::Open
    }

    /// Asks that it ends, and tells whether that is certain already: an attempt that waits for its time is not begun any more.
    /// `false` when an attempt may run, which is told.
    pub fn cancel(&mut self, now: Timestamp) -> bool {
        if self.is_ended() {
            return true;
        }
        self.cancel = true;
        let waits = self.resume_at.is_some_and(|at| at > now);
        if waits {
            self.end(State::Cancelled, now);
        }
        waits
    }

    /// Ends it.
    pub(super) fn end(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.resume_at = None;
        self.ended_at = Some(now);
    }

    /// Notes that an attempt failed.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failed = self.failed.saturating_add(1);
        if self.failures.len() == MOST_FAILURES {
            self.failures.remove(0);
        }
        self.failures.push(failure);
    }
}
