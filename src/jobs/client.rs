//! A queue of jobs, to those who submit and look.

use super::{
    JobsError,
    builder::Source,
    control::{self, Pause},
    ledger::records,
    letters::DeadLetters,
    topic::Topic,
};
use crate::{
    cell::{Cells, Event},
    codec::Payload,
    core::jobs::{Record, State},
    engine::{Queue, QueueOptions, Space},
    jobs::ledger::label,
    time::Timestamp,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::{sync::Arc, time::Duration};

/// How long the record of a job that was cancelled while it waited is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What became of a job that was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Submitted {
    /// The job's id: the one that it was given, or `<queue>-<sequence>`.
    pub id: String,
    /// The position of its message in the queue; that of the first one when it is a duplicate.
    pub sequence: u64,
    /// A job with its id was submitted within the queue's window, and this one was dropped.
    pub duplicate: bool,
}

/// A queue of jobs.
///
/// An id makes a job unique for the queue's `dedupe_window`, and for longer where its topic keeps results.
#[derive(Debug, Clone)]
pub struct Jobs {
    space: Space,
    queue: Arc<dyn Queue>,
    records: Cells<Record>,
}

impl Jobs {
    /// Opens a queue of a space, and creates it when it is not there.
    ///
    /// # Errors
    ///
    /// [`JobsError::Store`] when it cannot be opened, also because it is there with other options.
    pub async fn open(space: &Space, queue: impl Into<Source>) -> Result<Self, JobsError> {
        let queue = queue.into().open(space).await?;
        Ok(Self { records: records(space, queue.name())?, space: space.clone(), queue })
    }

