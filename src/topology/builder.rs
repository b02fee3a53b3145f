//! Collects nodes, and gives a typed handle for each.
//!
//! Mistakes that the compiler cannot see are kept until [`build`](TopologyBuilder::build), which reports the first, so that a
//! topology reads as a list of nodes without a `?` on every line. Nodes keep the order of declaration: a handle's position is the
//! node's position in the graph.

use super::{
    Topology,
    branch::{Arms, Choice},
    code,
    ctx::Ctx,
    definition::{Code, Declared, Definition, INPUT},
    deps::{Deps, Edges},
    error::BuildError,
    handle::{Brand, Handle, Node, Source},
    node_error::NodeResult,
    options::NodeOptions,
    saved::Saved,
    signal::Signal,
};
use crate::{
    codec::Payload,
    core::graph::{Dependency, NodeId, NodeKind, On, Upstream},
};
use std::{fmt, future::Future, marker::PhantomData};

/// Builds a [`Topology`] whose runs take an `I` and share the application state `C`.
#[must_use = "call `build` to check the topology"]
pub struct TopologyBuilder<I, C = ()> {
    name: String,
    brand: Brand,
    nodes: Vec<Declared<C>>,
    /// Takes the options that are set through a handle without a node.
    stray: NodeOptions,
    mistake: Option<BuildError>,
    _input: PhantomData<fn(I)>,
}

impl<I: Payload> TopologyBuilder<I> {
    pub(super) fn new(name: String) -> Self {
        let stray = NodeOptions::default();
        Self { name, brand: Brand::fresh(), nodes: Vec::new(), stray, mistake: None, _input: PhantomData }
    }

    /// Declares the application state that the nodes share; nodes that were declared before do without it.
    pub fn app<C: Send + Sync + 'static>(self) -> TopologyBuilder<I, C> {
        let share = |node: Declared<()>| Declared {
            name: node.name,
            kind: node.kind,
            deps: node.deps,
            options: node.options,
            code: node.code.map(code::without_app),
            reads: node.reads,
        };
        TopologyBuilder {
            name: self.name,
            brand: self.brand,
            nodes: self.nodes.into_iter().map(share).collect(),
            stray: self.stray,
            mistake: self.mistake,
            _input: PhantomData,
        }
    }
}

