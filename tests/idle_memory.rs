//! A hundred thousand keys leave no memory behind when they are idle.
//!
//! Alone in its process, since it counts what is allocated; and with a store that keeps nothing, since a store's own memory is
//! another matter.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "idle_memory/kit.rs"]
mod kit;

use anabranch::{
    Codec,
    cell::Cells,
    engine::{
        Capabilities, Change, Commit, Committed, Engine, Entry, Expect, Key, KeyInfo, PutOptions, Revision, Scope, Store,
        StoreError,
    },
    testing::pass,
    time::{Clock, Timestamp},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use kit::{Held, KEYS, tasks, touch};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A store that takes everything and keeps nothing.
#[derive(Debug)]
struct Hole(AtomicU64, Capabilities);

#[async_trait]
impl Store for Hole {
    fn capabilities(&self) -> &Capabilities {
        &self.1
    }
    async fn get(&self, _: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(None)
    }
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        Ok(vec![None; keys.len()])
    }
    async fn put(&self, _: &Key, _: Bytes, _: Expect, _: PutOptions) -> Result<Revision, StoreError> {
        Ok(Revision::new(self.0.fetch_add(1, Ordering::Relaxed) + 1))
    }
    async fn delete(&self, _: &Key, _: Expect) -> Result<Revision, StoreError> {
        Ok(Revision::new(self.0.fetch_add(1, Ordering::Relaxed) + 1))
    }
    async fn commit(&self, _: Commit) -> Result<Committed, StoreError> {
        Ok(Committed { revisions: Vec::new() })
    }
    async fn keys(&self, _: &Scope) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        Ok(Box::pin(futures_util::stream::empty()))
    }
    async fn watch(&self, _: &Scope) -> Result<BoxStream<'static, Change>, StoreError> {
        Ok(Box::pin(futures_util::stream::pending()))
    }
}

#[tokio::test(start_paused = true)]
async fn memory_returns_to_its_floor_after_a_hundred_thousand_keys() {
    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    let space = Engine::open_with("memory:", clock).await.unwrap().space("cells").await.unwrap();
    let space = space.with_store(Arc::new(Hole(AtomicU64::new(0), Capabilities::full("a hole"))));
    let cells = Cells::<u64>::new(&space, Codec::json());
    // Whatever is made once is made now.
    touch(&cells, 0, 1000).await;
    pass(Duration::from_secs(30)).await;
    let (alive, held) = (tasks(), Held::from_now_on());

    touch(&cells, 0, KEYS).await;
    let in_use = held.bytes();
    assert!(in_use > 1_000_000, "the last of the keys are still known: {in_use} bytes");
    pass(Duration::from_secs(30)).await;
    let left = held.bytes();
    assert!(left < 16_384, "{left} bytes are left of {in_use}");
    assert_eq!(tasks(), alive);
}
