//! Timers inside a transaction, and the one task that does whatever is due.
//!
//! Everything that waits for a time (a key's expiry, a silent worker, a delayed retry, a timer) is an index ordered by time. A
//! single task sleeps until the first of them. It holds no database, so an engine that nobody uses any more can end.

use super::{
    Core,
    database::{Batch, SpaceId},
    messages::{letter, message},
};
use crate::{
    engine::{Key, Outgoing},
    time::{Clock, Timestamp},
};
use redb::{ReadableTable, StorageError};
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// How much of each kind one transaction does, so that writers need not wait long for it.
const SWEEP: usize = 500;

/// The longest sleep: a wall clock that was set forward, or a machine that slept, is noticed after this.
const LONGEST_NAP: Duration = Duration::from_secs(5);

impl Batch<'_> {
    /// Arms a timer, or arms it anew.
    pub(super) fn arm(&mut self, space: SpaceId, name: &Key, at: Timestamp, send: &Outgoing) -> Result<(), StorageError> {
        self.disarm(space, name.as_str())?;
        let queue = self.queue(space, send.queue.as_str())?;
        self.tables.timers.insert((space, name.as_str()), (at.as_micros(), queue, letter(&send.message)))?;
        self.tables.alarms.insert((at.as_micros(), space, name.as_str()), ())?;
        self.wake_at(at);
        Ok(())
    }

    /// Disarms a timer, if it is armed.
    pub(super) fn disarm(&mut self, space: SpaceId, name: &str) -> Result<(), StorageError> {
        let armed = self.tables.timers.remove((space, name))?.map(|timer| timer.value().0);
        if let Some(at) = armed {
            self.tables.alarms.remove((at, space, name))?;
        }
        Ok(())
    }

    /// Fires up to `most` timers whose time has come, and tells how many it found. A timer goes and its message comes in one
    /// transaction, so a crash on this line fires it once, later.
    fn fire(&mut self, most: usize) -> Result<usize, StorageError> {
        let end = (self.now.as_micros().saturating_add(1), 0, "");
        let mut due = Vec::new();
        for row in self.tables.alarms.range(..end)?.take(most) {
            let row = row?.0;
            let (_, space, name) = row.value();
            due.push((space, name.to_owned()));
        }
        for (space, name) in &due {
            let send = self.tables.timers.get((*space, name.as_str()))?.map(|timer| {
                let (_, queue, letter) = timer.value();
                (queue, message(letter))
            });
            if let Some((queue, message)) = send {
                self.enqueue(queue, &message)?;
            }
            self.disarm(*space, name)?;
        }
        Ok(due.len())
    }

    /// Does what is due, and returns when to come again.
    pub(super) fn sweep(&mut self) -> Result<Option<Timestamp>, StorageError> {
        let done = [self.expire(SWEEP)?, self.unpark_due(SWEEP)?, self.fire(SWEEP)?];
        tracing::trace!(expired = done[0], unparked = done[1], fired = done[2], "swept");
        let next = [
            self.tables.expiries.first()?.map(|(row, _)| row.value().0),
            self.tables.dues.first()?.map(|(row, _)| row.value().0),
            self.tables.alarms.first()?.map(|(row, _)| row.value().0),
        ];
        Ok(next.into_iter().flatten().min().map(Timestamp::from_micros))
    }
}

/// When the next thing is due.
#[derive(Debug)]
pub(super) struct Alarm {
    at: AtomicI64,
    sooner: Notify,
}

impl Alarm {
    /// Rings at once: what is in the database is not known yet.
    pub(super) fn new() -> Self {
        Self { at: AtomicI64::new(i64::MIN), sooner: Notify::new() }
    }

    /// Rings at `at`, or before when it was to ring before.
    pub(super) fn set(&self, at: Timestamp) {
        if self.at.fetch_min(at.as_micros(), Ordering::SeqCst) > at.as_micros() {
            self.sooner.notify_one();
        }
    }

    /// Waits until it rings, and is silent from then on.
    async fn ring(&self, clock: &Clock) {
        loop {
            let at = Timestamp::from_micros(self.at.load(Ordering::SeqCst));
            let now = clock.now();
            if at <= now {
                return self.at.store(i64::MAX, Ordering::SeqCst);
            }
            tokio::select! {
                biased;
                () = clock.sleep(at.since(now).min(LONGEST_NAP)), if at.as_micros() < i64::MAX => {}
                () = self.sooner.notified() => {}
            }
        }
    }
}

/// Does what is due when it is due, until the engine is gone.
pub(super) async fn keep_time(engine: Weak<Core>, alarm: Arc<Alarm>, clock: Clock) {
    loop {
        // It is silent before the database is looked at, so whoever commits meanwhile sets it again.
        alarm.ring(&clock).await;
        let Some(core) = engine.upgrade() else { return };
        let swept = core.writer.submit(|batch| Ok(batch.sweep()?));
        drop(core);
        match swept.await {
            Ok(next) => next.into_iter().for_each(|at| alarm.set(at)),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "what is due could not be done, trying again");
                alarm.set(clock.now() + LONGEST_NAP);
            }
        }
    }
}
