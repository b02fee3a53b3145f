//! The shape of a topology, without its code: nodes, edges, and the rules that say when a node may run.
//!
//! A [`Graph`] is checked when it is made and never changes: names are unique, every dependency exists and comes first, no
//! node waits for two arms of one branch. It does not know handlers, values, attempts or time.

mod check;
mod fingerprint;
mod subset;

pub use fingerprint::Fingerprint;
pub use subset::{Subset, SubsetError};

use std::fmt;

/// Position of a node in its graph. A node depends on smaller positions only, so ascending order is a topological order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// Returns the position, counted from zero.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("a graph has fewer than 2^32 nodes"))
    }
}

/// Position of an arm within its branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArmId(pub(crate) u16);

impl ArmId {
    /// Returns the position, counted from zero.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn at(index: usize) -> Self {
        Self(u16::try_from(index).expect("`check` limits the arms of a branch"))
    }
}

/// Where a dependency's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// What the run was started with.
    Input,
    /// The output of a work or wait node.
    Node(NodeId),
    /// What a branch hands to one of its arms.
    Arm(NodeId, ArmId),
}

impl Upstream {
    /// Returns the node that it comes from; `None` for the run's input.
    #[must_use]
    pub fn node(self) -> Option<NodeId> {
        match self {
            Self::Input => None,
            Self::Node(id) | Self::Arm(id, _) => Some(id),
        }
    }
}

/// One dependency of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Edge {
    /// Where the value comes from.
    pub upstream: Upstream,
    /// The node can do without the value.
    pub optional: bool,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// Runs code that produces an output.
    Work,
    /// Runs code that takes one of its arms, or none.
    Branch {
        /// Their names, at least one.
        arms: Vec<String>,
    },
    /// Suspends until a signal arrives, whose payload is its output.
    Wait {
        /// The name of the signal.
        signal: String,
    },
}

impl NodeKind {
    /// Names the kind as topology-runner does: `work`, `branching` or `suspension`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Branch { .. } => "branching",
            Self::Wait { .. } => "suspension",
        }
    }
}

/// When a node runs, given what became of its dependencies.
///
/// Every rule but the first may run a node without some of its values, so it asks that all dependencies are optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TriggerRule {
    /// When every required dependency succeeded and every optional one succeeded or was skipped; skipped as soon as a required
    /// one is skipped.
    #[default]
    AllSuccess,
    /// When all are decided, none failed and at least one succeeded: the join behind a branch. Skipped when all were skipped.
    NoneFailedOneSuccess,
    /// When all are decided, however they ended: clean-up.
    AllDone,
    /// As soon as one succeeded, without waiting for the others. Skipped when all were skipped.
    OneSuccess,
}

/// A node as it is declared: dependencies by name, in any order.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Its name, unique in the graph.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// What it depends on, in the order its code takes them.
    pub deps: Vec<Dependency>,
    /// When it runs.
    pub rule: TriggerRule,
}

/// A dependency as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Where the value comes from.
    pub on: On,
    /// The node can do without the value.
    pub optional: bool,
}

/// Where a declared dependency's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// What the run was started with.
    Input,
    /// A work or wait node.
    Node(String),
    /// An arm of a branch.
    Arm {
        /// The branch.
        branch: String,
        /// The arm.
        arm: String,
    },
}

/// A node of a checked graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// What it depends on, in the order its code takes them.
    pub edges: Vec<Edge>,
    /// When it runs.
    pub rule: TriggerRule,
}

