//! Does what is due: reads, decides, and stores together with what leaves.
//!
//! It promises that of any number of clerks one decides about each firing, since the record moves by compare-and-set; whoever comes too
//! late finds nothing to do. It does not know who told it that something is due, by which clock.

use super::{
    Running, ScheduleError,
    event::{Event, Events},
    ledger::{Ledger, read_delayed},
    wake::Kind,
};
use crate::{
    core::schedule::{Firing, Liveness, Record, Tick},
    engine::{Entry, Expect, Key, StoreError},
    error::BoxError,
    time::{Backoff, Clock, Timestamp},
};
use futures_util::{FutureExt as _, future::join_all};
use std::{collections::HashMap, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

/// How often it is tried when others are first, or an answer is lost.
const ATTEMPTS: u32 = 8;
/// Delays between these attempts.
const AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// How long whoever knows what goes on may think about it.
const ANSWER: Duration = Duration::from_secs(10);

/// What became of a key that was due: when it is due next, if ever.
pub(super) type Outcome = Result<Option<Timestamp>, ScheduleError>;

/// A key that is due, and the time for which its timer was armed when there was one.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) key: Key,
    pub(super) name: String,
    pub(super) armed: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Clerk {
    pub(super) ledger: Ledger,
    /// The scheduler's own clock, by which it decides.
    pub(super) clock: Clock,
    pub(super) events: Events,
    /// Who knows what goes on, by the queue to which it was sent.
    pub(super) running: HashMap<String, Arc<dyn Running>>,
}

impl Clerk {
    /// What time it is for whoever was woken up: a timer goes off by the engine's clock, and what it was armed for is due,
    /// also when this clock is behind.
    fn now(&self, armed: Option<Timestamp>) -> Timestamp {
        armed.map_or_else(|| self.clock.now(), |at| at.max(self.clock.now()))
    }

    /// Decides what a schedule asks for now, stores it and sends it.
    pub(super) async fn fire(&self, due: &Due) -> Outcome {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let mut lost: Option<(Tick, Timestamp)> = None;
        for _ in 0..ATTEMPTS {
            let Some((record, revision)) = self.ledger.schedule(&due.key).await? else { return Ok(None) };
            let now = self.now(due.armed);
            if let Some((tick, decided)) = lost.take_if(|(tick, _)| tick.record == record) {
                self.tell(&due.name, tick, decided);
                return Ok(record.next);
            }
            let key = (&due.key, due.name.as_str());
            let (written, tick) = if record.pending.is_empty() {
                // What another timer was armed for has been decided, and has its own.
                if due.armed.is_some_and(|at| record.next != Some(at)) || record.next.is_none_or(|next| next > now) {
                    return Ok(record.next);
                }
                let liveness = self.liveness(&record, now).await?;
                let tick = record.tick(&due.name, now, liveness);
                if let Some(firing) = &tick.cancel {
                    // Before the next one is sent: a crash in between cancels it again, and sends the next one then.
                    self.cancel(&record, firing).await?;
                    self.events.tell(Event::Cancelled { schedule: due.name.clone(), firing: firing.clone() });
                }
                (self.ledger.put_schedule(key, Expect::At(revision), &tick.record, &tick.firings).await, Some(tick))
            } else {
                (self.ledger.send_pending(key, &record, revision).await, None)
            };
            match (written, tick) {
                (Ok(()), Some(tick)) => {
                    let next = tick.record.next;
                    self.tell(&due.name, tick, now);
                    return Ok(next);
                }
                (Ok(()), None) => {}
                (Err(StoreError::Conflict), _) => self.clock.sleep(backoff.next_delay()).await,
                (Err(StoreError::Unknown(_)), tick) => {
                    // To send what a decision left pending is none: the one that is in doubt stays so.
                    if let Some(tick) = tick {
                        lost = Some((tick, now));
                    }
                    self.clock.sleep(backoff.next_delay()).await;
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        Err(ScheduleError::Contended(due.name.clone()))
    }

    fn tell(&self, name: &str, tick: Tick, now: Timestamp) {
        let schedule = || name.to_owned();
        if let Some(late) = tick.missed {
            self.events.tell(Event::Missed { schedule: schedule(), late });
        }
        for at in tick.skipped {
            self.events.tell(Event::Skipped { schedule: schedule(), at });
        }
        if let Some(at) = tick.queued.filter(|at| tick.record.queued == Some(*at)) {
            self.events.tell(Event::Queued { schedule: schedule(), at });
        }
        for firing in tick.firings {
            let late = now.since(firing.at);
            self.events.tell(Event::Fired { schedule: schedule(), firing, late });
        }
        if let Some(at) = tick.record.next {
            self.events.tell(Event::Scheduled { schedule: schedule(), at });
        }
    }

    async fn liveness(&self, record: &Record, now: Timestamp) -> Result<Liveness, ScheduleError> {
        let Some(live) = record.asks_for_liveness(now) else { return Ok(Liveness::Unknown) };
        // Where nobody can be asked it goes on until it is reported.
        let Some(running) = self.running.get(&record.plan.letter.queue) else { return Ok(Liveness::Unknown) };
        self.ask(&live.firing, running.liveness(&live.firing.id)).await
    }

    async fn cancel(&self, record: &Record, firing: &Firing) -> Result<(), ScheduleError> {
        let queue = &record.plan.letter.queue;
        let Some(running) = self.running.get(queue) else { return Err(ScheduleError::NobodyCancels(queue.clone())) };
        self.ask(firing, running.cancel(&firing.id)).await
    }

    /// Waits for code of the application, which may panic, or never answer.
    async fn ask<T>(&self, firing: &Firing, answer: impl Future<Output = Result<T, BoxError>>) -> Result<T, ScheduleError> {
        let answer = self.clock.timeout(ANSWER, AssertUnwindSafe(answer).catch_unwind()).await;
        let answer = match answer {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => Err("whoever was asked panicked".into()),
            None => Err("whoever was asked did not answer".into()),
        };
        answer.map_err(|source| ScheduleError::Running { firing: firing.id.clone(), source })
    }

    /// Sends delayed messages that are due: read at once, and each sent by itself, so that one that fails stops no other.
    pub(super) async fn send(&self, due: &[Due]) -> Vec<Outcome> {
        let keys: Vec<Key> = due.iter().map(|due| due.key.clone()).collect();
        match self.ledger.store().get_many(&keys).await {
            Ok(entries) => join_all(due.iter().zip(entries).map(|(due, entry)| self.send_one(due, entry))).await,
            Err(error) => {
                let error = Arc::new(error);
                let told = |_| Err(StoreError::Unavailable(Arc::clone(&error).into()).into());
                due.iter().map(told).collect()
            }
        }
    }

    async fn send_one(&self, due: &Due, entry: Option<Entry>) -> Outcome {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let (mut entry, mut lost) = (entry, None);
        for _ in 0..ATTEMPTS {
            let Some(found) = entry else {
                // Sent by this very call, if its answer was lost; or by another, or cancelled.
                if let Some(at) = lost {
                    self.sent(due, at);
                }
                return Ok(None);
            };
            let (waiting, revision) = read_delayed(found)?;
            let now = self.now(due.armed);
            if !waiting.leaving && (due.armed.is_some_and(|at| at != waiting.due) || waiting.due > now) {
                return Ok(Some(waiting.due));
            }
            match self.ledger.send_delayed((&due.key, &due.name), &waiting, revision).await {
                Ok(()) => {
                    self.sent(due, waiting.due);
                    return Ok(None);
                }
                Err(StoreError::Conflict) => {}
                Err(StoreError::Unknown(_)) => lost = Some(waiting.due),
                Err(error) => return Err(error.into()),
            }
            self.clock.sleep(backoff.next_delay()).await;
            entry = self.ledger.store().get(&due.key).await?;
        }
        Err(ScheduleError::Contended(due.name.clone()))
    }

    fn sent(&self, due: &Due, at: Timestamp) {
        let late = self.clock.now().since(at);
        self.events.tell(Event::Sent { key: due.name.clone(), due: at, late });
    }

    /// Does what is due of one kind, and tells of what failed.
    pub(super) async fn work(&self, kind: Kind, due: &[Due]) -> Vec<Outcome> {
        match kind {
            Kind::Delayed => self.send(due).await,
            Kind::Schedule => join_all(due.iter().map(|due| self.fire(due))).await,
        }
    }
}
