//! Snapshots as protobuf bytes, and back.
//!
//! Whatever is not understood is a [`DecodeError`], never a default: an unknown status of a newer version must not be read as
//! "pending".

use super::{
    Cancel, Failure, FailureKind, NodeState, NodeStatus, Owner, Received, RunStatus, Selected, Snapshot, Source, Stored,
    StoredKind, Trace, Value, encode, pb,
};
use crate::{
    core::graph::{ArmId, Fingerprint, NodeId},
    time::Timestamp,
};
use bytes::Bytes;
use prost::Message as _;

const FORMAT: u32 = 1;

/// Bytes are no snapshot that this version understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They are no protobuf message of this shape.
    #[error("the bytes are no snapshot")]
    Malformed(#[source] prost::DecodeError),
    /// A newer version of the library wrote them: upgrade this process.
    #[error("the snapshot has format {found}, and this version reads up to {FORMAT}: upgrade")]
    Newer {
        /// Their format.
        found: u32,
    },
    /// A field is missing or has a value that this version does not know.
    #[error("the snapshot's field `{0}` is missing or unknown")]
    Field(&'static str),
}

impl Snapshot {
    /// Writes the snapshot as protobuf.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode::snapshot(self, FORMAT)
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; the bytes are to be left as they are, since another version may read them.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        pb::Snapshot::decode(bytes).map_err(DecodeError::Malformed)?.try_into()
    }
}

fn time(micros: i64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp::from_micros(micros))
}

fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl TryFrom<pb::Snapshot> for Snapshot {
    type Error = DecodeError;

    fn try_from(s: pb::Snapshot) -> Result<Self, DecodeError> {
        if s.format > FORMAT {
            return Err(DecodeError::Newer { found: s.format });
        }
        if s.format == 0 {
            return Err(DecodeError::Field("format"));
        }
        let nodes = s.nodes.iter().map(NodeState::try_from).collect::<Result<Vec<_>, _>>()?;
        if nodes.iter().any(|n| n.deps.iter().any(|d| d.index() >= nodes.len())) {
            return Err(DecodeError::Field("deps"));
        }
        let signals = s.signals.into_iter().map(|signal| {
            let received = Received { payload: value(signal.payload, "signal")?, at: Timestamp::from_micros(signal.at) };
            Ok((signal.name, received))
        });
        Ok(Self {
            fingerprint: Fingerprint::from_bytes(&s.fingerprint).ok_or(DecodeError::Field("fingerprint"))?,
            status: pb::RunStatus::try_from(s.status).ok().and_then(run_status).ok_or(DecodeError::Field("status"))?,
            owner: s.owner.map(|pb::Owner { worker, instance }| Owner { worker, instance }),
            created_at: Timestamp::from_micros(s.created_at),
            finished_at: time(s.finished_at),
            progressed_at: Timestamp::from_micros(s.progressed_at),
            input: value(s.input, "input")?,
            input_digest: s.input_digest.as_ref().try_into().map_err(|_| DecodeError::Field("input_digest"))?,
            signals: signals.collect::<Result<_, _>>()?,
            cancel: s.cancel.map(|pb::Cancel { reason, at }| Cancel { reason, at: Timestamp::from_micros(at) }),
            trace: s.trace.map(|pb::Trace { traceparent, tracestate }| Trace { parent: traceparent, state: tracestate }),
            source: s.source.map(|pb::Source { queue, sequence, message_id }| Source { queue, sequence, message_id }),
            reason: text(s.reason),
            topology: s.topology,
            run: s.run,
            epoch: s.epoch,
            nodes,
        })
    }
}

impl TryFrom<&pb::Node> for NodeState {
    type Error = DecodeError;

