//! What the tests of cells share: a space in memory on virtual time, another process's hand on it, and faults before it.

use anabranch::{
    Codec,
    cell::{Cell, Cells},
    engine::{Engine, Expect, Key, PutOptions, Revision, Space},
    testing::faulty::FaultyStore,
    time::{Clock, Timestamp},
};
use bytes::Bytes;
use std::sync::Arc;

/// A space in memory whose time a test moves.
pub(crate) async fn space() -> Space {
    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    Engine::open_with("memory:", clock).await.unwrap().space("cells").await.unwrap()
}

/// A space whose store does what a test tells it, and the store.
pub(crate) async fn faulty(seed: u64) -> (Space, Arc<FaultyStore>) {
    let space = space().await;
    let store = FaultyStore::over(&space, seed);
    (space.with_store(Arc::<FaultyStore>::clone(&store)), store)
}

pub(crate) fn numbers(space: &Space) -> Cells<u64> {
    Cells::new(space, Codec::json())
}

pub(crate) fn number(space: &Space, label: &str) -> Cell<u64> {
    numbers(space).cell(label).unwrap()
}

/// Writes a key past the cells, as another process does.
pub(crate) async fn elsewhere(space: &Space, key: &str, value: &str) -> Revision {
    let (key, value) = (Key::new(key).unwrap(), Bytes::copy_from_slice(value.as_bytes()));
    space.store().put(&key, value, Expect::Anything, PutOptions::default()).await.unwrap()
}

/// Reads a key past the cells.
pub(crate) async fn raw(space: &Space, key: &str) -> Option<Bytes> {
    space.store().get(&Key::new(key).unwrap()).await.unwrap().map(|entry| entry.value)
}
