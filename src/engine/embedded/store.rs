//! The store's face: checks what every engine has to check, and turns calls into transactions.
//!
//! Reads take a snapshot where they are called: pages are in the system's cache or close to it, and a thread would cost more.

use super::{
    Core, bucket,
    bucket::Keeping,
    database::{BODIES, Batch, Fault, HEADS, QueueId, REVISIONS, SpaceId, VERSIONS, unreadable},
    values,
};
use crate::engine::{
    BucketOptions, Capabilities, Change, Commit, Committed, Entry, Expect, Key, KeyInfo, MAX_KEY_BYTES, Message, Name,
    NameError, PutOptions, Rejection, Revision, Scope, Storage, Store, StoreError, Timer, Version, WriteOp,
    bucket::{Configured, admit, admit_ttl, without_a_space},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use redb::{ReadTransaction, ReadableDatabase as _};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// How long a space's marker of an expired key stays on a server; here it leaves none, and takes TTLs all the same.
const MARKERS: Duration = Duration::from_secs(3600);

/// A space of an embedded engine.
#[derive(Debug)]
pub(super) struct EmbeddedStore {
    core: Arc<Core>,
    space: SpaceId,
    keeping: Keeping,
    capabilities: Capabilities,
}

impl EmbeddedStore {
    pub(super) async fn open(core: Arc<Core>, name: &Name) -> Result<Self, StoreError> {
        let name = name.clone();
        let opened = core.writer.submit(move |batch| {
            let space = batch.space(name.as_str())?;
            batch.must_be_space(space, name.as_str())?;
            Ok(space)
        });
        let (space, capabilities) = (opened.await?, core.capabilities.clone());
        Ok(Self { core, space, keeping: Keeping::SPACE, capabilities })
    }

    pub(super) async fn open_bucket(core: Arc<Core>, name: &Name, options: BucketOptions) -> Result<Self, StoreError> {
        if options.max_bytes.is_some() {
            let (engine, remedy) = (core.capabilities.engine.clone(), "limit the size of what is written, or its age");
            return Err(Rejection::Unsupported { what: "`max_bytes`", engine, remedy }.into());
        }
        let name = name.clone();
        // What a space is here, to somebody who opens it as a bucket.
        let space = Configured {
            history: Some(1),
            max_age: Duration::ZERO,
            replicas: 1,
            storage: if core.capabilities.durable { Storage::File } else { Storage::Memory },
            limit_markers: MARKERS,
            max_bytes: None,
            max_value_size: None,
            description: String::new(),
        };
        let opened = core.writer.submit(move |batch| batch.bucket(name.as_str(), &options, space)).await?;
        let (space, configured, is_bucket) = opened;
        let mut capabilities = core.capabilities.clone();
        if is_bucket {
            without_a_space(&mut capabilities);
            capabilities.ttl = !configured.limit_markers.is_zero() && configured.history == Some(1);
            let limit = configured.max_value_size.and_then(|n| usize::try_from(n).ok());
            capabilities.max_value = limit.unwrap_or(usize::MAX).min(capabilities.max_value);
        }
        Ok(Self { core, space, keeping: Keeping::of(&configured), capabilities })
    }

    /// Where a write goes, and how it is kept.
    fn place(&self) -> (SpaceId, Keeping) {
        (self.space, self.keeping)
    }

    fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        self.core.writer.database.begin_read().map_err(unreadable)
    }

    /// Reads keys as of one moment, and as of the time after it: a key that is due reads as absent.
    fn read(&self, snapshot: &ReadTransaction, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        let heads = snapshot.open_table(HEADS).map_err(unreadable)?;
        let bodies = snapshot.open_table(BODIES).map_err(unreadable)?;
        let now = self.core.writer.clock.now();
        keys.iter().map(|key| values::read(&heads, &bodies, (self.space, key), now)).collect()
    }

    fn list(&self, snapshot: &ReadTransaction, scope: &Scope) -> Result<Vec<KeyInfo>, StoreError> {
        let heads = snapshot.open_table(HEADS).map_err(unreadable)?;
        values::list(&heads, self.space, scope, self.core.writer.clock.now())
    }

    fn check_value(&self, value: &Bytes, options: &PutOptions) -> Result<(), Rejection> {
        options.check()?;
        if options.ttl.is_some() && !self.capabilities.ttl {
            admit_ttl(&self.capabilities, Some(self.keeping.history))?;
        }
        within(value.len(), self.capabilities.max_value, "bytes")
    }

    fn check_commit(&self, commit: &Commit) -> Result<(), Rejection> {
        admit(&self.capabilities, commit)?;
        within(commit.len(), self.capabilities.max_commit, "parts")?;
        let mut keys = HashSet::with_capacity(commit.len());
        let checked = commit.checks.iter().map(|check| &check.key);
        for key in commit.writes.iter().map(|write| &write.key).chain(checked) {
            check_key(key)?;
            if !keys.insert(key) {
                return Err(Rejection::InvalidOption("a commit names each key once"));
            }
        }
        for write in &commit.writes {
            if let WriteOp::Put(value, options) = &write.op {
                self.check_value(value, options)?;
            }
        }
        for message in &commit.messages {
            check_message(&message.message, &self.core.capabilities)?;
        }
        for timer in &commit.timers {
            let (Timer::Arm { name, .. } | Timer::Cancel { name }) = timer;
            check_key(name)?;
            if let Timer::Arm { send, .. } = timer {
                check_message(&send.message, &self.core.capabilities)?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.get_many(std::slice::from_ref(key)).await?.pop().flatten())
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        keys.iter().try_for_each(check_key)?;
        self.read(&self.snapshot()?, keys)
    }

    async fn history(&self, key: &Key) -> Result<Vec<Version>, StoreError> {
        check_key(key)?;
        let snapshot = self.snapshot()?;
        if self.keeping.history > 1 {
            let versions = snapshot.open_table(VERSIONS).map_err(unreadable)?;
            return bucket::versions(&versions, self.place(), key, self.core.writer.clock.now());
        }
        let newest = self.read(&snapshot, std::slice::from_ref(key))?.pop().flatten();
        Ok(newest.map(|e| Version::new(e.revision, e.written_at, Some(e.value), e.label)).into_iter().collect())
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect, options: PutOptions) -> Result<Revision, StoreError> {
        check_key(key)?;
        self.check_value(&value, &options)?;
        let (place, key) = (self.place(), key.clone());
        let put = self.core.writer.submit(move |batch| {
            require(batch, place.0, &key, expect)?;
            Ok(batch.put(place, &key, value, options)?)
        });
        put.await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        check_key(key)?;
        let (place, key) = (self.place(), key.clone());
        let delete = self.core.writer.submit(move |batch| {
            require(batch, place.0, &key, expect)?;
            Ok(batch.delete(place, &key)?)
        });
        delete.await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.check_commit(&commit)?;
        if commit.is_empty() {
            return Ok(Committed { revisions: Vec::new() });
        }
        let place = self.place();
        self.core.writer.submit(move |batch| perform(batch, place, commit)).await
    }

    async fn keys(&self, scope: &Scope) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        let listed = self.list(&self.snapshot()?, scope)?;
        Ok(stream::iter(listed).map(Ok).boxed())
    }

    async fn watch(&self, scope: &Scope) -> Result<BoxStream<'static, Change>, StoreError> {
        let subscription = self.core.outside.hub.subscribe(self.space, scope.clone());
        let snapshot = self.snapshot()?;
        let revisions = snapshot.open_table(REVISIONS).map_err(unreadable)?;
        let newest = revisions.get(self.space).map_err(unreadable)?.map_or(0, |revision| revision.value());
        let keys: Vec<_> = self.list(&snapshot, scope)?.into_iter().map(|info| info.key).collect();
        let state = self.read(&snapshot, &keys)?;
        Ok(subscription.start(state.into_iter().flatten().collect(), Revision::new(newest)))
    }
}

