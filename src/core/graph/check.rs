//! What makes nodes a graph: names resolve, order exists, every node can run.

use super::{ArmId, Dependency, Edge, GraphError, Node, NodeId, NodeKind, NodeSpec, On, TriggerRule, Upstream};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const MAX_NAME_BYTES: usize = 256;
const MAX_ARMS: usize = 1024;

/// Resolves names to positions, in a topological order that keeps the declared order where it can.
pub(super) fn resolve(specs: Vec<NodeSpec>) -> Result<Vec<Node>, GraphError> {
    let mut declared = HashMap::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        named(&spec.name)?;
        arms(spec)?;
        if declared.insert(spec.name.as_str(), index).is_some() {
            return Err(GraphError::Duplicate(spec.name.clone()));
        }
        let needs_optional = spec.rule != TriggerRule::AllSuccess;
        if needs_optional && spec.deps.iter().any(|d| !d.optional && d.on != On::Input) {
            return Err(GraphError::RuleNeedsOptional(spec.name.clone()));
        }
    }
    let upstreams = specs
        .iter()
        .map(|spec| spec.deps.iter().map(|dep| upstream(&specs, &declared, spec, dep)).collect())
        .collect::<Result<Vec<Vec<Upstream>>, _>>()?;
    let order = order(&specs, &upstreams)?;

    let mut position = vec![NodeId(0); specs.len()];
    for (new, old) in order.iter().enumerate() {
        position[*old] = NodeId::at(new);
    }
    let place = |upstream: Upstream| match upstream {
        Upstream::Input => Upstream::Input,
        Upstream::Node(id) => Upstream::Node(position[id.index()]),
        Upstream::Arm(id, arm) => Upstream::Arm(position[id.index()], arm),
    };
    let mut nodes: Vec<(NodeId, Node)> = specs
        .into_iter()
        .zip(upstreams)
        .enumerate()
        .map(|(old, (spec, upstreams))| {
            let edges = spec.deps.iter().zip(upstreams).map(|(d, u)| Edge { upstream: place(u), optional: d.optional });
            (position[old], Node { name: spec.name, kind: spec.kind, edges: edges.collect(), rule: spec.rule })
        })
        .collect();
    nodes.sort_by_key(|(id, _)| *id);
    Ok(nodes.into_iter().map(|(_, node)| node).collect())
}

fn named(name: &str) -> Result<(), GraphError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES { Err(GraphError::Name(name.to_owned())) } else { Ok(()) }
}

fn arms(spec: &NodeSpec) -> Result<(), GraphError> {
    let NodeKind::Branch { arms } = &spec.kind else { return Ok(()) };
    arms.iter().try_for_each(|arm| named(arm))?;
    let distinct: BTreeSet<_> = arms.iter().collect();
    if arms.is_empty() || arms.len() > MAX_ARMS || distinct.len() < arms.len() {
        return Err(GraphError::Arms(spec.name.clone()));
    }
    Ok(())
}

/// Resolves one dependency to a declared position.
fn upstream(
    specs: &[NodeSpec],
    declared: &HashMap<&str, usize>,
    spec: &NodeSpec,
    dep: &Dependency,
) -> Result<Upstream, GraphError> {
    let find = |name: &str| {
        let unknown = || GraphError::Unknown { node: spec.name.clone(), dependency: name.to_owned() };
        declared.get(name).copied().ok_or_else(unknown)
    };
    match &dep.on {
        On::Input => Ok(Upstream::Input),
        On::Node(name) => {
            let index = find(name)?;
            if matches!(specs[index].kind, NodeKind::Branch { .. }) {
                return Err(GraphError::BranchHasNoValue { node: spec.name.clone(), branch: name.clone() });
            }
            Ok(Upstream::Node(NodeId::at(index)))
        }
        On::Arm { branch, arm } => {
            let index = find(branch)?;
            let found = match &specs[index].kind {
                NodeKind::Branch { arms } => arms.iter().position(|a| a == arm),
                NodeKind::Work | NodeKind::Wait { .. } => None,
            };
            let unknown = || GraphError::UnknownArm { node: spec.name.clone(), branch: branch.clone(), arm: arm.clone() };
            Ok(Upstream::Arm(NodeId::at(index), ArmId::at(found.ok_or_else(unknown)?)))
        }
    }
}

/// Kahn's algorithm, smallest declared position first.
fn order(specs: &[NodeSpec], upstreams: &[Vec<Upstream>]) -> Result<Vec<usize>, GraphError> {
    let mut waiting: Vec<usize> = Vec::with_capacity(specs.len());
    let mut dependents = vec![Vec::new(); specs.len()];
    for (index, ups) in upstreams.iter().enumerate() {
        let nodes: BTreeSet<_> = ups.iter().filter_map(|u| u.node()).collect();
        waiting.push(nodes.len());
        for node in nodes {
            dependents[node.index()].push(index);
        }
    }
    let mut ready: BTreeSet<usize> = (0..specs.len()).filter(|i| waiting[*i] == 0).collect();
    let mut order = Vec::with_capacity(specs.len());
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for dependent in &dependents[next] {
            waiting[*dependent] -= 1;
            if waiting[*dependent] == 0 {
                ready.insert(*dependent);
            }
        }
    }
    if order.len() < specs.len() {
        let stuck = (0..specs.len()).filter(|i| waiting[*i] > 0).map(|i| specs[i].name.clone());
        return Err(GraphError::Cycle(stuck.collect()));
    }
    Ok(order)
}

/// The arms without which something has no value, by their branch.
type Needs = BTreeMap<NodeId, ArmId>;

/// Refuses nodes that need two arms of one branch, also through what they depend on.
pub(super) fn reachable(nodes: &[Node]) -> Result<Vec<Needs>, GraphError> {
    let mut needs: Vec<Needs> = Vec::with_capacity(nodes.len());
    for node in nodes {
        needs.push(needed(nodes, &needs, &node.name, &node.edges)?);
    }
    Ok(needs)
}

/// Adds up what the required `edges` of `user` need, given what the nodes before it need.
pub(super) fn needed(nodes: &[Node], needs: &[Needs], user: &str, edges: &[Edge]) -> Result<Needs, GraphError> {
    let mut mine = Needs::new();
    for edge in edges.iter().filter(|e| !e.optional) {
        let arm = match edge.upstream {
            Upstream::Arm(branch, arm) => Some((branch, arm)),
            Upstream::Node(_) | Upstream::Input => None,
        };
        let inherited = edge.upstream.node().into_iter().flat_map(|id| needs[id.index()].iter().map(|(b, a)| (*b, *a)));
        for (branch, arm) in inherited.chain(arm) {
            if *mine.entry(branch).or_insert(arm) != arm {
                let branch = nodes[branch.index()].name.clone();
                return Err(GraphError::Unreachable { node: user.to_owned(), branch });
            }
        }
    }
    Ok(mine)
}
