//! The schedules of a space, as their owners handle them.
//!
//! Nothing here fires by itself: that is a [`Scheduler`](super::Scheduler), in this process or another.

use super::{
    Schedule, ScheduleError, Status,
    definition::check_name,
    ledger::{Ledger, read_schedule},
    wake::Kind,
};
use crate::{
    core::schedule::{Firing, Record},
    engine::{Expect, Key, Space, StoreError},
    time::{Backoff, Timestamp, nonce},
};
use futures_util::TryStreamExt as _;
use std::time::Duration;

/// How long an operation tries while others are first.
const PATIENCE: Duration = Duration::from_secs(30);
/// Delays between these attempts.
const AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How many schedules are read at once.
const PAGE: usize = 256;

/// The schedules of a space.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{
///     engine::{Engine, Message, Name, Outgoing},
///     schedule::{Change, Schedule, Schedules},
/// };
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let schedules = Schedules::new(&space)?;
/// let report = Outgoing { queue: Name::new("reports")?, message: Message::new("daily") };
/// let nightly = Schedule::new("nightly", "CRON_TZ=Europe/Berlin 0 2 * * *".parse()?, report);
/// assert_eq!(schedules.create(&nightly).await?, Change::Created);
/// assert_eq!(schedules.create(&nightly).await?, Change::Unchanged);
/// assert!(schedules.get("nightly").await?.unwrap().next.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Schedules {
    ledger: Ledger,
}

/// What became of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It was not there.
    Created,
    /// It was there with another definition, and has this one now.
    Updated,
    /// It was there with this very definition.
    Unchanged,
}

/// What is to be done with a record.
enum Next {
    Keep,
    Put(Box<Record>, Vec<Firing>),
    Delete,
}

impl Schedules {
    /// Takes the schedules of a space; nothing is stored yet.
    ///
    /// # Errors
    ///
    /// [`Rejection::Unsupported`](crate::engine::Rejection::Unsupported) for a bucket.
    pub fn new(space: &Space) -> Result<Self, ScheduleError> {
        Ok(Self { ledger: Ledger::new(space)? })
    }

    /// Creates a schedule. The same one again changes nothing, so every process may do it when it starts.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Exists`] when there is one of its name with another definition, [`ScheduleError::Invalid`] for what is out of
    /// range, [`ScheduleError::Store`] when the store does not answer or does not know: create it again, which is harmless.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have created it.
    pub async fn create(&self, schedule: &Schedule) -> Result<Change, ScheduleError> {
        self.define(schedule, false).await
    }

    /// Creates a schedule, or gives the one of its name this definition. With another rule it goes on from now; with the rule that it has
    /// from where it is. It stays paused when it is.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), but that it may be there.
    ///
    /// # Cancel safety
    ///
    /// As [`create`](Self::create).
    pub async fn put(&self, schedule: &Schedule) -> Result<Change, ScheduleError> {
        self.define(schedule, true).await
    }

    async fn define(&self, schedule: &Schedule, may_update: bool) -> Result<Change, ScheduleError> {
        schedule.check()?;
        self.change(&schedule.name, |found, now| {
            let Some(mut record) = found else {
                let record = Record::new(schedule.plan.clone(), schedule.since.unwrap_or(now));
                return Ok((Next::Put(record.into(), Vec::new()), Change::Created));
            };
            if !record.redefine(schedule.plan.clone(), now) {
                return Ok((Next::Keep, Change::Unchanged));
            }
            if !may_update {
                return Err(ScheduleError::Exists(schedule.name.clone()));
            }
            Ok((Next::Put(record.into(), Vec::new()), Change::Updated))
        })
        .await
    }

    /// Stops a schedule until it is resumed, and tells whether it was going. A firing that waits for another one is dropped.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NotFound`] when there is none, otherwise as [`create`](Self::create).
    pub async fn pause(&self, name: &str) -> Result<bool, ScheduleError> {
        self.edit(name, |record, _| record.pause()).await
    }

