//! A store without atomic commits, as an older server is.

use anabranch::engine::{
    Capabilities, Change, Commit, Committed, Entry, Expect, Key, KeyInfo, PutOptions, Rejection, Revision, Scope, Space, Store,
    StoreError,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::sync::Arc;

#[derive(Debug)]
pub struct WithoutCommits {
    inner: Arc<dyn Store>,
    capabilities: Capabilities,
}

impl WithoutCommits {
    pub fn over(space: &Space) -> Arc<Self> {
        let mut capabilities = space.store().capabilities().clone();
        capabilities.atomic_commit = false;
        capabilities.checks = false;
        capabilities.timers = false;
        Arc::new(Self { inner: Arc::clone(space.store()), capabilities })
    }
}

#[async_trait]
impl Store for WithoutCommits {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.inner.get_many(keys).await
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect, options: PutOptions) -> Result<Revision, StoreError> {
        self.inner.put(key, value, expect, options).await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        self.inner.delete(key, expect).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        if commit.len() > 1 {
            let (engine, remedy) = (self.capabilities.engine.clone(), "take a newer server");
            return Err(Rejection::Unsupported { what: "a commit of several parts", engine, remedy }.into());
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
