//! A store that can do less than the one behind it: what is written for old servers, tried on a new engine.
//!
//! It says so in its capabilities, and refuses what it says that it cannot do, so whoever does not ask finds out.

use crate::engine::{
    Capabilities, Change, Commit, Committed, Entry, Expect, Key, KeyInfo, PutOptions, Rejection, Revision, Scope, Space, Store,
    StoreError, Version,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::sync::Arc;

/// A store without timers, or without commits of several parts either.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{engine::Engine, testing::LesserStore};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let space = space.clone().with_store(LesserStore::without_commits(&space));
/// assert!(!space.store().capabilities().timers && !space.store().capabilities().atomic_commit);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct LesserStore {
    inner: Arc<dyn Store>,
    can: Capabilities,
}

impl LesserStore {
    /// Stands in front of a space's store, and arms no timers.
    #[must_use]
    pub fn without_timers(space: &Space) -> Arc<Self> {
        let can = Capabilities { timers: false, ..space.store().capabilities().clone() };
        Arc::new(Self { inner: Arc::clone(space.store()), can })
    }

    /// Stands in front of a space's store, and does one thing at a time, as nats-server 2.11 does.
    #[must_use]
    pub fn without_commits(space: &Space) -> Arc<Self> {
        let can = space.store().capabilities().clone();
        let can = Capabilities { timers: false, atomic_commit: false, checks: false, max_commit: 1, ..can };
        Arc::new(Self { inner: Arc::clone(space.store()), can })
    }

    fn lacks(&self, what: &'static str) -> StoreError {
        Rejection::Unsupported { what, engine: self.can.engine.clone(), remedy: "ask for its capabilities" }.into()
    }
}

#[async_trait]
impl Store for LesserStore {
    fn capabilities(&self) -> &Capabilities {
        &self.can
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.inner.get_many(keys).await
    }

    async fn history(&self, key: &Key) -> Result<Vec<Version>, StoreError> {
        self.inner.history(key).await
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect, options: PutOptions) -> Result<Revision, StoreError> {
        self.inner.put(key, value, expect, options).await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        self.inner.delete(key, expect).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        if !self.can.timers && !commit.timers.is_empty() {
            return Err(self.lacks("a timer"));
        }
        if !self.can.checks && !commit.checks.is_empty() {
            return Err(self.lacks("a check"));
        }
        if !self.can.atomic_commit && commit.len() > 1 {
            return Err(self.lacks("a commit of several parts"));
        }
        self.inner.commit(commit).await
    }

    async fn keys(&self, scope: &Scope) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        self.inner.keys(scope).await
    }

    async fn watch(&self, scope: &Scope) -> Result<BoxStream<'static, Change>, StoreError> {
        self.inner.watch(scope).await
    }
}
