//! What is to go wrong: one handle for everything that stands in front of an engine for one process.
//!
//! It decides about each call, lets it wait, and takes its answer away; what a fault means to a store, a queue or a watch is theirs.

use super::{
    World,
    call::{Call, Op},
    chance::{Chance, Drawn, Outage},
    fault::{Fault, WatchFault, away, lost, no_room, too_large},
    locked,
    odds::{Mishaps, Odds},
    past::Moment,
};
use crate::{
    engine::{Change, Key, StoreError},
    time::{Clock, Instant},
};
use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, pending},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::Notify;

/// How long a pull waits for a connection before it says that there is none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Decides about a call; `None` leaves it to the odds.
type Plan = Box<dyn FnMut(&Call<'_>) -> Option<Fault> + Send>;
/// Decides about a change of a watch; `None` leaves it to the odds.
type ChangePlan = Box<dyn FnMut(&Change) -> Option<WatchFault> + Send>;

/// Says what goes wrong between one process and its engine.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{engine::{Engine, Message, QueueOptions}, testing::faulty::{Fault, FaultyEngine, Op}};
///
/// let faulty = FaultyEngine::over(&Engine::open("memory:").await?, Default::default(), 1);
/// let space = faulty.engine().space("shop").await?;
/// let queue = space.queue("orders", QueueOptions::default()).await?;
/// faulty.trouble().once(Fault::Unknown { applied: true }, |call| call.op == Op::Publish);
/// let order = Message::new("apples").id("order-1");
/// assert!(queue.publish(order.clone()).await.is_err(), "nobody knows");
/// assert!(queue.publish(order).await?.duplicate, "it was there");
///
/// faulty.trouble().disconnect();
/// assert!(space.store().get(&anabranch::engine::Key::new("k")?).await.is_err());
/// faulty.trouble().reconnect();
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Trouble {
    pub(super) clock: Clock,
    pub(super) world: Arc<World>,
    state: Mutex<State>,
    /// Rung whenever something of `held`, `down` or `gaps` changes. Those who wait are woken in the order in which they came.
    bell: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    Writes,
    Everything,
}

/// How long a connection is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Down {
    UntilTold,
    Until(Instant),
}

struct State {
    chance: Chance,
    plan: Option<Plan>,
    changes: Option<ChangePlan>,
    held: Held,
    down: Option<Down>,
    full: bool,
    /// How often every watch was told to miss something.
    gaps: u64,
    remembers: bool,
    /// When this process last knew a key for sure.
    knew: BTreeMap<(Box<str>, Key), Moment>,
}

impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trouble").finish_non_exhaustive()
    }
}

impl Trouble {
    pub(super) fn new(clock: Clock, world: Arc<World>, seed: u64) -> Arc<Self> {
        let state = State {
            chance: Chance::new(seed),
            plan: None,
            changes: None,
            held: Held::Nothing,
            down: None,
            full: false,
            gaps: 0,
            remembers: false,
            knew: BTreeMap::new(),
        };
        Arc::new(Self { clock, world, state: Mutex::new(state), bell: Notify::new() })
    }

    /// Sets how often calls fail by chance.
    pub fn odds(&self, odds: Odds) {
        self.state().chance.odds = odds;
    }

    /// Sets how often something else goes wrong by chance.
    pub fn mishaps(&self, mishaps: Mishaps) {
        self.state().chance.mishaps = mishaps;
    }

