//! A whole engine that misbehaves, as one process sees it: every space, bucket, queue, stream and tally by one handle.

use super::{
    FaultyQueue, FaultyStore, Trouble, World,
    call::{Call, Op},
    tally::FaultyTally,
};
use crate::{
    engine::{
        Backend, BucketOptions, Capabilities, Engine, Name, Queue, QueueOptions, Store, StoreError, Stream, StreamOptions,
        Tally,
    },
    time::Clock,
};
use async_trait::async_trait;
use std::{fmt, sync::Arc};

/// Stands between one process and its engine; [`engine`](Self::engine) is what the process opens.
///
/// It stands for a server, so it is neither exclusive nor gone with the process: several of them, made by
/// [`beside`](Self::beside), are several processes on one server, each with a clock and a connection of its own.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{engine::{Engine, Expect, Key, PutOptions}, testing::faulty::{FaultyEngine, Odds}, time::Clock};
///
/// let one = FaultyEngine::over(&Engine::open("memory:").await?, Clock::system(), 1);
/// let other = one.beside(Clock::system(), 2);
/// one.trouble().odds(Odds { unavailable: 1000, ..Odds::default() });
/// let key = Key::new("k")?;
/// let space = other.engine().space("shop").await?;
/// space.store().put(&key, "1".into(), Expect::Absent, PutOptions::default()).await?;
/// assert!(one.engine().space("shop").await.is_err(), "it meets trouble when it opens something, too");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct FaultyEngine {
    inner: Engine,
    trouble: Arc<Trouble>,
}

impl fmt::Debug for FaultyEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyEngine").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultyEngine {
    /// Stands in front of an engine for a process that takes its time from `clock`, and does nothing yet.
    #[must_use]
    pub fn over(inner: &Engine, clock: Clock, seed: u64) -> Arc<Self> {
        Self::in_a_world(inner, clock, seed, Arc::default())
    }

    /// Stands in front of the same engine for another process, with a clock, a seed and trouble of its own. What came again and what
    /// was there before is known to both.
    #[must_use]
    pub fn beside(&self, clock: Clock, seed: u64) -> Arc<Self> {
        Self::in_a_world(&self.inner, clock, seed, Arc::clone(&self.trouble.world))
    }

    fn in_a_world(inner: &Engine, clock: Clock, seed: u64, world: Arc<World>) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), trouble: Trouble::new(clock, world, seed) })
    }

    /// Returns what it is told by.
    #[must_use]
    pub fn trouble(&self) -> &Arc<Trouble> {
        &self.trouble
    }

    /// Opens it as a process does that starts: each call gives another instance.
    #[must_use]
    pub fn engine(self: &Arc<Self>) -> Engine {
        Engine::of(Arc::<Self>::clone(self), self.trouble.clock.clone())
    }

    fn store(&self, inner: &Arc<dyn Store>, place: &str) -> Arc<dyn Store> {
        let can = as_a_server(inner.capabilities());
        Arc::new(FaultyStore::of(Arc::clone(inner), can, place, Arc::clone(&self.trouble)))
    }

    fn queue(&self, inner: Arc<dyn Queue>, place: &str) -> Arc<dyn Queue> {
        Arc::new(FaultyQueue::of(inner, place, Arc::clone(&self.trouble)))
    }
}

/// What an engine can do when it is behind a connection, and outlives whoever is connected.
fn as_a_server(can: &Capabilities) -> Capabilities {
    let engine = format!("faulty {}", can.engine);
    Capabilities { exclusive: false, durable: true, engine, ..can.clone() }
}

#[async_trait]
impl Backend for FaultyEngine {
    async fn store(&self, space: &Name) -> Result<Arc<dyn Store>, StoreError> {
        let opened = self.trouble.around(&Call::new(Op::Open, space.as_str()), self.inner.space(space.as_str())).await?;
        Ok(self.store(opened.store(), space.as_str()))
    }

    async fn queue(&self, space: &Name, name: &Name, options: QueueOptions) -> Result<Arc<dyn Queue>, StoreError> {
        let call = Call { queue: Some(name.as_str()), ..Call::new(Op::Open, space.as_str()) };
        let opening = async { self.inner.space(space.as_str()).await?.queue(name.as_str(), options).await };
        Ok(self.queue(self.trouble.around(&call, opening).await?, space.as_str()))
    }

    async fn tally(&self, space: &Name) -> Result<Arc<dyn Tally>, StoreError> {
        let opening = async { self.inner.space(space.as_str()).await?.tally().await };
        let inner = self.trouble.around(&Call::new(Op::Open, space.as_str()), opening).await?;
        Ok(Arc::new(FaultyTally { inner, place: space.as_str().into(), trouble: Arc::clone(&self.trouble) }))
    }

    async fn bucket(&self, name: &Name, options: BucketOptions) -> Result<Arc<dyn Store>, StoreError> {
        let opening = self.inner.bucket(name.as_str(), options);
        let opened = self.trouble.around(&Call::new(Op::Open, name.as_str()), opening).await?;
        // A space and a bucket may have the same name, and are two places.
        Ok(self.store(opened.store(), &format!("bucket {name}")))
    }

    async fn stream(&self, name: &Name, options: StreamOptions) -> Result<Stream, StoreError> {
        let opening = self.inner.stream(name.as_str(), options);
        let opened = self.trouble.around(&Call::new(Op::Open, name.as_str()), opening).await?;
        let queue = self.queue(Arc::clone(opened.queue()), &format!("stream {name}"));
        Ok(Stream::new(queue, opened.differences().to_vec(), as_a_server(opened.capabilities())))
    }
}
