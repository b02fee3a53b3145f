//! Who lives: this worker's heartbeat, and what it sees of the others.
//!
//! One key a worker, not one a run: a process with ten thousand runs beats as often as one with none. A worker is dead when its
//! key is gone, or when this process's own monotonic clock has seen its revision unchanged for its whole lease; clocks are never
//! compared. Being wrong about it is safe, since runs are fenced by their snapshot's revision: it only costs a takeover.

use super::pb;
use crate::{
    core::snapshot::Owner,
    engine::{Change, Entry, Expect, Key, Revision, Space, StoreError},
    time::{Backoff, Clock, Instant, unique},
};
use futures_util::StreamExt as _;
use prost::Message as _;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

#[derive(Debug)]
pub(super) struct Worker {
    me: Owner,
    space: Space,
    base: Key,
    lease: Duration,
    seen: Mutex<HashMap<String, Seen>>,
}

/// What is known of another worker.
#[derive(Debug, Clone, Copy)]
struct Seen {
    revision: Revision,
    since: Instant,
    lease: Duration,
    dead: bool,
}

/// What an owner is to this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is this worker.
    Me,
    /// It may live for this long without being heard.
    Alive(Duration),
    Dead,
}

impl Worker {
    pub(super) fn new(space: Space, lease: Duration) -> Self {
        let me = Owner { worker: unique(space.clock()), instance: space.instance().to_owned() };
        let base = Key::new("worker").expect("a word is a key");
        Self { me, space, base, lease, seen: Mutex::default() }
    }

    pub(super) fn me(&self) -> &Owner {
        &self.me
    }

    fn clock(&self) -> &Clock {
        self.space.clock()
    }

    fn key(&self, worker: &str) -> Key {
        self.base.join(&Key::token(worker))
    }

    /// Says once that this worker lives.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let beat = pb::Heartbeat {
            worker: self.me.worker.clone(),
            lease_ms: u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX),
            host: std::env::var("HOSTNAME").unwrap_or_default(),
            pid: std::process::id(),
        };
        // The TTL only collects the keys of workers that died long ago.
        let options = self.space.store().capabilities().expiring((self.lease * 20).max(Duration::from_secs(60)));
        let value = beat.encode_to_vec().into();
        self.space.store().put(&self.key(&self.me.worker), value, Expect::Anything, options).await.map(drop)
    }

    /// Beats until it is dropped. A beat that fails is repeated sooner than the next is due.
    pub(super) async fn keep_beating(&self) {
        loop {
            self.clock().sleep(self.lease / 3).await;
            let mut backoff = Backoff::new(self.lease / 30, self.lease / 6);
            loop {
                // A store that never answers one beat may well take the next.
                match self.clock().timeout(self.lease / 3, self.beat()).await {
                    Some(Ok(())) => break,
                    Some(Err(error)) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the heartbeat was not stored");
                        self.clock().sleep(backoff.next_delay()).await;
                    }
                    None => tracing::warn!("the heartbeat was not answered"),
                }
            }
        }
    }

    /// Says that this worker is gone, so that nobody waits for its lease.
    pub(super) async fn leave(&self) -> Result<(), StoreError> {
        self.space.store().delete(&self.key(&self.me.worker), Expect::Anything).await.map(drop)
    }

    /// Judges the owner of a run.
    pub(super) async fn judge(&self, owner: &Owner) -> Result<Verdict, StoreError> {
        if owner.worker == self.me.worker {
            return Ok(Verdict::Me);
        }
        if self.space.store().capabilities().exclusive && owner.instance != self.me.instance {
            // Only one process can have this engine open, and it is this one.
            return Ok(Verdict::Dead);
        }
        let now = self.clock().instant();
        let known = self.lock().get(&owner.worker).map(|seen| seen.verdict(now));
        if let Some(alive @ Verdict::Alive(_)) = known {
            return Ok(alive);
        }
        // Silence may be ours: this process was paused, or its watch hangs. The key itself tells.
        match self.space.store().get(&self.key(&owner.worker)).await? {
            Some(entry) => Ok(self.note(&entry, now).map_or(Verdict::Dead, |seen| seen.verdict(now))),
            None => Ok(Verdict::Dead),
        }
    }

    /// Watches the others until it is dropped, and reports each that died, once.
    pub(super) async fn observe(&self, deaths: mpsc::UnboundedSender<String>) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            let mut changes = match self.space.store().watch(&self.base.below()).await {
                Ok(changes) => changes,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "other workers cannot be watched");
                    self.clock().sleep(backoff.next_delay()).await;
                    continue;
                }
            };
            backoff.reset();
            loop {
                let wait = self.next_expiry().map_or(self.lease, |at| at.saturating_duration_since(self.clock().instant()));
                match self.clock().timeout(wait, changes.next()).await {
                    Some(Some(change)) => self.changed(change, &deaths),
                    // The store was closed: a new watch tells.
                    Some(None) => break,
                    None => self.expire(&deaths),
                }
            }
        }
    }

    fn changed(&self, change: Change, deaths: &mpsc::UnboundedSender<String>) {
        match change {
            Change::Put(entry) => {
                self.note(&entry, self.clock().instant());
            }
            Change::Deleted(key, _) | Change::Expired(key, _) => {
                let worker = key.last_token().to_owned();
                self.lock().remove(&worker);
                // Nobody listens once the runtime stops, and then nobody has to.
                let _ = deaths.send(worker);
            }
            Change::Synced | Change::Resynced => {}
        }
    }

    /// Remembers a heartbeat; `None` for bytes that are none.
    fn note(&self, entry: &Entry, now: Instant) -> Option<Seen> {
        let beat = pb::Heartbeat::decode(entry.value.clone()).ok()?;
        let fresh = Seen { revision: entry.revision, since: now, lease: Duration::from_millis(beat.lease_ms), dead: false };
        let mut seen = self.lock();
        let known = seen.entry(beat.worker).or_insert(fresh);
        if known.revision < fresh.revision {
            *known = fresh;
        }
        Some(*known)
    }

    fn next_expiry(&self) -> Option<Instant> {
        let seen = self.lock();
        seen.iter().filter(|(id, s)| !s.dead && **id != self.me.worker).map(|(_, s)| s.since + s.lease).min()
    }

    fn expire(&self, deaths: &mpsc::UnboundedSender<String>) {
        let now = self.clock().instant();
        for (id, seen) in self.lock().iter_mut() {
            if *id != self.me.worker && !seen.dead && seen.since + seen.lease <= now {
                seen.dead = true;
                let _ = deaths.send(id.clone());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn verdict(&self, now: Instant) -> Verdict {
        let left = (self.since + self.lease).saturating_duration_since(now);
        if self.dead || left.is_zero() { Verdict::Dead } else { Verdict::Alive(left) }
    }
}

/// Keeps a worker beating and observing until it is dropped.
pub(super) async fn live(worker: Arc<Worker>, deaths: mpsc::UnboundedSender<String>) {
    tokio::join!(worker.keep_beating(), worker.observe(deaths));
}
