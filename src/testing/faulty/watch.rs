//! A watch that is late, silent, or misses something and heals as the contract says.
//!
//! What is delayed waits here, one change a key, and newer ones of its key take its place; while the watch is silent nothing is
//! taken from the engine, which keeps what comes as the contract says. A gap is a new watch of the engine behind
//! [`Change::Resynced`], which is what a watch of a server shows that could not go on where it was.

use super::{Trouble, fault::WatchFault};
use crate::{
    engine::{Change, Key, Revision, Scope, Store},
    time::Instant,
};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// How long a watch that heals waits before it asks an engine again that refused.
const AGAIN: Duration = Duration::from_millis(20);

struct Faulty {
    changes: BoxStream<'static, Change>,
    store: Arc<dyn Store>,
    scope: Scope,
    place: Box<str>,
    trouble: Arc<Trouble>,
    /// Whether there was a first state.
    synced: bool,
    /// Whether anything was reported.
    begun: bool,
    /// Until when nothing is reported.
    silent: Option<Instant>,
    /// What comes later, with its time.
    late: BTreeMap<Key, (Instant, Change)>,
    /// What is reported next.
    next: VecDeque<Change>,
    /// Of how many gaps by hand it knows.
    gaps: u64,
}

/// What a watch waited for.
enum Event {
    Change(Option<Change>),
    Due,
    Cut,
    Gap,
}

/// Stands in front of a watch that was just opened.
pub(super) fn faulty(
    changes: BoxStream<'static, Change>,
    store: &Arc<dyn Store>,
    scope: &Scope,
    place: &str,
    trouble: &Arc<Trouble>,
) -> BoxStream<'static, Change> {
    let faulty = Faulty {
        changes,
        store: Arc::clone(store),
        scope: scope.clone(),
        place: place.into(),
        trouble: Arc::clone(trouble),
        synced: false,
        begun: false,
        silent: None,
        late: BTreeMap::new(),
        next: VecDeque::new(),
        gaps: trouble.gaps(),
    };
    stream::unfold(faulty, |mut faulty| async move { Some((faulty.report().await?, faulty)) }).boxed()
}

impl Faulty {
    /// Waits for what is reported next.
    async fn report(&mut self) -> Option<Change> {
        loop {
            self.trouble.up().await;
            self.keep_silent().await;
            if self.trouble.gaps() > self.gaps {
                self.gaps = self.trouble.gaps();
                self.miss().await;
            }
            if let Some(change) = self.next.pop_front() {
                self.begun = true;
                return Some(change);
            }
            match self.event().await {
                Event::Change(change) => self.take(change?).await,
                Event::Due => self.release(self.trouble.clock.instant()),
                Event::Cut | Event::Gap => {}
            }
        }
    }

    async fn event(&mut self) -> Event {
        let trouble = Arc::clone(&self.trouble);
        let due = self.late.values().map(|(at, _)| *at).min();
        let wait = async {
            match due {
                Some(at) => trouble.clock.sleep(at.saturating_duration_since(trouble.clock.instant())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = trouble.cut() => Event::Cut,
            () = trouble.gap_after(self.gaps) => Event::Gap,
            () = wait => Event::Due,
            change = self.changes.next() => Event::Change(change),
        }
    }

    async fn keep_silent(&mut self) {
        if let Some(until) = self.silent.take() {
            self.trouble.clock.sleep(until.saturating_duration_since(self.trouble.clock.instant())).await;
        }
    }

    /// Does to a change what is to happen to it.
    async fn take(&mut self, change: Change) {
        let Some((key, revision)) = subject(&change) else { return self.mark(change) };
        let key = key.clone();
        let change = match change {
            Change::Deleted(key, _) if self.trouble.world.mortals.expired(&self.place, &key, revision) => {
                Change::Expired(key, revision)
            }
            other => other,
        };
        // Of two changes of a key the newer one stands for both.
        self.late.remove(&key);
        match self.trouble.decide_change(&change, self.synced) {
            None => self.next.push_back(change),
            Some(WatchFault::Delay(delay)) => {
                self.late.insert(key, (self.trouble.clock.instant() + delay, change));
            }
            Some(WatchFault::Silence(silent)) => {
                self.next.push_back(change);
                self.silent = Some(self.trouble.clock.instant() + silent);
            }
            Some(WatchFault::Gap(silent)) => {
                self.trouble.clock.sleep(silent).await;
                self.miss().await;
            }
        }
    }

    /// Reports the end of a state behind all of it.
    fn mark(&mut self, mark: Change) {
        if mark == Change::Synced {
            self.synced = true;
            let mut all: Vec<_> = std::mem::take(&mut self.late).into_values().map(|(_, change)| change).collect();
            all.sort_by_key(|change| subject(change).map(|(_, revision)| revision));
            self.next.extend(all);
        } else {
            self.late.clear();
        }
        self.next.push_back(mark);
    }

    /// Reports what was late until now.
    fn release(&mut self, now: Instant) {
        let late = self.late.iter().filter(|(_, (at, _))| *at <= now);
        let mut due: Vec<_> = late.map(|(key, (at, _))| (*at, key.clone())).collect();
        due.sort();
        let changes = due.into_iter().filter_map(|(_, key)| self.late.remove(&key));
        self.next.extend(changes.map(|(_, change)| change));
    }

    /// Forgets what was not reported, and begins again. Whoever has seen nothing yet has missed nothing.
    async fn miss(&mut self) {
        loop {
            self.trouble.up().await;
            match self.store.watch(&self.scope).await {
                Ok(changes) => {
                    self.changes = changes;
                    break;
                }
                Err(_) => self.trouble.clock.sleep(AGAIN).await,
            }
        }
        self.late.clear();
        self.next.clear();
        if self.begun {
            self.next.push_back(Change::Resynced);
        }
    }
}

/// The key that a change is about, and its revision.
fn subject(change: &Change) -> Option<(&Key, Revision)> {
    match change {
        Change::Put(entry) => Some((&entry.key, entry.revision)),
        Change::Deleted(key, revision) | Change::Expired(key, revision) => Some((key, *revision)),
        Change::Synced | Change::Resynced => None,
    }
}
