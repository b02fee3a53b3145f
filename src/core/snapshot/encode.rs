//! Snapshots to protobuf bytes, straight from the snapshot.
//!
//! Every transition encodes one, and a copy of it as generated types costs more than the encoding does. The bytes are those
//! that the generated types would write: fields in the order of their numbers, and none that has its default.

use super::{Failure, NodeState, Received, Snapshot, StoredKind, Value, pb};
use crate::time::Timestamp;
use bytes::Bytes;

const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;

pub(super) fn snapshot(s: &Snapshot, format: u32) -> Bytes {
    // What most nodes take, beside their values.
    const NODE: usize = 64;
    let mut w = Writer(Vec::with_capacity(NODE * (s.nodes.len() + 4)));
    w.number(1, format);
    w.text(2, &s.topology);
    w.text(3, &s.run);
    w.bytes(4, s.fingerprint.as_bytes());
    w.number(5, pb::RunStatus::from(s.status) as u32);
    w.number(6, s.epoch);
    if let Some(owner) = &s.owner {
        w.message(7, |w| {
            w.text(1, &owner.worker);
            w.text(2, &owner.instance);
        });
    }
    w.time(8, Some(s.created_at));
    w.time(9, s.finished_at);
    w.time(10, Some(s.progressed_at));
    w.message(11, |w| value(w, &s.input));
    w.bytes(12, &s.input_digest);
    for state in &s.nodes {
        w.message(13, |w| node(w, state));
    }
    for (name, Received { payload, at }) in &s.signals {
        w.message(14, |w| {
            w.text(1, name);
            w.message(2, |w| value(w, payload));
            w.time(3, Some(*at));
        });
    }
    if let Some(cancel) = &s.cancel {
        w.message(15, |w| {
            w.text(1, &cancel.reason);
            w.time(2, Some(cancel.at));
        });
    }
    if let Some(trace) = &s.trace {
        w.message(16, |w| {
            w.text(1, &trace.parent);
            w.text(2, &trace.state);
        });
    }
    if let Some(source) = &s.source {
        w.message(17, |w| {
            w.text(1, &source.queue);
            w.number(2, source.sequence);
            w.text(3, &source.message_id);
        });
    }
    w.text(18, s.reason.as_deref().unwrap_or_default());
    w.0.into()
}

fn node(w: &mut Writer, n: &NodeState) {
    let kind = match n.kind {
        StoredKind::Work => pb::NodeKind::Work,
        StoredKind::Branch => pb::NodeKind::Branch,
        StoredKind::Wait => pb::NodeKind::Wait,
    };
    w.text(1, &n.name);
    w.number(2, kind as u32);
    if !n.deps.is_empty() {
        w.message(3, |w| n.deps.iter().for_each(|id| w.varint(id.0.into())));
    }
    w.number(4, pb::NodeStatus::from(n.status) as u32);
    w.number(5, n.attempt);
    w.number(6, n.failures);
    w.number(7, n.crashes);
    w.time(8, n.started_at);
    w.time(9, n.finished_at);
    w.time(10, n.due_at);
    w.time(11, n.deadline);
    if let Some(output) = &n.output {
        w.message(12, |w| value(w, output));
    }
    if let Some(saved) = &n.saved {
        w.message(13, |w| value(w, saved));
    }
    if let Some(Failure { kind, message, attempt, at }) = &n.error {
        w.message(14, |w| {
            w.number(1, pb::FailureKind::from(*kind) as u32);
            w.text(2, message);
            w.number(3, *attempt);
            w.time(4, Some(*at));
        });
    }
    if let Some(selected) = &n.selected {
        w.message(15, |w| {
            w.number(1, selected.arm.0);
            w.text(2, &selected.name);
        });
    }
    w.text(16, n.because.as_deref().unwrap_or_default());
}

