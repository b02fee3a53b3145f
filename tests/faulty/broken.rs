//! Engines that break a promise, each a different one: the history under faults finds every one of them out.

use anabranch::{
    engine::{
        Backend, BucketOptions, Capabilities, Change, Commit, Committed, Delivery, Engine, Entry, Expect, Key, KeyInfo,
        Message, Name, Published, Pull, PutOptions, Queue, QueueOptions, Revision, Scope, Settle, Store, StoreError, Tally,
    },
    testing::conformance::under_faults,
    time::{Clock, Timestamp},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream::BoxStream};
use std::{
    num::NonZeroUsize,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Within how many seeds a defect is found.
const SEEDS: u64 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    None,
    IgnoresExpectations,
    RefusesWhatItWrote,
    AcknowledgesWhatItLost,
    TearsCommits,
    ForgetsTheMessagesOfCommits,
    ForgetsTimers,
    GivesOldRevisions,
    MissesChanges,
    RepeatsOldChanges,
    ListsNotAll,
    LosesMessages,
    KeepsRefusedMessages,
    IgnoresIdsOfMessages,
    ForgetsAcknowledgements,
    ForgetsWhatIsHandedBack,
    CountsNoAttempts,
    AddsTwice,
}

#[derive(Debug, Clone)]
struct Broken<T> {
    inner: T,
    defect: Defect,
    calls: Arc<AtomicU64>,
}

impl<T> Broken<T> {
    fn around<U>(&self, inner: U) -> Broken<U> {
        Broken { inner, defect: self.defect, calls: Arc::clone(&self.calls) }
    }

    /// Whether it is time to do wrong: one time of a few.
    fn now(&self, defect: Defect) -> bool {
        self.defect == defect && self.calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(3)
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("it says".into())
}

#[async_trait]
impl Backend for Broken<Engine> {
    async fn store(&self, space: &Name) -> Result<Arc<dyn Store>, StoreError> {
        let space = self.inner.space(space.as_str()).await?;
        Ok(Arc::new(self.around(Arc::clone(space.store()))))
    }

    async fn queue(&self, space: &Name, name: &Name, options: QueueOptions) -> Result<Arc<dyn Queue>, StoreError> {
        let queue = self.inner.space(space.as_str()).await?.queue(name.as_str(), options).await?;
        Ok(Arc::new(self.around(queue)))
    }

    async fn tally(&self, space: &Name) -> Result<Arc<dyn Tally>, StoreError> {
        let tally = self.inner.space(space.as_str()).await?.tally().await?;
        Ok(Arc::new(self.around(tally)))
    }
}

#[async_trait]
impl Store for Broken<Arc<dyn Store>> {
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
        let expect = if self.now(Defect::IgnoresExpectations) { Expect::Anything } else { expect };
        if self.now(Defect::AcknowledgesWhatItLost) {
            return Ok(Revision::new(u64::MAX / 2));
        }
        let revision = self.inner.put(key, value, expect, options).await?;
        if self.now(Defect::RefusesWhatItWrote) {
            return Err(StoreError::Conflict);
        }
        Ok(if self.now(Defect::GivesOldRevisions) { Revision::new(1) } else { revision })
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        self.inner.delete(key, expect).await
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        if commit.writes.len() > 1 && self.now(Defect::TearsCommits) {
            commit.writes.pop();
            let mut done = self.inner.commit(commit).await?;
            done.revisions.push(Revision::new(done.revisions[0].get() + 1));
            return Ok(done);
        }
        if self.defect == Defect::ForgetsTheMessagesOfCommits {
            commit.messages.clear();
        }
        if self.defect == Defect::ForgetsTimers {
            commit.timers.clear();
        }
        self.inner.commit(commit).await
    }

    async fn keys(&self, scope: &Scope) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        let listed = self.inner.keys(scope).await?;
        Ok(if self.defect == Defect::ListsNotAll { listed.skip(1).boxed() } else { listed })
    }

    async fn watch(&self, scope: &Scope) -> Result<BoxStream<'static, Change>, StoreError> {
        let (broken, changes) = (self.around(()), self.inner.watch(scope).await?);
        let mut first = None;
        Ok(changes
            .flat_map(move |change| {
                let is_put = matches!(change, Change::Put(_));
                let mut told = vec![change.clone()];
                if is_put && broken.now(Defect::MissesChanges) {
                    told.clear();
                }
                let old = first.get_or_insert_with(|| change.clone());
                if is_put && broken.now(Defect::RepeatsOldChanges) {
                    told.push(old.clone());
                }
                futures_util::stream::iter(told)
            })
            .boxed())
    }
}

