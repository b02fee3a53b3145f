//! The run machine: what happens to a run, event by event.
//!
//! [`RunMachine::apply`] takes an event and the time, changes the snapshot and says what to do about it. The caller persists
//! the snapshot first and acts then, so a crash is either before a transition or after it, never within. Several events may be
//! applied before one persist. A late or duplicate event is an [`IllegalEvent`] and changes nothing.
//!
//! What it promises: an attempt number is never given out twice; a node's `(attempt, status)` only moves forward, until somebody
//! resumes the run by hand; whatever a transition implies (skips, next attempts, the run's end) happens in the same
//! transition. It does not know who persists, what a value means, or what time it is.

mod adopt;
mod event;
mod settle;
mod signal;
mod trigger;

pub use adopt::{Continuation, NewRun, park};
pub use event::{Disposition, Effects, Event, IllegalEvent};
pub use signal::{NoteError, note_cancel, note_signal};

use crate::{
    core::{
        graph::{Graph, NodeId, NodeKind},
        retry::{NodePolicy, StopReason},
        snapshot::{Failure, FailureKind, NodeState, NodeStatus, Owner, RunStatus, Selected, Snapshot, StoredKind},
    },
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};

/// What a run is run by: the graph, how its nodes are tried, and how long cancelled bodies may take to end.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The graph.
    pub graph: Arc<Graph>,
    /// How each node is tried, by position.
    pub policies: Arc<[NodePolicy]>,
    /// How long a body may go on after its run was cancelled, before it is abandoned.
    pub cancel_grace: Duration,
}

/// One run and the rules that move it.
#[derive(Debug, Clone)]
pub struct RunMachine {
    plan: Plan,
    snapshot: Snapshot,
    /// Whose attempts this machine gives out; nothing starts without. It outlives a suspension, which takes the owner off the
    /// snapshot, so that a signal in the same process goes on in the same name.
    worker: Option<Owner>,
    /// From when on the grace of a cancellation counts, where bodies were told later than it was wished. It is not stored: whoever takes
    /// the run over has no bodies to wait for.
    told: Option<Timestamp>,
}

/// A snapshot belongs to another version of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the run belongs to another version of the topology")]
pub struct GraphMismatch;

impl RunMachine {
    /// Takes a persisted snapshot up, in the name of the owner that it says.
    ///
    /// Nothing starts in a run that nobody owns: events are recorded, and [`adopt`](Self::adopt) starts what they made ready.
    ///
    /// # Errors
    ///
    /// [`GraphMismatch`] when the snapshot was made for a graph of another shape: migrate it, or leave it to whoever has that
    /// graph.
    pub fn load(plan: Plan, snapshot: Snapshot) -> Result<Self, GraphMismatch> {
        let fits = snapshot.fingerprint == plan.graph.fingerprint() && snapshot.nodes.len() == plan.graph.len();
        let worker = snapshot.owner.clone();
        if fits { Ok(Self { plan, snapshot, worker, told: None }) } else { Err(GraphMismatch) }
    }

