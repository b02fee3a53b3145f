//! What the tests of the runtime share: an engine under virtual time, workers, a diamond that records what ran.

use anabranch::{
    Ctx, NodeError, NodeResult, StopReason, Topology,
    engine::{Engine, Space},
    runtime::{Runtime, RuntimeOptions},
    testing::pass,
    time::{Clock, Timestamp},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// What ran, in order.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

pub async fn space() -> Space {
    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    Engine::open_with("memory:", clock).await.unwrap().space("test").await.unwrap()
}

pub async fn worker(space: &Space) -> Runtime {
    let options = RuntimeOptions::default().lease(Duration::from_secs(3)).drain_timeout(Duration::from_secs(5));
    Runtime::start_with(space.clone(), options).await.unwrap()
}

async fn step(ctx: Ctx<Journal>, value: u64) -> NodeResult<u64> {
    ctx.app().note(ctx.node());
    Ok(value + 1)
}

/// `a -> (b, c) -> d`, each of which adds one.
pub fn diamond() -> Topology<u64, u64, Journal> {
    let mut t = Topology::builder::<u64>("diamond").app::<Journal>();
    let input = t.input();
    let a = t.node("a", input, step);
    let b = t.node("b", a, step);
    let c = t.node("c", a, step);
    let d = t.node("d", (b, c), async |ctx: Ctx<Journal>, (b, c): (u64, u64)| {
        ctx.app().note(ctx.node());
        Ok(b * 100 + c)
    });
    t.build(d).unwrap()
}

/// Holds a body until it is opened, and counts who came and who went.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    entered: tokio::sync::Notify,
    open: tokio::sync::watch::Sender<bool>,
    finished: std::sync::atomic::AtomicUsize,
    stopped: Mutex<Vec<StopReason>>,
}

impl Gate {
    /// Waits until a body has come, once for each.
    pub async fn entered(&self) {
        self.0.entered.notified().await;
    }

    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    pub fn finished(&self) -> usize {
        self.0.finished.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// What listening bodies were told.
    pub fn stopped(&self) -> Vec<StopReason> {
        self.0.stopped.lock().unwrap().clone()
    }

    pub async fn pass(&self) {
        self.0.entered.notify_one();
        self.0.open.subscribe().wait_for(|open| *open).await.unwrap();
        self.0.finished.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }

    pub fn told(&self, reason: StopReason) {
        self.0.stopped.lock().unwrap().push(reason);
    }
}

/// One node that returns its input once its gate is open.
pub fn gated() -> Topology<u64, u64, Gate> {
    let mut t = Topology::builder::<u64>("gated").app::<Gate>();
    let input = t.input();
    let held = t.node("held", input, async |ctx: Ctx<Gate>, value: u64| {
        ctx.app().pass().await;
        Ok(value)
    });
    t.build(held).unwrap()
}

/// One node that listens to its stop while its gate is closed, and takes `linger` to end.
pub fn listening(linger: Duration) -> Topology<u64, u64, Gate> {
    let mut t = Topology::builder::<u64>("listening").app::<Gate>();
    let input = t.input();
    let held = t.node("held", input, move |ctx: Ctx<Gate>, value: u64| async move {
        tokio::select! {
            () = ctx.app().pass() => Ok(value),
            reason = ctx.cancelled() => {
                pass(linger).await;
                ctx.app().told(reason);
                Err(NodeError::retryable("stopped"))
            }
        }
    });
    t.build(held).unwrap()
}
