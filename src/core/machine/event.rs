//! What can happen to a run, and what is to be done about it.

use crate::core::{
    graph::{ArmId, NodeId},
    machine::NoteError,
    retry::StopReason,
    snapshot::{FailureKind, NodeStatus, RunStatus, Value},
};
use std::time::Duration;

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An attempt produced its node's output.
    Completed {
        /// The node.
        node: NodeId,
        /// The attempt that reports it.
        attempt: u32,
        /// The output.
        output: Value,
    },
    /// An attempt of a branch decided.
    Branched {
        /// The branch.
        node: NodeId,
        /// The attempt that reports it.
        attempt: u32,
        /// The arm that it takes, and what it hands to it; `None` takes none.
        taken: Option<(ArmId, Value)>,
        /// Why.
        because: Option<String>,
    },
    /// An attempt saved its progress.
    Saved {
        /// The node.
        node: NodeId,
        /// The attempt that reports it.
        attempt: u32,
        /// What the next attempt will find.
        progress: Value,
    },
    /// An attempt failed.
    Failed {
        /// The node.
        node: NodeId,
        /// The attempt that reports it.
        attempt: u32,
        /// In what way.
        kind: FailureKind,
        /// The error and its causes.
        message: String,
        /// Whether it is worth another attempt.
        disposition: Disposition,
    },
    /// A body ended because it was asked to. Unless the run is being cancelled its node starts again at once, so an owner that
    /// shuts down reports [`Released`](Self::Released) instead.
    Stopped {
        /// The node.
        node: NodeId,
        /// The attempt that ended.
        attempt: u32,
    },
    /// A signal arrived.
    Signalled {
        /// Its name.
        name: String,
        /// What it carries.
        payload: Value,
    },
    /// Somebody wants the run to end.
    CancelRequested {
        /// Why.
        reason: String,
    },
    /// Time passed: timeouts, retries and grace periods are looked at.
    Tick,
    /// The owner lets go of the run, in good order: what was running starts again elsewhere, and nothing counts as failed.
    /// Bodies that have not ended are told to.
    Released,
}

/// What a failed attempt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Another attempt, after this long or after what the node's policy says; it uses an attempt up.
    Retry {
        /// Overrides the policy's delay.
        after: Option<Duration>,
    },
    /// No further attempt.
    Terminal,
    /// Another attempt after this long; none is used up.
    Snooze {
        /// How long to wait.
        after: Duration,
    },
}

/// What to do once the snapshot is persisted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a run whose effects are dropped stands still"]
pub struct Effects {
    /// Attempts to start, each exactly once.
    pub execute: Vec<(NodeId, u32)>,
    /// Running attempts to end.
    pub stop: Vec<(NodeId, u32, StopReason)>,
    /// The run left the running state: it ended, or only a signal can move it.
    pub finished: Option<RunStatus>,
}

impl Effects {
    /// Tells whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.execute.is_empty() && self.stop.is_empty() && self.finished.is_none()
    }

    /// Adds what a later event asks for, so that both can be persisted at once.
    ///
    /// An attempt that the later event takes back never starts, and a suspension that it ends is not reported. A cancelled
    /// attempt still starts, since only its end closes its node.
    pub fn merge(&mut self, later: Self) {
        for (node, attempt, reason) in later.stop {
            let not_started = self.execute.iter().position(|e| *e == (node, attempt));
            match not_started.filter(|_| reason != StopReason::Cancelled) {
                Some(index) => _ = self.execute.remove(index),
                None => self.stop.push((node, attempt, reason)),
            }
        }
        let goes_on = !later.execute.is_empty();
        self.finished = later.finished.or(self.finished.filter(|_| !goes_on));
        self.execute.extend(later.execute);
    }
}

/// An event came too late, twice, or for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IllegalEvent {
    /// The run has ended.
    #[error("the run is {0}")]
    Closed(RunStatus),
    /// The attempt that reports is not the one that runs.
    #[error("attempt {attempt} of node {} does not run: the node is {status}, its newest attempt is {newest}", node.index())]
    NotRunning {
        /// The node.
        node: NodeId,
        /// The attempt that reported.
        attempt: u32,
        /// The node's status.
        status: NodeStatus,
        /// Its newest attempt.
        newest: u32,
    },
    /// The graph has no such node.
    #[error("there is no node {}", node.index())]
    NoSuchNode {
        /// The position.
        node: NodeId,
    },
    /// The node is no branch, or has no such arm.
    #[error("node {} has no such arm", node.index())]
    NoSuchArm {
        /// The node.
        node: NodeId,
    },
    /// A signal or a cancellation is refused.
    #[error(transparent)]
    Note(#[from] NoteError),
}
