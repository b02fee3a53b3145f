//! What a run's actor is told, and what it answers.

use super::RunError;
use crate::{
    core::{
        graph::{ArmId, NodeId},
        machine::{Disposition, Event, IllegalEvent},
        snapshot::{FailureKind, Value},
    },
    engine::Revision,
};
use tokio::sync::oneshot;

/// What a run's actor is told.
#[derive(Debug)]
pub(super) enum Msg {
    /// Something happened to the run. The reply comes once it is persisted.
    Happened(Event, Option<Reply>),
    /// A body ended.
    Ended(NodeId, u32, End),
    /// The write of this number came back.
    Written(u64, Result<Revision, RunError>),
    /// The write under way panicked: what the store has is all that is known.
    Broken(String),
    /// Everybody who was ready has had a turn: write what came of it.
    GoOn,
    /// Somebody may have left a note in the snapshot.
    Nudged,
    /// A deadline is due.
    Due,
    /// The store may be back: look what it has.
    LookAgain,
    /// The runtime drains: start nothing, and let go of the run once its bodies have ended.
    Release,
    /// The drain's time is up: drop the bodies and let go.
    ReleaseNow,
}

/// Tells whoever reported an event that it is persisted, or why it never will be.
pub(super) type Reply = oneshot::Sender<Result<(), NotTaken>>;

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// The machine refused it.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// The run is no longer worked on here: the store knows more.
    #[error("the run is no longer worked on here")]
    Gone,
}

/// How an attempt's body ended.
#[derive(Debug)]
pub(super) enum End {
    Value(Value),
    Branch {
        taken: Option<(ArmId, Value)>,
        because: Option<String>,
    },
    Failed {
        kind: FailureKind,
        message: String,
        disposition: Disposition,
    },
    /// It was asked to stop, and did or was dropped.
    Stopped,
}

impl End {
    /// What the end means for the run.
    pub(super) fn into_event(self, node: NodeId, attempt: u32) -> Event {
        match self {
            Self::Value(output) => Event::Completed { node, attempt, output },
            Self::Branch { taken, because } => Event::Branched { node, attempt, taken, because },
            Self::Failed { kind, message, disposition } => Event::Failed { node, attempt, kind, message, disposition },
            Self::Stopped => Event::Stopped { node, attempt },
        }
    }
}
