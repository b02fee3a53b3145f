//! Snapshots as JSON, for people and tools: topology-runner's shape, with what we know beyond it under further names.
//!
//! Rendering needs neither the graph nor the engine: values that are out of line are asked for. It promises that
//! [`Snapshot::from_json`] finds everything again that a resume keeps.

use super::{NodeState, NodeStatus, Snapshot, Stored, Value};
use crate::time::Timestamp;
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

/// Stands for a value that is out of line and was not resolved.
pub(super) const STORED: &str = "$stored";
/// Stands for a value that is no JSON, as hexadecimal digits.
pub(super) const BYTES: &str = "$bytes";

impl Snapshot {
    /// Renders the snapshot as JSON in the shape of topology-runner.
    ///
    /// | where | fields |
    /// |---|---|
    /// | run, as in topology-runner | `status`, `started`, `finished`, `data` |
    /// | run, ours | `run`, `topology`, `fingerprint`, `epoch`, `owner`, `progressed`, `input`, `signals`, `cancel`, `trace`, `source`, `reason` |
    /// | node, as in topology-runner | `type`, `deps`, `status`, `started`, `finished`, `input`, `output`, `state`, `error`, `selected`, `reason` |
    /// | node, ours | `attempt`, `failures`, `crashes`, `due`, `deadline` |
    ///
    /// Times are RFC 3339; what is not there is left out, and so are nodes that the run leaves out. `state` is the progress that
    /// a node saved. The `input` of a node is computed: the run's input for a node that depends on no other, and otherwise, once
    /// it has started, the values of the nodes in `deps`, in that order, with null for one that has none.
    ///
    /// `resolve` fetches a value that is kept out of line; one that it does not find is rendered as `{"$stored": {...}}`. A
    /// value that is no JSON, or that looks like one of these two, is rendered as `{"$bytes": "<hexadecimal>"}`.
    ///
    /// ```
    /// use anabranch::core::{graph::Graph, snapshot::Snapshot};
    /// use anabranch::time::Timestamp;
    ///
    /// let graph = Graph::new("nothing", Vec::new())?;
    /// let export = serde_json::json!({ "status": "completed", "data": {} });
    /// let snapshot = Snapshot::from_json(&export, &graph, "r-1", Timestamp::from_millis(1_000))?;
    ///
    /// let json = snapshot.to_json(|_| None);
    /// assert_eq!(json["status"], "completed");
    /// assert_eq!(json["started"], "1970-01-01T00:00:01Z");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_json(&self, resolve: impl Fn(&Stored) -> Option<Bytes>) -> Json {
        let show = |value: &Value| render(value, &resolve);
        let included = self.nodes.iter().filter(|n| n.status != NodeStatus::Excluded);
        let data: Map<String, Json> = included.map(|n| (n.name.clone(), self.node_json(n, &show))).collect();
        let signals = self
            .signals
            .iter()
            .map(|(name, signal)| (name.clone(), json!({ "payload": show(&signal.payload), "at": signal.at.to_string() })));
        let signals: Map<String, Json> = signals.collect();
        Present::default()
            .with("run", self.run.as_str())
            .with("topology", self.topology.as_str())
            .with("fingerprint", self.fingerprint.to_string())
            .with("status", self.status.name())
            .with("epoch", self.epoch)
            .maybe("owner", self.owner.as_ref().map(|o| json!({ "worker": o.worker, "instance": o.instance })))
            .with("started", self.created_at.to_string())
            .time("finished", self.finished_at)
            .with("progressed", self.progressed_at.to_string())
            .with("input", show(&self.input))
            .with("data", data)
            .maybe("signals", Some(signals).filter(|s| !s.is_empty()))
            .maybe("cancel", self.cancel.as_ref().map(|c| json!({ "reason": c.reason, "at": c.at.to_string() })))
            .maybe("trace", self.trace.as_ref().map(|t| json!({ "traceparent": t.parent, "tracestate": t.state })))
            .maybe(
                "source",
                self.source.as_ref().map(|s| json!({ "queue": s.queue, "sequence": s.sequence, "messageId": s.message_id })),
            )
            .maybe("reason", self.reason.as_deref())
            .into_json()
    }

    fn node_json(&self, node: &NodeState, show: &impl Fn(&Value) -> Json) -> Json {
        let deps: Vec<&NodeState> = self.dependencies(node).collect();
        let input = if deps.is_empty() {
            Some(vec![show(&self.input)])
        } else {
            let values = || deps.iter().map(|d| d.output.as_ref().map_or(Json::Null, show)).collect();
            node.started_at.map(|_| values())
        };
        let error = node
            .error
            .as_ref()
            .map(|e| json!({ "message": e.message, "kind": e.kind.name(), "attempt": e.attempt, "at": e.at.to_string() }));
        Present::default()
            .with("type", node.kind.name())
            .with("deps", deps.iter().map(|d| d.name.as_str()).collect::<Vec<_>>())
            .with("status", node.status.name())
            .time("started", node.started_at)
            .time("finished", node.finished_at)
            .maybe("input", input)
            .maybe("output", node.output.as_ref().map(show))
            .maybe("state", node.saved.as_ref().map(show))
            .maybe("error", error)
            .maybe("selected", node.selected.as_ref().map(|s| s.name.as_str()))
            .maybe("reason", node.because.as_deref())
            .with("attempt", node.attempt)
            .with("failures", node.failures)
            .with("crashes", node.crashes)
            .time("due", node.due_at)
            .time("deadline", node.deadline)
            .into_json()
    }

    /// The nodes that a node depends on, without those that the run leaves out.
    fn dependencies(&self, node: &NodeState) -> impl Iterator<Item = &NodeState> {
        let all = node.deps.iter().filter_map(|id| self.nodes.get(id.index()));
        all.filter(|n| n.status != NodeStatus::Excluded)
    }
}

fn render(value: &Value, resolve: &impl Fn(&Stored) -> Option<Bytes>) -> Json {
    let bytes = match value {
        Value::Inline(bytes) => bytes.clone(),
        Value::Stored(stored) => {
            let Some(bytes) = resolve(stored) else {
                let Stored { key, chunks, size, sha256 } = stored;
                return json!({ STORED: { "key": key, "chunks": chunks, "size": size, "sha256": hex(sha256) } });
            };
            bytes
        }
    };
    match serde_json::from_slice(&bytes) {
        Ok(json) if !is_stand_in(&json) => json,
        _ => json!({ BYTES: hex(&bytes) }),
    }
}

/// Tells whether a value is taken for another one that it stands for.
pub(super) fn is_stand_in(json: &Json) -> bool {
    let only = json.as_object().filter(|o| o.len() == 1).and_then(|o| o.iter().next());
    only.is_some_and(|(key, value)| (key == STORED && value.is_object()) || (key == BYTES && value.is_string()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An object of those fields that are there.
#[derive(Default)]
struct Present(Map<String, Json>);

impl Present {
    fn with(self, name: &str, value: impl Into<Json>) -> Self {
        self.maybe(name, Some(value))
    }

    fn maybe(mut self, name: &str, value: Option<impl Into<Json>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    fn time(self, name: &str, at: Option<Timestamp>) -> Self {
        self.maybe(name, at.map(|t| t.to_string()))
    }

    fn into_json(self) -> Json {
        Json::Object(self.0)
    }
}