    /// Opens a queue with options that are not the default; whoever opens it says the same ones.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with(space: &Space, queue: impl Into<String>, options: QueueOptions) -> Result<Self, JobsError> {
        Self::open(space, (queue.into(), options)).await
    }

    /// Returns the queue itself.
    #[must_use]
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    /// Submits a job; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`JobsError::Codec`] when the payload cannot be written. [`JobsError::Store`] says whether it may have been stored: one that
    /// shall not be there twice needs an id, see [`submit_as`](Self::submit_as).
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have submitted it.
    pub async fn submit<T>(&self, topic: &Topic<T>, payload: &T) -> Result<Submitted, JobsError> {
        self.send(topic, payload, None).await
    }

    /// Submits a job with an id, unless one of that id was submitted within the queue's window.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit); it may be repeated with the same id.
    ///
    /// # Cancel safety
    ///
    /// As [`submit`](Self::submit).
    pub async fn submit_as<T>(&self, id: impl Into<String>, topic: &Topic<T>, payload: &T) -> Result<Submitted, JobsError> {
        self.send(topic, payload, Some(id.into())).await
    }

    async fn send<T>(&self, topic: &Topic<T>, payload: &T, id: Option<String>) -> Result<Submitted, JobsError> {
        let mut message = topic.message(payload)?;
        message.id.clone_from(&id);
        let published = self.queue.publish(message).await?;
        let id = id.unwrap_or_else(|| format!("{}-{}", self.queue.name(), published.sequence));
        Ok(Submitted { id, sequence: published.sequence, duplicate: published.duplicate })
    }

    /// Reads what is kept of a job; `None` when there is nothing: it was never submitted, waits for its first attempt or is in it,
    /// succeeded at once where results are not kept, or is over for longer than records are kept.
    ///
    /// # Errors
    ///
    /// [`JobsError::Record`] when it cannot be read.
    pub async fn record(&self, id: &str) -> Result<Option<Record>, JobsError> {
        Ok(self.records.cell(&label(id))?.read().await?.map(|stored| stored.value))
    }

    /// Returns what a job returned; `None` while it has not ended, and also when nothing is known of it.
    ///
    /// # Errors
    ///
    /// [`JobsError::Dead`] and [`JobsError::Cancelled`] when it ended otherwise, [`JobsError::NotKept`] when its result was not kept,
    /// [`JobsError::Codec`] when it is no `R`; otherwise as [`record`](Self::record).
    pub async fn result<R: Payload>(&self, id: &str) -> Result<Option<R>, JobsError> {
        match self.record(id).await? {
            Some(record) => result_of(id, &record),
            None => Ok(None),
        }
    }

    /// Waits until a job has ended, and returns what it returned. A job whose result is not kept may succeed without a trace, and
    /// then this waits for ever.
    ///
    /// # Errors
    ///
    /// As [`result`](Self::result).
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn outcome<R: Payload>(&self, id: &str) -> Result<R, JobsError> {
        let mut events = self.records.cell(&label(id))?.watch().await?;
        while let Some(event) = events.next().await {
            let stored = match event {
                Event::Initial(stored) | Event::Put(stored) => stored,
                Event::Unreadable(error) => return Err(error.into()),
                _ => continue,
            };
            if let Some(result) = result_of(id, &stored.value)? {
                return Ok(result);
            }
        }
        Err(crate::engine::StoreError::Unavailable("the watch has ended".into()).into())
    }

    /// Asks that a job ends, wherever it is. One that runs is told [`Cancelled`](crate::StopReason::Cancelled); one that waits is not
    /// begun any more. Returns whether it has ended already.
    ///
    /// # Errors
    ///
    /// [`JobsError::Record`] and [`JobsError::Store`] when it could not be asked, or may not have been: ask again.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have asked.
    pub async fn cancel(&self, id: &str) -> Result<bool, JobsError> {
        let now = self.space.clock().now();
        let cell = self.records.cell(&label(id))?;
        let asked = cell.edit(move |draft| {
            if draft.get().is_some_and(Record::is_ended) {
                return true;
            }
            let ended = draft.or_default().cancel(now);
            if ended {
                draft.expire_after(KEPT);
            }
            ended
        });
        let ended = asked.await?.result;
        if !ended {
            // After the record, which is what is decided by. A crash in between leaves a job that ends when it comes again.
            control::raise(&self.space, self.queue.name(), id).await?;
        }
        Ok(ended)
    }

    /// Lets no worker take jobs of this queue until somebody resumes it; what runs goes on.
    ///
    /// # Errors
    ///
    /// [`JobsError::Store`] when it is not known to be paused: try again.
    pub async fn pause(&self) -> Result<(), JobsError> {
        Ok(control::set_pause(&self.space, self.queue.name(), Pause::UntilResumed).await?)
    }

    /// Lets no worker take jobs of this queue until a time by their own clocks, or until somebody resumes it.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn pause_until(&self, at: Timestamp) -> Result<(), JobsError> {
        Ok(control::set_pause(&self.space, self.queue.name(), Pause::Until(at)).await?)
    }

    /// Ends a pause; a queue that is not paused stays so.
    ///
    /// # Errors
    ///
    /// [`JobsError::Store`] when it is not known to be over: try again.
    pub async fn resume(&self) -> Result<(), JobsError> {
        Ok(control::set_pause(&self.space, self.queue.name(), Pause::No).await?)
    }

    /// Reads whether the queue is paused.
    ///
    /// # Errors
    ///
    /// [`JobsError::Store`] when it cannot be read.
    pub async fn paused(&self) -> Result<Pause, JobsError> {
        Ok(control::pause_of(&self.space, self.queue.name()).await?)
    }

    /// Opens the queue of the jobs that were given up.
    ///
    /// # Errors
    ///
    /// [`JobsError::Store`] when it cannot be opened.
    pub async fn dead_letters(&self) -> Result<DeadLetters, JobsError> {
        DeadLetters::of(&self.space, Arc::clone(&self.queue)).await
    }
}

/// What a record says of the job's end; `None` while there is none.
fn result_of<R: Payload>(id: &str, record: &Record) -> Result<Option<R>, JobsError> {
    match &record.state {
        State::Open => Ok(None),
        State::Completed { result: Some(result) } => Ok(Some(R::decode(result as &Bytes)?)),
        State::Completed { result: None } => Err(JobsError::NotKept(id.to_owned())),
        State::Cancelled => Err(JobsError::Cancelled(id.to_owned())),
        State::Dead { reason } => Err(JobsError::Dead { id: id.to_owned(), reason: reason.clone() }),
    }
}
