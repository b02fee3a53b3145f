//! A topology with its types erased: what the runtime gets to see.
//!
//! Policies and code are listed by the position of their node in the graph. Values are bytes, in the order of a node's edges. A
//! body ends with an [`Outcome`] or a [`NodeError`]; it may panic, which is the runtime's to catch.

use super::{ctx::Ctx, error::BuildError, node_error::NodeError, options::NodeOptions};
use crate::{
    codec::CodecError,
    core::{
        graph::{ArmId, Dependency, Edge, Graph, NodeKind, NodeSpec, On, Upstream},
        retry::{NodePolicy, StopReason},
    },
    time::Clock,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::{collections::HashMap, sync::Arc};

/// A checked graph and what it takes to run it.
pub(crate) struct Definition<C> {
    pub(crate) graph: Graph,
    /// By node.
    pub(crate) policies: Vec<NodePolicy>,
    /// By node; `None` for those that wait for a signal.
    pub(crate) code: Vec<Option<Code<C>>>,
    /// The signals that nodes wait for, with what reads their payloads.
    signals: Vec<(String, Reads)>,
    /// What the run's output is made of.
    pub(crate) output: Vec<Edge>,
    /// A required dependency that a subset leaves out is dropped from the node's values instead of being an error.
    pub(crate) lenient: bool,
}

/// Tells whether bytes are a value of some type.
pub(super) type Reads = fn(&[u8]) -> Result<(), CodecError>;

/// The body of a node.
pub(crate) type Code<C> = Arc<dyn Fn(Call<C>) -> BoxFuture<'static, Result<Outcome, NodeError>> + Send + Sync>;

/// One attempt.
pub(crate) struct Call<C> {
    pub(crate) ctx: Ctx<C>,
    pub(crate) inputs: Inputs,
    /// What an earlier attempt saved.
    pub(crate) saved: Option<Bytes>,
}

/// What an attempt produced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The output of a work node.
    Value(Bytes),
    /// Which arm a branch takes, with the value it carries, and why.
    Branch { taken: Option<(ArmId, Bytes)>, reason: Option<String> },
}

/// The values of a node's dependencies, in the order of its edges; `None` where there is no value.
#[derive(Debug)]
pub(crate) struct Inputs(Vec<Option<Bytes>>);

impl Inputs {
    pub(crate) fn new(values: Vec<Option<Bytes>>) -> Self {
        Self(values)
    }

    pub(super) fn into_values(self) -> Vec<Option<Bytes>> {
        self.0
    }
}

/// What the runtime does for a running body.
pub(crate) trait Host: Send + Sync {
    /// Makes `state` durable, as the progress of this node.
    fn save(&self, state: Bytes) -> BoxFuture<'_, Result<(), NodeError>>;

    /// Waits until the attempt is asked to stop.
    fn stopped(&self) -> BoxFuture<'_, StopReason>;

    /// Tells why the attempt is asked to stop, if it is.
    fn stop_reason(&self) -> Option<StopReason>;

    /// Returns the time that the runtime goes by.
    fn clock(&self) -> &Clock;
}

/// A node as a builder collects it.
pub(super) struct Declared<C> {
    pub(super) name: String,
    pub(super) kind: NodeKind,
    pub(super) deps: Vec<Dependency>,
    pub(super) options: NodeOptions,
    pub(super) code: Option<Code<C>>,
    /// Of a node that waits for a signal whose type is known.
    pub(super) reads: Option<Reads>,
}

impl<C> Definition<C> {
    /// Refuses a payload that the nodes behind a signal could not read: a signal is taken once, so a wrong one cannot be put
    /// right later.
    pub(crate) fn accepts(&self, signal: &str, payload: &[u8]) -> Result<(), CodecError> {
        self.signals.iter().filter(|(name, _)| name == signal).try_for_each(|(_, reads)| reads(payload))
    }

    /// Puts other code in the place of each node's: what it returns for the node's name and its code.
    #[cfg(feature = "testing")]
    pub(crate) fn with_code(&self, put: impl Fn(&str, &Code<C>) -> Code<C>) -> Self {
        let nodes = self.graph.nodes().zip(&self.code);
        Self {
            graph: self.graph.clone(),
            policies: self.policies.clone(),
            code: nodes.map(|((_, node), code)| code.as_ref().map(|code| put(&node.name, code))).collect(),
            signals: self.signals.clone(),
            output: self.output.clone(),
            lenient: self.lenient,
        }
    }

    /// Checks the nodes and puts their policies and code into the graph's order.
    pub(super) fn assemble(
        name: String,
        nodes: Vec<Declared<C>>,
        output: &[Dependency],
        lenient: bool,
    ) -> Result<Self, BuildError> {
        let mut parts = HashMap::with_capacity(nodes.len());
        let mut specs = Vec::with_capacity(nodes.len());
        let mut signals = Vec::new();
        for Declared { name, kind, deps, options, code, reads } in nodes {
            if let (NodeKind::Wait { signal }, Some(reads)) = (&kind, reads) {
                signals.push((signal.clone(), reads));
            }
            parts.insert(name.clone(), (options.policy, code));
            specs.push(NodeSpec { name, kind, deps, rule: options.rule });
        }
        let graph = Graph::new(name, specs)?;
        let (policies, code) =
            graph.nodes().map(|(_, node)| parts.remove(&node.name).expect("a graph has the nodes that it was made of")).unzip();
        let output = output.iter().map(|dep| edge(&graph, dep)).collect::<Result<Vec<_>, _>>()?;
        graph.attainable("output", &output)?;
        Ok(Self { graph, policies, code, signals, output, lenient })
    }
}

/// Finds what a part of the output refers to.
fn edge(graph: &Graph, dep: &Dependency) -> Result<Edge, BuildError> {
    let upstream = match &dep.on {
        On::Input => Some(Upstream::Input),
        On::Node(name) => {
            let is_branch = |id| matches!(graph.node(id).kind, NodeKind::Branch { .. });
            graph.find(name).filter(|id| !is_branch(*id)).map(Upstream::Node)
        }
        On::Arm { branch, arm } => graph.find(branch).and_then(|id| match &graph.node(id).kind {
            NodeKind::Branch { arms } => arms.iter().position(|a| a == arm).map(|at| Upstream::Arm(id, ArmId::at(at))),
            NodeKind::Work | NodeKind::Wait { .. } => None,
        }),
    };
    let upstream = upstream.ok_or_else(|| BuildError::Output(label(&dep.on)))?;
    Ok(Edge { upstream, optional: dep.optional })
}

/// Names a dependency, in errors and in dynamic values.
pub(super) fn label(on: &On) -> String {
    match on {
        On::Input => INPUT.to_owned(),
        On::Node(name) => name.clone(),
        On::Arm { branch, arm } => format!("{branch}/{arm}"),
    }
}

/// What the run's input is called where nodes have names.
pub(super) const INPUT: &str = "$input";
