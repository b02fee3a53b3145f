//! Why a run could not be started, moved or awaited.

use crate::{
    codec::CodecError,
    core::{
        graph::SubsetError,
        machine::NoteError,
        snapshot::{DecodeError, ImportError, RunStatus},
    },
    engine::{NameError, StoreError},
    error::BoxError,
    runtime::NodeFailure,
    topology::OutputError,
};

/// Why a run could not be started, moved or awaited. Each kind says what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is no such run: it was never started, was deleted, or its retention is over.
    #[error("there is no run `{0}`")]
    NotFound(String),
    /// The id is too long to be a key, even escaped: shorten it.
    #[error("`{0}` is no run id: use 1 to 160 characters")]
    InvalidId(String),
    /// The id is taken by a run with another input: choose another id, or restart.
    #[error("run `{0}` was started with another input")]
    InputConflict(String),
    /// The id is taken, and the caller asked for that to be refused.
    #[error("run `{run}` exists already and is {status}")]
    AlreadyExists {
        /// The id.
        run: String,
        /// How far the run is.
        status: RunStatus,
    },
    /// The subset does not fit the graph.
    #[error(transparent)]
    Subset(#[from] SubsetError),
    /// A provided output is for a branch, which has none: exclude the branch instead.
    #[error("`{0}` is a branch: its decision cannot be provided")]
    CannotProvide(String),
    /// The run was started with another shape of the graph: let a worker that has it finish, or set a policy that parks or
    /// migrates.
    #[error("run `{0}` belongs to another version of the topology")]
    GraphChanged(String),
    /// The migration failed; the run is as it was.
    #[error("run `{run}` could not be migrated")]
    Migration {
        /// The id.
        run: String,
        /// What the migration said.
        source: BoxError,
    },
    /// The run failed; it can be resumed by hand.
    #[error("run `{run}` is {status}{}", describe(reason.as_deref(), failures))]
    Failed {
        /// The id.
        run: String,
        /// Errored, dead or stuck.
        status: RunStatus,
        /// Why, where a node's failure does not say it.
        reason: Option<String>,
        /// The nodes that failed.
        failures: Vec<NodeFailure>,
    },
    /// The run was cancelled.
    #[error("run `{run}` was cancelled: {reason}")]
    Cancelled {
        /// The id.
        run: String,
        /// What the canceller said.
        reason: String,
    },
    /// A signal or a cancellation is refused.
    #[error(transparent)]
    Refused(#[from] NoteError),
    /// A value does not match its type.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The run completed, and its output cannot be read.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// What is stored for the run cannot be read; it is left as it is.
    #[error("the snapshot of run `{run}` cannot be read")]
    Unreadable {
        /// The id.
        run: String,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// An exported run does not fit the topology.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A value that is stored out of line is gone, or is not what was stored.
    #[error("the value at `{0}` is missing or damaged")]
    ValueLost(String),
    /// This runtime is shutting down: the run goes on elsewhere.
    #[error("this runtime is shutting down")]
    ShuttingDown,
    /// The store did not do what it was asked to.
    #[error("the store did not take part")]
    Store(#[from] StoreError),
}

impl From<NameError> for RunError {
    fn from(error: NameError) -> Self {
        Self::Store(error.into())
    }
}

fn describe(reason: Option<&str>, failures: &[NodeFailure]) -> String {
    let nodes = failures.iter().map(|f| format!("`{}` after {} attempts: {}", f.node, f.attempts, f.message));
    let parts: Vec<String> = reason.map(str::to_owned).into_iter().chain(nodes).collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) }
}
