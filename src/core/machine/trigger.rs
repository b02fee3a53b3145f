//! What a trigger rule makes of a node's dependencies.

use crate::core::{
    graph::{Edge, Node, TriggerRule, Upstream},
    snapshot::{NodeState, NodeStatus},
};

/// What became of a node, as those behind it see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not decided.
    Open,
    Succeeded,
    Skipped,
    /// It failed for good, or what it needs did.
    Failed,
    /// The run was started without it.
    Excluded,
}

impl Fate {
    /// The fate that a node's own status tells; a pending node's depends on what it waits for.
    pub(super) fn of(state: &NodeState) -> Self {
        match state.status {
            NodeStatus::Pending | NodeStatus::Running | NodeStatus::Suspended => Self::Open,
            NodeStatus::Completed => Self::Succeeded,
            NodeStatus::Skipped => Self::Skipped,
            NodeStatus::Errored => Self::Failed,
            NodeStatus::Excluded => Self::Excluded,
        }
    }
}

/// What is to become of a pending node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Run,
    Skip,
    /// Something that it depends on is not decided.
    Wait,
    /// Something that it needs failed: it stays pending, for a resume by hand.
    Blocked,
}

/// Decides a pending node. `fates` are those of all nodes before it.
pub(super) fn decide(node: &Node, states: &[NodeState], fates: &[Fate]) -> Verdict {
    let fate = |edge: &Edge| match edge.upstream {
        Upstream::Input => Fate::Succeeded,
        Upstream::Node(id) => fates[id.index()],
        Upstream::Arm(id, arm) => match fates[id.index()] {
            Fate::Succeeded if states[id.index()].selected.as_ref().is_none_or(|s| s.arm != arm) => Fate::Skipped,
            fate => fate,
        },
    };
    // A left-out dependency is no dependency where it is required (it was stripped), and skipped where it is optional.
    let seen = |edge: &Edge| match fate(edge) {
        Fate::Excluded if edge.optional => Fate::Skipped,
        Fate::Excluded => Fate::Succeeded,
        fate => fate,
    };
    let any = |wanted: Fate| node.edges.iter().any(|e| seen(e) == wanted);
    match node.rule {
        TriggerRule::AllSuccess => {
            if node.edges.iter().any(|e| !e.optional && seen(e) == Fate::Skipped) {
                Verdict::Skip
            } else if any(Fate::Failed) {
                Verdict::Blocked
            } else if any(Fate::Open) {
                Verdict::Wait
            } else {
                Verdict::Run
            }
        }
        TriggerRule::NoneFailedOneSuccess => {
            if any(Fate::Failed) {
                Verdict::Blocked
            } else if any(Fate::Open) {
                Verdict::Wait
            } else if any(Fate::Succeeded) || node.edges.is_empty() {
                Verdict::Run
            } else {
                Verdict::Skip
            }
        }
        TriggerRule::AllDone => {
            if any(Fate::Open) {
                Verdict::Wait
            } else {
                Verdict::Run
            }
        }
        TriggerRule::OneSuccess => {
            if any(Fate::Succeeded) || node.edges.is_empty() {
                Verdict::Run
            } else if any(Fate::Open) {
                Verdict::Wait
            } else if any(Fate::Failed) {
                Verdict::Blocked
            } else {
                Verdict::Skip
            }
        }
    }
}
