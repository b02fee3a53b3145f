//! What the tests of things that are held share: spaces in memory on virtual time, and other processes on them.

use anabranch::{
    coordination::{Guard, Lock},
    engine::{Change, Engine, Key, Scope, Space, Store},
    testing::faulty::FaultyStore,
    time::{Clock, Instant, Timestamp},
};
use futures_util::StreamExt as _;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// What a clock that sleeps in whole milliseconds may be late.
pub(crate) const TICK: Duration = Duration::from_millis(5);

pub(crate) async fn space() -> Space {
    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    Engine::open_with("memory:", clock).await.unwrap().space("held").await.unwrap()
}

/// Another process on the same store: it shares no cells with the first, and its way to the store can be disturbed.
pub(crate) fn process(space: &Space, seed: u64) -> (Space, Arc<FaultyStore>) {
    let store = FaultyStore::over(space, seed);
    (space.clone().with_store(Arc::<FaultyStore>::clone(&store) as Arc<dyn Store>), store)
}

pub(crate) fn lock(space: &Space) -> Lock {
    Lock::new(space, "l", LEASE).unwrap()
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Starts a task whose handle the test keeps.
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    TaskTracker::new().spawn(task)
}

/// Waits until it is lost, and returns when that was.
pub(crate) fn lost_at(guard: &Guard, clock: &Clock) -> JoinHandle<Instant> {
    let (lost, clock) = (guard.lost(), clock.clone());
    spawn(async move {
        lost.await;
        clock.instant()
    })
}

/// Waits until a key is written so many times more.
pub(crate) async fn writes(space: &Space, name: &str, mut times: usize) {
    let mut changes = space.store().watch(&Scope::Only(key(name))).await.unwrap();
    let mut synced = false;
    while times > 0 {
        match changes.next().await.unwrap() {
            Change::Synced => synced = true,
            Change::Put(_) | Change::Deleted(..) if synced => times -= 1,
            _ => {}
        }
    }
}

/// Tells whether a key is there.
pub(crate) async fn is_stored(space: &Space, name: &str) -> bool {
    space.store().get(&key(name)).await.unwrap().is_some()
}
