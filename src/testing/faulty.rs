//! A store that misbehaves: lost acknowledgements, spurious conflicts, outages, latency, silence and panics.
//!
//! [`FaultyStore`] stands in front of any store and keeps the contract of [`Store`]: what it reports as
//! [`Conflict`](StoreError::Conflict) or [`Unavailable`](StoreError::Unavailable) was not written, and what it reports as
//! [`Unknown`](StoreError::Unknown) may have been. Its dice come from a seed; which call meets which roll depends on the order
//! of calls, so a run repeats where that order does.

use crate::{
    engine::{
        Capabilities, Change, Commit, Committed, Entry, Expect, Key, KeyInfo, PutOptions, Revision, Scope, Space, Store,
        StoreError, Version,
    },
    testing::Dice,
    time::Clock,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// What a call asks of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `get`, `get_many` and `history`
    Read,
    /// `put`
    Put,
    /// `delete`
    Delete,
    /// `commit`
    Commit,
    /// `keys`
    Keys,
    /// The start of a `watch`
    Watch,
}

impl Op {
    /// Tells whether it changes something.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Put | Self::Delete | Self::Commit)
    }
}

/// A call on its way to the store.
#[derive(Debug)]
pub struct Call<'a> {
    /// What it asks for.
    pub op: Op,
    /// The keys that it is about; for `keys` and `watch` there are none, unless their scope is one key.
    pub keys: Vec<&'a Key>,
}

impl Call<'_> {
    /// Tells whether it writes a key that begins with these tokens.
    #[must_use]
    pub fn writes_below(&self, start: &str) -> bool {
        self.op.writes() && self.keys.iter().any(|key| key.as_str().starts_with(start))
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The answer is lost. A read is unavailable instead.
    Unknown {
        /// Whether the write happened all the same.
        applied: bool,
    },
    /// Nothing happens, and the call is told that a key is not as expected. A read is unavailable instead.
    Conflict,
    /// Nothing happens, and the call is told that the store is away.
    Unavailable,
    /// It happens later.
    Delay(Duration),
    /// It happens, and is never answered.
    Hang,
    /// The caller panics, and nothing happens.
    Panic,
}

/// How often something goes wrong by chance, in calls of a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Odds {
    /// Writes whose answer is lost; of every two, one happened.
    pub unknown: u16,
    /// Writes that are refused for no reason.
    pub conflict: u16,
    /// Calls that find the store away.
    pub unavailable: u16,
    /// The longest delay of a call; each call draws its own.
    pub latency: Duration,
}

/// Decides about a call; `None` leaves it to the odds.
type Plan = Box<dyn FnMut(&Call<'_>) -> Option<Fault> + Send>;

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
    clock: Clock,
    trouble: Mutex<Trouble>,
    /// Which calls wait: none, those that write, or all.
    held: watch::Sender<Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    Writes,
    Everything,
}

