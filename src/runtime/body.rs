//! A node's body in this process: its inputs fetched, its code run, its end reported.
//!
//! A body runs only after its attempt was persisted. It is asked to stop through its context; one that listens has some time to
//! end, one that does not is dropped at its next await. Its panic is its own. What it reports is an event like any other, and
//! the machine decides whether it still counts.

use super::{
    error::RunError,
    hosted::Hosted,
    message::{End, Msg},
};
use crate::{
    core::{
        graph::{Edge, NodeId, Upstream},
        machine::Event,
        retry::StopReason,
        snapshot::{FailureKind, NodeStatus, Snapshot, Value},
    },
    engine::StoreError,
    time::{Backoff, Clock},
    topology::{
        Ctx, Disposition, NodeError,
        definition::{Call, Host, Inputs, Outcome},
    },
};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use ractor::ActorRef;
use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// The way to ask a running body to stop.
#[derive(Debug)]
pub(super) struct Stop(watch::Sender<Option<StopReason>>);

impl Stop {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<StopReason>> {
        self.0.subscribe()
    }

    /// Asks; the first reason stays.
    pub(super) fn ask(&self, reason: StopReason) {
        self.0.send_if_modified(|asked| asked.is_none() && asked.replace(reason).is_none());
    }
}

/// What the runtime is to a running body.
struct Desk {
    actor: ActorRef<Msg>,
    node: NodeId,
    attempt: u32,
    stop: watch::Receiver<Option<StopReason>>,
    /// The body has waited for its stop, so it is given time to end.
    listens: AtomicBool,
    keep: Box<dyn Fn(Bytes) -> BoxFuture<'static, Result<Value, StoreError>> + Send + Sync>,
}

impl Desk {
    async fn asked(&self) -> StopReason {
        let mut stop = self.stop.clone();
        let asked = stop.wait_for(Option::is_some).await.map(|reason| *reason);
        // The actor is gone without a word: it was killed, or its process ends.
        asked.ok().flatten().unwrap_or(StopReason::Fenced)
    }
}

impl Host for Desk {
    fn save(&self, state: Bytes) -> BoxFuture<'_, Result<(), NodeError>> {
        async move {
            let progress = (self.keep)(state).await?;
            let (reply, saved) = oneshot::channel();
            let event = Event::Saved { node: self.node, attempt: self.attempt, progress };
            let gone = || NodeError::retryable("the run is no longer worked on here");
            self.actor.cast(Msg::Happened(event, Some(reply))).map_err(|_| gone())?;
            saved.await.map_err(|_| gone())?.map_err(NodeError::retryable)
        }
        .boxed()
    }

    fn stopped(&self) -> BoxFuture<'_, StopReason> {
        self.listens.store(true, Ordering::Relaxed);
        self.asked().boxed()
    }

    fn stop_reason(&self) -> Option<StopReason> {
        self.listens.store(true, Ordering::Relaxed);
        *self.stop.borrow()
    }
}

/// Runs one attempt to its end.
pub(super) async fn run<C: Send + Sync + 'static>(
    hosted: Arc<Hosted<C>>,
    actor: ActorRef<Msg>,
    snapshot: Arc<Snapshot>,
    (node, attempt): (NodeId, u32),
    stop: watch::Receiver<Option<StopReason>>,
) -> End {
    let clock = hosted.clock().clone();
    let keep = {
        let (outputs, run) = (hosted.outputs.clone(), snapshot.run.clone());
        Box::new(move |bytes| {
            let (outputs, run) = (outputs.clone(), run.clone());
            async move { outputs.keep(&run, bytes).await }.boxed()
        })
    };
    let desk = Arc::new(Desk { actor, node, attempt, stop, listens: AtomicBool::new(false), keep });
    let work = attempt_once(&hosted, &snapshot, node, attempt, Arc::clone(&desk) as Arc<dyn Host>);
    // Whoever panics, the body or what is around it, the run has to hear of its end.
    let work = AssertUnwindSafe(work).catch_unwind().map(|end| end.unwrap_or_else(|panic| panicked(&*panic)));
    tokio::select! {
        // A body that has ended has ended, also when it was asked to stop at the same moment.
        biased;
        end = work => match end {
            End::Failed { .. } if matches!(*desk.stop.borrow(), Some(StopReason::Cancelled | StopReason::Shutdown)) => End::Stopped,
            end => end,
        },
        () = deadline(&desk, &clock, hosted.shared.options.stop_grace) => End::Stopped,
    }
}

