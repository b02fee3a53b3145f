//! What the tests of everything that counts share: spaces in memory on virtual time, processes, faults, strangers and gaps.

use anabranch::{
    engine::{
        Capabilities, Change, Commit, Committed, Engine, Entry, Expect, Key, KeyInfo, PutOptions, Revision, Scope, Space,
        Store, StoreError,
    },
    testing::{
        Dice,
        faulty::{FaultyStore, Odds},
        pass,
    },
    time::{Clock, Timestamp},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Everything that a store may do to a call.
pub(crate) const TROUBLE: Odds = Odds { unknown: 80, conflict: 80, unavailable: 80, latency: Duration::from_millis(30) };

pub(crate) async fn space() -> Space {
    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    Engine::open_with("memory:", clock).await.unwrap().space("coordination").await.unwrap()
}

/// A space whose store does what a test tells it, and the store.
pub(crate) async fn faulty(seed: u64) -> (Space, Arc<FaultyStore>) {
    let space = space().await;
    let store = FaultyStore::over(&space, seed);
    (space.with_store(Arc::<FaultyStore>::clone(&store)), store)
}

/// The same store as another process sees it: nothing in memory is shared.
pub(crate) fn process(space: &Space, store: &Arc<FaultyStore>) -> Space {
    space.clone().with_store(Arc::<FaultyStore>::clone(store))
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Stores bytes past all objects, as another program does.
pub(crate) async fn put(space: &Space, name: &str, value: &[u8]) {
    let value = Bytes::copy_from_slice(value);
    space.store().put(&key(name), value, Expect::Anything, PutOptions::default()).await.unwrap();
}

/// Reads what is stored, past all objects.
pub(crate) async fn raw(space: &Space, name: &str) -> Option<Bytes> {
    space.store().get(&key(name)).await.unwrap().map(|entry| entry.value)
}

/// Starts a task; whoever gets its handle waits for it.
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    TaskTracker::new().spawn(task)
}

/// Writes what is there again, so many times, as a client does that leaves no trace: whoever lost an answer in the meantime cannot find
/// out what became of the write.
pub(crate) async fn stranger(bare: Space, name: &'static str, seed: u64, times: u32) {
    let mut dice = Dice::new(seed);
    for _ in 0..times {
        pass(Duration::from_millis(1 + dice.roll(20))).await;
        if let Some(entry) = bare.store().get(&key(name)).await.unwrap() {
            let expect = Expect::At(entry.revision);
            // Somebody else may have been first.
            let _ = bare.store().put(&key(name), entry.value, expect, PutOptions::default()).await;
        }
    }
}

/// A store whose watches tell what a test wrote down.
#[derive(Debug)]
pub(crate) struct Scripted {
    inner: Arc<dyn Store>,
    changes: std::sync::Mutex<Vec<Change>>,
}

impl Scripted {
    /// The first watch tells these changes, and then nothing any more.
    pub(crate) fn over(space: &Space, changes: Vec<Change>) -> Space {
        let inner = Arc::clone(space.store());
        space.clone().with_store(Arc::new(Self { inner, changes: std::sync::Mutex::new(changes) }))
    }
}

#[async_trait]
impl Store for Scripted {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
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
        self.inner.commit(commit).await
    }

    async fn keys(&self, scope: &Scope) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        self.inner.keys(scope).await
    }

    async fn watch(&self, _: &Scope) -> Result<BoxStream<'static, Change>, StoreError> {
        use futures_util::stream::{StreamExt as _, iter, pending};
        let changes = std::mem::take(&mut *self.changes.lock().unwrap());
        Ok(iter(changes).chain(pending()).boxed())
    }
}