#[async_trait]
impl Queue for Broken<Arc<dyn Queue>> {
    fn name(&self) -> &Name {
        self.inner.name()
    }

    fn options(&self) -> &QueueOptions {
        self.inner.options()
    }

    async fn publish(&self, mut message: Message) -> Result<Published, StoreError> {
        if self.now(Defect::LosesMessages) {
            return Ok(Published::new(1, false));
        }
        if self.defect == Defect::IgnoresIdsOfMessages {
            message.id = None;
        }
        let published = self.inner.publish(message).await?;
        if self.now(Defect::KeepsRefusedMessages) { Err(away()) } else { Ok(published) }
    }

    async fn pull(&self) -> Result<Box<dyn Pull>, StoreError> {
        Ok(Box::new(self.around(self.inner.pull().await?)))
    }
}

#[async_trait]
impl Pull for Broken<Box<dyn Pull>> {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Delivery>, StoreError> {
        let taken = self.inner.next(max).await?;
        let ours = taken.into_iter().map(|from| {
            let attempt = if self.defect == Defect::CountsNoAttempts { 1 } else { from.attempt() };
            let (message, sequence, at) = (from.message().clone(), from.sequence(), from.published_at());
            let settle = self.around(tokio::sync::Mutex::new(Some(from)));
            Delivery::new(message, sequence, attempt, at, Box::new(settle))
        });
        Ok(ours.collect())
    }

    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Settle for Broken<tokio::sync::Mutex<Option<Delivery>>> {
    async fn ack(&self) -> Result<(), StoreError> {
        match self.inner.lock().await.take() {
            Some(_) if self.now(Defect::ForgetsAcknowledgements) => Ok(()),
            Some(delivery) => delivery.ack().await,
            None => Ok(()),
        }
    }

    async fn retry(&self, after: Duration) -> Result<(), StoreError> {
        match self.inner.lock().await.take() {
            Some(delivery) if self.defect == Defect::ForgetsWhatIsHandedBack => delivery.ack().await,
            Some(delivery) => delivery.retry(after).await,
            None => Ok(()),
        }
    }

    async fn reject(&self) -> Result<(), StoreError> {
        match self.inner.lock().await.take() {
            Some(delivery) => delivery.reject().await,
            None => Ok(()),
        }
    }

    async fn extend(&self) -> Result<(), StoreError> {
        match &*self.inner.lock().await {
            Some(delivery) => delivery.extend().await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Tally for Broken<Arc<dyn Tally>> {
    async fn add(&self, key: &Key, delta: i64) -> Result<i128, StoreError> {
        if self.now(Defect::AddsTwice) {
            self.inner.add(key, delta).await?;
        }
        self.inner.add(key, delta).await
    }

    async fn value(&self, key: &Key) -> Result<Option<i128>, StoreError> {
        self.inner.value(key).await
    }
}

async fn engine(defect: Defect) -> Engine {
    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    let inner = Engine::open_with("memory:", clock.clone()).await.unwrap();
    Engine::of(Arc::new(Broken { inner, defect, calls: Arc::default() }), clock)
}

/// The first seed whose history finds a defect.
async fn found(defect: Defect) -> Option<u64> {
    for seed in 0..SEEDS {
        let engine = engine(defect).await;
        if AssertUnwindSafe(under_faults(&engine, seed)).catch_unwind().await.is_err() {
            return Some(seed);
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_breaks_a_promise_is_found_out() {
    assert_eq!(found(Defect::None).await, None, "what stands in between is no defect");
    let defects = [
        Defect::IgnoresExpectations,
        Defect::RefusesWhatItWrote,
        Defect::AcknowledgesWhatItLost,
        Defect::TearsCommits,
        Defect::ForgetsTheMessagesOfCommits,
        Defect::ForgetsTimers,
        Defect::GivesOldRevisions,
        Defect::MissesChanges,
        Defect::RepeatsOldChanges,
        Defect::ListsNotAll,
        Defect::LosesMessages,
        Defect::KeepsRefusedMessages,
        Defect::IgnoresIdsOfMessages,
        Defect::ForgetsAcknowledgements,
        Defect::ForgetsWhatIsHandedBack,
        Defect::CountsNoAttempts,
        Defect::AddsTwice,
    ];
    let mut missed = Vec::new();
    for defect in defects {
        missed.extend(found(defect).await.is_none().then_some(defect));
    }
    assert_eq!(missed, [], "not found in {SEEDS} seeds");
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_buckets_and_streams_runs_the_history_too() {
    let engine = engine(Defect::None).await;
    assert!(engine.bucket("b", BucketOptions::default()).await.is_err());
    under_faults(&engine, 3).await;
}
