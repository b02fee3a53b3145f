//! A store that misbehaves: what a fault means to reads, writes and watches.

use super::{
    Trouble, World,
    call::{Call, Op},
    chance::Drawn,
    fault::Fault,
    odds::Odds,
    past::Moment,
    watch,
};
use crate::engine::{
    Capabilities, Change, Commit, Committed, Entry, Expect, Key, KeyInfo, PutOptions, Revision, Scope, Space, Store,
    StoreError, Version, WriteOp,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{fmt, future::Future, slice, sync::Arc};

/// A store that misbehaves as it is told to.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{engine::{Engine, Expect, Key, PutOptions}, testing::faulty::{Fault, FaultyStore}};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let faulty = FaultyStore::over(&space, 1);
/// let space = space.with_store(faulty.clone());
/// faulty.plan(|call| call.writes_below("stock").then_some(Fault::Unavailable));
/// let put = |key| (Key::new(key).unwrap(), "1".into(), Expect::Absent, PutOptions::default());
/// let (key, value, expect, options) = put("stock.apples");
/// assert!(space.store().put(&key, value, expect, options).await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    can: Capabilities,
    place: Box<str>,
    trouble: Arc<Trouble>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// Stands in front of a space's store, and does nothing yet. Put it in place with
    /// [`Space::with_store`](crate::engine::Space::with_store).
    #[must_use]
    pub fn over(space: &Space, seed: u64) -> Arc<Self> {
        let trouble = Trouble::new(space.clock().clone(), Arc::<World>::default(), seed);
        let can = space.store().capabilities().clone();
        Arc::new(Self { inner: Arc::clone(space.store()), can, place: space.name().as_str().into(), trouble })
    }

    pub(super) fn of(inner: Arc<dyn Store>, can: Capabilities, place: &str, trouble: Arc<Trouble>) -> Self {
        Self { inner, can, place: place.into(), trouble }
    }

    /// Returns what it is told by; whatever is not said here is said there.
    #[must_use]
    pub fn trouble(&self) -> &Arc<Trouble> {
        &self.trouble
    }

    /// Sets how often something goes wrong by chance.
    pub fn odds(&self, odds: Odds) {
        self.trouble.odds(odds);
    }

    /// Decides about each call before chance does; replaces an earlier plan.
    pub fn plan(&self, plan: impl FnMut(&Call<'_>) -> Option<Fault> + Send + 'static) {
        self.trouble.plan(plan);
    }

    /// Does the worst to the next call that is chosen, once; replaces an earlier plan.
    pub fn once(&self, fault: Fault, chosen: impl FnMut(&Call<'_>) -> bool + Send + 'static) {
        self.trouble.once(fault, chosen);
    }

    /// Behaves from now on: no plan, no chance, nothing held.
    pub fn behave(&self) {
        self.trouble.behave();
    }

    /// Holds everything that writes until [`resume`](Self::resume), like a process that is paused.
    pub fn hold_writes(&self) {
        self.trouble.hold_writes();
    }

    /// Holds every call until [`resume`](Self::resume).
    pub fn hold(&self) {
        self.trouble.hold();
    }

    /// Lets go what was held.
    pub fn resume(&self) {
        self.trouble.resume();
    }

    fn call<'a>(&'a self, op: Op, keys: Vec<&'a Key>) -> Call<'a> {
        Call { keys, ..Call::new(op, &self.place) }
    }

    /// Lets keys expire that have a TTL.
    async fn expire(&self, keys: &[&Key]) {
        let mortals = &self.trouble.world.mortals;
        for key in keys {
            if let Some(revision) = mortals.take(&self.place, key) {
                // Whoever wrote it meanwhile has renewed it, with a TTL of its own.
                let removal = self.inner.delete(key, Expect::At(revision)).await.ok();
                mortals.gone(&self.place, key, removal);
            }
        }
    }

    /// Does what happens right before the engine is asked, asks it, and does what happens right afterwards.
    async fn perform<T>(
        &self,
        call: Call<'_>,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<(T, Option<Drawn>), StoreError> {
        let drawn = self.trouble.meet(&call).await?;
        let expires = match drawn {
            Some(Drawn::Fault(Fault::Expire { before })) => Some(before),
            _ => None,
        };
        let around = async {
            if expires == Some(true) {
                self.expire(&call.keys).await;
            }
            let answer = work.await;
            if expires == Some(false) {
                self.expire(&call.keys).await;
            }
            answer
        };
        let answer = self.trouble.finish(call.op, drawn, around).await?;
        Ok((answer, drawn))
    }

    /// Asks the engine, and remembers what it said.
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        let past = &self.trouble.world.past;
        let moment = past.now();
        let answer = match keys {
            [key] => vec![self.inner.get(key).await?],
            keys => self.inner.get_many(keys).await?,
        };
        if self.trouble.remembers() {
            past.note(&self.place, keys, &answer, moment);
        }
        Ok(answer)
    }

    /// Reads keys, perhaps as they were.
    async fn look(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        let moment = self.trouble.world.past.now();
        let (fresh, drawn) = self.perform(self.call(Op::Read, keys.iter().collect()), self.read(keys)).await?;
        let older = |back, least| self.trouble.world.past.older(&self.place, keys, &fresh, back, least);
        let stale = match drawn {
            Some(Drawn::Fault(Fault::Stale { back })) => older(back, Moment::default()),
            Some(Drawn::Behind { back }) => older(back, self.trouble.knew(&self.place, keys)),
            _ => None,
        };
        if let Some(stale) = stale {
            return Ok(stale);
        }
        self.knows(keys.iter(), moment);
        Ok(fresh)
    }

    /// Writes, and remembers what was there before.
    async fn write<T>(&self, call: Call<'_>, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let keys = call.keys.clone();
        let remembering = async {
            if self.trouble.remembers() {
                for question in self.trouble.world.past.touched(&self.place, &keys) {
                    // What cannot be read now is not remembered.
                    drop(self.read(&question).await);
                }
            }
            work.await
        };
        let (written, _) = self.perform(call, remembering).await?;
        self.knows(keys.into_iter(), self.trouble.world.past.now());
        Ok(written)
    }

    fn knows<'a>(&self, keys: impl Iterator<Item = &'a Key>, moment: Moment) {
        if self.trouble.remembers() {
            keys.for_each(|key| self.trouble.knows(&self.place, key, moment));
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn capabilities(&self) -> &Capabilities {
        &self.can
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.look(slice::from_ref(key)).await?.pop().flatten())
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.look(keys).await
    }

    async fn history(&self, key: &Key) -> Result<Vec<Version>, StoreError> {
        let (versions, _) = self.perform(self.call(Op::Read, vec![key]), self.inner.history(key)).await?;
        Ok(versions)
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect, options: PutOptions) -> Result<Revision, StoreError> {
        let call = Call { size: value.len(), ..self.call(Op::Put, vec![key]) };
        let ttl = options.ttl.is_some();
        let put = async {
            let revision = self.inner.put(key, value, expect, options).await?;
            self.trouble.world.mortals.put(&self.place, key, revision, ttl);
            Ok(revision)
        };
        self.write(call, put).await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        self.write(self.call(Op::Delete, vec![key]), self.inner.delete(key, expect)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let keys: Vec<Key> = commit.writes.iter().map(|w| w.key.clone()).collect();
        let ttls: Vec<bool> =
            commit.writes.iter().map(|w| matches!(&w.op, WriteOp::Put(_, options) if options.ttl.is_some())).collect();
        let values = commit.writes.iter().map(|w| if let WriteOp::Put(value, _) = &w.op { value.len() } else { 0 });
        let payloads = commit.messages.iter().map(|m| m.message.payload.len());
        let size = values.chain(payloads).max().unwrap_or(0);
        let call = Call { size, ..self.call(Op::Commit, keys.iter().collect()) };
        let work = async {
            let committed = self.inner.commit(commit).await?;
            for ((key, ttl), revision) in keys.iter().zip(&ttls).zip(&committed.revisions) {
                self.trouble.world.mortals.put(&self.place, key, *revision, *ttl);
            }
            Ok(committed)
        };
        self.write(call, work).await
    }

    async fn keys(&self, scope: &Scope) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        self.trouble.around(&self.call(Op::Keys, only(scope)), self.inner.keys(scope)).await
    }

    async fn watch(&self, scope: &Scope) -> Result<BoxStream<'static, Change>, StoreError> {
        let call = self.call(Op::Watch, only(scope));
        let changes = self.trouble.around(&call, self.inner.watch(scope)).await?;
        Ok(watch::faulty(changes, &self.inner, scope, &self.place, &self.trouble))
    }
}

fn only(scope: &Scope) -> Vec<&Key> {
    match scope {
        Scope::Only(key) => vec![key],
        Scope::All | Scope::Below(_) => Vec::new(),
    }
}