    /// Returns the state, which is to be persisted after each change.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Returns the state for moving values out of line; nothing else of it may be changed.
    pub(crate) fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns when [`Event::Tick`] has something to do; it may change after every event.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.snapshot.status.is_terminal() {
            return None;
        }
        let grace = self.grace();
        let running = |n: &&NodeState| n.status == NodeStatus::Running;
        let timeouts = self.snapshot.nodes.iter().filter(running).filter_map(|n| n.deadline);
        // What is cancelled, or nobody's, is not tried again: its time would pass and stay.
        let retrying = grace.is_none() && self.worker.is_some();
        let waits = |n: &&NodeState| retrying && n.status == NodeStatus::Pending;
        let retries = self.snapshot.nodes.iter().filter(waits).filter_map(|n| n.due_at);
        timeouts.chain(retries).chain(grace).min()
    }

    /// Moves the run by one event.
    ///
    /// # Errors
    ///
    /// [`IllegalEvent`] for an event that is late or a duplicate; the run is as it was.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Result<Effects, IllegalEvent> {
        let mut effects = Effects::default();
        if self.snapshot.status.is_terminal() {
            return Err(IllegalEvent::Closed(self.snapshot.status));
        }
        let moves = event != Event::Tick;
        match event {
            Event::Completed { node, attempt, output } => {
                let state = self.running(node, attempt)?;
                if state.kind == StoredKind::Branch {
                    return Err(IllegalEvent::NoSuchArm { node });
                }
                state.output = Some(output);
                Self::close(state, NodeStatus::Completed, now);
            }
            Event::Branched { node, attempt, taken, because } => {
                let plan = self.plan.clone();
                let state = self.running(node, attempt)?;
                let NodeKind::Branch { arms } = &plan.graph.node(node).kind else {
                    return Err(IllegalEvent::NoSuchArm { node });
                };
                if let Some((arm, value)) = taken {
                    let name = arms.get(arm.index()).ok_or(IllegalEvent::NoSuchArm { node })?.clone();
                    state.selected = Some(Selected { arm, name });
                    state.output = Some(value);
                }
                state.because = because.filter(|b| !b.is_empty());
                Self::close(state, NodeStatus::Completed, now);
            }
            Event::Saved { node, attempt, progress } => {
                let state = self.running(node, attempt)?;
                state.saved = Some(progress);
                state.crashes = 0;
            }
            Event::Failed { node, attempt, kind, message, disposition } => {
                self.running(node, attempt)?;
                self.fail(node, kind, message, disposition, now);
            }
            Event::Stopped { node, attempt } => {
                let cancelled = self.snapshot.cancel.is_some();
                let state = self.running(node, attempt)?;
                if cancelled {
                    state.error = Some(failure(FailureKind::Cancelled, "the run was cancelled".into(), attempt, now));
                    Self::close(state, NodeStatus::Errored, now);
                } else {
                    Self::interrupt(state);
                }
            }
            Event::Signalled { name, payload } => {
                note_signal(&mut self.snapshot, &self.plan.graph, &name, payload, now)?;
            }
            Event::CancelRequested { reason } => {
                note_cancel(&mut self.snapshot, reason, now)?;
                self.stop_running(StopReason::Cancelled, &mut effects);
            }
            Event::Tick => self.tick(now, &mut effects),
            Event::Released => {
                self.stop_running(StopReason::Shutdown, &mut effects);
                self.snapshot.nodes.iter_mut().filter(|n| n.status == NodeStatus::Running).for_each(Self::interrupt);
                self.snapshot.owner = None;
                self.worker = None;
                // Nothing starts here any more: whoever adopts the run starts what is ready.
                return Ok(effects);
            }
        }
        self.settle(now, &mut effects);
        if moves || !effects.is_empty() {
            self.snapshot.progressed_at = now;
        }
        Ok(effects)
    }

    /// Looks up the running attempt that an event is about.
    fn running(&mut self, node: NodeId, attempt: u32) -> Result<&mut NodeState, IllegalEvent> {
        let state = self.snapshot.nodes.get_mut(node.index()).ok_or(IllegalEvent::NoSuchNode { node })?;
        if state.status == NodeStatus::Running && state.attempt == attempt {
            Ok(state)
        } else {
            Err(IllegalEvent::NotRunning { node, attempt, status: state.status, newest: state.attempt })
        }
    }

    fn close(state: &mut NodeState, status: NodeStatus, now: Timestamp) {
        state.status = status;
        state.finished_at = Some(now);
        state.deadline = None;
        state.due_at = None;
    }

    /// Takes an attempt back: the node starts again under the next number, and nothing counts as failed.
    fn interrupt(state: &mut NodeState) {
        state.status = NodeStatus::Pending;
        state.deadline = None;
    }

    /// Ends a running attempt without output, and decides whether there will be another.
    fn fail(&mut self, node: NodeId, kind: FailureKind, message: String, disposition: Disposition, now: Timestamp) {
        let policy = &self.plan.policies[node.index()].retry;
        let seed = seed(&self.snapshot.run, node);
        let state = &mut self.snapshot.nodes[node.index()];
        state.error = Some(failure(kind, message, state.attempt, now));
        state.deadline = None;
        let delay = match disposition {
            Disposition::Terminal => {
                state.failures = state.failures.saturating_add(1);
                None
            }
            Disposition::Snooze { after } => Some(after),
            Disposition::Retry { after } => {
                state.failures = state.failures.saturating_add(1);
                policy.delay_after(state.failures, seed).map(|delay| after.unwrap_or(delay))
            }
        };
        match delay {
            Some(delay) => {
                state.status = NodeStatus::Pending;
                state.due_at = Some(now + delay);
            }
            None => Self::close(state, NodeStatus::Errored, now),
        }
    }

    /// Counts the time of an attempt from now on, when its body begins later than its start was decided, or has not begun yet.
    ///
    /// Nothing is said of an attempt that has ended meanwhile. It is no event, and nothing has to be stored for it: whoever takes the run
    /// over starts an attempt of its own.
    pub fn begin(&mut self, (node, attempt): (NodeId, u32), now: Timestamp) {
        let limit = self.plan.policies[node.index()].timeout;
        if let Ok(state) = self.running(node, attempt) {
            state.deadline = limit.map(|limit| now + limit);
        }
    }

    /// Counts the grace of a cancellation from now on, when bodies are told later than it was wished, or have not been told yet.
    ///
    /// As [`begin`](Self::begin) it is no event, and nothing has to be stored for it.
    pub fn tell(&mut self, now: Timestamp) {
        self.told = Some(now);
    }

    /// Until when bodies of a cancelled run may go on.
    fn grace(&self) -> Option<Timestamp> {
        let wished = self.snapshot.cancel.as_ref()?.at;
        Some(self.told.map_or(wished, |told| told.max(wished)) + self.plan.cancel_grace)
    }

    /// Ends what took too long: attempts beyond their deadline, and bodies of a cancelled run beyond its grace.
    fn tick(&mut self, now: Timestamp, effects: &mut Effects) {
        let abandoned = self.grace().is_some_and(|until| until <= now);
        for index in 0..self.snapshot.nodes.len() {
            let state = &mut self.snapshot.nodes[index];
            let (node, attempt) = (NodeId::at(index), state.attempt);
            if state.status != NodeStatus::Running {
                continue;
            }
            if abandoned {
                let message = "the run was cancelled, and the body did not end in time".into();
                state.error = Some(failure(FailureKind::Cancelled, message, attempt, now));
                Self::close(state, NodeStatus::Errored, now);
            } else if state.deadline.is_some_and(|d| d <= now) {
                effects.stop.push((node, attempt, StopReason::Timeout));
                let limit = self.plan.policies[index].timeout.unwrap_or_default();
                let message = format!("the attempt took longer than {limit:?}");
                self.fail(node, FailureKind::Timeout, message, Disposition::Retry { after: None }, now);
            }
        }
    }

    fn stop_running(&self, reason: StopReason, effects: &mut Effects) {
        let running = self.snapshot.nodes.iter().enumerate().filter(|(_, n)| n.status == NodeStatus::Running);
        effects.stop.extend(running.map(|(index, n)| (NodeId::at(index), n.attempt, reason)));
    }

    fn finish(&mut self, status: RunStatus, now: Timestamp, effects: &mut Effects) {
        self.snapshot.status = status;
        self.snapshot.owner = None;
        if status.is_terminal() {
            self.snapshot.finished_at = Some(now);
        }
        effects.finished = Some(status);
    }
}

fn failure(kind: FailureKind, message: String, attempt: u32, at: Timestamp) -> Failure {
    Failure { kind, message, attempt, at }
}

/// A seed for jitter that is the same for every process: FNV-1a of the run's id, mixed with the node's position.
fn seed(run: &str, node: NodeId) -> u64 {
    let hash = run.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (node.index() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