    /// Decides about each call before chance does; replaces an earlier plan.
    pub fn plan(&self, plan: impl FnMut(&Call<'_>) -> Option<Fault> + Send + 'static) {
        self.state().plan = Some(Box::new(plan));
    }

    /// Does the worst to the next call that is chosen, once; replaces an earlier plan.
    pub fn once(&self, fault: Fault, mut chosen: impl FnMut(&Call<'_>) -> bool + Send + 'static) {
        let mut fault = Some(fault);
        self.plan(move |call| if fault.is_some() && chosen(call) { fault.take() } else { None });
    }

    /// Decides about each change of a watch before chance does; replaces an earlier plan of changes. It sees puts, deletes and
    /// expiries.
    pub fn plan_changes(&self, plan: impl FnMut(&Change) -> Option<WatchFault> + Send + 'static) {
        self.state().changes = Some(Box::new(plan));
    }

    /// Behaves from now on: no plan, no chance, nothing held, connected, room for everything.
    pub fn behave(&self) {
        let mut state = self.state();
        state.plan = None;
        state.changes = None;
        state.chance.odds = Odds::default();
        state.chance.mishaps = Mishaps::default();
        state.full = false;
        state.down = None;
        state.held = Held::Nothing;
        drop(state);
        self.bell.notify_waiters();
    }

    /// Holds everything that writes until [`resume`](Self::resume), like a process that is paused.
    pub fn hold_writes(&self) {
        self.tell(|state| state.held = Held::Writes);
    }

    /// Holds every call until [`resume`](Self::resume).
    pub fn hold(&self) {
        self.tell(|state| state.held = Held::Everything);
    }

    /// Lets go what was held.
    pub fn resume(&self) {
        self.tell(|state| state.held = Held::Nothing);
    }

    /// Cuts the connection: calls are unavailable from now on, those under way are unknown where they write, watches are silent,
    /// and pulls fail after a second.
    pub fn disconnect(&self) {
        self.tell(|state| state.down = Some(Down::UntilTold));
    }

    /// Cuts the connection for so long.
    pub fn disconnect_for(&self, outage: Duration) {
        let until = self.clock.instant() + outage;
        self.tell(|state| state.down = Some(Down::Until(until)));
    }

    /// Connects again; watches go on where they were.
    pub fn reconnect(&self) {
        self.tell(|state| state.down = None);
    }

    /// Makes every watch miss what it has not reported yet, and heal as [`WatchFault::Gap`] says; before
    /// [`reconnect`](Self::reconnect), it does so afterwards.
    pub fn gap(&self) {
        self.tell(|state| state.gaps += 1);
    }

    /// Lets every write fail for want of room, until [`make_room`](Self::make_room).
    pub fn fill_up(&self) {
        self.state().full = true;
    }

    /// Ends what [`fill_up`](Self::fill_up) began.
    pub fn make_room(&self) {
        self.state().full = false;
    }

    /// Keeps what is there from now on, for [`Fault::Stale`]: each write reads the keys first. [`Mishaps::stale`] and
    /// [`Mishaps::forgetful`] do so by themselves.
    pub fn remember(&self) {
        self.state().remembers = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.bell.notify_waiters();
    }

    /// Does to a call what happens before the engine sees it; returns what is to happen with it or afterwards.
    pub(super) async fn meet(&self, call: &Call<'_>) -> Result<Option<Drawn>, StoreError> {
        let op = call.op;
        let drawn = self.decide(call);
        self.until(|state| state.held == Held::Nothing || (state.held == Held::Writes && !op.writes())).await;
        if let Some(Drawn::Outage(Outage { lasts, gap })) = drawn
            && self.is_up()
        {
            self.disconnect_for(lasts);
            self.tell(|state| state.gaps += u64::from(gap));
        }
        self.reach(op).await?;
        if self.state().full && op.writes() {
            return Err(no_room());
        }
        let Some(Drawn::Fault(fault)) = drawn else { return Ok(drawn) };
        match fault {
            Fault::Delay(delay) => self.unless_cut(op, self.clock.sleep(delay)).await.map(|()| None),
            Fault::Panic => panic!("the store panicked, as it was told to"),
            Fault::Unknown { applied: true } if op == Op::Next => Ok(drawn),
            Fault::Unknown { .. } if !op.writes() => Err(away()),
            Fault::Unknown { applied: false } => Err(lost()),
            Fault::Conflict if op.compares() => Err(StoreError::Conflict),
            Fault::Unavailable | Fault::Conflict => Err(away()),
            Fault::Full if op.writes() => Err(no_room()),
            Fault::TooLarge if call.size > 0 => Err(too_large(call.size)),
            Fault::Unknown { applied: true }
            | Fault::Late(_)
            | Fault::Hang
            | Fault::Stale { .. }
            | Fault::Full
            | Fault::TooLarge
            | Fault::Expire { .. }
            | Fault::Duplicate => Ok(drawn),
        }
    }

    /// Has the engine do it, and does to its answer what happens afterwards. A refusal is never hidden: it may be reported as it
    /// is.
    pub(super) async fn finish<T>(
        &self,
        op: Op,
        drawn: Option<Drawn>,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answer = self.unless_cut(op, work).await?;
        let Some(Drawn::Fault(fault)) = drawn else { return answer };
        match fault {
            Fault::Hang => pending().await,
            Fault::Unknown { .. } => answer.and_then(|_| Err(lost())),
            Fault::Late(late) => self.unless_cut(op, self.clock.sleep(late)).await.and(answer),
            _ => answer,
        }
    }

    /// Does both around a call to which nothing else can happen.
    pub(super) async fn around<T>(
        &self,
        call: &Call<'_>,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let drawn = self.meet(call).await?;
        self.finish(call.op, drawn, work).await
    }

    /// Decides about a change of a watch.
    pub(super) fn decide_change(&self, change: &Change, synced: bool) -> Option<WatchFault> {
        let mut state = self.state();
        match state.changes.as_mut().and_then(|plan| plan(change)) {
            Some(WatchFault::Gap(silent)) if !synced => Some(WatchFault::Silence(silent)),
            Some(fault) => Some(fault),
            None => state.chance.of_change(synced),
        }
    }

    pub(super) fn choose(&self, of: usize) -> usize {
        self.state().chance.choose(of)
    }

    pub(super) fn remembers(&self) -> bool {
        let state = self.state();
        state.remembers || state.chance.mishaps.stale > 0 || state.chance.mishaps.forgetful > 0
    }

    /// Notes that this process knows a key as of a moment.
    pub(super) fn knows(&self, place: &str, key: &Key, moment: Moment) {
        let mut state = self.state();
        let knew = state.knew.entry((Box::from(place), key.clone())).or_default();
        *knew = moment.max(*knew);
    }

    /// Since when this process knows all of the keys at least.
    pub(super) fn knew(&self, place: &str, keys: &[Key]) -> Moment {
        let state = self.state();
        let knew = keys.iter().filter_map(|key| state.knew.get(&(Box::from(place), key.clone())));
        knew.copied().max().unwrap_or_default()
    }

    pub(super) fn gaps(&self) -> u64 {
        self.state().gaps
    }

    /// Waits until it is told to miss something, beyond so many times.
    pub(super) async fn gap_after(&self, gaps: u64) {
        self.until(|state| state.gaps > gaps).await;
    }

    pub(super) fn is_up(&self) -> bool {
        !is_down(&self.state(), &self.clock)
    }

    /// Waits until there is a connection.
    pub(super) async fn up(&self) {
        loop {
            let down = self.state().down;
            match down {
                None => return,
                Some(Down::Until(then)) => {
                    let left = then.saturating_duration_since(self.clock.instant());
                    if left.is_zero() {
                        return;
                    }
                    // It may be told to connect, or to stay away for longer.
                    let _ = self.clock.timeout(left, self.until(|state| state.down != down)).await;
                }
                Some(Down::UntilTold) => self.until(|state| state.down != down).await,
            }
        }
    }

    /// Waits until there is none.
    pub(super) async fn cut(&self) {
        self.until(|state| is_down(state, &self.clock)).await;
    }

    /// Waits for something to end, unless the connection is cut meanwhile.
    pub(super) async fn unless_cut<T>(&self, op: Op, work: impl Future<Output = T>) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.cut() => Err(if op.writes() { lost() } else { away() }),
        }
    }

    /// Refuses what cannot reach the engine. Whoever waits for messages waits for a connection for a while, since nobody waits
    /// before asking again.
    async fn reach(&self, op: Op) -> Result<(), StoreError> {
        if self.is_up() || (op == Op::Next && self.clock.timeout(PATIENCE, self.up()).await.is_some()) {
            return Ok(());
        }
        Err(away())
    }

    /// Waits until something holds that the bell is rung for.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let rung = self.bell.notified();
            tokio::pin!(rung);
            // Before looking, so that what is told in between is heard.
            rung.as_mut().enable();
            if holds(&self.state()) {
                return;
            }
            rung.await;
        }
    }

    fn decide(&self, call: &Call<'_>) -> Option<Drawn> {
        let mut state = self.state();
        match state.plan.as_mut().and_then(|plan| plan(call)) {
            Some(fault) => Some(Drawn::Fault(fault)),
            None => state.chance.of_call(call),
        }
    }
}

fn is_down(state: &State, clock: &Clock) -> bool {
    match state.down {
        None => false,
        Some(Down::UntilTold) => true,
        Some(Down::Until(then)) => clock.instant() < then,
    }
}
