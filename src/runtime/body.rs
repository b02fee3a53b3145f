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
        graph::{Edge, Graph, NodeId, Upstream},
        machine::Event,
        retry::StopReason,
        snapshot::{FailureKind, NodeStatus, Snapshot, Value},
    },
    engine::StoreError,
    error::panic_text,
    newest,
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
use tokio::sync::oneshot;

/// The way to ask a running body to stop.
#[derive(Debug)]
pub(super) struct Stop(newest::Sender<Option<StopReason>>);

impl Stop {
    pub(super) fn new() -> Self {
        Self(newest::Sender::new(None))
    }

    pub(super) fn subscribe(&self) -> newest::Receiver<Option<StopReason>> {
        self.0.subscribe()
    }

    /// Asks; the first reason stays.
    pub(super) fn ask(&self, reason: StopReason) {
        self.0.send_if_modified(|asked| asked.is_none() && asked.replace(reason).is_none());
    }
}

/// One attempt, with what the transition that starts it left to it: whatever is applied later is not stored yet.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) node: NodeId,
    pub(super) number: u32,
    inputs: Vec<Option<Value>>,
    saved: Option<Value>,
}

impl Attempt {
    pub(super) fn of(snapshot: &Snapshot, graph: &Graph, (node, number): (NodeId, u32)) -> Self {
        let inputs = values(snapshot, &graph.node(node).edges).map(Option::<&Value>::cloned).collect();
        Self { node, number, inputs, saved: snapshot.nodes[node.index()].saved.clone() }
    }
}

/// What the runtime is to a running body.
pub(super) struct Desk<C> {
    hosted: Arc<Hosted<C>>,
    actor: ActorRef<Msg>,
    run: Arc<str>,
    attempt: Attempt,
    stop: newest::Receiver<Option<StopReason>>,
    /// The body has waited for its stop, so it is given time to end.
    listens: AtomicBool,
}

impl<C> Desk<C> {
    pub(super) fn new(
        hosted: Arc<Hosted<C>>,
        actor: ActorRef<Msg>,
        run: Arc<str>,
        attempt: Attempt,
        stop: newest::Receiver<Option<StopReason>>,
    ) -> Arc<Self> {
        Arc::new(Self { hosted, actor, run, attempt, stop, listens: AtomicBool::new(false) })
    }

    async fn asked(&self) -> StopReason {
        let mut stop = self.stop.clone();
        let asked = stop.wait_for(Option::is_some).await.map(|reason| *reason);
        // The actor is gone without a word: it was killed, or its process ends.
        asked.ok().flatten().unwrap_or(StopReason::Fenced)
    }
}

impl<C: Send + Sync + 'static> Host for Desk<C> {
    fn save(&self, state: Bytes) -> BoxFuture<'_, Result<(), NodeError>> {
        async move {
            let progress = self.hosted.outputs.keep(&self.run, state).await?;
            let (reply, saved) = oneshot::channel();
            let event = Event::Saved { node: self.attempt.node, attempt: self.attempt.number, progress };
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

    fn clock(&self) -> &Clock {
        self.hosted.clock()
    }
}

/// Runs one attempt to its end, and reports it.
pub(super) async fn run<C: Send + Sync + 'static>(desk: Arc<Desk<C>>) {
    let end = end(&desk).await;
    let Attempt { node, number, .. } = desk.attempt;
    // An actor that is gone has said so to whoever waits for the run.
    let _ = desk.actor.cast(Msg::Ended(node, number, end));
}

async fn end<C: Send + Sync + 'static>(desk: &Arc<Desk<C>>) -> End {
    let work = attempt_once(desk);
    // Whoever panics, the body or what is around it, the run has to hear of its end.
    let work = AssertUnwindSafe(work).catch_unwind().map(|end| end.unwrap_or_else(|panic| panicked(&*panic)));
    tokio::select! {
        // A body that has ended has ended, also when it was asked to stop at the same moment.
        biased;
        end = work => match end {
            End::Failed { .. } if matches!(*desk.stop.borrow(), Some(StopReason::Cancelled | StopReason::Shutdown | StopReason::Stopped)) => End::Stopped,
            end => end,
        },
        () = deadline(desk) => End::Stopped,
    }
}

/// Waits until a body that was asked to stop has had its time.
async fn deadline<C: Send + Sync + 'static>(desk: &Desk<C>) {
    match desk.asked().await {
        // The drain itself says when time is up; until then the body may well finish its work.
        StopReason::Shutdown | StopReason::Stopped => std::future::pending().await,
        StopReason::Timeout | StopReason::Cancelled | StopReason::Fenced => {
            if desk.listens.load(Ordering::Relaxed) {
                desk.hosted.clock().sleep(desk.hosted.shared.options.stop_grace).await;
            }
        }
    }
}

async fn attempt_once<C: Send + Sync + 'static>(desk: &Arc<Desk<C>>) -> End {
    let Desk { hosted, run, attempt: Attempt { node, number, inputs, saved }, .. } = &**desk;
    let inputs = patiently(hosted.clock(), || hosted.outputs.fetch_all(inputs)).await;
    let saved = match saved {
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
    let (app, host) = (Arc::clone(&hosted.app), Arc::clone(desk) as Arc<dyn Host>);
    let (topology, name) = hosted.names_of(*node);
    let ctx = Ctx::new(app, topology, Arc::clone(run), name, *number, host);
    let keep = |bytes: Bytes| patiently(hosted.clock(), move || hosted.outputs.keep(run, bytes.clone()));
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

/// Finds the values of edges in a snapshot, wherever their bytes are; `None` where there is none.
pub(super) fn values<'s>(snapshot: &'s Snapshot, edges: &'s [Edge]) -> impl Iterator<Item = Option<&'s Value>> {
    let completed = |id: NodeId| snapshot.nodes.get(id.index()).filter(|n| n.status == NodeStatus::Completed);
    edges.iter().map(move |edge| match edge.upstream {
        Upstream::Input => Some(&snapshot.input),
        Upstream::Node(id) => completed(id).and_then(|n| n.output.as_ref()),
        Upstream::Arm(id, arm) => {
            completed(id).filter(|n| n.selected.as_ref().is_some_and(|s| s.arm == arm)).and_then(|n| n.output.as_ref())
        }
    })
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
