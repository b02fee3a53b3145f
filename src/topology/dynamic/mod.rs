//! Topologies of named nodes and JSON values, for graphs that are known only when the program runs.
//!
//! The same machinery as the typed builder, with one type: what the compiler checks there is a [`BuildError`] or a terminal error
//! of the node here. A dependency that a subset leaves out is dropped from its dependents' values.

mod config;
mod dep;
mod handler;
mod values;

#[cfg(test)]
mod tests;

pub use config::{GraphConfig, KindConfig, NodeConfig};
pub use dep::{Dep, IntoDeps};
pub use handler::{NamedArms, Registry};
pub use values::Values;

use super::{
    Topology,
    branch::Choice,
    code::{self, Read},
    ctx::Ctx,
    definition::{Declared, Definition, label},
    deps::Reader,
    error::{BuildError, OutputError},
    handle::{Brand, Source},
    node_error::NodeResult,
    options::NodeOptions,
    saved::Saved,
};
use crate::core::graph::{Dependency, NodeId, NodeKind, On};
use handler::{Decide, Work};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
};

/// Builds a topology of named nodes, which may be declared in any order.
///
/// A node without dependencies gets the run's input; so does one that names `$input` among them.
///
/// ```
/// use anabranch::{NodeResult, Topology, topology::dynamic::Dep};
/// use serde_json::json;
///
/// let topology = Topology::dynamic::<()>("import")
///     .node("load", ["small", "large"].map(|n| Dep::on(n).optional()), async |_, values| Ok(json!(values.len())))
///     .node("small", "size/small", async |_, _| Ok(json!("at once")))
///     .node("large", "size/large", async |_, values| Ok(json!({ "in parts": values.get("size/large") })))
///     .branch("size", "fetch", ["small", "large"], async |_, arms, values| match values.parse::<Vec<u64>>("fetch")? {
///         rows if rows.len() > 1000 => arms.take("large", json!(rows.len())),
///         _ => Ok(arms.take("small", json!(null))?.because("fits into memory")),
///     })
///     .node("fetch", (), async |_, values| Ok(json!([values.run_input()])))
///     .options("fetch", |fetch| fetch.max_attempts(9))
///     .output("load")
///     .build()?;
/// assert_eq!(topology.graph().nodes().next().unwrap().1.name, "fetch");
/// # Ok::<(), anabranch::BuildError>(())
/// ```
#[must_use = "call `build` to check the topology"]
pub struct DynamicBuilder<C = ()> {
    name: String,
    nodes: Vec<Named<C>>,
    options: BTreeMap<String, NodeOptions>,
    output: Option<Dep>,
}

struct Named<C> {
    name: String,
    deps: Vec<Dep>,
    body: Body<C>,
}

enum Body<C> {
    Work(Work<C>),
    Branch { arms: Vec<String>, decide: Decide<C> },
    Wait { signal: String },
}

impl Topology {
    /// Builds the topology that a configuration describes, with handlers from `registry`.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the node and what is wrong with it.
    pub fn from_config<C: Send + Sync + 'static>(
        config: GraphConfig,
        registry: &Registry<C>,
    ) -> Result<Topology<Value, Value, C>, BuildError> {
        config.into_builder(registry)?.build()
    }
}

