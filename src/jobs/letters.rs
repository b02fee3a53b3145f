//! The letter of a job that is given up, and the queue in which letters wait for somebody.
//!
//! Whoever looks at letters takes them out of their queue for that time and hands them back, so another one who looks at the same
//! moment may see fewer. A letter that is settled is settled once; a job that is put back has its id and a generation of its own,
//! so that it is put back once also when the answer was lost.

use super::{
    JobsError,
    held::Held,
    ledger::{dead_letters_of, records},
    topic::{GENERATION, JOB_ID},
};
use crate::{
    core::jobs::{Letter, Record},
    engine::{Commit, Delivery, Expect, Message, Name, Pull, Queue, QueueOptions, Space, StoreError},
    jobs::ledger::label,
    time::Timestamp,
};
use std::{collections::HashSet, fmt::Write as _, num::NonZeroUsize, sync::Arc, time::Duration};

/// How long nothing has to come until a queue of letters counts as looked through.
const QUIET: Duration = Duration::from_millis(500);
/// How many letters are taken at once.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not 0");
/// What a letter needs beside the message that it holds.
const ROOM: usize = 1024;

/// Makes the letter of a job that is given up.
pub(super) fn letter(held: &Held, record: &Record, reason: &str, at: Timestamp) -> Message {
    let (delivery, queue) = (&held.delivery, held.queue());
    let message = delivery.message();
    let mut letter = Letter::new(queue.to_string(), held.id().to_owned(), held.topic().to_owned(), reason.to_owned());
    letter.sequence = delivery.sequence();
    letter.message_id.clone_from(&message.id);
    letter.payload = message.payload.clone();
    letter.headers = message.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    letter.attempts = held.attempt();
    letter.failures.clone_from(&record.failures);
    letter.generation = record.generation;
    letter.published_at = delivery.published_at();
    letter.at = at;
    let most = held.ledger.space().store().capabilities().max_value.saturating_sub(ROOM);
    let mut bytes = letter.encode();
    if bytes.len() > most {
        // A letter that could not be kept would leave its job without an end.
        let _ = write!(letter.reason, " (without its content of {} bytes, which is too large)", letter.payload.len());
        letter.payload = bytes::Bytes::new();
        bytes = letter.encode();
    }
    if bytes.len() > most {
        letter.headers.clear();
        letter.failures.clear();
        bytes = letter.encode();
    }
    let mut sent = Message::new(bytes).id(format!("{queue}/{}/{}", label(held.id()), record.generation));
    for name in [crate::telemetry::TRACEPARENT, crate::telemetry::TRACESTATE] {
        if let Some(value) = message.headers.get(name) {
            sent.headers.set(name, value);
        }
    }
    sent
}

/// The jobs of a queue that were given up, in the queue `<queue>-dead`.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    space: Space,
    source: Arc<dyn Queue>,
    dead: Arc<dyn Queue>,
}

impl DeadLetters {
    pub(super) async fn of(space: &Space, source: Arc<dyn Queue>) -> Result<Self, JobsError> {
        let dead = open(space, source.name()).await?;
        Ok(Self { space: space.clone(), source, dead })
    }

