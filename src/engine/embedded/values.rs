//! Keys inside a transaction: expectations, writes and expiry.
//!
//! A key that is due reads as absent from that instant on, whether or not it was swept. Everything here either only looks, or
//! only writes and can fail for storage alone, so that a request which is refused has written nothing.

use super::{
    bucket::Keeping,
    database::{Batch, Head, QueueId, SpaceId, unreadable},
};
use crate::{
    engine::{Change, Entry, Expect, Key, KeyInfo, PutOptions, Revision, Scope, StoreError},
    time::Timestamp,
};
use bytes::Bytes;
use redb::{AccessGuard, ReadableTable, StorageError};

impl Batch<'_> {
    /// Finds the number of a space, and gives it one when it has none.
    pub(super) fn space(&mut self, name: &str) -> Result<SpaceId, StorageError> {
        let found = self.tables.spaces.get(name)?.map(|id| id.value());
        if let Some(id) = found {
            return Ok(id);
        }
        let id = self.next_number("space")?;
        self.tables.spaces.insert(name, id)?;
        Ok(id)
    }

    /// Gives out the next number of spaces or of queues.
    pub(super) fn next_number(&mut self, of: &str) -> Result<QueueId, StorageError> {
        let last = self.tables.meta.get(of)?.map_or(0, |last| last.value());
        self.tables.meta.insert(of, last + 1)?;
        u32::try_from(last + 1).map_err(|_| StorageError::Corrupted(format!("more than u32::MAX of `{of}`")))
    }

    /// Tells whether a key is as expected.
    pub(super) fn holds(&self, space: SpaceId, key: &Key, expect: Expect) -> Result<bool, StorageError> {
        let current = || -> Result<Option<u64>, StorageError> {
            let found = self.tables.heads.get((space, key.as_str()))?;
            Ok(found.and_then(|head| {
                let head = head.value();
                is_live(&head, self.now).then_some(head.0)
            }))
        };
        Ok(match expect {
            Expect::Anything => true,
            Expect::Absent => current()?.is_none(),
            Expect::At(revision) => current()? == Some(revision.get()),
        })
    }

    /// Writes a value.
    pub(super) fn put(
        &mut self,
        (space, keeping): (SpaceId, Keeping),
        key: &Key,
        value: Bytes,
        options: PutOptions,
    ) -> Result<Revision, StorageError> {
        let revision = self.next_revision(space)?;
        self.forget_expiry(space, key.as_str())?;
        let expires = [options.ttl, keeping.max_age].into_iter().flatten().min().map(|life| self.now + life);
        let head = (revision.get(), self.now.as_micros(), expires.map(Timestamp::as_micros), options.label.as_deref());
        self.tables.heads.insert((space, key.as_str()), head)?;
        self.tables.bodies.insert((space, key.as_str()), &*value)?;
        if let Some(at) = expires {
            self.tables.expiries.insert((at.as_micros(), space, key.as_str()), ())?;
            self.wake_at(at);
        }
        self.keep_version((space, keeping), key, revision, options.label.as_deref(), Some(&value))?;
        let entry = Entry::new(key.clone(), value, revision, options.label, self.now);
        self.effects.changes.push((space, Change::Put(entry)));
        Ok(revision)
    }

    /// Removes a key; the removal has a revision also when there was nothing.
    pub(super) fn delete(&mut self, (space, keeping): (SpaceId, Keeping), key: &Key) -> Result<Revision, StorageError> {
        let revision = self.next_revision(space)?;
        if self.remove(space, key.as_str())? {
            self.keep_version((space, keeping), key, revision, None, None)?;
            self.effects.changes.push((space, Change::Deleted(key.clone(), revision)));
        }
        Ok(revision)
    }

    /// Removes up to `most` keys whose time has come, and tells how many it found.
    pub(super) fn expire(&mut self, most: usize) -> Result<usize, StorageError> {
        let end = (self.now.as_micros().saturating_add(1), 0, "");
        let mut due = Vec::new();
        for row in self.tables.expiries.range(..end)?.take(most) {
            let (row, ()) = row.map(|(key, unit)| (key, unit.value()))?;
            let (at, space, key) = row.value();
            due.push((at, space, key.to_owned()));
        }
        for (at, space, key) in &due {
            self.tables.expiries.remove((*at, *space, key.as_str()))?;
            self.drop_versions(*space, key)?;
            // A row may be of versions only, whose key was removed and perhaps written anew.
            let expired = self.tables.heads.get((*space, key.as_str()))?.is_some_and(|head| head.value().2 == Some(*at));
            if !expired {
                continue;
            }
            let revision = self.next_revision(*space)?;
            self.remove(*space, key)?;
            let key = stored_key(key)?;
            self.effects.changes.push((*space, Change::Expired(key, revision)));
        }
        Ok(due.len())
    }

    fn remove(&mut self, space: SpaceId, key: &str) -> Result<bool, StorageError> {
        self.forget_expiry(space, key)?;
        self.tables.bodies.remove((space, key))?;
        Ok(self.tables.heads.remove((space, key))?.is_some())
    }

    fn forget_expiry(&mut self, space: SpaceId, key: &str) -> Result<(), StorageError> {
        let old = self.tables.heads.get((space, key))?.and_then(|head| head.value().2);
        if let Some(at) = old {
            self.tables.expiries.remove((at, space, key))?;
        }
        Ok(())
    }

    fn next_revision(&mut self, space: SpaceId) -> Result<Revision, StorageError> {
        let last = self.tables.revisions.get(space)?.map_or(0, |last| last.value());
        self.tables.revisions.insert(space, last + 1)?;
        Ok(Revision::new(last + 1))
    }
}

