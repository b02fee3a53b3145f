//! Watches: what a commit changed goes to every subscriber whose scope has it.
//!
//! A subscriber is registered before the snapshot is read, and drops what the snapshot already has by revision, so nothing is
//! missed and nothing comes twice. What a slow reader has not taken is kept as the newest change of each key: memory is bounded
//! by the number of keys, and the newest value is never lost.

use super::{database::SpaceId, locked};
use crate::engine::{Change, Entry, Key, Revision, Scope};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

/// Everyone who watches something.
#[derive(Debug, Default)]
pub(super) struct Hub {
    feeds: Mutex<Vec<Arc<Feed>>>,
}

impl Hub {
    /// Registers a subscriber, who sees every change that is published from now on.
    pub(super) fn subscribe(self: &Arc<Self>, space: SpaceId, scope: Scope) -> Subscription {
        let feed = Arc::new(Feed { space, scope, state: Mutex::default() });
        locked(&self.feeds).push(Arc::clone(&feed));
        Subscription { feed, hub: Arc::clone(self) }
    }

    /// Tells everyone, in the order of commits.
    pub(super) fn publish(&self, changes: &[(SpaceId, Change)]) {
        for feed in &*locked(&self.feeds) {
            let ours = changes.iter().filter(|(space, change)| feed.wants(*space, change));
            feed.push(ours.map(|(_, change)| change));
        }
    }
}

/// One subscriber's place in the hub; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Subscription {
    feed: Arc<Feed>,
    hub: Arc<Hub>,
}

impl Subscription {
    /// Starts the stream: `state` is what a snapshot held when its space was at `revision`.
    pub(super) fn start(self, state: Vec<Entry>, revision: Revision) -> BoxStream<'static, Change> {
        self.feed.start(state, revision);
        stream::poll_fn(move |context| self.feed.poll(context).map(Some)).boxed()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        locked(&self.hub.feeds).retain(|feed| !Arc::ptr_eq(feed, &self.feed));
    }
}

#[derive(Debug)]
struct Feed {
    space: SpaceId,
    scope: Scope,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the snapshot held, and then `Synced`.
    first: VecDeque<Change>,
    /// The newest change of each key that the reader has not taken, by revision.
    waiting: BTreeMap<Revision, Change>,
    newest: HashMap<Key, Revision>,
    reader: Option<Waker>,
}

impl Feed {
    fn wants(&self, space: SpaceId, change: &Change) -> bool {
        space == self.space && subject(change).is_some_and(|(key, _)| self.scope.has(key.as_str()))
    }

    fn push<'a>(&self, changes: impl Iterator<Item = &'a Change>) {
        let mut state = locked(&self.state);
        for change in changes {
            state.keep(change);
        }
        if !state.waiting.is_empty()
            && let Some(reader) = state.reader.take()
        {
            reader.wake();
        }
    }

    fn start(&self, entries: Vec<Entry>, revision: Revision) {
        let mut state = locked(&self.state);
        state.first = entries.into_iter().map(Change::Put).chain([Change::Synced]).collect();
        // Up to here the snapshot has it.
        state.waiting.retain(|at, _| *at > revision);
        state.newest.retain(|_, at| *at > revision);
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Change> {
        let mut state = locked(&self.state);
        if let Some(change) = state.first.pop_front() {
            return Poll::Ready(change);
        }
        if let Some((_, change)) = state.waiting.pop_first() {
            if let Some((key, _)) = subject(&change) {
                state.newest.remove(key);
            }
            return Poll::Ready(change);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl State {
    /// Keeps a change in place of the one before it on its key.
    fn keep(&mut self, change: &Change) {
        let Some((key, revision)) = subject(change) else { return };
        if let Some(older) = self.newest.insert(key.clone(), revision) {
            self.waiting.remove(&older);
        }
        self.waiting.insert(revision, change.clone());
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn deleted(key: &str, revision: u64) -> (SpaceId, Change) {
        (1, Change::Deleted(Key::new(key).expect("a key"), Revision::new(revision)))
    }

    fn taken(changes: &mut BoxStream<'static, Change>) -> Vec<Change> {
        std::iter::from_fn(|| changes.next().now_or_never().flatten()).collect()
    }

    #[test]
    fn a_reader_that_stands_still_costs_one_change_a_key() {
        let hub = Arc::new(Hub::default());
        let mut changes = hub.subscribe(1, Scope::All).start(Vec::new(), Revision::new(0));
        for revision in 1..=1000 {
            hub.publish(&[deleted(["a", "b"][usize::from(revision % 2 == 0)], revision)]);
        }
        assert_eq!(taken(&mut changes), [Change::Synced, deleted("a", 999).1, deleted("b", 1000).1]);
    }

    #[test]
    fn what_the_snapshot_has_does_not_come_twice() {
        let hub = Arc::new(Hub::default());
        let subscription = hub.subscribe(1, Scope::All);
        hub.publish(&[deleted("a", 1), deleted("b", 2), deleted("c", 3)]);
        let mut changes = subscription.start(Vec::new(), Revision::new(2));
        assert_eq!(taken(&mut changes), [Change::Synced, deleted("c", 3).1]);
    }

    #[test]
    fn a_dropped_watch_is_forgotten() {
        let hub = Arc::new(Hub::default());
        let changes = hub.subscribe(1, Scope::All).start(Vec::new(), Revision::new(0));
        assert_eq!(locked(&hub.feeds).len(), 1);
        drop(changes);
        assert!(locked(&hub.feeds).is_empty());
    }
}
