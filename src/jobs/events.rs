//! What happens to jobs in this worker, as a stream that blocks nobody.
//!
//! A listener who is slow loses the oldest events and is told how many. Nothing is made of an event to which nobody listens.

use super::{RoutedJob, held::Held};
use crate::{
    core::jobs::Progress,
    time::{Clock, Timestamp},
};
use futures_util::Stream;
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// Something that happened in a worker.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Which job it is about; `None` for the worker itself.
    pub job: Option<Which>,
    /// What.
    pub what: What,
}

/// A job, to those who hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Which {
    /// Its id.
    pub id: String,
    /// Its topic; empty when its message names none.
    pub topic: String,
    /// The queue that it came from.
    pub queue: String,
    /// The position of its message in the queue.
    pub sequence: u64,
    /// Which attempt it is about, counted from 1.
    pub attempt: u32,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum What {
    /// The worker takes jobs from now on.
    Started,
    /// The first attempt of a job that a schedule sent is about to begin; [`Received`](Self::Received) follows. A job that comes again
    /// without having used that attempt up, or is put back after it was given up, is told of again.
    Scheduled {
        /// The name of the schedule.
        schedule: String,
        /// The time for which it fired.
        due: Timestamp,
    },
    /// An attempt begins.
    Received,
    /// The queue was told that the work goes on.
    Working,
    /// The job said how far it is.
    Progressed {
        /// What it said.
        progress: Progress,
    },
    /// An event became these jobs, and they are stored; what a [`Router`](super::Router) tells.
    Routed {
        /// The jobs; none where it leads nowhere.
        jobs: Vec<RoutedJob>,
    },
    /// The job is done, and its message acknowledged.
    Completed {
        /// How long the attempt took.
        took: Duration,
    },
    /// An attempt failed.
    Failed {
        /// The error and its causes.
        message: String,
        /// How long the attempt took.
        took: Duration,
        /// When there is another attempt; `None` when there is none.
        retry_in: Option<Duration>,
    },
    /// An attempt took longer than it may; [`Failed`](Self::Failed) follows, unless the handler succeeds in the time that it is given to
    /// end.
    TimedOut {
        /// How long it may take.
        timeout: Duration,
    },
    /// An attempt takes longer than expected, and goes on.
    ExceededExpectation {
        /// How long was expected.
        expected: Duration,
    },
    /// The job asked to come again; no attempt was used up.
    Snoozed {
        /// In how long.
        retry_in: Duration,
    },
    /// Something that the job needs is taken, or its queue is paused; no attempt was used up.
    Blocked {
        /// In how long it comes again.
        retry_in: Duration,
    },
    /// The job was handed back because the worker stops; no attempt was used up.
    HandedBack,
    /// The job ended because somebody had asked for that.
    Cancelled,
    /// The job was given up, and its letter is kept.
    DeadLettered {
        /// Why.
        reason: String,
    },
    /// The job had ended before, or is done elsewhere: nothing ran, or its result was not needed.
    Superseded,
    /// What became of the job could not be told to the queue: its message comes again.
    NotAcknowledged {
        /// Why not.
        error: String,
    },
    /// Messages cannot be taken for now; it is tried again.
    PullFailed {
        /// Why not.
        error: String,
    },
    /// A queue is paused; nothing is taken from it.
    Paused,
    /// A queue is not paused any more.
    Resumed,
    /// The worker has ended, and has nothing left.
    Drained,
    /// This listener was too slow, and so many events are gone.
    Missed(u64),
}

/// Where events are told.
pub(super) struct Bus {
    sender: broadcast::Sender<Event>,
    clock: Clock,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

impl Bus {
    pub(super) fn new(room: usize, clock: Clock) -> Arc<Self> {
        Arc::new(Self { sender: broadcast::Sender::new(room), clock })
    }

    pub(super) fn listen(self: &Arc<Self>) -> Events {
        Events { receiver: self.sender.subscribe(), clock: self.clock.clone() }
    }

    /// Tells what happened to a job, if anybody listens.
    pub(super) fn tell(&self, held: &Held, what: impl FnOnce() -> What) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        let job = Which {
            id: held.id().to_owned(),
            topic: held.topic().to_owned(),
            queue: held.queue().as_str().to_owned(),
            sequence: held.delivery.sequence(),
            attempt: held.attempt(),
        };
        self.send(Some(job), what());
    }

    /// Tells what happened to the worker.
    pub(super) fn say(&self, what: What) {
        self.send(None, what);
    }

    fn send(&self, job: Option<Which>, what: What) {
        // Nobody listens any more, which is fine.
        let _ = self.sender.send(Event { at: self.clock.now(), job, what });
    }
}

/// The events of a worker, from when it was asked for; see [`Worker::events`](super::Worker::events).
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    clock: Clock,
}

impl Events {
    /// Waits for the next event; `None` when the worker is gone.
    ///
    /// # Cancel safety
    ///
    /// Safe: a call that is dropped has taken no event.
    pub async fn next(&mut self) -> Option<Event> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                Some(Event { at: self.clock.now(), job: None, what: What::Missed(missed) })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// Makes it a stream.
    pub fn into_stream(self) -> impl Stream<Item = Event> + Send {
        futures_util::stream::unfold(self, async |mut events| events.next().await.map(|event| (event, events)))
    }
}