    /// Returns the queue that they are in.
    #[must_use]
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.dead
    }

    /// Lists the letters, at most so many, and leaves them where they are. Messages there that are no letters are left out.
    ///
    /// # Errors
    ///
    /// [`JobsError::Store`] when the queue does not answer.
    ///
    /// # Cancel safety
    ///
    /// Letters that a dropped call had taken come back after their queue's `ack_wait`.
    pub async fn list(&self, most: usize) -> Result<Vec<Letter>, JobsError> {
        let mut listed = if most > 0 { self.look(Wish::List(most)).await? } else { Vec::new() };
        listed.sort_by_key(|letter| (letter.at, letter.sequence));
        Ok(listed)
    }

    /// Puts one job back into its queue, where it starts with fresh attempts, and removes its letter; `false` when there is no such
    /// letter.
    ///
    /// # Errors
    ///
    /// [`JobsError::Store`] when it is not known whether it was put back: try again, it happens once.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have put it back; another call does not do so twice.
    pub async fn redrive(&self, id: &str) -> Result<bool, JobsError> {
        Ok(!self.look(Wish::PutBack(Some(id))).await?.is_empty())
    }

    /// Puts all jobs back, each once, and returns how many. One that is given up anew meanwhile has its letter again.
    ///
    /// # Errors
    ///
    /// As [`redrive`](Self::redrive).
    ///
    /// # Cancel safety
    ///
    /// As [`redrive`](Self::redrive).
    pub async fn redrive_all(&self) -> Result<usize, JobsError> {
        Ok(self.look(Wish::PutBack(None)).await?.len())
    }

    /// Removes the letter of one job for good; `false` when there is none.
    ///
    /// # Errors
    ///
    /// [`JobsError::Store`] when the queue does not answer.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have removed it.
    pub async fn purge(&self, id: &str) -> Result<bool, JobsError> {
        Ok(!self.look(Wish::Purge(id)).await?.is_empty())
    }

    /// Looks through the queue, at each letter once, and returns those that were wished for.
    async fn look(&self, wish: Wish<'_>) -> Result<Vec<Letter>, JobsError> {
        let mut pull = self.dead.pull().await?;
        let (mut kept, mut found) = (Vec::new(), Vec::new());
        let outcome = self.look_with(&mut pull, &mut kept, &mut found, wish).await;
        pull.close().await;
        for delivery in kept {
            // One that is not handed back comes again by itself.
            let _ = delivery.retry(Duration::ZERO).await;
        }
        outcome.map(|()| found)
    }

    async fn look_with(
        &self,
        pull: &mut Box<dyn Pull>,
        kept: &mut Vec<Delivery>,
        found: &mut Vec<Letter>,
        wish: Wish<'_>,
    ) -> Result<(), JobsError> {
        // Jobs that this call has put back, by their generation since: one that fails again at once is not put back for ever.
        let mut anew = HashSet::new();
        // All are kept until the end, so none comes twice, unless it takes longer than their queue waits.
        while let Some(taken) = self.space.clock().timeout(QUIET, pull.next(AT_ONCE)).await {
            let mut taken = taken?.into_iter();
            while let Some(delivery) = taken.next() {
                let Ok(letter) = Letter::decode(&delivery.message().payload) else {
                    kept.push(delivery);
                    continue;
                };
                let again = anew.contains(&(letter.id.clone(), letter.generation));
                if letter.queue != self.source.name().as_str() || !wish.is_about(&letter) || again {
                    kept.push(delivery);
                    continue;
                }
                if let Wish::PutBack(_) = wish {
                    match self.put_back(&letter).await {
                        Ok(true) => drop(anew.insert((letter.id.clone(), letter.generation + 1))),
                        Ok(false) => {}
                        Err(error) => {
                            kept.push(delivery);
                            kept.extend(taken);
                            return Err(error);
                        }
                    }
                }
                match wish {
                    Wish::List(_) => kept.push(delivery),
                    Wish::PutBack(_) | Wish::Purge(_) => delivery.ack().await?,
                }
                found.push(letter);
                if wish.is_granted(found.len()) {
                    kept.extend(taken);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Puts a job back: its record starts anew under the next generation, in the same commit as its message where the engine has
    /// commits. A crash before the letter is acknowledged leaves a letter of an earlier generation, which is not put back again.
    async fn put_back(&self, letter: &Letter) -> Result<bool, JobsError> {
        let queue = self.source.name();
        let cell = records(&self.space, queue)?.cell(&label(&letter.id))?;
        loop {
            let stored = cell.read().await?;
            if stored.as_ref().is_some_and(|stored| stored.value.generation > letter.generation) {
                return Ok(false);
            }
            let next = letter.generation.saturating_add(1);
            let message = source(letter, next);
            let expect = stored.map_or(Expect::Absent, |stored| Expect::At(stored.revision));
            let record = Record { topic: letter.topic.clone(), generation: next, ..Record::default() };
            let capabilities = self.space.store().capabilities();
            let done = if capabilities.atomic_commit && self.source.is_in_a_space() {
                let put = Commit::new().put(cell.key().clone(), record.encode(), expect, crate::engine::PutOptions::default());
                self.space.store().commit(put.send(queue.clone(), message)).await.map(drop)
            } else {
                // A delivery of the next generation stands above a record of this one, so either may come first.
                match self.source.publish(message).await {
                    Ok(_) => {
                        let options = crate::engine::PutOptions::default();
                        self.space.store().put(cell.key(), record.encode(), expect, options).await.map(drop)
                    }
                    Err(error) => Err(error),
                }
            };
            match done {
                Ok(()) => return Ok(true),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What is to be done with letters. A value and no closure: futures that hold an asynchronous closure cannot be spawned.
#[derive(Debug, Clone, Copy)]
enum Wish<'a> {
    /// At most so many are listed.
    List(usize),
    /// The one of a job is put back, or all are.
    PutBack(Option<&'a str>),
    /// The one of a job is removed.
    Purge(&'a str),
}

impl Wish<'_> {
    fn is_about(self, letter: &Letter) -> bool {
        match self {
            Self::List(_) | Self::PutBack(None) => true,
            Self::PutBack(Some(id)) | Self::Purge(id) => letter.id == id,
        }
    }

    /// Tells whether there is nothing left to look for.
    fn is_granted(self, found: usize) -> bool {
        match self {
            Self::List(most) => found >= most,
            Self::PutBack(all) => all.is_some(),
            Self::Purge(_) => true,
        }
    }
}

/// The message of a job that is put back.
fn source(letter: &Letter, generation: u32) -> Message {
    let mut message = Message::new(letter.payload.clone()).id(format!("{}~{generation}", label(&letter.id)));
    for (name, value) in &letter.headers {
        message.headers.append(name.clone(), value.clone());
    }
    message.headers.set(JOB_ID, letter.id.clone());
    message.headers.set(GENERATION, generation.to_string());
    message
}

/// Opens the queue that the dead letters of a queue go to.
pub(super) async fn open(space: &Space, queue: &Name) -> Result<Arc<dyn Queue>, JobsError> {
    Ok(space.queue(dead_letters_of(queue)?.as_str(), QueueOptions::default()).await?)
}
