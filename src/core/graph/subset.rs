//! A part of a graph: which nodes a run includes.

use super::{Graph, NodeId, Upstream};
use std::collections::BTreeSet;

/// Which nodes of a graph a run includes; `exclude` wins where both name a node.
///
/// ```
/// use anabranch::core::graph::Subset;
/// let subset = Subset::all().exclude(["notify"]);
/// assert_ne!(subset, Subset::all());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subset {
    include: Option<BTreeSet<String>>,
    exclude: BTreeSet<String>,
}

/// Why a subset does not fit its graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubsetError {
    /// The graph has no such node.
    #[error("`{0}` is not a node of this topology")]
    Unknown(String),
    /// An included node requires the value of one that is left out.
    #[error("`{node}` needs the output of `{dependency}`, which is left out: include it, or provide its output")]
    MissingInput {
        /// The included node.
        node: String,
        /// The node that is left out.
        dependency: String,
    },
}

impl Subset {
    /// Includes every node.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Includes these nodes, beside those that were included before, and no others.
    #[must_use]
    pub fn include<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.include.get_or_insert_default().extend(names.into_iter().map(Into::into));
        self
    }

    /// Leaves these nodes out.
    #[must_use]
    pub fn exclude<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.exclude.extend(names.into_iter().map(Into::into));
        self
    }

    /// Tells for each node of `graph` whether it is included. `provided` tells whether a left-out node's output is given.
    ///
    /// # Errors
    ///
    /// [`SubsetError::Unknown`] for a name that is no node; [`SubsetError::MissingInput`] when an included node requires a value
    /// that nobody will produce. With `lenient` such a dependency is left out of the node's input instead.
    pub fn resolve(&self, graph: &Graph, provided: impl Fn(NodeId) -> bool, lenient: bool) -> Result<Vec<bool>, SubsetError> {
        let known = |name: &&String| graph.find(name).is_none();
        if let Some(name) = self.include.iter().flatten().chain(&self.exclude).find(known) {
            return Err(SubsetError::Unknown(name.clone()));
        }
        let wanted = |name: &String| self.include.as_ref().is_none_or(|set| set.contains(name)) && !self.exclude.contains(name);
        let included: Vec<bool> = graph.nodes().map(|(id, n)| wanted(&n.name) && !provided(id)).collect();
        for (_, node) in graph.nodes().filter(|(id, _)| !lenient && included[id.index()]) {
            for edge in node.edges.iter().filter(|e| !e.optional) {
                let (Upstream::Node(id) | Upstream::Arm(id, _)) = edge.upstream else { continue };
                if !included[id.index()] && !provided(id) {
                    let dependency = graph.node(id).name.clone();
                    return Err(SubsetError::MissingInput { node: node.name.clone(), dependency });
                }
            }
        }
        Ok(included)
    }
}
