//! What a scheduler tells of what it does.

use super::ScheduleError;
use crate::{
    core::schedule::{Firing, Late},
    time::Timestamp,
};
use futures_util::{Stream, stream};
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast::{self, error::RecvError};

/// How many events a slow reader may be behind.
const BEHIND: usize = 1024;

/// What a scheduler did, of what this process has done; others have events of their own.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A schedule is looked at next at this time.
    Scheduled {
        /// Its name.
        schedule: String,
        /// When.
        at: Timestamp,
    },
    /// A firing was sent.
    Fired {
        /// The schedule's name.
        schedule: String,
        /// Which firing.
        firing: Firing,
        /// How long after its time.
        late: Duration,
    },
    /// Firings were missed and are dropped.
    Missed {
        /// The schedule's name.
        schedule: String,
        /// Which.
        late: Late,
    },
    /// A firing is dropped, since the one before goes on.
    Skipped {
        /// The schedule's name.
        schedule: String,
        /// The time for which it would have fired.
        at: Timestamp,
    },
    /// A firing waits for the one before.
    Queued {
        /// The schedule's name.
        schedule: String,
        /// The time for which it will fire.
        at: Timestamp,
    },
    /// The firing before was cancelled.
    Cancelled {
        /// The schedule's name.
        schedule: String,
        /// Which firing.
        firing: Firing,
    },
    /// A delayed message was sent.
    Sent {
        /// Its key.
        key: String,
        /// When it was due.
        due: Timestamp,
        /// How long after that.
        late: Duration,
    },
    /// Something could not be done; it is tried again.
    Failed {
        /// The name of the schedule, or the key of the delayed message; empty when it is about all of them.
        what: String,
        /// Why not.
        error: Arc<ScheduleError>,
    },
    /// This reader was too slow, and has missed so many events.
    Lagged(u64),
}

/// Where events go.
#[derive(Debug, Clone)]
pub(super) struct Events(broadcast::Sender<Event>);

impl Events {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody may be listening.
        let _ = self.0.send(event);
    }

    pub(super) fn failed(&self, what: &str, error: ScheduleError) {
        tracing::warn!(what, error = &error as &dyn std::error::Error, "a schedule waits");
        self.tell(Event::Failed { what: what.to_owned(), error: Arc::new(error) });
    }

    pub(super) fn listen(&self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        let heard = self.0.subscribe();
        Box::pin(stream::unfold(heard, |mut heard| async move {
            let event = match heard.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => Event::Lagged(missed),
                Err(RecvError::Closed) => return None,
            };
            Some((event, heard))
        }))
    }
}
