//! The state of one run as a value: what is persisted, shown and resumed.
//!
//! A snapshot says everything about a run and nothing about who works on it in memory. It promises that
//! `decode(encode(snapshot)) == snapshot`; it does not know what its values mean, nor when a node may run (see
//! [`machine`](crate::core::machine)).

mod align;
mod encode;
mod import;
mod json;
#[rustfmt::skip]
mod pb;
mod progress;
mod wire;

pub use import::ImportError;
pub use progress::Progress;
pub use wire::DecodeError;

use crate::{
    core::graph::{ArmId, Fingerprint, Graph, NodeId, NodeKind},
    time::Timestamp,
};
use bytes::Bytes;
use std::{collections::BTreeMap, fmt};

/// The state of one run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The topology's name.
    pub topology: String,
    /// The run's id.
    pub run: String,
    /// The shape of the graph that the nodes belong to.
    pub fingerprint: Fingerprint,
    /// How far it is.
    pub status: RunStatus,
    /// Grows by one whenever the run changes hands: the fencing token of its owner.
    pub epoch: u64,
    /// Who works on it; `None` when nobody does.
    pub owner: Option<Owner>,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When a node last moved.
    pub progressed_at: Timestamp,
    /// What it was started with.
    pub input: Value,
    /// SHA-256 of the encoded input, which tells another input under the same id.
    pub input_digest: [u8; 32],
    /// Its nodes, in the graph's order.
    pub nodes: Vec<NodeState>,
    /// Signals that arrived, by name; each at most once.
    pub signals: BTreeMap<String, Received>,
    /// Set once somebody asked to cancel the run.
    pub cancel: Option<Cancel>,
    /// The trace that the run belongs to.
    pub trace: Option<Trace>,
    /// The message that it was started by.
    pub source: Option<Source>,
    /// Why it ended as it did, or why it is parked.
    pub reason: Option<String>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RunStatus {
    /// Nodes run, or wait for their next attempt.
    Running,
    /// Only signals can move it.
    Suspended,
    /// Every node completed or was skipped.
    Completed,
    /// Nodes failed for good, and nothing else can run.
    Errored,
    /// Somebody cancelled it.
    Cancelled,
    /// The process died in one of its nodes too often.
    Dead,
    /// It belongs to another version of the graph, and waits for somebody who has that version.
    Parked,
    /// Nothing is ready although something is pending: a defect, never reported as completed.
    Stuck,
}

impl RunStatus {
    /// Tells whether the run has ended; only an explicit resume moves it again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Running | Self::Suspended | Self::Parked)
    }

    /// Returns the status in lower case, as topology-runner spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Completed => "completed",
            Self::Errored => "errored",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::Parked => "parked",
            Self::Stuck => "stuck",
        }
    }

    /// Reads what [`name`](Self::name) wrote.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Running,
            Self::Suspended,
            Self::Completed,
            Self::Errored,
            Self::Cancelled,
            Self::Dead,
            Self::Parked,
            Self::Stuck,
        ];
        all.into_iter().find(|s| s.name() == name)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who works on a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The worker.
    pub worker: String,
    /// The opening of the engine that it lives in.
    pub instance: String,
}

/// An encoded value, here or out of line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The bytes themselves.
    Inline(Bytes),
    /// Where the bytes are.
    Stored(Stored),
}

impl Value {
    /// Returns how many bytes the value has, wherever they are.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Stored(stored) => stored.size,
        }
    }
}

/// Where a large value is: the concatenation of `<key>.0` to `<key>.<chunks - 1>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The key of the chunks, without their number.
    pub key: String,
    /// How many chunks there are.
    pub chunks: u32,
    /// How many bytes they have together.
    pub size: u64,
    /// The SHA-256 of the bytes.
    pub sha256: [u8; 32],
}

/// The state of one node.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: StoredKind,
    /// The nodes that it depends on.
    pub deps: Vec<NodeId>,
    /// How far it is.
    pub status: NodeStatus,
    /// The newest attempt, committed before its body started and never reused; 0 before the first.
    pub attempt: u32,
    /// Attempts that failed since the run was last resumed by hand.
    pub failures: u32,
    /// Times in a row that the process died in this node without saved progress.
    pub crashes: u32,
    /// When its newest attempt started.
    pub started_at: Option<Timestamp>,
    /// When it reached its status.
    pub finished_at: Option<Timestamp>,
    /// When the next attempt is due.
    pub due_at: Option<Timestamp>,
    /// When the running attempt times out.
    pub deadline: Option<Timestamp>,
    /// What it produced; for a branch, what it handed to the arm that it took.
    pub output: Option<Value>,
    /// The progress that it saved.
    pub saved: Option<Value>,
    /// Its newest failure; kept for reading after a later attempt succeeded.
    pub error: Option<Failure>,
    /// The arm that a completed branch took; `None` when it took none.
    pub selected: Option<Selected>,
    /// Why the branch decided as it did.
    pub because: Option<String>,
}

