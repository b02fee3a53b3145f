//! What one subscriber of a watch has not read yet: the newest change of each key, in the order of revisions.
//!
//! A slow reader holds at most one change a key, whatever happens meanwhile. The reader does not know where changes come from.

use crate::engine::{Change, Key};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};
use tokio::sync::Notify;

/// A subscriber's side.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pending: Mutex<Pending>,
    woken: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    resynced: bool,
    /// Everything up to this revision belongs to the state that [`Change::Synced`] ends.
    sync_at: Option<u64>,
    /// Whether a part of that state was read.
    begun: bool,
    changes: BTreeMap<u64, Change>,
    places: HashMap<Key, u64>,
}

impl Reader {
    /// Replaces all that is pending by a full state: the first one, or the one after a gap.
    pub(super) fn restart(&self, state: impl Iterator<Item = (Key, u64, Change)>, up_to: u64, resynced: bool) {
        let mut pending = self.lock();
        // A reader that has seen nothing of a state yet needs no word of a second one. One that has seen a part of it does: a key
        // that was in that part and is gone would stay with it.
        let first = pending.sync_at.is_some() && !pending.resynced && !pending.begun;
        *pending = Pending { resynced: resynced && !first, sync_at: Some(up_to), ..Pending::default() };
        for (key, revision, change) in state {
            pending.add(key, revision, change);
        }
        drop(pending);
        self.woken.notify_one();
    }

    /// Adds a change.
    pub(super) fn push(&self, key: Key, revision: u64, change: Change) {
        self.lock().add(key, revision, change);
        self.woken.notify_one();
    }

    /// Waits for the next change.
    pub(super) async fn next(&self) -> Change {
        loop {
            let woken = self.woken.notified();
            if let Some(change) = self.lock().take() {
                return change;
            }
            woken.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn add(&mut self, key: Key, revision: u64, change: Change) {
        if let Some(old) = self.places.insert(key, revision) {
            self.changes.remove(&old);
            // A key of the state that changes before it was read still belongs to the state.
            if let Some(sync_at) = self.sync_at.as_mut().filter(|s| old <= **s) {
                *sync_at = (*sync_at).max(revision);
            }
        }
        self.changes.insert(revision, change);
    }

    fn take(&mut self) -> Option<Change> {
        if std::mem::take(&mut self.resynced) {
            return Some(Change::Resynced);
        }
        if let Some(sync_at) = self.sync_at
            && self.changes.first_key_value().is_none_or(|(revision, _)| *revision > sync_at)
        {
            (self.sync_at, self.begun) = (None, false);
            return Some(Change::Synced);
        }
        let (_, change) = self.changes.pop_first()?;
        self.begun = self.sync_at.is_some();
        if let Change::Deleted(key, _) | Change::Expired(key, _) = &change {
            self.places.remove(key);
        } else if let Change::Put(entry) = &change {
            self.places.remove(&entry.key);
        }
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Revision;

    fn deleted(name: &str, revision: u64) -> (Key, u64, Change) {
        let key = Key::new(name).unwrap();
        (key.clone(), revision, Change::Deleted(key, Revision::new(revision)))
    }

    fn drain(reader: &Reader) -> Vec<String> {
        let mut pending = reader.lock();
        let mut all = Vec::new();
        while let Some(change) = pending.take() {
            all.push(match change {
                Change::Deleted(key, revision) => format!("{key}@{revision}"),
                other => format!("{other:?}"),
            });
        }
        all
    }

    #[test]
    fn a_slow_reader_sees_the_newest_change_of_each_key() {
        let reader = Reader::default();
        reader.restart([deleted("a", 1), deleted("b", 2)].into_iter(), 2, false);
        let (key, revision, change) = deleted("a", 3);
        reader.push(key, revision, change);
        let (key, revision, change) = deleted("c", 4);
        reader.push(key, revision, change);
        assert_eq!(drain(&reader), ["b@2", "a@3", "Synced", "c@4"]);
    }

    #[test]
    fn a_gap_replaces_what_is_pending() {
        let reader = Reader::default();
        reader.restart(std::iter::empty(), 0, false);
        assert_eq!(drain(&reader), ["Synced"]);
        let (key, revision, change) = deleted("a", 3);
        reader.push(key, revision, change);
        reader.restart([deleted("b", 2)].into_iter(), 2, true);
        assert_eq!(drain(&reader), ["Resynced", "b@2", "Synced"]);
    }

    #[test]
    fn a_gap_before_the_first_state_is_none() {
        let reader = Reader::default();
        reader.restart([deleted("a", 1)].into_iter(), 1, false);
        reader.restart([deleted("b", 2)].into_iter(), 2, true);
        assert_eq!(drain(&reader), ["b@2", "Synced"]);
    }

    #[test]
    fn a_key_that_goes_in_a_gap_amid_a_state_is_gone() {
        let reader = Reader::default();
        reader.restart([deleted("a", 1), deleted("b", 2)].into_iter(), 2, false);
        assert!(matches!(reader.lock().take(), Some(Change::Deleted(..))));
        reader.restart([deleted("b", 2)].into_iter(), 3, true);
        assert_eq!(drain(&reader), ["Resynced", "b@2", "Synced"]);
        for _ in 0..2 {
            reader.restart([deleted("b", 2), deleted("c", 4)].into_iter(), 4, true);
            assert_eq!(reader.lock().take(), Some(Change::Resynced));
            assert!(matches!(reader.lock().take(), Some(Change::Deleted(..))));
        }
        reader.restart([deleted("b", 2)].into_iter(), 5, true);
        assert_eq!(drain(&reader), ["Resynced", "b@2", "Synced"]);
    }
}
