//! Runs from elsewhere: JSON that topology-runner, or [`Snapshot::to_json`], exported becomes a snapshot that can be resumed.
//!
//! The rule is topology-runner's: what completed or was skipped is kept, everything else is pending and keeps its saved
//! progress. Whatever does not fit the graph is an error that names the place; nothing is guessed.

use super::{
    Failure, FailureKind, NodeState, NodeStatus, Received, RunStatus, Selected, Snapshot, Source, StoredKind, Trace, Value,
    json::{BYTES, STORED},
};
use crate::{
    core::graph::{ArmId, Graph, Node, NodeId, NodeKind, Upstream},
    time::Timestamp,
};
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What topology-runner writes for a branch that takes none.
const NONE: &str = "Symbol(NONE)";

/// JSON is no snapshot that this graph can go on with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A field is missing or has a value that makes no sense: correct it.
    #[error("`{field}` must be {expected}")]
    Field {
        /// Where it is, such as `data.charge.status`.
        field: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// A node is not in the graph.
    #[error("`{0}` is not a node of this topology: rename it, or remove it from `data`")]
    UnknownNode(String),
    /// A node is of another type than in the graph.
    #[error(
        "`{node}` is of type `{found}`, and in this topology of type `{expected}`: change `type`, or remove the node from `data`"
    )]
    Kind {
        /// The node.
        node: String,
        /// The type in the JSON.
        found: String,
        /// The type in the graph.
        expected: &'static str,
    },
    /// A node depends on others than in the graph.
    #[error(
        "`{node}` depends on `{}`, and in this topology on `{}`: correct `deps`, or remove the field to accept the topology's",
        found.join("`, `"),
        expected.join("`, `")
    )]
    Deps {
        /// The node.
        node: String,
        /// Its dependencies in the JSON.
        found: Vec<String>,
        /// Its dependencies in the graph, without nodes that `data` leaves out.
        expected: Vec<String>,
    },
    /// A branch took something that is neither one of its arms nor a node that hangs on exactly one of them.
    #[error("`{node}` selected `{selected}`: name one of its arms instead: `{}`", arms.join("`, `"))]
    Arm {
        /// The branch.
        node: String,
        /// What it selected.
        selected: String,
        /// Its arms.
        arms: Vec<String>,
    },
    /// A value was left where it is stored.
    #[error("the value of `{0}` is stored elsewhere: export the run again with its stored values resolved")]
    OutOfLine(String),
    /// A signal is not one that a node waits for.
    #[error("no node of this topology waits for the signal `{0}`: remove it from `signals`")]
    UnknownSignal(String),
}

