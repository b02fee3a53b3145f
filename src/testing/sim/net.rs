//! The way between a host and the server of a simulation: calls travel, get lost, and come too late.
//!
//! A request that was sent is the server's affair: it arrives, or not, whatever becomes of the one who sent it. An answer that is lost
//! leaves the caller with an unknown outcome, as a broken connection does. This file does not know what is asked.

use super::{trace::Trace, wheel::Wheel};
use crate::{
    engine::{BucketOptions, Engine, Name, Queue, QueueOptions, Space, Store, StoreError, Stream, StreamOptions},
    error::BoxError,
    testing::Dice,
};
use futures_util::future::{BoxFuture, Either, select};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};
use tokio_util::sync::CancellationToken;

/// What was opened once, for whoever asks again.
type Kept<K, V> = Arc<tokio::sync::Mutex<BTreeMap<K, V>>>;

/// The server, while it is up.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) engine: Engine,
    /// Where what was sent to the server lives.
    pub(super) handle: Handle,
    /// Ends with this boot of the server.
    pub(super) down: CancellationToken,
    queues: Kept<(Name, Name), Arc<dyn Queue>>,
    streams: Kept<Name, Stream>,
}

impl Served {
    pub(super) fn new(engine: Engine, handle: Handle, down: CancellationToken) -> Self {
        Self { engine, handle, down, queues: Arc::default(), streams: Arc::default() }
    }

    pub(super) async fn queue(&self, space: Name, name: Name, options: QueueOptions) -> Result<Arc<dyn Queue>, StoreError> {
        let mut queues = self.queues.lock().await;
        let place = (space, name);
        if let Some(queue) = queues.get(&place).filter(|q| *q.options() == options) {
            return Ok(Arc::clone(queue));
        }
        let queue = self.engine.space(place.0.as_str()).await?.queue(place.1.as_str(), options).await?;
        queues.insert(place, Arc::clone(&queue));
        Ok(queue)
    }

    pub(super) async fn stream(&self, name: Name, options: StreamOptions) -> Result<Stream, StoreError> {
        let stream = self.engine.stream(name.as_str(), options).await?;
        self.streams.lock().await.insert(name, stream.clone());
        Ok(stream)
    }

    /// Returns the queue of a stream that was opened before, or opens it.
    pub(super) async fn stream_queue(&self, name: &Name, options: StreamOptions) -> Result<Arc<dyn Queue>, StoreError> {
        if let Some(stream) = self.streams.lock().await.get(name) {
            return Ok(Arc::clone(stream.queue()));
        }
        Ok(self.stream(name.clone(), options).await?.into())
    }
}

/// Which keys a call is about.
#[derive(Debug, Clone)]
pub(super) enum Door {
    Space(Name),
    Bucket(Name, BucketOptions),
}

impl Door {
    pub(super) async fn open(&self, served: &Served) -> Result<Space, StoreError> {
        match self {
            Self::Space(name) => served.engine.space(name.as_str()).await,
            Self::Bucket(name, options) => served.engine.bucket(name.as_str(), options.clone()).await,
        }
    }

    pub(super) async fn store(&self, served: &Served) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::clone(self.open(served).await?.store()))
    }
}

/// What all hosts share.
pub(super) struct Net {
    pub(super) wheel: Arc<Wheel>,
    pub(super) trace: Trace,
    server: Mutex<Option<Served>>,
}

impl Net {
    pub(super) fn new(wheel: Arc<Wheel>, trace: Trace) -> Arc<Self> {
        Arc::new(Self { wheel, trace, server: Mutex::new(None) })
    }

    fn server(&self) -> MutexGuard<'_, Option<Served>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn serve(&self, served: Option<Served>) {
        let before = std::mem::replace(&mut *self.server(), served);
        if let Some(before) = before {
            before.down.cancel();
        }
    }

    pub(super) fn served(&self) -> Option<Served> {
        self.server().clone()
    }
}

/// How long a message is under way, and how long somebody waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    pub(super) least: Duration,
    pub(super) most: Duration,
    /// Messages in a thousand that get lost, each way.
    pub(super) loss: u16,
    pub(super) patience: Duration,
}

impl Default for Weather {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self { least: Duration::from_micros(100), most: millis(5), loss: 0, patience: millis(2000) }
    }
}

/// One host's way to the server.
pub(super) struct Link {
    pub(super) net: Arc<Net>,
    pub(super) host: Arc<str>,
    /// Whether nothing goes through, and how often everything that was open broke.
    state: Mutex<State>,
    /// Not tokio's `watch`, which wakes who waits in an order of its own.
    changed: Notify,
    /// Who runs now: a call of an earlier boot goes nowhere.
    boot: AtomicU32,
    chance: Mutex<(Dice, Weather)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    cut: bool,
    breaks: u32,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(net: Arc<Net>, host: Arc<str>, dice: Dice) -> Arc<Self> {
        let chance = Mutex::new((dice, Weather::default()));
        Arc::new(Self { net, host, state: Mutex::default(), changed: Notify::new(), boot: AtomicU32::new(0), chance })
    }