    fn try_from(n: &pb::Node) -> Result<Self, DecodeError> {
        let kind = match n.kind() {
            pb::NodeKind::Work => StoredKind::Work,
            pb::NodeKind::Branch => StoredKind::Branch,
            pb::NodeKind::Wait => StoredKind::Wait,
            pb::NodeKind::Unspecified => return Err(DecodeError::Field("kind")),
        };
        let selected = n.selected.clone().map(|s| {
            let arm = u16::try_from(s.arm).map_err(|_| DecodeError::Field("selected"))?;
            Ok(Selected { arm: ArmId(arm), name: s.name })
        });
        let error = n.error.clone().map(|e| {
            let kind = failure_kind(e.kind()).ok_or(DecodeError::Field("error"))?;
            Ok(Failure { kind, message: e.message, attempt: e.attempt, at: Timestamp::from_micros(e.at) })
        });
        Ok(Self {
            name: n.name.clone(),
            kind,
            deps: n.deps.iter().map(|d| NodeId(*d)).collect(),
            status: pb::NodeStatus::try_from(n.status).ok().and_then(node_status).ok_or(DecodeError::Field("node status"))?,
            attempt: n.attempt,
            failures: n.failures,
            crashes: n.crashes,
            started_at: time(n.started_at),
            finished_at: time(n.finished_at),
            due_at: time(n.due_at),
            deadline: time(n.deadline),
            output: n.output.clone().map(|v| value(Some(v), "output")).transpose()?,
            saved: n.saved.clone().map(|v| value(Some(v), "saved")).transpose()?,
            error: error.transpose()?,
            selected: selected.transpose()?,
            because: text(n.because.clone()),
        })
    }
}

fn value(value: Option<pb::Value>, field: &'static str) -> Result<Value, DecodeError> {
    match value.and_then(|v| v.place).ok_or(DecodeError::Field(field))? {
        pb::value::Place::Inline(bytes) => Ok(Value::Inline(bytes)),
        pb::value::Place::Stored(pb::Stored { key, chunks, size, sha256 }) => {
            let sha256 = sha256.as_ref().try_into().map_err(|_| DecodeError::Field(field))?;
            Ok(Value::Stored(Stored { key, chunks, size, sha256 }))
        }
    }
}

impl From<RunStatus> for pb::RunStatus {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Running => Self::Running,
            RunStatus::Suspended => Self::Suspended,
            RunStatus::Completed => Self::Completed,
            RunStatus::Errored => Self::Errored,
            RunStatus::Cancelled => Self::Cancelled,
            RunStatus::Dead => Self::Dead,
            RunStatus::Parked => Self::Parked,
            RunStatus::Stuck => Self::Stuck,
        }
    }
}

fn run_status(status: pb::RunStatus) -> Option<RunStatus> {
    Some(match status {
        pb::RunStatus::Unspecified => return None,
        pb::RunStatus::Running => RunStatus::Running,
        pb::RunStatus::Suspended => RunStatus::Suspended,
        pb::RunStatus::Completed => RunStatus::Completed,
        pb::RunStatus::Errored => RunStatus::Errored,
        pb::RunStatus::Cancelled => RunStatus::Cancelled,
        pb::RunStatus::Dead => RunStatus::Dead,
        pb::RunStatus::Parked => RunStatus::Parked,
        pb::RunStatus::Stuck => RunStatus::Stuck,
    })
}

impl From<NodeStatus> for pb::NodeStatus {
    fn from(status: NodeStatus) -> Self {
        match status {
            NodeStatus::Pending => Self::Pending,
            NodeStatus::Running => Self::Running,
            NodeStatus::Suspended => Self::Suspended,
            NodeStatus::Completed => Self::Completed,
            NodeStatus::Skipped => Self::Skipped,
            NodeStatus::Errored => Self::Errored,
            NodeStatus::Excluded => Self::Excluded,
        }
    }
}

fn node_status(status: pb::NodeStatus) -> Option<NodeStatus> {
    Some(match status {
        pb::NodeStatus::Unspecified => return None,
        pb::NodeStatus::Pending => NodeStatus::Pending,
        pb::NodeStatus::Running => NodeStatus::Running,
        pb::NodeStatus::Suspended => NodeStatus::Suspended,
        pb::NodeStatus::Completed => NodeStatus::Completed,
        pb::NodeStatus::Skipped => NodeStatus::Skipped,
        pb::NodeStatus::Errored => NodeStatus::Errored,
        pb::NodeStatus::Excluded => NodeStatus::Excluded,
    })
}

impl From<FailureKind> for pb::FailureKind {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Error => Self::Error,
            FailureKind::Panic => Self::Panic,
            FailureKind::Timeout => Self::Timeout,
            FailureKind::Crash => Self::Crash,
            FailureKind::Cancelled => Self::Cancelled,
        }
    }
}

fn failure_kind(kind: pb::FailureKind) -> Option<FailureKind> {
    Some(match kind {
        pb::FailureKind::Unspecified => return None,
        pb::FailureKind::Error => FailureKind::Error,
        pb::FailureKind::Panic => FailureKind::Panic,
        pb::FailureKind::Timeout => FailureKind::Timeout,
        pb::FailureKind::Crash => FailureKind::Crash,
        pb::FailureKind::Cancelled => FailureKind::Cancelled,
    })
}
