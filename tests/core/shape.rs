//! Graphs in a line: `topology([work("a"), work("b").after("a")])`.
#![allow(dead_code, reason = "each test target uses some of it")]

use anabranch::{
    NodePolicy,
    core::{
        graph::{Dependency, Graph, GraphError, NodeKind, NodeSpec, On, TriggerRule},
        machine::Plan,
    },
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long cancelled bodies may take in every test.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// A node to be.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    spec: NodeSpec,
    policy: NodePolicy,
}

fn shape(name: &str, kind: NodeKind) -> Shape {
    let spec = NodeSpec { name: name.into(), kind, deps: Vec::new(), rule: TriggerRule::default() };
    Shape { spec, policy: NodePolicy::default() }
}

pub(crate) fn work(name: &str) -> Shape {
    shape(name, NodeKind::Work)
}

pub(crate) fn branch<const N: usize>(name: &str, arms: [&str; N]) -> Shape {
    shape(name, NodeKind::Branch { arms: arms.map(Into::into).to_vec() })
}

pub(crate) fn wait(name: &str, signal: &str) -> Shape {
    shape(name, NodeKind::Wait { signal: signal.into() })
}

impl Shape {
    fn on(mut self, on: On, optional: bool) -> Self {
        self.spec.deps.push(Dependency { on, optional });
        self
    }

    pub(crate) fn input(self) -> Self {
        self.on(On::Input, false)
    }

    pub(crate) fn after(self, node: &str) -> Self {
        self.on(On::Node(node.into()), false)
    }

    pub(crate) fn arm(self, branch: &str, arm: &str) -> Self {
        self.on(On::Arm { branch: branch.into(), arm: arm.into() }, false)
    }

    pub(crate) fn maybe(self, node: &str) -> Self {
        self.on(On::Node(node.into()), true)
    }

    pub(crate) fn maybe_arm(self, branch: &str, arm: &str) -> Self {
        self.on(On::Arm { branch: branch.into(), arm: arm.into() }, true)
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Makes every dependency optional.
    pub(crate) fn loosen(&mut self) {
        self.spec.deps.iter_mut().for_each(|d| d.optional = true);
    }

    pub(crate) fn rule(mut self, rule: TriggerRule) -> Self {
        self.spec.rule = rule;
        self
    }

    pub(crate) fn policy(mut self, policy: NodePolicy) -> Self {
        self.policy = policy;
        self
    }
}

pub(crate) fn graph(shapes: impl IntoIterator<Item = Shape>) -> Result<Graph, GraphError> {
    Graph::new("orders", shapes.into_iter().map(|s| s.spec).collect())
}

pub(crate) fn topology(shapes: impl IntoIterator<Item = Shape>) -> Plan {
    let shapes: Vec<_> = shapes.into_iter().collect();
    let by_name: BTreeMap<_, _> = shapes.iter().map(|s| (s.spec.name.clone(), s.policy.clone())).collect();
    let graph = graph(shapes).unwrap();
    let policies = graph.nodes().map(|(_, n)| by_name[&n.name].clone()).collect();
    Plan { graph: Arc::new(graph), policies, cancel_grace: GRACE }
}

/// `load` feeds `left` and `right`, which `join` brings together.
pub(crate) fn diamond() -> Plan {
    topology([
        work("load").input(),
        work("left").after("load"),
        work("right").after("load"),
        work("join").after("left").after("right"),
    ])
}