impl<C: Send + Sync + 'static> DynamicBuilder<C> {
    pub(super) fn new(name: String) -> Self {
        Self { name, nodes: Vec::new(), options: BTreeMap::new(), output: None }
    }

    /// Adds a node: `run` gets the values of `deps` and returns the node's output.
    pub fn node<F, Fut>(self, name: impl Into<String>, deps: impl IntoDeps, run: F) -> Self
    where
        F: Fn(Ctx<C>, Values) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<Value>> + Send + 'static,
    {
        self.push(name.into(), deps.into_deps(), Body::Work(handler::work(run)))
    }

    /// Adds a node whose code saves its progress, and continues from there after a crash or a failed attempt.
    pub fn resumable<F, Fut>(self, name: impl Into<String>, deps: impl IntoDeps, run: F) -> Self
    where
        F: Fn(Ctx<C>, Saved<Value>, Values) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<Value>> + Send + 'static,
    {
        self.push(name.into(), deps.into_deps(), Body::Work(handler::resumable(run)))
    }

    /// Adds a branch: `decide` takes one of `arms`, or none, and the nodes that need another one are skipped.
    pub fn branch<A, F, Fut>(
        self,
        name: impl Into<String>,
        deps: impl IntoDeps,
        arms: impl IntoIterator<Item = A>,
        decide: F,
    ) -> Self
    where
        A: Into<String>,
        F: Fn(Ctx<C>, NamedArms, Values) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<Choice>> + Send + 'static,
    {
        let arms = arms.into_iter().map(Into::into).collect();
        self.push(name.into(), deps.into_deps(), Body::Branch { arms, decide: handler::decide(decide) })
    }

    /// Adds a node that suspends the run, once it has the values of `after`, until the signal arrives; its output is the signal's
    /// payload.
    pub fn wait_for(self, name: impl Into<String>, after: impl IntoDeps, signal: impl Into<String>) -> Self {
        self.push(name.into(), after.into_deps(), Body::Wait { signal: signal.into() })
    }

    /// Changes the options of a node, which may be declared before or after.
    pub fn options(mut self, node: impl Into<String>, change: impl FnOnce(&mut NodeOptions) -> &mut NodeOptions) -> Self {
        change(self.options.entry(node.into()).or_default());
        self
    }

    /// Chooses what a run returns. Without a choice it returns an object of all nodes that nobody depends on and that were not
    /// skipped, by name.
    pub fn output(mut self, output: impl Into<Dep>) -> Self {
        self.output = Some(output.into());
        self
    }

    /// Checks the topology.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the node and what is wrong with it.
    pub fn build(mut self) -> Result<Topology<Value, Value, C>, BuildError> {
        let declared: BTreeSet<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        let brand = Brand::fresh();
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.into_iter().enumerate() {
            let options = self.options.remove(&node.name).unwrap_or_default();
            nodes.push(node.declare(Source::node(brand, NodeId::at(index)), options, &declared));
        }
        if let Some((unknown, _)) = self.options.pop_first() {
            return Err(BuildError::Options(unknown));
        }
        let Some(output) = self.output.map(|output| output.resolve(&declared)) else {
            let output = sinks(&nodes);
            let read = Values::reader(&output);
            let read = move |inputs| read(inputs).map(Values::into_object);
            return Ok(Topology::new(Definition::assemble(self.name, nodes, &output, true)?, read));
        };
        let read = single(&output);
        Ok(Topology::new(Definition::assemble(self.name, nodes, &[output], true)?, read))
    }

    fn push(mut self, name: String, deps: Vec<Dep>, body: Body<C>) -> Self {
        self.nodes.push(Named { name, deps, body });
        self
    }
}

impl<C: Send + Sync + 'static> Named<C> {
    fn declare(self, source: Source, options: NodeOptions, declared: &BTreeSet<String>) -> Declared<C> {
        let deps = if self.deps.is_empty() { vec![Dep::input()] } else { self.deps };
        let deps: Vec<_> = deps.into_iter().map(|dep| dep.resolve(declared)).collect();
        let read = Values::reader(&deps);
        let (kind, code) = match self.body {
            Body::Work(run) => (NodeKind::Work, Some(code::resumable(read, move |ctx, saved, values| run(ctx, saved, values)))),
            Body::Branch { arms, decide } => {
                let named = NamedArms::new(source, &arms);
                let decide = move |ctx, values| decide(ctx, named.clone(), values);
                (NodeKind::Branch { arms }, Some(code::branch(source, read, decide)))
            }
            Body::Wait { signal } => (NodeKind::Wait { signal }, None),
        };
        Declared { name: self.name, kind, deps, options, code, reads: None }
    }
}

/// Reads one value; an optional one that is missing is `null`.
fn single(output: &Dependency) -> impl Read<Value> + use<> {
    let (label, optional) = (label(&output.on), output.optional);
    move |inputs| {
        let labels = [label.clone()];
        let (_, value) = Reader::new(inputs, &labels).labelled::<Value>()?;
        match value {
            None if optional => Ok(Value::Null),
            None => Err(OutputError::Missing { dependency: label.clone() }),
            Some(value) => Ok(value),
        }
    }
}

/// Lists the nodes that have an output and that nobody depends on.
fn sinks<C>(nodes: &[Declared<C>]) -> Vec<Dependency> {
    let used: BTreeSet<&str> = nodes.iter().flat_map(|node| &node.deps).filter_map(|dep| upstream(&dep.on)).collect();
    let is_sink = |node: &&Declared<C>| !matches!(node.kind, NodeKind::Branch { .. }) && !used.contains(node.name.as_str());
    nodes.iter().filter(is_sink).map(|node| Dependency { on: On::Node(node.name.clone()), optional: true }).collect()
}

fn upstream(on: &On) -> Option<&str> {
    match on {
        On::Input => None,
        On::Node(name) | On::Arm { branch: name, .. } => Some(name),
    }
}

impl<C> fmt::Debug for DynamicBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        f.debug_struct("DynamicBuilder").field("name", &self.name).field("nodes", &names).finish_non_exhaustive()
    }
}
