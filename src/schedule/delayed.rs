//! Messages that are sent later, once each.
//!
//! Nothing here sends by itself: that is a [`Scheduler`](super::Scheduler), in this process or another.

use super::{
    ScheduleError,
    definition::check_name,
    ledger::{Ledger, letter, outgoing, read_delayed},
    wake::{Kind, Label},
};
use crate::{
    core::schedule::Waiting,
    engine::{Expect, Key, Outgoing, Revision, Space, StoreError},
    time::{Backoff, Timestamp, nonce},
};
use futures_util::{Stream, StreamExt as _};
use std::time::Duration;

/// How long an operation tries while others are first.
const PATIENCE: Duration = Duration::from_secs(30);
/// Delays between these attempts.
const AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Messages of a space that wait for their time, each under a key.
///
/// A key is free again once its message was sent or cancelled. A message without an id of its own is sent under one that no other has;
/// one with an id keeps it, and the queue drops it when it had that id within its window.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{engine::{Engine, Message, Name, Outgoing}, schedule::{Delayed, Placed}};
/// use std::time::Duration;
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let delayed = Delayed::new(&space)?;
/// let reminder = Outgoing { queue: Name::new("mails")?, message: Message::new("are you still there?") };
/// let day = Duration::from_secs(86_400);
/// let Placed::Scheduled { at } = delayed.after("remind ann", day, &reminder).await? else { panic!("it is new") };
/// assert_eq!(delayed.after("remind ann", day * 7, &reminder).await?, Placed::Already { at });
/// assert!(delayed.cancel("remind ann").await?);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Delayed {
    ledger: Ledger,
    refuses_past: bool,
}

/// What became of a message that was to be sent later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a key that is taken changes nothing"]
pub enum Placed {
    /// It will be sent.
    Scheduled {
        /// When.
        at: Timestamp,
    },
    /// Nothing has changed: the key has a message that waits already.
    Already {
        /// When that one will be sent.
        at: Timestamp,
    },
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// Its key.
    pub key: String,
    /// When it is due.
    pub due: Timestamp,
}

impl Delayed {
    /// Takes the delayed messages of a space; nothing is stored yet.
    ///
    /// # Errors
    ///
    /// [`Rejection::Unsupported`](crate::engine::Rejection::Unsupported) for a bucket.
    pub fn new(space: &Space) -> Result<Self, ScheduleError> {
        Ok(Self { ledger: Ledger::new(space)?, refuses_past: false })
    }

    /// Refuses a time that is over with [`ScheduleError::Past`]; otherwise such a message is sent at once.
    #[must_use]
    pub fn refusing_past(mut self) -> Self {
        self.refuses_past = true;
        self
    }

    /// Sends a message after `delay`, unless the key has one that waits. See [`at`](Self::at).
    ///
    /// # Errors
    ///
    /// As [`at`](Self::at).
    ///
    /// # Cancel safety
    ///
    /// As [`at`](Self::at).
    pub async fn after(&self, key: &str, delay: Duration, message: &Outgoing) -> Result<Placed, ScheduleError> {
        self.at(key, self.ledger.clock().now() + delay, message).await
    }

    /// Sends a message at a time, or at once when that is over, unless the key has one that waits. `key` is any text of visible characters,
    /// 1 to 128 bytes.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Invalid`] for a key or a message that cannot be, [`ScheduleError::Past`] when that was asked for,
    /// [`ScheduleError::Store`] when the store does not answer. With [`StoreError::Unknown`] it may have been scheduled, and even sent:
    /// again under the same key is harmless as long as it is not due when that answers. A process that stands still in between may send it
    /// twice; a message with an id of its own is then dropped by the queue, within its window.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have scheduled it.
    pub async fn at(&self, key: &str, due: Timestamp, message: &Outgoing) -> Result<Placed, ScheduleError> {
        let at = key_of(key)?;
        self.check_due(due)?;
        message.message.check()?;
        let waiting = Waiting { due, token: nonce(), letter: letter(message), leaving: false };
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let until = self.ledger.clock().instant() + PATIENCE;
        loop {
            let lost = match self.ledger.put_delayed(&at, Expect::Absent, &waiting).await {
                Ok(()) => return Ok(Placed::Scheduled { at: due }),
                Err(StoreError::Conflict) => None,
                Err(error @ StoreError::Unknown(_)) => Some(error),
                Err(error) => return Err(error.into()),
            };
            match (self.read(&at).await?, lost) {
                (Some((found, _)), _) if found.token == waiting.token => return Ok(Placed::Scheduled { at: due }),
                (Some((found, _)), _) if !found.leaving => return Ok(Placed::Already { at: found.due }),
                // It may have been stored, and sent since.
                (_, Some(lost)) => return Err(lost.into()),
                _ if self.ledger.clock().instant() >= until => return Err(ScheduleError::Contended(key.to_owned())),
                _ => self.ledger.clock().sleep(backoff.next_delay()).await,
            }
        }
    }