impl<I: Payload, C: Send + Sync + 'static> TopologyBuilder<I, C> {
    /// Returns the handle of what a run is started with.
    #[must_use]
    pub fn input(&self) -> Node<I> {
        Node::new(Source { brand: self.brand, upstream: Upstream::Input })
    }

    /// Adds a node: `run` gets the values of `deps` and returns the node's output.
    pub fn node<D, O, F, Fut>(&mut self, name: impl Into<String>, deps: D, run: F) -> Node<O>
    where
        D: Deps,
        F: Fn(Ctx<C>, D::Input) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<O>> + Send + 'static,
        O: Payload,
    {
        let name = name.into();
        let edges = self.resolve(&name, &deps);
        let code = code::work(code::typed(deps, &edges), run);
        Node::new(self.push(name, NodeKind::Work, edges, Some(code)))
    }

    /// Adds a node whose code saves its progress, and continues from there after a crash or a failed attempt.
    pub fn resumable<S, D, O, F, Fut>(&mut self, name: impl Into<String>, deps: D, run: F) -> Node<O>
    where
        S: Payload,
        D: Deps,
        F: Fn(Ctx<C>, Saved<S>, D::Input) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<O>> + Send + 'static,
        O: Payload,
    {
        let name = name.into();
        let edges = self.resolve(&name, &deps);
        let code = code::resumable(code::typed(deps, &edges), run);
        Node::new(self.push(name, NodeKind::Work, edges, Some(code)))
    }

    /// Adds a branch: `decide` takes one of `arms`, or none, and the nodes that need another one are skipped.
    pub fn branch<D, A, F, Fut>(&mut self, name: impl Into<String>, deps: D, arms: A, decide: F) -> A::Handles
    where
        D: Deps,
        A: Arms,
        F: Fn(Ctx<C>, A::Handles, D::Input) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<Choice>> + Send + 'static,
    {
        let name = name.into();
        let edges = self.resolve(&name, &deps);
        let branch = self.next();
        let handles = A::handles(branch);
        let code = code::branch(branch, code::typed(deps, &edges), move |ctx, input| decide(ctx, handles, input));
        self.push(name, NodeKind::Branch { arms: arms.names() }, edges, Some(code));
        handles
    }

    /// Adds a node that suspends the run, once it has the values of `after`, until `signal` arrives; its output is the signal's
    /// payload.
    pub fn wait_for<T: Payload, D: Deps>(&mut self, name: impl Into<String>, after: D, signal: Signal<T>) -> Node<T> {
        let name = name.into();
        let edges = self.resolve(&name, &after);
        let node = Node::new(self.push(name, NodeKind::Wait { signal: signal.name().to_owned() }, edges, None));
        if let Some(declared) = self.nodes.last_mut() {
            declared.reads = Some(|payload| T::decode(payload).map(drop));
        }
        node
    }

    /// Returns the options of a node, to be changed. A branch is named by any of its arms.
    pub fn options(&mut self, node: impl Handle) -> &mut NodeOptions {
        let Source { brand, upstream } = node.source();
        let own = brand == self.brand;
        let Some(id) = upstream.node().filter(|_| own) else {
            let node = "options".to_owned();
            self.note(if own { BuildError::Options(INPUT.to_owned()) } else { BuildError::ForeignHandle { node } });
            return &mut self.stray;
        };
        &mut self.nodes[id.index()].options
    }

    /// Checks the topology; `output` is what a run returns when it completes.
    ///
    /// A run whose output was skipped has none: use `.optional()` for what stands behind a branch.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: the first wrong handle, or else the first thing that is wrong with the graph. It is a mistake in the program,
    /// so a test that builds the topology finds it.
    pub fn build<D: Deps>(mut self, output: D) -> Result<Topology<I, D::Input, C>, BuildError> {
        let edges = self.resolve("output", &output);
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        let definition = Definition::assemble(self.name, self.nodes, &edges, false)?;
        Ok(Topology::new(definition, code::typed(output, &edges)))
    }

    /// Names the sources of `deps`, for the node `user`.
    fn resolve(&mut self, user: &str, deps: &impl Deps) -> Vec<Dependency> {
        let edges = Edges::of(deps);
        if edges.iter().any(|(source, _)| source.brand != self.brand) {
            self.note(BuildError::ForeignHandle { node: user.to_owned() });
            return Vec::new();
        }
        edges.into_iter().map(|(source, optional)| Dependency { on: self.on(source.upstream), optional }).collect()
    }

    fn on(&self, upstream: Upstream) -> On {
        let node = |id: NodeId| &self.nodes[id.index()];
        match upstream {
            Upstream::Input => On::Input,
            Upstream::Node(id) => On::Node(node(id).name.clone()),
            Upstream::Arm(id, arm) => match &node(id).kind {
                NodeKind::Branch { arms } => On::Arm { branch: node(id).name.clone(), arm: arms[arm.index()].clone() },
                NodeKind::Work | NodeKind::Wait { .. } => On::Node(node(id).name.clone()),
            },
        }
    }

    /// Stands for the node that is added next.
    fn next(&self) -> Source {
        Source::node(self.brand, NodeId::at(self.nodes.len()))
    }

    fn push(&mut self, name: String, kind: NodeKind, deps: Vec<Dependency>, code: Option<Code<C>>) -> Source {
        let source = self.next();
        self.nodes.push(Declared { name, kind, deps, options: NodeOptions::default(), code, reads: None });
        source
    }

    fn note(&mut self, mistake: BuildError) {
        self.mistake.get_or_insert(mistake);
    }
}

impl<I, C> fmt::Debug for TopologyBuilder<I, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        f.debug_struct("TopologyBuilder").field("name", &self.name).field("nodes", &names).finish_non_exhaustive()
    }
}