/// Waits until a body that was asked to stop has had its time.
async fn deadline(desk: &Desk, clock: &Clock, grace: Duration) {
    match desk.asked().await {
        // The drain itself says when time is up; until then the body may well finish its work.
        StopReason::Shutdown => std::future::pending().await,
        StopReason::Timeout | StopReason::Cancelled | StopReason::Fenced => {
            if desk.listens.load(Ordering::Relaxed) {
                clock.sleep(grace).await;
            }
        }
    }
}

async fn attempt_once<C: Send + Sync + 'static>(
    hosted: &Hosted<C>,
    snapshot: &Snapshot,
    node: NodeId,
    attempt: u32,
    desk: Arc<dyn Host>,
) -> End {
    let state = &snapshot.nodes[node.index()];
    let inputs = patiently(hosted.clock(), || values(hosted, snapshot, &hosted.plan.graph.node(node).edges)).await;
    let saved = match &state.saved {
        Some(value) => patiently(hosted.clock(), || hosted.outputs.fetch(value)).await.map(Some),
        None => Ok(None),
    };
    let (inputs, saved) = match (inputs, saved) {
        (Ok(inputs), Ok(saved)) => (Inputs::new(inputs), saved),
        (Err(error), _) | (_, Err(error)) => return failed(&NodeError::terminal(error)),
    };
    let Some(code) = &hosted.definition.code[node.index()] else {
        return failed(&NodeError::terminal("a node that waits for a signal has no body"));
    };
    let topology = hosted.plan.graph.name();
    let ctx = Ctx::new(
        Arc::clone(&hosted.app),
        topology.into(),
        snapshot.run.as_str().into(),
        state.name.as_str().into(),
        attempt,
        desk,
    );
    let keep = |bytes: Bytes| patiently(hosted.clock(), move || hosted.outputs.keep(&snapshot.run, bytes.clone()));
    match code(Call { ctx, inputs, saved }).await {
        Ok(Outcome::Value(bytes)) => match keep(bytes).await {
            Ok(value) => End::Value(value),
            Err(error) => failed(&NodeError::terminal(error)),
        },
        Ok(Outcome::Branch { taken: None, reason }) => End::Branch { taken: None, because: reason },
        Ok(Outcome::Branch { taken: Some((arm, bytes)), reason }) => match keep(bytes).await {
            Ok(value) => End::Branch { taken: Some((arm, value)), because: reason },
            Err(error) => failed(&NodeError::terminal(error)),
        },
        Err(error) => failed(&error),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> End {
    let message = clipped(format!("the node panicked: {}", panic_text(panic)));
    End::Failed { kind: FailureKind::Panic, message, disposition: Disposition::Retry { after: None } }
}

fn failed(error: &NodeError) -> End {
    End::Failed { kind: FailureKind::Error, message: clipped(error.message()), disposition: error.disposition() }
}

/// Cuts a message that would bloat every later snapshot of the run.
fn clipped(mut message: String) -> String {
    const MOST: usize = 4096;
    if message.len() > MOST {
        let end = (0..=MOST).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push_str(" ...");
    }
    message
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Reads the values of edges out of a snapshot, wherever they are; `None` where there is none.
pub(super) async fn values<C: Send + Sync + 'static>(
    hosted: &Hosted<C>,
    snapshot: &Snapshot,
    edges: &[Edge],
) -> Result<Vec<Option<Bytes>>, RunError> {
    let mut values = Vec::with_capacity(edges.len());
    for edge in edges {
        let completed = |id: NodeId| snapshot.nodes.get(id.index()).filter(|n| n.status == NodeStatus::Completed);
        let found = match edge.upstream {
            Upstream::Input => Some(&snapshot.input),
            Upstream::Node(id) => completed(id).and_then(|n| n.output.as_ref()),
            Upstream::Arm(id, arm) => {
                completed(id).filter(|n| n.selected.as_ref().is_some_and(|s| s.arm == arm)).and_then(|n| n.output.as_ref())
            }
        };
        values.push(match found {
            Some(value) => Some(hosted.outputs.fetch(value).await?),
            None => None,
        });
    }
    Ok(values)
}

/// Repeats what only failed because the store was away: a node must not fail for that.
async fn patiently<T, E, F>(clock: &Clock, mut act: impl FnMut() -> F) -> Result<T, RunError>
where
    E: Into<RunError>,
    F: Future<Output = Result<T, E>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    loop {
        match act().await.map_err(Into::into) {
            Err(RunError::Store(StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::Conflict)) => {
                clock.sleep(backoff.next_delay()).await;
            }
            outcome => return outcome,
        }
    }
}