/// A checked graph.
///
/// ```
/// use anabranch::core::graph::{Dependency, Graph, NodeKind, NodeSpec, On, TriggerRule};
///
/// let node = |name: &str, deps: &[&str]| NodeSpec {
///     name: name.into(),
///     kind: NodeKind::Work,
///     deps: deps.iter().map(|d| Dependency { on: On::Node((*d).into()), optional: false }).collect(),
///     rule: TriggerRule::AllSuccess,
/// };
/// let graph = Graph::new("diamond", vec![node("d", &["b", "c"]), node("b", &["a"]), node("c", &["a"]), node("a", &[])])?;
/// let order: Vec<_> = graph.nodes().map(|(_, n)| n.name.as_str()).collect();
/// assert_eq!(order, ["a", "b", "c", "d"]);
/// assert!(Graph::new("loop", vec![node("a", &["a"])]).is_err());
/// # Ok::<(), anabranch::core::graph::GraphError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Graph {
    name: String,
    nodes: Vec<Node>,
    /// For each node, the nodes that depend on it, ascending and without repetition.
    dependents: Vec<Vec<NodeId>>,
    fingerprint: Fingerprint,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").field("name", &self.name).field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl Graph {
    /// Checks `specs` and puts them into topological order, which keeps the declared order where it can.
    ///
    /// # Errors
    ///
    /// [`GraphError`] names the node and what is wrong with it.
    pub fn new(name: impl Into<String>, specs: Vec<NodeSpec>) -> Result<Self, GraphError> {
        let nodes = check::resolve(specs)?;
        check::reachable(&nodes)?;
        let mut dependents = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            for upstream in node.edges.iter().filter_map(|e| e.upstream.node()) {
                let list: &mut Vec<NodeId> = &mut dependents[upstream.index()];
                if list.last() != Some(&NodeId::at(index)) {
                    list.push(NodeId::at(index));
                }
            }
        }
        let name = name.into();
        let fingerprint = Fingerprint::of(&nodes);
        Ok(Self { name, nodes, dependents, fingerprint })
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how many nodes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Tells whether it has no node at all; its runs complete at once.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns a node.
    ///
    /// # Panics
    ///
    /// When `id` is of a larger graph.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Returns the node of a position, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(NodeId, &Node)> {
        self.nodes.get(index).map(|n| (NodeId::at(index), n))
    }

    /// Lists the nodes in topological order.
    #[must_use]
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId::at(i), n))
    }

    /// Finds a node by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.name == name).map(NodeId::at)
    }

    /// Lists the nodes that depend on `id`, ascending.
    #[must_use]
    pub fn dependents(&self, id: NodeId) -> &[NodeId] {
        &self.dependents[id.index()]
    }

    /// Refuses required `edges` that can never have their values together, as a node with such edges is refused; `user` names in
    /// the error what they are for.
    ///
    /// # Errors
    ///
    /// [`GraphError::Unreachable`] names the branch of which they need two arms.
    pub fn attainable(&self, user: &str, edges: &[Edge]) -> Result<(), GraphError> {
        let needs = check::reachable(&self.nodes)?;
        check::needed(&self.nodes, &needs, user, edges).map(drop)
    }

    /// Identifies the shape: equal for graphs whose runs can continue each other.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Tells whether some node waits for a signal.
    #[must_use]
    pub fn has_signal(&self, name: &str) -> bool {
        self.nodes.iter().any(|n| matches!(&n.kind, NodeKind::Wait { signal } if signal == name))
    }
}

/// Why nodes make no graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A name is empty or longer than 256 bytes.
    #[error("`{0}` is no name: use 1 to 256 bytes")]
    Name(String),
    /// Two nodes have one name.
    #[error("two nodes are called `{0}`: rename one")]
    Duplicate(String),
    /// A node depends on one that is not there.
    #[error("`{node}` depends on `{dependency}`, which is not a node of this topology")]
    Unknown {
        /// The node.
        node: String,
        /// What it asks for.
        dependency: String,
    },
    /// A node depends on an arm that the branch does not have, or on an arm of a node that is no branch.
    #[error("`{node}` depends on the arm `{arm}` of `{branch}`, which has no such arm")]
    UnknownArm {
        /// The node.
        node: String,
        /// The branch.
        branch: String,
        /// The arm.
        arm: String,
    },
    /// A node depends on a branch itself, which has no value: depend on one of its arms.
    #[error("`{node}` depends on the branch `{branch}` itself: depend on one of its arms")]
    BranchHasNoValue {
        /// The node.
        node: String,
        /// The branch.
        branch: String,
    },
    /// A branch names no arm, one arm twice, or more than 1,024.
    #[error("the arms of `{0}` must be 1 to 1024 different names")]
    Arms(String),
    /// Nodes depend on each other in a circle.
    #[error("`{}` depend on each other in a circle", .0.join("`, `"))]
    Cycle(Vec<String>),
    /// A node needs two arms of one branch, of which only one can be taken.
    #[error("`{node}` can never run: it needs two arms of `{branch}`; make its dependencies optional to join them")]
    Unreachable {
        /// The node.
        node: String,
        /// The branch.
        branch: String,
    },
    /// A trigger rule may run a node without a value that it requires.
    #[error("the trigger rule of `{0}` can run it without its values: make every dependency optional")]
    RuleNeedsOptional(String),
}