/// Does a whole commit: every expectation first, then everything that it asks for.
fn perform(batch: &mut Batch<'_>, place: (SpaceId, Keeping), commit: Commit) -> Result<Committed, Fault> {
    let (space, _) = place;
    let Commit { writes, checks, messages, timers } = commit;
    let expectations = writes.iter().map(|write| (&write.key, write.expect));
    for (key, expect) in expectations.chain(checks.iter().map(|check| (&check.key, check.expect))) {
        require(batch, space, key, expect)?;
    }
    let mut revisions = Vec::with_capacity(writes.len());
    for write in writes {
        revisions.push(match write.op {
            WriteOp::Put(value, options) => batch.put(place, &write.key, value, options)?,
            WriteOp::Delete => batch.delete(place, &write.key)?,
        });
    }
    for outgoing in &messages {
        let queue: QueueId = batch.queue(space, outgoing.queue.as_str())?;
        batch.enqueue(queue, &outgoing.message)?;
    }
    for timer in &timers {
        match timer {
            Timer::Arm { name, at, send } => batch.arm(space, name, *at, send)?,
            Timer::Cancel { name } => batch.disarm(space, name.as_str())?,
        }
    }
    Ok(Committed { revisions })
}

fn require(batch: &Batch<'_>, space: SpaceId, key: &Key, expect: Expect) -> Result<(), Fault> {
    if batch.holds(space, key, expect)? { Ok(()) } else { Err(StoreError::Conflict.into()) }
}

pub(super) fn check_key(key: &Key) -> Result<(), Rejection> {
    let length = key.as_str().len();
    if length > MAX_KEY_BYTES {
        return Err(NameError::TooLong { length, limit: MAX_KEY_BYTES }.into());
    }
    Ok(())
}

/// A server counts what is beside the payload, too.
pub(super) fn check_message(message: &Message, capabilities: &Capabilities) -> Result<(), Rejection> {
    message.check()?;
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let id = message.id.as_ref().map_or(0, String::len);
    within(message.payload.len() + headers + id, capabilities.max_value, "bytes")
}

fn within(size: usize, limit: usize, unit: &'static str) -> Result<(), Rejection> {
    if size > limit { Err(Rejection::TooLarge { size, limit, unit }) } else { Ok(()) }
}
