//! A store on the server.

use super::{
    super::net::{Door, Line, Served},
    shared, watch,
};
use crate::engine::{
    Capabilities, Change, Commit, Committed, Entry, Expect, Key, KeyInfo, PutOptions, Revision, Scope, Store, StoreError,
    Version, WriteOp,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    TryStreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt as _},
};
use std::{fmt, fmt::Write as _, sync::Arc};

/// A space or a bucket of the server.
#[derive(Debug)]
pub(super) struct RemoteStore {
    line: Line,
    door: Door,
    capabilities: Capabilities,
}

impl RemoteStore {
    pub(super) async fn open(line: Line, door: Door) -> Result<Self, StoreError> {
        let there = door.clone();
        let look = move |served: Served| -> BoxFuture<'static, Result<Capabilities, StoreError>> {
            Box::pin(async move { Ok(shared(there.store(&served).await?.capabilities())) })
        };
        let capabilities = line.call(false, || "open a store".to_owned(), look).await?;
        Ok(Self { line, door, capabilities })
    }

    async fn ask<T: fmt::Debug + Send + 'static>(
        &self,
        writes: bool,
        what: impl FnOnce() -> String + Send + 'static,
        work: impl FnOnce(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let door = self.door.clone();
        let there = move |served: Served| -> BoxFuture<'static, Result<T, StoreError>> {
            Box::pin(async move { work(door.store(&served).await?).await })
        };
        self.line.call(writes, what, there).await
    }
}

/// What a commit asks for, in a few words.
fn parts(commit: &Commit) -> String {
    let mut text = "commit".to_owned();
    for write in &commit.writes {
        let op = if matches!(write.op, WriteOp::Put(..)) { "put" } else { "delete" };
        // Writing to a string cannot fail.
        let _ = write!(text, " {op} {} {:?}", write.key, write.expect);
    }
    let _ = write!(text, " and {} messages, {} timers", commit.messages.len(), commit.timers.len());
    text
}

#[async_trait]
impl Store for RemoteStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let (at, name) = (key.clone(), key.clone());
        self.ask(false, move || format!("get {name}"), |store| Box::pin(async move { store.get(&at).await })).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        let all = keys.to_vec();
        let count = all.len();
        self.ask(false, move || format!("get {count} keys"), |store| Box::pin(async move { store.get_many(&all).await })).await
    }

    async fn history(&self, key: &Key) -> Result<Vec<Version>, StoreError> {
        let (at, name) = (key.clone(), key.clone());
        self.ask(false, move || format!("history of {name}"), |store| Box::pin(async move { store.history(&at).await })).await
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect, options: PutOptions) -> Result<Revision, StoreError> {
        let (at, name) = (key.clone(), key.clone());
        let put = move |store: Arc<dyn Store>| -> BoxFuture<'static, _> {
            Box::pin(async move { store.put(&at, value, expect, options).await })
        };
        self.ask(true, move || format!("put {name} {expect:?}"), put).await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        let (at, name) = (key.clone(), key.clone());
        let delete =
            move |store: Arc<dyn Store>| -> BoxFuture<'static, _> { Box::pin(async move { store.delete(&at, expect).await }) };
        self.ask(true, move || format!("delete {name} {expect:?}"), delete).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let what = parts(&commit);
        self.ask(true, || what, |store| Box::pin(async move { store.commit(commit).await })).await
    }

    async fn keys(&self, scope: &Scope) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        let of = scope.clone();
        let list = |store: Arc<dyn Store>| -> BoxFuture<'static, Result<Vec<KeyInfo>, StoreError>> {
            Box::pin(async move { store.keys(&of).await?.try_collect().await })
        };
        let keys = self.ask(false, || "list keys".to_owned(), list).await?;
        Ok(stream::iter(keys.into_iter().map(Ok)).boxed())
    }

    async fn watch(&self, scope: &Scope) -> Result<BoxStream<'static, Change>, StoreError> {
        watch::open(self.line.clone(), self.door.clone(), scope.clone()).await
    }
}
