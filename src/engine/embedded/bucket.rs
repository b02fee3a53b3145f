//! Buckets inside a transaction: their options, and the versions of keys that they keep.
//!
//! A bucket is a space with a row of options; a space without one is no bucket, though it can be opened as what it is. A version
//! that has come of age is not shown, and is dropped with the others of its key when the newest of them has.

use super::database::{Batch, Fault, SpaceId, Stored, unreadable};
use crate::{
    engine::{BucketOptions, Key, Rejection, Revision, Storage, StoreError, Version, bucket::Configured},
    time::Timestamp,
};
use bytes::Bytes;
use redb::{ReadableTable, StorageError};
use std::time::Duration;

/// How a space keeps keys, as far as a write has to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping {
    pub(super) history: u64,
    pub(super) max_age: Option<Duration>,
}

impl Keeping {
    /// What a space is: the newest version, for ever.
    pub(super) const SPACE: Self = Self { history: 1, max_age: None };

    pub(super) fn of(configured: &Configured) -> Self {
        let max_age = Some(configured.max_age).filter(|age| !age.is_zero());
        Self { history: configured.history.unwrap_or(1), max_age }
    }

    fn is_over(self, written_at: i64, now: Timestamp) -> bool {
        self.max_age.is_some_and(|age| Timestamp::from_micros(written_at) + age <= now)
    }
}

impl Batch<'_> {
    /// Opens a bucket, or makes one, and tells how it is configured and whether it is one. `space` is how a space is configured.
    pub(super) fn bucket(
        &mut self,
        name: &str,
        options: &BucketOptions,
        space: Configured,
    ) -> Result<(SpaceId, Configured, bool), Fault> {
        let known = self.tables.spaces.get(name)?.map(|id| id.value());
        if let Some(id) = known {
            let found = self.configured(id, &space)?;
            let is_bucket = found.is_some();
            let found = found.unwrap_or(space);
            found.must_match(name, options)?;
            return Ok((id, found, is_bucket));
        }
        let id = self.space(name)?;
        let made = Configured {
            history: Some(options.history.unwrap_or(1)),
            max_age: options.max_age.unwrap_or_default(),
            replicas: options.replicas.unwrap_or(space.replicas),
            storage: options.storage.unwrap_or(space.storage),
            limit_markers: options.limit_markers.unwrap_or_default(),
            max_bytes: None,
            max_value_size: options.max_value_size,
            description: options.description.clone().unwrap_or_default(),
        };
        let row = (
            made.history.unwrap_or(1),
            micros(made.max_age),
            micros(made.limit_markers),
            made.replicas as u64,
            made.storage == Storage::Memory,
            made.max_value_size.unwrap_or(0),
            &*made.description,
        );
        self.tables.buckets.insert(id, row)?;
        Ok((id, made, true))
    }

    /// Refuses a bucket where a space is asked for.
    pub(super) fn must_be_space(&self, id: SpaceId, name: &str) -> Result<(), Fault> {
        if self.tables.buckets.get(id)?.is_none() {
            return Ok(());
        }
        Err(Rejection::Refused(format!("`{name}` is a bucket: open it with `Engine::bucket`").into()).into())
    }

    fn configured(&self, id: SpaceId, space: &Configured) -> Result<Option<Configured>, StorageError> {
        Ok(self.tables.buckets.get(id)?.map(|row| {
            let (history, max_age, limit_markers, replicas, in_memory, size, description) = row.value();
            Configured {
                history: Some(history),
                max_age: Duration::from_micros(max_age),
                replicas: usize::try_from(replicas).unwrap_or(usize::MAX),
                storage: if in_memory { Storage::Memory } else { Storage::File },
                limit_markers: Duration::from_micros(limit_markers),
                max_value_size: Some(size).filter(|n| *n > 0),
                description: description.to_owned(),
                ..space.clone()
            }
        }))
    }

    /// Adds a version of a key where more than the newest are kept, and drops the oldest beyond what is kept.
    pub(super) fn keep_version(
        &mut self,
        (space, keeping): (SpaceId, Keeping),
        key: &Key,
        revision: Revision,
        label: Option<&str>,
        value: Option<&[u8]>,
    ) -> Result<(), StorageError> {
        if keeping.history == 1 {
            return Ok(());
        }
        let key = key.as_str();
        self.tables.versions.insert((space, key, revision.get()), (self.now.as_micros(), label, value))?;
        let mut kept = 0;
        let mut beyond = Vec::new();
        for row in self.tables.versions.range((space, key, 0)..=(space, key, u64::MAX))?.rev() {
            kept += 1;
            if kept > keeping.history {
                beyond.push(row?.0.value().2);
            }
        }
        for revision in beyond {
            self.tables.versions.remove((space, key, revision))?;
        }
        // A value has its expiry already, and its versions go with it.
        if let (None, Some(age)) = (value, keeping.max_age) {
            let at = self.now + age;
            self.tables.expiries.insert((at.as_micros(), space, key), ())?;
            self.wake_at(at);
        }
        Ok(())
    }

    /// Drops the versions of a key that have come of age.
    pub(super) fn drop_versions(&mut self, space: SpaceId, key: &str) -> Result<(), StorageError> {
        let age = self.tables.buckets.get(space)?.map(|row| Duration::from_micros(row.value().1));
        let Some(age) = age.filter(|age| !age.is_zero()) else { return Ok(()) };
        let keeping = Keeping { history: 1, max_age: Some(age) };
        let mut over = Vec::new();
        for row in self.tables.versions.range((space, key, 0)..=(space, key, u64::MAX))? {
            let (row, version) = row?;
            if keeping.is_over(version.value().0, self.now) {
                over.push(row.value().2);
            }
        }
        for revision in over {
            self.tables.versions.remove((space, key, revision))?;
        }
        Ok(())
    }
}

/// Lists the versions of a key in a snapshot, oldest first.
pub(super) fn versions(
    versions: &impl ReadableTable<(SpaceId, &'static str, u64), Stored>,
    (space, keeping): (SpaceId, Keeping),
    key: &Key,
    now: Timestamp,
) -> Result<Vec<Version>, StoreError> {
    let mut all = Vec::new();
    let key = key.as_str();
    for row in versions.range((space, key, 0)..=(space, key, u64::MAX)).map_err(unreadable)? {
        let (row, version) = row.map_err(unreadable)?;
        let (written_at, label, value) = version.value();
        if !keeping.is_over(written_at, now) {
            let (revision, at) = (Revision::new(row.value().2), Timestamp::from_micros(written_at));
            all.push(Version::new(revision, at, value.map(Bytes::copy_from_slice), label.map(Into::into)));
        }
    }
    Ok(all)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
