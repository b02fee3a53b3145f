//! A job as its handler sees it.

use super::held::Held;
use crate::{
    cell::CellError,
    codec::{CodecError, Payload},
    core::{
        jobs::{Failure, Progress},
        retry::StopReason,
    },
    engine::Headers,
    jobs::{
        JobsError,
        events::{Bus, What},
        sender_of,
    },
    time::{Clock, Timestamp},
};
use std::{fmt, sync::Arc};
use tokio_util::sync::CancellationToken;

/// A job with its payload, in the hands of its handler.
///
/// It may be moved into other tasks; what it says after its handler has ended changes nothing.
pub struct Job<T> {
    /// What it is about.
    pub payload: T,
    pub(super) held: Arc<Held>,
    pub(super) bus: Arc<Bus>,
}

impl<T: fmt::Debug> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut job = f.debug_struct("Job");
        job.field("id", &self.id()).field("attempt", &self.attempt()).field("payload", &self.payload).finish_non_exhaustive()
    }
}

impl<T> Job<T> {
    /// Returns its id: that of its message, or `<queue>-<sequence>`. The same for each attempt, so it is a key for whatever must
    /// happen once.
    #[must_use]
    pub fn id(&self) -> &str {
        self.held.id()
    }

    /// Parts the payload from the rest, for a handler that gives it away.
    #[must_use]
    pub fn split(self) -> (T, Job<()>) {
        let Self { payload, held, bus } = self;
        (payload, Job { payload: (), held, bus })
    }

    /// Returns its topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.held.topic()
    }

    /// Returns the queue that it came from.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.held.queue().as_str()
    }

    /// Returns which attempt this is, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.held.attempt()
    }

    /// Returns the headers of its message.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.held.delivery.message().headers
    }

    /// Returns the name of the schedule that sent it and the time for which it fired, the same for each attempt; `None` when no schedule
    /// did. It is what the headers of its message say ([`SCHEDULE_NAME`](super::SCHEDULE_NAME),
    /// [`SCHEDULE_TIME`](super::SCHEDULE_TIME)).
    #[must_use]
    pub fn schedule(&self) -> Option<(&str, Timestamp)> {
        sender_of(self.headers())
    }

    /// Returns the subject that its message was published on, where it comes from a [`Stream`](crate::engine::Stream).
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.held.delivery.subject()
    }

    /// Returns when its message was published.
    #[must_use]
    pub fn published_at(&self) -> Timestamp {
        self.held.delivery.published_at()
    }

    /// Returns what went wrong in earlier attempts, as far as it was recorded, oldest first.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        self.held.known.get().map_or(&[], |record| &record.failures)
    }

    /// Returns the newest report of an earlier attempt.
    #[must_use]
    pub fn last_progress(&self) -> Option<&Progress> {
        self.held.known.get().and_then(|record| record.progress.as_ref())
    }

    /// Waits until the handler shall end, and returns why. A handler that listens has some time to do so; what it returns then still
    /// counts.
    ///
    /// # Cancel safety
    ///
    /// Safe: it holds nothing.
    pub async fn cancelled(&self) -> StopReason {
        self.held.stop.listen();
        self.held.stop.asked().await
    }

    /// Returns why the handler shall end; `None` while it shall not.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.held.stop.listen();
        self.held.stop.reason()
    }

    /// Returns a token of this very attempt that is cancelled when the handler shall end, for code that takes one.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        self.held.stop.listen();
        self.held.stop.token()
    }

    /// Says how far the job is: `job.progress(40)`, `job.progress((40, "half of the pages"))`, or a [`Report`]. It is stored when
    /// this returns, and whoever looks at the job sees it. Reports that come together share a write.
    ///
    /// # Errors
    ///
    /// [`JobsError::Record`] when it could not be stored, which is no reason to fail.
    ///
    /// # Cancel safety
    ///
    /// A report that is dropped may have been stored.
    pub async fn progress(&self, report: impl Into<Report>) -> Result<(), JobsError> {
        let Report { percent, text, data } = report.into();
        let progress = Progress { percent, text, data: data.transpose()?, at: self.held.ledger.clock().now() };
        // Before it is stored: a success that follows has to be in the record, also when this call was dropped.
        self.held.set_recorded();
        let (delivered, topic, report) = (self.held.delivered, self.topic().to_owned(), progress.clone());
        let cell = self.held.ledger.cell(self.id())?;
        let noted = cell.edit(move |draft| {
            // Looked at in a copy, so that a report that does not count is not written.
            let mut record = draft.get().cloned().unwrap_or_default();
            let ours = record.report(delivered, &topic, report.clone());
            if ours {
                draft.set(record);
            }
            ours
        });
        if noted.await?.result {
            self.bus.tell(&self.held, || What::Progressed { progress });
        }
        Ok(())
    }

    /// Returns the clock of the worker's engine.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.held.ledger.clock()
    }
}

/// How far a job is.
///
/// ```
/// use anabranch::jobs::Report;
/// let report = Report::percent(40).text("half of the pages").data(&vec![1, 2]);
/// # let _ = report;
/// ```
#[derive(Debug, Default)]
pub struct Report {
    percent: Option<u8>,
    text: String,
    data: Option<Result<bytes::Bytes, CodecError>>,
}

impl Report {
    /// Says how much is done, 0 to 100; more is 100.
    #[must_use]
    pub fn percent(percent: u8) -> Self {
        Self { percent: Some(percent.min(100)), ..Self::default() }
    }

    /// Says it in words.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// Adds a value of your own, as JSON. The next attempt finds it in [`Job::last_progress`].
    #[must_use]
    pub fn data<D: Payload>(mut self, data: &D) -> Self {
        self.data = Some(data.encode());
        self
    }
}

impl From<u8> for Report {
    fn from(percent: u8) -> Self {
        Self::percent(percent)
    }
}

impl<S: Into<String>> From<(u8, S)> for Report {
    fn from((percent, text): (u8, S)) -> Self {
        Self::percent(percent).text(text)
    }
}

impl Progress {
    /// Reads the value that was reported as JSON; `None` when there was none.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when it is no such value.
    pub fn read<D: Payload>(&self) -> Result<Option<D>, CodecError> {
        self.data.as_ref().map(|data| D::decode(data)).transpose()
    }
}

/// Tells whether an error of a record passes when it is tried again.
pub(super) fn passes(error: &CellError) -> bool {
    matches!(
        error,
        CellError::Contended { .. }
            | CellError::Unknown(_)
            | CellError::Unavailable(_)
            | CellError::Busy(_)
            | CellError::Conflict(_)
    )
}
