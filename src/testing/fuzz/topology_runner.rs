//! Any JSON as the export of a run: what is taken over can be stored, moved, and exported to the same again.

use super::{NOW, snapshot::taken_up};
use crate::{
    core::{
        graph::{Dependency, Graph, NodeKind, NodeSpec, On, TriggerRule},
        machine::Plan,
        retry::NodePolicy,
        snapshot::Snapshot,
    },
    topology::dynamic::GraphConfig,
};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

/// An order in topology-runner's way: a suspension, a branch, and nodes that hang on its arms.
static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let on = |on| Dependency { on, optional: false };
    let after = |name: &str| on(On::Node(name.into()));
    let arm = |arm: &str| on(On::Arm { branch: "pay".into(), arm: arm.into() });
    let node = |name: &str, kind, deps| NodeSpec { name: name.into(), kind, deps, rule: TriggerRule::AllSuccess };
    let arms = vec!["card".into(), "invoice".into()];
    let nodes = vec![
        node("order", NodeKind::Work, vec![on(On::Input)]),
        node("approve", NodeKind::Wait { signal: "approval".into() }, vec![after("order")]),
        node("pay", NodeKind::Branch { arms }, vec![after("approve")]),
        node("charge", NodeKind::Work, vec![arm("card")]),
        node("invoice", NodeKind::Work, vec![arm("invoice")]),
        node("receipt", NodeKind::Work, vec![after("charge")]),
    ];
    let graph = Arc::new(Graph::new("shop", nodes).expect("it is a graph"));
    let policies = std::iter::repeat_with(NodePolicy::default).take(graph.len()).collect();
    Plan { graph, policies, cancel_grace: Duration::from_secs(1) }
});

pub(super) fn plan() -> Plan {
    PLAN.clone()
}

/// Reads bytes as JSON, and that as an exported run and as a configured topology.
///
/// # Panics
///
/// When what was taken over cannot be stored, moved, or exported to the same.
pub fn topology_runner_json(bytes: &[u8]) {
    // Names are not resolved without a registry, so this only reads.
    drop(serde_json::from_slice::<GraphConfig>(bytes));
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let plan = plan();
    let import = |json: &serde_json::Value| Snapshot::from_json(json, &plan.graph, "r-1", NOW);
    let Ok(imported) = import(&json) else { return };
    let stored = Snapshot::decode(imported.encode()).expect("what was taken over can be stored");
    assert_eq!(stored, imported, "a snapshot is the same after it was written");
    // Bytes that are JSON in another spelling are the same value, so the first export is what has to come back.
    let exported = imported.to_json(|_| None);
    let again = import(&exported).expect("what was exported is taken over");
    assert_eq!(again.to_json(|_| None), exported, "an export of an export is the same");
    // As text as well, which is how it travels.
    let text = serde_json::to_vec(&exported).expect("JSON can be written");
    if let Ok(read) = serde_json::from_slice::<serde_json::Value>(&text) {
        assert_eq!(read, exported, "an export is the same after it was written as text");
    }
    taken_up(&plan, imported);
}
