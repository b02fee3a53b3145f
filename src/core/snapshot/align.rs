//! Carrying a run over to another version of its graph.

use super::{NodeState, NodeStatus, Snapshot};
use crate::core::graph::{ArmId, Graph, NodeKind};

impl Snapshot {
    /// Fits the snapshot to `graph` by the names of the nodes: the default of a migration.
    ///
    /// A node that the new graph has under the same name and kind keeps its state, with two exceptions: what was skipped is
    /// decided anew, and a branch whose arm is gone runs again. Nodes that are new are pending; nodes that are gone are forgotten.
    #[must_use]
    pub fn aligned_with(mut self, graph: &Graph) -> Self {
        let old = std::mem::take(&mut self.nodes);
        self.nodes = graph
            .nodes()
            .map(|(id, node)| {
                let fresh = NodeState::pending(graph, id);
                let Some(mut kept) = old.iter().find(|o| o.name == node.name && o.kind == fresh.kind).cloned() else {
                    return fresh;
                };
                kept.deps.clone_from(&fresh.deps);
                let arm_is_gone = match (&node.kind, &mut kept.selected) {
                    (NodeKind::Branch { arms }, Some(selected)) => match arms.iter().position(|a| *a == selected.name) {
                        Some(index) => {
                            selected.arm = ArmId::at(index);
                            false
                        }
                        None => true,
                    },
                    _ => false,
                };
                if kept.status == NodeStatus::Skipped || arm_is_gone {
                    return NodeState { attempt: kept.attempt, ..fresh };
                }
                kept
            })
            .collect();
        self.fingerprint = graph.fingerprint();
        graph.name().clone_into(&mut self.topology);
        self
    }
}