    /// Lets a schedule go on from now, and tells whether it was paused. What would have been due meanwhile was not missed.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn resume(&self, name: &str) -> Result<bool, ScheduleError> {
        self.edit(name, Record::resume).await
    }

    /// Says that a firing has ended, and tells whether others waited for it. One that waits is sent at once.
    ///
    /// Whoever works on what a schedule sends says so when there is nobody to ask, see [`Running`](super::Running): after the work,
    /// and before the message is acknowledged, so that a crash between the two repeats it. A firing whose schedule is gone, or
    /// for which nobody waits, is fine.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Store`] when the store does not answer or does not know: say it again, which is harmless.
    pub async fn finished(&self, firing: &str) -> Result<bool, ScheduleError> {
        let Some((name, _)) = firing.rsplit_once('@') else { return Ok(false) };
        match self.edit(name, |record, now| record.finish(firing, now)).await {
            Err(ScheduleError::NotFound(_) | ScheduleError::Invalid(_)) => Ok(false),
            told => told,
        }
    }

    /// Fires now, by hand: beside the rule, whatever else goes on, and also while it is paused. Nothing waits for this firing.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause). An answer that is lost is found out about, unless somebody else fires by hand in the same moment: it may
    /// then fire once more.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have fired.
    pub async fn trigger(&self, name: &str) -> Result<Firing, ScheduleError> {
        let token = nonce();
        let mut tried = None;
        self.change(name, |found, now| {
            let Some(mut record) = found else { return Err(ScheduleError::NotFound(name.to_owned())) };
            // An answer was lost, and it has fired.
            if record.token == token
                && let Some(firing) = tried.take()
            {
                return Ok((Next::Keep, firing));
            }
            let firing = record.trigger(name, now, token);
            tried = Some(firing.clone());
            Ok((Next::Put(record.into(), vec![firing.clone()]), firing))
        })
        .await
    }

    /// Removes a schedule, and tells whether it was there. What was sent is sent.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Corrupt`] when something else is stored there, which is left as it is; otherwise as [`create`](Self::create).
    pub async fn delete(&self, name: &str) -> Result<bool, ScheduleError> {
        let mut was = false;
        self.change(name, |found, _| {
            was |= found.is_some();
            Ok((if found.is_some() { Next::Delete } else { Next::Keep }, was))
        })
        .await
    }

    /// Reads a schedule.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Corrupt`] when something else is stored there, [`ScheduleError::Store`] when it cannot be read.
    pub async fn get(&self, name: &str) -> Result<Option<Status>, ScheduleError> {
        check_name(name)?;
        let found = self.ledger.schedule(&Kind::Schedule.key(name)?).await?;
        Ok(found.map(|(record, _)| Status::of(name.to_owned(), record)))
    }

    /// Lists all schedules of the space, by name.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn list(&self) -> Result<Vec<Status>, ScheduleError> {
        let store = self.ledger.store();
        let keys = store.keys(&Kind::Schedule.prefix().below()).await?;
        let mut keys: Vec<Key> = keys.map_ok(|info| info.key).try_collect().await?;
        keys.sort();
        let mut found = Vec::with_capacity(keys.len());
        for page in keys.chunks(PAGE) {
            for entry in store.get_many(page).await?.into_iter().flatten() {
                let Some((Kind::Schedule, name)) = Kind::of(&entry.key) else { continue };
                found.push(Status::of(name, read_schedule(entry)?.0));
            }
        }
        Ok(found)
    }

    async fn edit(&self, name: &str, change: impl Fn(&mut Record, Timestamp) -> bool) -> Result<bool, ScheduleError> {
        let mut changed = false;
        self.change(name, |found, now| {
            let Some(mut record) = found else { return Err(ScheduleError::NotFound(name.to_owned())) };
            // After a lost answer it may be changed already, by this very call.
            changed |= change(&mut record, now);
            Ok((Next::Put(record.into(), Vec::new()), changed))
        })
        .await
    }

    /// Reads, decides and writes until nobody comes in between. What `decide` returns is known to be stored.
    async fn change<R>(
        &self,
        name: &str,
        mut decide: impl FnMut(Option<Record>, Timestamp) -> Result<(Next, R), ScheduleError>,
    ) -> Result<R, ScheduleError> {
        check_name(name)?;
        let key = Kind::Schedule.key(name)?;
        let clock = self.ledger.clock();
        let until = clock.instant() + PATIENCE;
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            let found = self.ledger.schedule(&key).await?;
            let written = match &found {
                // Somebody died between deciding and sending; that comes first.
                Some((record, revision)) if !record.pending.is_empty() => {
                    self.ledger.send_pending((&key, name), record, *revision).await.map(|()| None)
                }
                _ => {
                    let revision = found.as_ref().map(|(_, revision)| *revision);
                    let before = found.map(|(record, _)| record);
                    let (next, result) = decide(before.clone(), clock.now())?;
                    let written = match (next, revision) {
                        (Next::Put(record, firings), _) if firings.is_empty() && before.as_ref() == Some(&*record) => Ok(()),
                        (Next::Put(record, firings), revision) => {
                            let expect = revision.map_or(Expect::Absent, Expect::At);
                            self.ledger.put_schedule((&key, name), expect, &record, &firings).await
                        }
                        (Next::Delete, Some(revision)) => self.ledger.delete(&key, revision).await,
                        (Next::Delete, None) | (Next::Keep, _) => Ok(()),
                    };
                    written.map(|()| Some(result))
                }
            };
            match written {
                Ok(Some(result)) => return Ok(result),
                Ok(None) => {}
                // What may have been written is found by reading again.
                Err(StoreError::Conflict | StoreError::Unknown(_)) if clock.instant() < until => {
                    clock.sleep(backoff.next_delay()).await;
                }
                Err(StoreError::Conflict) => return Err(ScheduleError::Contended(name.to_owned())),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