/// Reads one key of a snapshot.
pub(super) fn read(
    heads: &impl ReadableTable<(SpaceId, &'static str), Head>,
    bodies: &impl ReadableTable<(SpaceId, &'static str), &'static [u8]>,
    (space, key): (SpaceId, &Key),
    now: Timestamp,
) -> Result<Option<Entry>, StoreError> {
    let found = heads.get((space, key.as_str())).map_err(unreadable)?;
    let Some(head) = found.as_ref().map(AccessGuard::value).filter(|head| is_live(head, now)) else { return Ok(None) };
    let body = bodies.get((space, key.as_str())).map_err(unreadable)?;
    let body = body.ok_or_else(|| unreadable(StorageError::Corrupted(format!("`{key}` has no value"))))?;
    let (revision, written_at, _, label) = head;
    let value = Bytes::copy_from_slice(body.value());
    let (revision, written_at) = (Revision::new(revision), Timestamp::from_micros(written_at));
    Ok(Some(Entry::new(key.clone(), value, revision, label.map(Into::into), written_at)))
}

/// Lists the keys of a snapshot in a scope, without their values.
pub(super) fn list(
    heads: &impl ReadableTable<(SpaceId, &'static str), Head>,
    space: SpaceId,
    scope: &Scope,
    now: Timestamp,
) -> Result<Vec<KeyInfo>, StoreError> {
    let (from, to) = match scope {
        Scope::All => (String::new(), None),
        // A slash is the byte after a dot: this is every key that starts with this one and a dot.
        Scope::Below(key) => (format!("{key}."), Some(format!("{key}/"))),
        // The next text after this one.
        Scope::Only(key) => (key.to_string(), Some(format!("{key}\0"))),
    };
    let end = to.as_deref().map_or((space + 1, ""), |to| (space, to));
    let mut listed = Vec::new();
    for row in heads.range((space, from.as_str())..end).map_err(unreadable)? {
        let (row, head) = row.map_err(unreadable)?;
        let (head, (_, key)) = (head.value(), row.value());
        if is_live(&head, now) {
            let key = stored_key(key).map_err(unreadable)?;
            listed.push(KeyInfo::new(key, Revision::new(head.0), head.3.map(Into::into)));
        }
    }
    Ok(listed)
}

fn is_live(head: &(u64, i64, Option<i64>, Option<&str>), now: Timestamp) -> bool {
    head.2.is_none_or(|at| at > now.as_micros())
}

fn stored_key(key: &str) -> Result<Key, StorageError> {
    Key::new(key).map_err(|error| StorageError::Corrupted(format!("a key was stored that is none: {error}")))
}