fn value(w: &mut Writer, v: &Value) {
    match v {
        // One of several places, so it is said also when it is empty.
        Value::Inline(bytes) => w.delimited(1, bytes),
        Value::Stored(stored) => w.message(2, |w| {
            w.text(1, &stored.key);
            w.number(2, stored.chunks);
            w.number(3, stored.size);
            w.bytes(4, &stored.sha256);
        }),
    }
}

/// Fields of a message, one after the other.
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, tag: u32, value: impl Into<u64>) {
        let value = value.into();
        if value != 0 {
            self.key(tag, VARINT);
            self.varint(value);
        }
    }

    /// A point in time in microseconds; none is 0.
    fn time(&mut self, tag: u32, at: Option<Timestamp>) {
        self.number(tag, at.map_or(0, Timestamp::as_micros).cast_unsigned());
    }

    fn text(&mut self, tag: u32, text: &str) {
        self.bytes(tag, text.as_bytes());
    }

    fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.delimited(tag, bytes);
        }
    }

    fn delimited(&mut self, tag: u32, bytes: &[u8]) {
        self.key(tag, LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, tag: u32, fields: impl FnOnce(&mut Self)) {
        self.key(tag, LENGTH_DELIMITED);
        let start = self.0.len();
        fields(self);
        let end = self.0.len();
        // Its length goes before it, and is known now.
        self.varint((end - start) as u64);
        let length = self.0.len() - end;
        self.0[start..].rotate_right(length);
    }

    fn key(&mut self, tag: u32, wire_type: u32) {
        self.varint(u64::from(tag << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        // Seven bits a byte, the lowest first; the eighth says that there are more.
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        graph::{ArmId, Fingerprint, NodeId},
        snapshot::{Cancel, FailureKind, NodeStatus, Owner, RunStatus, Selected, Source, Stored, Trace},
    };
    use prost::Message as _;
    use std::collections::BTreeMap;

    /// Has everything, and a name whose length takes two bytes.
    fn full() -> Snapshot {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let stored = Value::Stored(Stored { key: "out.g.r.x".into(), chunks: 2, size: 1 << 40, sha256: [7; 32] });
        let node = |name: String, deps| NodeState {
            name,
            kind: StoredKind::Branch,
            deps,
            status: NodeStatus::Completed,
            attempt: 300,
            failures: 1,
            crashes: 1,
            started_at: Some(at),
            finished_at: Some(at),
            due_at: Some(at),
            deadline: Some(at),
            output: Some(stored.clone()),
            saved: Some(Value::Inline(Bytes::new())),
            error: Some(Failure { kind: FailureKind::Crash, message: "it died".into(), attempt: 299, at }),
            selected: Some(Selected { arm: ArmId(1), name: "yes".into() }),
            because: Some("it had to".into()),
        };
        Snapshot {
            topology: "g".into(),
            run: "r".into(),
            fingerprint: Fingerprint::from_bytes(&[9; 16]).expect("sixteen bytes"),
            status: RunStatus::Stuck,
            epoch: 2,
            owner: Some(Owner { worker: "w".into(), instance: "i".into() }),
            created_at: at,
            finished_at: Some(at),
            progressed_at: at,
            input: Value::Inline("{}".into()),
            input_digest: [5; 32],
            nodes: vec![node("a".repeat(200), Vec::new()), node("b".into(), vec![NodeId(0)])],
            signals: BTreeMap::from([("s".into(), Received { payload: stored.clone(), at })]),
            cancel: Some(Cancel { reason: "enough".into(), at }),
            trace: Some(Trace { parent: "p".into(), state: "s".into() }),
            source: Some(Source { queue: "q".into(), sequence: 1, message_id: "m".into() }),
            reason: Some("because".into()),
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_generated_types() {
        let bytes = full().encode();
        let read = pb::Snapshot::decode(bytes.clone()).expect("it is one");
        assert_eq!(Bytes::from(read.encode_to_vec()), bytes);
        assert_eq!(Snapshot::decode(bytes), Ok(full()));
    }
}
