//! The store of a space on JetStream: the contract's calls, each handed to the file that keeps its promise.

use super::{core::Core, watch::Hubs};
use crate::engine::{
    Capabilities, Change, Commit, Committed, Entry, Expect, Key, KeyInfo, PutOptions, Revision, Scope, Store, StoreError,
    Version, Write, WriteOp,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::sync::Arc;

/// One space's store.
#[derive(Debug)]
pub(super) struct JetStore {
    core: Arc<Core>,
    hubs: Hubs,
}

impl JetStore {
    pub(super) fn new(core: Core) -> Self {
        Self { core: Arc::new(core), hubs: Hubs::default() }
    }

    /// Writes a key, alone or with others.
    #[expect(clippy::manual_async_fn, reason = "the arguments would be twice in its future, which is every write's")]
    fn write<'a>(&'a self, key: &'a Key, expect: Expect, op: WriteOp) -> impl Future<Output = Result<Revision, StoreError>> {
        async move {
            if self.core.shares_writes {
                // Boxed, since a commit's future is large and every write's would be.
                return Box::pin(self.core.write_shared(Write { key: key.clone(), expect, op })).await;
            }
            self.core.write(key, expect, &op).await
        }
    }
}

#[async_trait]
impl Store for JetStore {
    fn capabilities(&self) -> &Capabilities {
        &self.core.capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let subject = self.core.names.key(key)?;
        let found = self.core.newest(&subject, &mut self.core.link.patience()).await?;
        Ok(found.and_then(|f| f.into_entry(key.clone())))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        let subjects = keys.iter().map(|k| self.core.names.key(k)).collect::<Result<Vec<_>, _>>()?;
        let mut once = subjects.clone();
        once.sort_unstable();
        once.dedup();
        if once.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.core.snapshot(&once, &mut self.core.link.patience()).await?;
        let entry = |(key, subject): (&Key, &String)| found.get(subject)?.clone().into_entry(key.clone());
        Ok(keys.iter().zip(&subjects).map(entry).collect())
    }

    async fn history(&self, key: &Key) -> Result<Vec<Version>, StoreError> {
        self.core.history(key).await
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect, options: PutOptions) -> Result<Revision, StoreError> {
        self.write(key, expect, WriteOp::Put(value, options)).await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        self.write(key, expect, WriteOp::Delete).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.core.commit(commit).await
    }

    async fn keys(&self, scope: &Scope) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        self.core.keys(scope).await
    }

    async fn watch(&self, scope: &Scope) -> Result<BoxStream<'static, Change>, StoreError> {
        self.hubs.watch(&self.core, scope)
    }
}