struct Trouble {
    dice: Dice,
    odds: Odds,
    plan: Option<Plan>,
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
        Arc::new(Self {
            inner: Arc::clone(space.store()),
            clock: space.clock().clone(),
            trouble: Mutex::new(Trouble { dice: Dice::new(seed), odds: Odds::default(), plan: None }),
            held: watch::Sender::new(Held::Nothing),
        })
    }

    /// Sets how often something goes wrong by chance.
    pub fn odds(&self, odds: Odds) {
        self.trouble().odds = odds;
    }

    /// Decides about each call before chance does; replaces an earlier plan.
    pub fn plan(&self, plan: impl FnMut(&Call<'_>) -> Option<Fault> + Send + 'static) {
        self.trouble().plan = Some(Box::new(plan));
    }

    /// Does the worst to the next call that is chosen, once; replaces an earlier plan.
    pub fn once(&self, fault: Fault, mut chosen: impl FnMut(&Call<'_>) -> bool + Send + 'static) {
        let mut fault = Some(fault);
        self.plan(move |call| if fault.is_some() && chosen(call) { fault.take() } else { None });
    }

    /// Behaves from now on: no plan, no chance, nothing held.
    pub fn behave(&self) {
        let mut trouble = self.trouble();
        trouble.plan = None;
        trouble.odds = Odds::default();
        drop(trouble);
        self.resume();
    }

    /// Holds everything that writes until [`resume`](Self::resume), like a process that is paused.
    pub fn hold_writes(&self) {
        self.held.send_replace(Held::Writes);
    }

    /// Holds every call until [`resume`](Self::resume).
    pub fn hold(&self) {
        self.held.send_replace(Held::Everything);
    }

    /// Lets go what was held.
    pub fn resume(&self) {
        self.held.send_replace(Held::Nothing);
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does to a call what happens before the store sees it; returns what is to happen afterwards.
    async fn meet(&self, op: Op, keys: Vec<&Key>) -> Result<Option<Fault>, StoreError> {
        let fault = self.trouble().fault(&Call { op, keys });
        let mut held = self.held.subscribe();
        let goes = |held: &Held| *held == Held::Nothing || (*held == Held::Writes && !op.writes());
        // The sender is ours, so there is nobody else to close it.
        let _ = held.wait_for(goes).await;
        match fault {
            Some(Fault::Delay(delay)) => self.clock.sleep(delay).await,
            Some(Fault::Unavailable) => return Err(away()),
            Some(Fault::Conflict | Fault::Unknown { .. }) if !op.writes() => return Err(away()),
            Some(Fault::Conflict) => return Err(StoreError::Conflict),
            Some(Fault::Unknown { applied: false }) => return Err(lost()),
            Some(Fault::Panic) => panic!("the store panicked, as it was told to"),
            Some(Fault::Unknown { applied: true } | Fault::Hang) => return Ok(fault),
            None => {}
        }
        Ok(None)
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("injected".into())
}

fn lost() -> StoreError {
    StoreError::Unknown("injected".into())
}

/// Does to an answer what happens after the store gave it. A refusal is never hidden: it may be reported as it is.
async fn after<T>(fault: Option<Fault>, answer: Result<T, StoreError>) -> Result<T, StoreError> {
    match (fault, answer) {
        (Some(Fault::Hang), _) => std::future::pending().await,
        (Some(Fault::Unknown { .. }), Ok(_)) => Err(lost()),
        (_, answer) => answer,
    }
}

impl Trouble {
    fn fault(&mut self, call: &Call<'_>) -> Option<Fault> {
        if let Some(fault) = self.plan.as_mut().and_then(|plan| plan(call)) {
            return Some(fault);
        }
        let Odds { unknown, conflict, unavailable, latency } = self.odds;
        let roll = u16::try_from(self.dice.roll(1000)).unwrap_or(0);
        let (unknown, conflict) = if call.op.writes() { (unknown, conflict) } else { (0, 0) };
        if roll < unknown {
            Some(Fault::Unknown { applied: roll % 2 == 0 })
        } else if roll < unknown + conflict {
            Some(Fault::Conflict)
        } else if roll < unknown + conflict + unavailable {
            Some(Fault::Unavailable)
        } else if latency.is_zero() {
            None
        } else {
            let most = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            Some(Fault::Delay(Duration::from_micros(self.dice.roll(most))))
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let fault = self.meet(Op::Read, vec![key]).await?;
        after(fault, self.inner.get(key).await).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError> {
        let fault = self.meet(Op::Read, keys.iter().collect()).await?;
        after(fault, self.inner.get_many(keys).await).await
    }

    async fn history(&self, key: &Key) -> Result<Vec<Version>, StoreError> {
        let fault = self.meet(Op::Read, vec![key]).await?;
        after(fault, self.inner.history(key).await).await
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect, options: PutOptions) -> Result<Revision, StoreError> {
        let fault = self.meet(Op::Put, vec![key]).await?;
        after(fault, self.inner.put(key, value, expect, options).await).await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        let fault = self.meet(Op::Delete, vec![key]).await?;
        after(fault, self.inner.delete(key, expect).await).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let fault = self.meet(Op::Commit, commit.writes.iter().map(|w| &w.key).collect()).await?;
        after(fault, self.inner.commit(commit).await).await
    }

    async fn keys(&self, scope: &Scope) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        let fault = self.meet(Op::Keys, only(scope)).await?;
        after(fault, self.inner.keys(scope).await).await
    }

    async fn watch(&self, scope: &Scope) -> Result<BoxStream<'static, Change>, StoreError> {
        let fault = self.meet(Op::Watch, only(scope)).await?;
        after(fault, self.inner.watch(scope).await).await
    }
}

fn only(scope: &Scope) -> Vec<&Key> {
    match scope {
        Scope::Only(key) => vec![key],
        Scope::All | Scope::Below(_) => Vec::new(),
    }
}