    fn chance(&self) -> MutexGuard<'_, (Dice, Weather)> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn weather(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.chance().1);
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }

    pub(super) fn cut(&self, cut: bool) {
        self.change(|state| *state = State { cut, breaks: state.breaks + u32::from(cut) });
    }

    /// Breaks what is open; what is opened from now on goes through.
    pub(super) fn break_off(&self) {
        self.change(|state| state.breaks += 1);
    }

    /// Begins another life of the host, and returns its number.
    pub(super) fn reboot(&self) -> u32 {
        self.break_off();
        self.boot.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns what tells, from now on, that a connection of this moment is broken.
    pub(super) fn connection(self: &Arc<Self>) -> Connection {
        Connection { link: Arc::clone(self), since: self.state().breaks }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.state().cut
    }

    /// Draws how long a message is under way.
    pub(super) fn travel(&self) -> Duration {
        let (dice, weather) = &mut *self.chance();
        let spread = u64::try_from(weather.most.saturating_sub(weather.least).as_nanos()).unwrap_or(u64::MAX);
        weather.least + Duration::from_nanos(dice.roll(spread.saturating_add(1).max(1)))
    }

    /// Draws whether a message is lost.
    fn is_lost(&self) -> bool {
        let (dice, weather) = &mut *self.chance();
        weather.loss > 0 && dice.roll(1000) < u64::from(weather.loss)
    }

    /// Draws whether a message is lost whose connection broke after it was sent.
    fn is_lost_on_the_way(&self) -> bool {
        self.chance().0.roll(2) == 0
    }

    fn patience(&self) -> Duration {
        self.chance().1.patience
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        self.net.trace.say(self.net.wheel.elapsed(), &self.host, what());
    }
}

/// A connection that holds until it breaks.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    link: Arc<Link>,
    since: u32,
}

impl Connection {
    pub(super) fn holds(&self) -> bool {
        let state = self.link.state();
        !state.cut && state.breaks == self.since
    }

    /// Waits until it breaks.
    pub(super) async fn broken(&self) {
        loop {
            let changed = self.link.changed.notified();
            if !self.holds() {
                return;
            }
            changed.await;
        }
    }
}

/// One life of a host on its link.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) link: Arc<Link>,
    boot: u32,
}

impl Line {
    pub(super) fn new(link: Arc<Link>, boot: u32) -> Self {
        Self { link, boot }
    }

    /// Whoever speaks for a host that is dead is not heard: a destructor says goodbye, and a crash does not.
    fn is_dead(&self) -> bool {
        self.link.boot.load(Ordering::Relaxed) != self.boot
    }

    /// Asks the server for something. A request without an answer may have happened when it `writes`.
    pub(super) async fn call<T, F>(
        &self,
        writes: bool,
        what: impl FnOnce() -> String + Send + 'static,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: fmt::Debug + Send + 'static,
        F: FnOnce(Served) -> BoxFuture<'static, Result<T, StoreError>> + Send + 'static,
    {
        if self.is_dead() {
            return std::future::pending().await;
        }
        let link = &self.link;
        let (wheel, patience) = (&link.net.wheel, link.patience());
        let (there, back) = (link.travel(), link.travel());
        let Some(served) = link.net.served().filter(|_| !link.is_cut()) else {
            wheel.sleep(there).await;
            return Err(StoreError::Unavailable("the server is away".into()));
        };
        let (lost_there, lost_back) = (link.is_lost(), link.is_lost());
        let (answer, reply) = oneshot::channel();
        let (sender, connection) = (Arc::clone(link), link.connection());
        let sent_on = connection.clone();
        served.handle.clone().spawn(async move {
            let wheel = Arc::clone(&sender.net.wheel);
            wheel.sleep(there).await;
            // What was sent may arrive after its connection, or its sender, is no more; only the answer finds nobody.
            if lost_there || (!connection.holds() && sender.is_lost_on_the_way()) {
                return;
            }
            let outcome = work(served).await;
            sender.say(|| format!("{} -> {}", what(), told(&outcome)));
            wheel.sleep(back).await;
            if !lost_back && connection.holds() {
                // Nobody waits any more when the caller was dropped.
                drop(answer.send(outcome));
            }
        });
        // A break is noticed as such, in an order that the link decides, and not by what is dropped with the server.
        let over = select(Box::pin(sent_on.broken()), wheel.sleep(patience));
        let why: BoxError = match select(reply, over).await {
            Either::Left((Ok(outcome), _)) => return outcome,
            Either::Left((Err(_), over)) => {
                over.await;
                "no answer came".into()
            }
            Either::Right(_) => "no answer came".into(),
        };
        Err(if writes { StoreError::Unknown(why) } else { StoreError::Unavailable(why) })
    }
}

/// What has no words of its own: its address would differ from one execution to the next.
pub(super) struct Opened<T>(pub(super) T);

impl<T> fmt::Debug for Opened<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("opened")
    }
}

/// Says an outcome in a few words.
fn told<T: fmt::Debug>(outcome: &Result<T, StoreError>) -> String {
    const MOST: usize = 120;
    let mut text = match outcome {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{error}"),
    };
    if let Some((at, _)) = text.char_indices().nth(MOST) {
        text.truncate(at);
        text.push_str("...");
    }
    text
}
