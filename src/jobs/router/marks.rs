//! The mark of an event that was routed, and the commit of its jobs with it.
//!
//! A mark is written where there is none, in the commit that sends the jobs; so of any number of deliveries of an event, in any
//! number of processes, one sends its jobs, and the others find that out. It stays for as long as the event may come again, and a
//! while.
//!
//! On a server without atomic commits the jobs are published first, under ids that are made of the event's: a crash before the
//! mark repeats them, and each queue drops what it has within its window.

use crate::{
    engine::{Commit, Expect, Key, Name, Outgoing, PutOptions, Queue, Rejection, Space, StoreError},
    jobs::ledger::label,
    time::Backoff,
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Where the events of a router are marked, and how their jobs leave.
#[derive(Debug)]
pub(super) struct Marks {
    space: Space,
    life: Duration,
    /// The queues, where jobs have to be published one by one.
    queues: HashMap<Name, Arc<dyn Queue>>,
}

/// What became of a commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The jobs are there now.
    Now,
    /// They were there before.
    Before,
}

impl Marks {
    pub(super) fn new(space: &Space, life: Duration, queues: HashMap<Name, Arc<dyn Queue>>) -> Self {
        Self { space: space.clone(), life, queues }
    }

    /// How many jobs may leave together.
    pub(super) fn limit(&self) -> usize {
        let capabilities = self.space.store().capabilities();
        // One part is the mark.
        if capabilities.atomic_commit { capabilities.max_commit.saturating_sub(1) } else { usize::MAX }
    }

    fn key(source: &str, event: &str) -> Result<Key, StoreError> {
        let key = Key::new("routed")?.join(&Key::token(source)).join(&Key::token(&label(event)));
        Ok(Key::new(key.as_str())?)
    }

    /// Tells whether an event was routed, however long the store is away.
    pub(super) async fn is_routed(&self, source: &str, event: &str) -> Result<bool, Rejection> {
        let key = Self::key(source, event).or_else(rejected)?;
        let mut backoff = backoff();
        loop {
            match self.space.store().get(&key).await {
                Ok(found) => return Ok(found.is_some()),
                Err(StoreError::Rejected(rejection)) => return Err(rejection),
                Err(_) => self.space.clock().sleep(backoff.next_delay()).await,
            }
        }
    }

    /// Sends the jobs of an event unless that was done, however long the store is away: whoever waits keeps the event alive, and
    /// ends this by dropping it.
    ///
    /// A crash before the commit leaves nothing, and one behind it leaves an event that comes again and finds its mark. A call that is
    /// dropped may have committed, which the next delivery finds out.
    pub(super) async fn send(&self, source: &str, event: &str, jobs: Vec<Outgoing>) -> Result<Sent, Rejection> {
        let key = Self::key(source, event).or_else(rejected)?;
        let options = self.space.store().capabilities().expiring(self.life);
        let mark = bytes::Bytes::from(jobs.len().to_string());
        let mut backoff = backoff();
        loop {
            let sent = if self.space.store().capabilities().atomic_commit {
                let put = Commit::new().put(key.clone(), mark.clone(), Expect::Absent, options.clone());
                let commit = jobs.iter().fold(put, |commit, job| commit.send(job.queue.clone(), job.message.clone()));
                self.space.store().commit(commit).await.map(drop)
            } else {
                self.one_by_one(&key, mark.clone(), options.clone(), &jobs).await
            };
            match sent {
                Ok(()) => return Ok(Sent::Now),
                Err(StoreError::Rejected(rejection)) => return Err(rejection),
                // May be without a reason, so it is looked at. Where the outcome is not known and no mark is seen, the next commit is
                // refused if it was made after all.
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {
                    if self.is_routed(source, event).await? {
                        return Ok(Sent::Before);
                    }
                }
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, event, "an event is not routed yet"),
            }
            self.space.clock().sleep(backoff.next_delay()).await;
        }
    }

    async fn one_by_one(
        &self,
        key: &Key,
        mark: bytes::Bytes,
        options: PutOptions,
        jobs: &[Outgoing],
    ) -> Result<(), StoreError> {
        for Outgoing { queue, message } in jobs {
            let queue = self.queues.get(queue).ok_or(StoreError::Unavailable("the queue of a job is not open".into()))?;
            queue.publish(message.clone()).await?;
        }
        self.space.store().put(key, mark, Expect::Absent, options).await.map(drop)
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(20), Duration::from_secs(5))
}

/// A key that is none is a rejection, and nothing else can come of making one.
fn rejected<T>(error: StoreError) -> Result<T, Rejection> {
    match error {
        StoreError::Rejected(rejection) => Err(rejection),
        other => Err(Rejection::Refused(other.into())),
    }
}