/// What a node is, as a snapshot keeps it: enough to show it without its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoredKind {
    /// Runs code that produces an output.
    Work,
    /// Runs code that takes one of its arms.
    Branch,
    /// Suspends until a signal arrives.
    Wait,
}

impl StoredKind {
    /// Names the kind as topology-runner does.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Branch => "branching",
            Self::Wait => "suspension",
        }
    }

    /// Takes the kind out of a graph's node.
    #[must_use]
    pub fn of(kind: &NodeKind) -> Self {
        match kind {
            NodeKind::Work => Self::Work,
            NodeKind::Branch { .. } => Self::Branch,
            NodeKind::Wait { .. } => Self::Wait,
        }
    }
}

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeStatus {
    /// It has not started, or waits for its next attempt.
    Pending,
    /// Its newest attempt runs.
    Running,
    /// It waits for a signal.
    Suspended,
    /// It has its output.
    Completed,
    /// Its trigger rule will never be met.
    Skipped,
    /// Its attempts failed for good.
    Errored,
    /// The run was started without it.
    Excluded,
}

impl NodeStatus {
    /// Returns the status in lower case, as topology-runner spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Completed => "completed",
            Self::Skipped => "skipped",
            Self::Errored => "errored",
            Self::Excluded => "excluded",
        }
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In what way.
    pub kind: FailureKind,
    /// The error and its causes, for people.
    pub message: String,
    /// Which attempt.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
}

/// In what way an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The body returned an error.
    Error,
    /// The body panicked.
    Panic,
    /// The body took longer than its node's timeout.
    Timeout,
    /// The process died.
    Crash,
    /// The run was cancelled while the body ran.
    Cancelled,
}

impl FailureKind {
    /// Returns the kind in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Crash => "crash",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads what [`name`](Self::name) wrote.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Error, Self::Panic, Self::Timeout, Self::Crash, Self::Cancelled];
        all.into_iter().find(|k| k.name() == name)
    }
}

/// The arm that a branch took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Its position.
    pub arm: ArmId,
    /// Its name.
    pub name: String,
}

/// A signal that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What it carried.
    pub payload: Value,
    /// When it arrived.
    pub at: Timestamp,
}

/// A request to cancel a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// Why.
    pub reason: String,
    /// When it was made.
    pub at: Timestamp,
}

/// The W3C trace context of whoever started the run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// The header `traceparent`.
    pub parent: String,
    /// The header `tracestate`; may be empty.
    pub state: String,
}

/// The message that a run was started by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The queue.
    pub queue: String,
    /// The message's position in it.
    pub sequence: u64,
    /// The message's id; may be empty.
    pub message_id: String,
}

impl NodeState {
    /// A node that has not started, as `graph` declares it.
    pub(crate) fn pending(graph: &Graph, id: NodeId) -> Self {
        let node = graph.node(id);
        let mut deps: Vec<NodeId> = node.edges.iter().filter_map(|e| e.upstream.node()).collect();
        deps.sort_unstable();
        deps.dedup();
        Self {
            name: node.name.clone(),
            kind: StoredKind::of(&node.kind),
            deps,
            status: NodeStatus::Pending,
            attempt: 0,
            failures: 0,
            crashes: 0,
            started_at: None,
            finished_at: None,
            due_at: None,
            deadline: None,
            output: None,
            saved: None,
            error: None,
            selected: None,
            because: None,
        }
    }
}

impl Snapshot {
    /// Finds a node by its name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// Lists every value that it holds, to move or fetch them.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        let nodes = self.nodes.iter_mut().flat_map(|n| n.output.iter_mut().chain(n.saved.iter_mut()));
        let signals = self.signals.values_mut().map(|s| &mut s.payload);
        std::iter::once(&mut self.input).chain(nodes).chain(signals)
    }

    /// Lists every value that it holds.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        let nodes = self.nodes.iter().flat_map(|n| n.output.iter().chain(n.saved.iter()));
        std::iter::once(&self.input).chain(nodes).chain(self.signals.values().map(|s| &s.payload))
    }
}