impl Snapshot {
    /// Makes a snapshot of the run `run` from JSON that topology-runner or [`to_json`](Self::to_json) exported.
    ///
    /// Nodes that completed or were skipped stay so. The others are pending and keep their `state`; `error` is kept for reading.
    /// Nodes of the graph that `data` leaves out are left out of the run. What a branch `selected` may be one of its arms, or,
    /// as in topology-runner, a node that hangs on an arm. A branch or suspension without `output` passes its `input` on, as in
    /// topology-runner: the value itself when it is one, an array when they are several.
    ///
    /// The run's input is the first value of `input` of a node that depends on no other, unless the JSON has an `input` of its
    /// own. Numbers are read as 64-bit integers or floats.
    ///
    /// A run of which everything is completed or skipped is completed; every other one is running and owned by nobody:
    /// [`RunMachine::adopt`](crate::core::machine::RunMachine::adopt) goes on with it. A cancellation is forgotten.
    ///
    /// # Errors
    ///
    /// [`ImportError`] names the first place that does not fit, and what to do about it.
    ///
    /// ```
    /// use anabranch::core::{graph::{Dependency, Graph, NodeKind, NodeSpec, On, TriggerRule}, snapshot::{NodeStatus, Snapshot}};
    /// use anabranch::time::Timestamp;
    ///
    /// let on_load = Dependency { on: On::Node("load".into()), optional: false };
    /// let work = |name: &str, deps| NodeSpec { name: name.into(), kind: NodeKind::Work, deps, rule: TriggerRule::AllSuccess };
    /// let graph = Graph::new("report", vec![work("load", vec![]), work("send", vec![on_load])])?;
    ///
    /// let export = serde_json::json!({
    ///     "status": "errored",
    ///     "started": "2022-05-20T14:57:54.786Z",
    ///     "data": {
    ///         "load": { "type": "work", "deps": [], "status": "completed", "input": [7], "output": [1, 2] },
    ///         "send": { "type": "work", "deps": ["load"], "status": "errored", "state": { "sent": 1 } },
    ///     },
    /// });
    /// let snapshot = Snapshot::from_json(&export, &graph, "report-7", Timestamp::from_millis(1))?;
    /// assert_eq!(snapshot.nodes[0].status, NodeStatus::Completed);
    /// assert_eq!(snapshot.nodes[1].status, NodeStatus::Pending);
    /// assert!(snapshot.nodes[1].saved.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_json(json: &Json, graph: &Graph, run: impl Into<String>, now: Timestamp) -> Result<Self, ImportError> {
        let export = Object::of(json, String::new())?;
        let known = |s: &str| s == "pending" || RunStatus::parse(s).is_some();
        if !export.text("status")?.is_none_or(known) {
            return Err(export.wrong("status", "the status of a run"));
        }
        let data = export.object("data")?.ok_or_else(|| export.wrong("data", "an object with a member for each node"))?;
        if let Some(name) = data.map.keys().find(|name| graph.find(name).is_none()) {
            return Err(ImportError::UnknownNode(name.clone()));
        }
        let import = Import { graph, data: &data, now };
        let nodes = graph.nodes().map(|(id, node)| import.node(id, node)).collect::<Result<Vec<_>, _>>()?;
        let input = match export.value("input")? {
            Some(input) => input,
            None => import.run_input()?,
        };
        let done = nodes.iter().all(|n| n.status != NodeStatus::Pending);
        Ok(Self {
            topology: graph.name().to_owned(),
            run: run.into(),
            fingerprint: graph.fingerprint(),
            status: if done { RunStatus::Completed } else { RunStatus::Running },
            epoch: export.number("epoch")?.unwrap_or(1),
            owner: None,
            created_at: export.time("started")?.unwrap_or(now),
            finished_at: export.time("finished")?.or(Some(now)).filter(|_| done),
            progressed_at: now,
            input_digest: digest(&input),
            input,
            nodes,
            signals: signals(&export, graph, now)?,
            cancel: None,
            trace: trace(&export)?,
            source: source(&export)?,
            reason: None,
        })
    }
}

/// What the nodes are made from.
struct Import<'a> {
    graph: &'a Graph,
    data: &'a Object<'a>,
    now: Timestamp,
}

