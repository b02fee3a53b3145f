//! The store's face: checks what every engine has to check, and turns calls into transactions.
//!
//! Reads take a snapshot where they are called: pages are in the system's cache or close to it, and a thread would cost more.

use super::{
    Core,
    database::{BODIES, Batch, Fault, HEADS, QueueId, REVISIONS, SpaceId, unreadable},
    values,
};
use crate::engine::{
    Capabilities, Change, Commit, Committed, Entry, Expect, Key, KeyInfo, MAX_KEY_BYTES, Message, Name, NameError, PutOptions,
    Rejection, Revision, Scope, Store, StoreError, Timer, WriteOp,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use redb::{ReadTransaction, ReadableDatabase as _};
use std::{collections::HashSet, sync::Arc};

/// A space of an embedded engine.
#[derive(Debug)]
pub(super) struct EmbeddedStore {
    core: Arc<Core>,
    space: SpaceId,
}

impl EmbeddedStore {
    pub(super) async fn open(core: Arc<Core>, name: &Name) -> Result<Self, StoreError> {
        let name = name.clone();
        let space = core.writer.submit(move |batch| Ok(batch.space(name.as_str())?)).await?;
        Ok(Self { core, space })
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
        within(value.len(), self.core.capabilities.max_value, "bytes")
    }

    fn check_commit(&self, commit: &Commit) -> Result<(), Rejection> {
        within(commit.len(), self.core.capabilities.max_commit, "parts")?;
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
        &self.core.capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.get_many(std::slice::from_ref(key)).await?.pop().flatten())
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        keys.iter().try_for_each(check_key)?;
        self.read(&self.snapshot()?, keys)
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect, options: PutOptions) -> Result<Revision, StoreError> {
        check_key(key)?;
        self.check_value(&value, &options)?;
        let (space, key) = (self.space, key.clone());
        let put = self.core.writer.submit(move |batch| {
            require(batch, space, &key, expect)?;
            Ok(batch.put(space, &key, value, options)?)
        });
        put.await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        check_key(key)?;
        let (space, key) = (self.space, key.clone());
        let delete = self.core.writer.submit(move |batch| {
            require(batch, space, &key, expect)?;
            Ok(batch.delete(space, &key)?)
        });
        delete.await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.check_commit(&commit)?;
        if commit.is_empty() {
            return Ok(Committed { revisions: Vec::new() });
        }
        let space = self.space;
        self.core.writer.submit(move |batch| perform(batch, space, commit)).await
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
fn perform(batch: &mut Batch<'_>, space: SpaceId, commit: Commit) -> Result<Committed, Fault> {
    let Commit { writes, checks, messages, timers } = commit;
    let expectations = writes.iter().map(|write| (&write.key, write.expect));
    for (key, expect) in expectations.chain(checks.iter().map(|check| (&check.key, check.expect))) {
        require(batch, space, key, expect)?;
    }
    let mut revisions = Vec::with_capacity(writes.len());
    for write in writes {
        revisions.push(match write.op {
            WriteOp::Put(value, options) => batch.put(space, &write.key, value, options)?,
            WriteOp::Delete => batch.delete(space, &write.key)?,
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

fn check_key(key: &Key) -> Result<(), Rejection> {
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
