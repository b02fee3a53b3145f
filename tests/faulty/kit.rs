//! An engine in memory whose time a test moves, what misbehaves in front of it, and what is behind that.

use anabranch::{
    engine::{
        Change, Delivery, Engine, Expect, Key, Pull, PutOptions, Queue, QueueOptions, Revision, Scope, Space, StoreError,
    },
    testing::faulty::{FaultyEngine, Trouble},
    time::{Clock, Timestamp},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream::BoxStream};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// One process in front of an engine, and what is really there.
pub(crate) struct World {
    pub(crate) engine: Arc<FaultyEngine>,
    /// The space that misbehaves.
    pub(crate) space: Space,
    /// The same space, past everything.
    pub(crate) real: Space,
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
        let inner = Engine::open_with("memory:", clock.clone()).await.unwrap();
        let engine = FaultyEngine::over(&inner, clock, seed);
        let space = engine.engine().space("s").await.unwrap();
        Self { engine, space, real: inner.space("s").await.unwrap() }
    }

    pub(crate) fn trouble(&self) -> &Arc<Trouble> {
        self.engine.trouble()
    }

    /// A queue that misbehaves, and a pull of it.
    pub(crate) async fn queue(&self) -> (Arc<dyn Queue>, Box<dyn Pull>) {
        let queue = self.space.queue("q", QueueOptions::default()).await.unwrap();
        let pull = queue.pull().await.unwrap();
        (queue, pull)
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

pub(crate) async fn put(space: &Space, name: &str, value: &str) -> Result<Revision, StoreError> {
    put_with(space, name, value, PutOptions::default()).await
}

pub(crate) async fn put_with(space: &Space, name: &str, value: &str, options: PutOptions) -> Result<Revision, StoreError> {
    space.store().put(&key(name), Bytes::copy_from_slice(value.as_bytes()), Expect::Anything, options).await
}

pub(crate) async fn text(space: &Space, name: &str) -> Option<String> {
    let entry = space.store().get(&key(name)).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

/// Watches everything, past the first state.
pub(crate) async fn watch(space: &Space) -> BoxStream<'static, Change> {
    let mut changes = space.store().watch(&Scope::All).await.unwrap();
    while changes.next().await != Some(Change::Synced) {}
    changes
}

/// Says a change in a word.
pub(crate) fn word(change: &Change) -> String {
    match change {
        Change::Put(entry) => format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)),
        Change::Deleted(key, _) => format!("{key} deleted"),
        Change::Expired(key, _) => format!("{key} expired"),
        other => format!("{other:?}"),
    }
}

/// What a watch has to say at this moment.
pub(crate) async fn said(changes: &mut BoxStream<'static, Change>) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..20 {
        while let Some(change) = changes.next().now_or_never() {
            all.push(word(&change.unwrap()));
        }
        tokio::task::yield_now().await;
    }
    all
}

pub(crate) async fn next(pull: &mut dyn Pull) -> Delivery {
    pull.next(NonZeroUsize::MIN).await.unwrap().remove(0)
}

/// Tells whether a pull has nothing for so long.
pub(crate) async fn is_empty_for(space: &Space, pull: &mut dyn Pull, time: Duration) -> bool {
    space.clock().timeout(time, pull.next(NonZeroUsize::MIN)).await.is_none()
}