    /// Sends a message that waits at another time, and tells when it was to be sent before.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NotFound`] when none waits under this key, otherwise as [`at`](Self::at). With [`StoreError::Unknown`] it was
    /// sent, at its old time or at the new one, or waits for one of them.
    pub async fn reschedule(&self, key: &str, due: Timestamp) -> Result<Timestamp, ScheduleError> {
        self.check_due(due)?;
        let mut before = None;
        let done = self.change(key, |waiting| {
            let was = *before.get_or_insert(waiting.due);
            (was, Act::Put(Waiting { due, ..waiting }))
        });
        done.await?.ok_or_else(|| ScheduleError::NotFound(key.to_owned()))
    }

    /// Takes back a message that waits, and tells whether there was one. One that is being sent cannot be taken back.
    ///
    /// # Errors
    ///
    /// As [`at`](Self::at). With [`StoreError::Unknown`] it may have been taken back, or sent before.
    pub async fn cancel(&self, key: &str) -> Result<bool, ScheduleError> {
        Ok(self.change(key, |_| ((), Act::Delete)).await?.is_some())
    }

    /// Returns when the message of a key is due; `None` when none waits.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Corrupt`] when something else is stored there, [`ScheduleError::Store`] when it cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Timestamp>, ScheduleError> {
        Ok(self.read(&key_of(key)?).await?.map(|(waiting, _)| waiting.due))
    }

    /// Reads the message of a key; `None` when none waits.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn message(&self, key: &str) -> Result<Option<Outgoing>, ScheduleError> {
        let found = self.read(&key_of(key)?).await?;
        Ok(found.map(|(waiting, _)| outgoing(&waiting.letter, |message| message)).transpose()?)
    }

    /// Lists what waits, in no particular order, without reading the messages.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Store`] when the list cannot begin; items are errors when it breaks off.
    pub async fn list(
        &self,
    ) -> Result<impl Stream<Item = Result<Pending, ScheduleError>> + Send + Unpin + use<>, ScheduleError> {
        let keys = self.ledger.store().keys(&Kind::Delayed.prefix().below()).await?;
        Ok(Box::pin(keys.filter_map(async |info| match info {
            Ok(info) => {
                let (_, key) = Kind::of(&info.key)?;
                let due = Label::of(info.label.as_deref())?.due?;
                Some(Ok(Pending { key, due }))
            }
            Err(error) => Some(Err(error.into())),
        })))
    }

    fn check_due(&self, due: Timestamp) -> Result<(), ScheduleError> {
        let now = self.ledger.clock().now();
        if self.refuses_past && due < now { Err(ScheduleError::Past { due, now }) } else { Ok(()) }
    }

    async fn read(&self, key: &Key) -> Result<Option<(Waiting, Revision)>, ScheduleError> {
        self.ledger.store().get(key).await?.map(read_delayed).transpose()
    }

    /// Reads, decides and writes until nobody comes in between; `None` when nothing waits any more.
    async fn change<R>(
        &self,
        key: &str,
        mut decide: impl FnMut(Waiting) -> (R, Act) + Send,
    ) -> Result<Option<R>, ScheduleError> {
        let at = key_of(key)?;
        let clock = self.ledger.clock();
        let until = clock.instant() + PATIENCE;
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let mut lost = None;
        loop {
            let found = self.read(&at).await?.filter(|(waiting, _)| !waiting.leaving);
            let Some((before, revision)) = found else {
                // Either it was sent, or it went by this call, whose answer was lost: nobody can tell any more.
                return lost.map_or(Ok(None), |lost: StoreError| Err(lost.into()));
            };
            let (result, act) = decide(before.clone());
            let written = match act {
                Act::Put(waiting) if waiting == before => Ok(()),
                Act::Put(waiting) => self.ledger.put_delayed(&at, Expect::At(revision), &waiting).await,
                Act::Delete => self.ledger.delete(&at, revision).await,
            };
            match written {
                Ok(()) => return Ok(Some(result)),
                Err(error @ (StoreError::Conflict | StoreError::Unknown(_))) if clock.instant() < until => {
                    if matches!(error, StoreError::Unknown(_)) {
                        lost = Some(error);
                    }
                    clock.sleep(backoff.next_delay()).await;
                }
                Err(StoreError::Conflict) => return Err(ScheduleError::Contended(key.to_owned())),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What is to be done with a message that waits.
enum Act {
    Put(Waiting),
    Delete,
}

fn key_of(key: &str) -> Result<Key, ScheduleError> {
    check_name(key)?;
    Ok(Kind::Delayed.key(key)?)
}
