//! How a runtime, a hosted topology and a single start behave; every default is written here.

use crate::{
    codec::{CodecError, Payload},
    core::{
        graph::{Graph, Subset},
        snapshot::{Snapshot, Trace},
    },
    engine::Name,
    error::BoxError,
};
use bytes::Bytes;
use std::{fmt, sync::Arc, time::Duration};

/// How a [`Runtime`](super::Runtime) behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RuntimeOptions {
    /// How long this worker may stay silent before others take its runs over; default 10 seconds, at least 1 second. It says
    /// that it lives three times as often.
    pub lease: Duration,
    /// Values of more bytes are stored in keys of their own; default 32 KiB.
    pub inline_limit: usize,
    /// Snapshots of more bytes move their largest values out; default 256 KiB.
    pub snapshot_limit: usize,
    /// How long a body may go on after it was asked to stop, if it listens to [`Ctx::cancelled`](crate::Ctx::cancelled);
    /// default 10 seconds. One that does not listen is dropped at its next await.
    pub stop_grace: Duration,
    /// How long a drain waits for bodies to end; default 30 seconds.
    pub drain_timeout: Duration,
    /// How often the runtime looks for runs that nobody works on, beside when a worker dies; default 5 minutes.
    pub sweep_interval: Duration,
    /// How long ended runs are kept.
    pub retention: Retention,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            inline_limit: 32 << 10,
            snapshot_limit: 256 << 10,
            stop_grace: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            sweep_interval: Duration::from_secs(300),
            retention: Retention::default(),
        }
    }
}

impl RuntimeOptions {
    /// Sets how long this worker may stay silent; less than 1 second becomes 1 second.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_secs(1));
        self
    }

    /// Sets how many bytes of a value are kept in the snapshot.
    #[must_use]
    pub fn inline_limit(mut self, bytes: usize) -> Self {
        self.inline_limit = bytes;
        self
    }

    /// Sets how large a snapshot may grow before it moves values out.
    #[must_use]
    pub fn snapshot_limit(mut self, bytes: usize) -> Self {
        self.snapshot_limit = bytes;
        self
    }

    /// Sets how long a body that listens may go on after it was asked to stop.
    #[must_use]
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// Sets how long a drain waits for bodies to end.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Sets how often the runtime looks for runs that nobody works on.
    #[must_use]
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.sweep_interval = interval;
        self
    }

    /// Sets how long ended runs are kept.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }
}

/// How long a run is kept after it ended. While it is kept, starting its id again attaches to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Completed and cancelled runs; default 7 days, `None` keeps them for ever.
    pub completed: Option<Duration>,
    /// Errored, dead and stuck runs; default 30 days, `None` keeps them for ever.
    pub failed: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { completed: Some(7 * DAY), failed: Some(30 * DAY) }
    }
}

impl Retention {
    /// Keeps every run until somebody deletes it.
    #[must_use]
    pub fn forever() -> Self {
        Self { completed: None, failed: None }
    }

    /// Sets how long completed and cancelled runs are kept, at least 1 second.
    #[must_use]
    pub fn completed(mut self, keep: Duration) -> Self {
        self.completed = Some(keep.max(Duration::from_secs(1)));
        self
    }

    /// Sets how long errored, dead and stuck runs are kept, at least 1 second.
    #[must_use]
    pub fn failed(mut self, keep: Duration) -> Self {
        self.failed = Some(keep.max(Duration::from_secs(1)));
        self
    }
}

/// How a hosted topology behaves.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct HostOptions {
    /// What happens to a run that was started with another shape of the graph.
    pub on_graph_change: OnGraphChange,
    /// Where the records of failed messages go; by default `<queue>-dead`, beside the queue that the message came from.
    pub dead_letters: Option<Name>,
}

impl HostOptions {
    /// Sets what happens to a run that was started with another shape of the graph.
    #[must_use]
    pub fn on_graph_change(mut self, policy: OnGraphChange) -> Self {
        self.on_graph_change = policy;
        self
    }

    /// Sends the records of failed messages to this queue.
    #[must_use]
    pub fn dead_letters(mut self, queue: Name) -> Self {
        self.dead_letters = Some(queue);
        self
    }
}

/// A migration: fits a snapshot to a graph, or says why it cannot.
pub type Migration = Arc<dyn Fn(Snapshot, &Graph) -> Result<Snapshot, BoxError> + Send + Sync>;

/// What happens to a run that was started with another shape of the graph.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum OnGraphChange {
    /// It is left alone, for a worker that has its graph; here it is [`RunError::GraphChanged`](super::RunError::GraphChanged).
    #[default]
    Exact,
    /// It is parked: visible, and moved again by whoever has its graph.
    Park,
    /// It is migrated and goes on here.
    Migrate(Migration),
}

impl OnGraphChange {
    /// Migrates by the names of nodes: see [`Snapshot::aligned_with`].
    #[must_use]
    pub fn migrate_by_name() -> Self {
        Self::migrate(|snapshot, graph| Ok(snapshot.aligned_with(graph)))
    }

    /// Migrates by a function.
    pub fn migrate(migration: impl Fn(Snapshot, &Graph) -> Result<Snapshot, BoxError> + Send + Sync + 'static) -> Self {
        Self::Migrate(Arc::new(migration))
    }
}

impl fmt::Debug for OnGraphChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "Exact",
            Self::Park => "Park",
            Self::Migrate(_) => "Migrate",
        })
    }
}

/// What a start does when its id is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDuplicate {
    /// Joins the run that is there, alive or ended, if it has the same input.
    #[default]
    Attach,
    /// Refuses.
    Reject,
    /// Replaces the run that is there, with this input. Its owner, if it has one, is fenced.
    Restart,
    /// Replaces a run that failed or was cancelled; otherwise joins it.
    RestartFailed,
}

/// What a start takes beside id and input.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StartOptions {
    /// What happens when the id is taken.
    pub on_duplicate: OnDuplicate,
    /// Which nodes the run includes.
    pub subset: Subset,
    /// Outputs of nodes that are not run but given, by the node's name.
    pub provided: Vec<(String, Bytes)>,
    /// The trace that the run belongs to; by default the caller's.
    pub trace: Option<Trace>,
}

impl StartOptions {
    /// Sets what happens when the id is taken.
    #[must_use]
    pub fn on_duplicate(mut self, policy: OnDuplicate) -> Self {
        self.on_duplicate = policy;
        self
    }

    /// Includes only these nodes, beside those that were included before.
    #[must_use]
    pub fn include<N: Into<String>>(mut self, nodes: impl IntoIterator<Item = N>) -> Self {
        self.subset = self.subset.include(nodes);
        self
    }

    /// Leaves these nodes out.
    #[must_use]
    pub fn exclude<N: Into<String>>(mut self, nodes: impl IntoIterator<Item = N>) -> Self {
        self.subset = self.subset.exclude(nodes);
        self
    }

    /// Gives a work or wait node's output instead of running it.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when the value cannot be encoded.
    pub fn provide<T: Payload>(mut self, node: impl Into<String>, output: &T) -> Result<Self, CodecError> {
        self.provided.push((node.into(), output.encode()?));
        Ok(self)
    }

    /// Sets the trace that the run belongs to.
    #[must_use]
    pub fn trace(mut self, trace: Trace) -> Self {
        self.trace = Some(trace);
        self
    }
}
