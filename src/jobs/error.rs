//! Why jobs could not be submitted, looked at or worked on.

use crate::{
    cell::CellError,
    codec::CodecError,
    coordination::CoordinationError,
    engine::{NameError, StoreError},
};

/// Why jobs could not be submitted, looked at or worked on. Each kind says what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobsError {
    /// The queue, or the store, did not do it; the source says what is known.
    #[error("the queue of the jobs could not be used")]
    Store(#[from] StoreError),
    /// The record of a job could not be read or changed; the source says what is known.
    #[error("the record of the job could not be used")]
    Record(#[from] CellError),
    /// A value does not match its type.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A limit of how many jobs run at once could not be used.
    #[error("a limit of the jobs could not be used")]
    Limit(#[from] CoordinationError),
    /// An option is out of its range, or options contradict each other: correct it.
    #[error("{0}")]
    Invalid(&'static str),
    /// Two handlers were given for the same topic.
    #[error("the topic `{0}` has two handlers")]
    TopicTaken(String),
    /// The job was given up; its letter is in the queue for dead letters, from which it can be put back.
    #[error("job `{id}` was given up: {reason}")]
    Dead {
        /// The job.
        id: String,
        /// Why.
        reason: String,
    },
    /// The job was cancelled.
    #[error("job `{0}` was cancelled")]
    Cancelled(String),
    /// The job is done, and what it returned was not kept: let its topic keep results.
    #[error("job `{0}` is done, and its result was not kept")]
    NotKept(String),
}

impl From<NameError> for JobsError {
    fn from(error: NameError) -> Self {
        Self::Store(error.into())
    }
}