impl Import<'_> {
    fn node(&self, id: NodeId, node: &Node) -> Result<NodeState, ImportError> {
        let fresh = NodeState::pending(self.graph, id);
        let Some(found) = self.data.object(&node.name)? else {
            return Ok(NodeState { status: NodeStatus::Excluded, ..fresh });
        };
        self.check_shape(node, &fresh, &found)?;
        let status = match found.text("status")? {
            Some("completed") => NodeStatus::Completed,
            Some("skipped") => NodeStatus::Skipped,
            Some("pending" | "running" | "suspended" | "errored") => NodeStatus::Pending,
            _ => return Err(found.wrong("status", "`pending`, `running`, `suspended`, `errored`, `completed` or `skipped`")),
        };
        let (started, finished) = (found.time("started")?, found.time("finished")?);
        // Whoever exported the run without attempts has tried at least once what it started.
        let tried = status == NodeStatus::Completed && fresh.kind != StoredKind::Wait || started.is_some();
        let attempt = match found.number("attempt")? {
            Some(n) => u32::try_from(n).map_err(|_| found.wrong("attempt", "a number below 2^32"))?,
            None => u32::from(tried && fresh.kind != StoredKind::Wait),
        };
        let state = NodeState { status, attempt, saved: found.value("state")?, error: self.failure(&found, attempt)?, ..fresh };
        if status == NodeStatus::Pending {
            return Ok(state);
        }
        let state = NodeState { started_at: started, finished_at: finished.or(Some(self.now)), ..state };
        if status == NodeStatus::Skipped {
            return Ok(state);
        }
        let because = found.text("reason")?.filter(|r| !r.is_empty()).map(Into::into);
        let selected = self.selected(id, node, &found)?;
        let output = match &node.kind {
            NodeKind::Work => Some(found.value("output")?.unwrap_or(inline(&Json::Null))),
            NodeKind::Branch { .. } if selected.is_none() => None,
            NodeKind::Branch { .. } | NodeKind::Wait { .. } => match found.value("output")? {
                Some(output) => Some(output),
                None => Some(passed_on(&found)?),
            },
        };
        Ok(NodeState { output, selected, because, ..state })
    }

    fn check_shape(&self, node: &Node, fresh: &NodeState, found: &Object<'_>) -> Result<(), ImportError> {
        let expected = fresh.kind.name();
        if let Some(kind) = found.text("type")?.filter(|t| *t != expected) {
            return Err(ImportError::Kind { node: node.name.clone(), found: kind.to_owned(), expected });
        }
        let Some(deps) = found.list("deps")? else { return Ok(()) };
        let deps = deps.iter().map(|d| d.as_str().map(str::to_owned).ok_or_else(|| found.wrong("deps", "an array of names")));
        let deps: BTreeSet<String> = deps.collect::<Result<_, _>>()?;
        let expected: BTreeSet<String> = self.dependencies(node).map(str::to_owned).collect();
        if deps == expected {
            return Ok(());
        }
        let (found, expected) = (deps.into_iter().collect(), expected.into_iter().collect());
        Err(ImportError::Deps { node: node.name.clone(), found, expected })
    }

    /// The nodes that a node depends on, without those that the run leaves out.
    fn dependencies(&self, node: &Node) -> impl Iterator<Item = &str> {
        let names = node.edges.iter().filter_map(|e| e.upstream.node()).map(|id| self.graph.node(id).name.as_str());
        names.filter(|name| self.data.map.contains_key(*name))
    }

    /// Reads the arm that a branch took: its own name, or that of a node which hangs on it.
    fn selected(&self, id: NodeId, node: &Node, found: &Object<'_>) -> Result<Option<Selected>, ImportError> {
        let NodeKind::Branch { arms } = &node.kind else { return Ok(None) };
        let Some(name) = found.text("selected")?.filter(|s| *s != NONE) else { return Ok(None) };
        let hangs_on = || {
            let dependent = self.graph.node(self.graph.find(name)?);
            let mut taken = dependent.edges.iter().filter_map(|e| match e.upstream {
                Upstream::Arm(branch, arm) if branch == id => Some(arm),
                _ => None,
            });
            let first = taken.next()?;
            taken.all(|arm| arm == first).then_some(first)
        };
        let arm = arms.iter().position(|a| a == name).map(ArmId::at).or_else(hangs_on);
        let wrong = || ImportError::Arm { node: node.name.clone(), selected: name.to_owned(), arms: arms.clone() };
        let arm = arm.ok_or_else(wrong)?;
        Ok(Some(Selected { arm, name: arms[arm.index()].clone() }))
    }

    /// Reads an error for people: topology-runner's have a stack and whatever fields the thrown object had.
    fn failure(&self, found: &Object<'_>, attempt: u32) -> Result<Option<Failure>, ImportError> {
        let message = match found.map.get("error") {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::String(text)) => return Ok(Some(self.error(text.clone(), attempt))),
            Some(error) => error,
        };
        let error = Object::of(message, found.path("error"))?;
        let first_line = |stack: &str| stack.lines().next().unwrap_or_default().to_owned();
        let text = match (error.map.get("message"), error.map.get("stack")) {
            (Some(Json::String(text)), _) => text.clone(),
            (_, Some(Json::String(stack))) => first_line(stack),
            _ => message.to_string(),
        };
        let kind = error.map.get("kind").and_then(Json::as_str).and_then(FailureKind::parse);
        let failed = error.map.get("attempt").and_then(Json::as_u64).and_then(|n| u32::try_from(n).ok());
        let at = error.map.get("at").and_then(Json::as_str).and_then(Timestamp::parse_rfc3339);
        let failure = self.error(text, failed.unwrap_or(attempt));
        Ok(Some(Failure { kind: kind.unwrap_or(failure.kind), at: at.unwrap_or(failure.at), ..failure }))
    }

    fn error(&self, message: String, attempt: u32) -> Failure {
        Failure { kind: FailureKind::Error, message, attempt, at: self.now }
    }

    /// What topology-runner gives to every node that depends on no other.
    fn run_input(&self) -> Result<Value, ImportError> {
        for (_, node) in self.graph.nodes().filter(|(_, n)| self.dependencies(n).next().is_none()) {
            let Some(root) = self.data.object(&node.name)? else { continue };
            if let Some(input) = root.list("input")?.and_then(|list| list.first()) {
                return value(input, || root.path("input"));
            }
        }
        Ok(inline(&Json::Null))
    }
}

fn passed_on(found: &Object<'_>) -> Result<Value, ImportError> {
    match found.list("input")?.map(Vec::as_slice) {
        None | Some([]) => Ok(inline(&Json::Null)),
        Some([one]) => value(one, || found.path("input")),
        Some(several) => Ok(inline(&Json::Array(several.to_vec()))),
    }
}

fn signals(export: &Object<'_>, graph: &Graph, now: Timestamp) -> Result<BTreeMap<String, Received>, ImportError> {
    let Some(signals) = export.object("signals")? else { return Ok(BTreeMap::new()) };
    let read = |name: &String| {
        if !graph.has_signal(name) {
            return Err(ImportError::UnknownSignal(name.clone()));
        }
        let signal = signals.object(name)?.ok_or_else(|| signals.wrong(name, "an object"))?;
        let payload = signal.value("payload")?.unwrap_or(inline(&Json::Null));
        Ok((name.clone(), Received { payload, at: signal.time("at")?.unwrap_or(now) }))
    };
    signals.map.keys().map(read).collect()
}

fn trace(export: &Object<'_>) -> Result<Option<Trace>, ImportError> {
    let Some(trace) = export.object("trace")? else { return Ok(None) };
    let header = |name| trace.text(name).map(|t| t.unwrap_or_default().to_owned());
    Ok(Some(Trace { parent: header("traceparent")?, state: header("tracestate")? }))
}

/// Reads our `source`, or the `stream` and `streamSequence` of nats-topology-runner.
fn source(export: &Object<'_>) -> Result<Option<Source>, ImportError> {
    let source = |object: &Object<'_>, queue: &str, sequence: &str| {
        Ok(Source {
            queue: object.text(queue)?.unwrap_or_default().to_owned(),
            sequence: object.number(sequence)?.unwrap_or_default(),
            message_id: object.text("messageId")?.unwrap_or_default().to_owned(),
        })
    };
    match export.object("source")? {
        Some(ours) => source(&ours, "queue", "sequence").map(Some),
        None if export.map.contains_key("stream") => source(export, "stream", "streamSequence").map(Some),
        None => Ok(None),
    }
}

fn digest(value: &Value) -> [u8; 32] {
    match value {
        Value::Inline(bytes) => Sha256::digest(bytes).into(),
        Value::Stored(stored) => stored.sha256,
    }
}

fn inline(json: &Json) -> Value {
    Value::Inline(json.to_string().into())
}

/// Reads a value; one that stands for another is replaced by it.
fn value(json: &Json, path: impl Fn() -> String) -> Result<Value, ImportError> {
    let stands_for = json.as_object().filter(|o| o.len() == 1).and_then(|o| o.iter().next());
    match stands_for {
        Some((key, Json::Object(_))) if key == STORED => Err(ImportError::OutOfLine(path())),
        Some((key, Json::String(digits))) if key == BYTES => {
            let bytes = bytes(digits).ok_or_else(|| ImportError::Field { field: path(), expected: "hexadecimal digits" })?;
            Ok(Value::Inline(bytes.into()))
        }
        _ => Ok(inline(json)),
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(16)).collect();
    let pairs = digits.filter(|d| d.len().is_multiple_of(2))?;
    pairs.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

/// A JSON object and where it is. A member that is null counts as absent, except as a value.
struct Object<'a> {
    map: &'a Map<String, Json>,
    at: String,
}

impl<'a> Object<'a> {
    fn of(json: &'a Json, at: String) -> Result<Self, ImportError> {
        let wrong = || ImportError::Field {
            field: if at.is_empty() { "the snapshot".into() } else { at.clone() },
            expected: "an object",
        };
        Ok(Self { map: json.as_object().ok_or_else(wrong)?, at })
    }

    fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    fn wrong(&self, name: &str, expected: &'static str) -> ImportError {
        ImportError::Field { field: self.path(name), expected }
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl Fn(&'a Json) -> Option<T>,
    ) -> Result<Option<T>, ImportError> {
        let present = self.map.get(name).filter(|v| !v.is_null());
        present.map(|v| read(v).ok_or_else(|| self.wrong(name, expected))).transpose()
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, ImportError> {
        self.read(name, "a string", Json::as_str)
    }

    fn number(&self, name: &str) -> Result<Option<u64>, ImportError> {
        self.read(name, "a whole number", Json::as_u64)
    }

    fn list(&self, name: &str) -> Result<Option<&'a Vec<Json>>, ImportError> {
        self.read(name, "an array", Json::as_array)
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, ImportError> {
        self.read(name, "a time of RFC 3339", |v| v.as_str().and_then(Timestamp::parse_rfc3339))
    }

    fn object(&self, name: &str) -> Result<Option<Self>, ImportError> {
        self.read(name, "an object", Some)?.map(|v| Object::of(v, self.path(name))).transpose()
    }

    fn value(&self, name: &str) -> Result<Option<Value>, ImportError> {
        self.map.get(name).map(|v| value(v, || self.path(name))).transpose()
    }
}
