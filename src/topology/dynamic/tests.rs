//! Named topologies: that they are the typed ones with one type, and that a wrong configuration is refused by name.

use super::*;
use crate::{
    core::graph::GraphError,
    topology::{
        Disposition, Node, NodeError, Signal, TriggerRule, arm,
        definition::Outcome,
        tests::{attempt, json as bytes, value},
    },
};
use proptest::prelude::*;
use serde_json::json;
use std::{collections::HashSet, time::Duration};

async fn count(_: Ctx, values: Values) -> NodeResult<Value> {
    Ok(json!(values.len()))
}

async fn first(_: Ctx, arms: NamedArms, _: Values) -> NodeResult<Choice> {
    let name = arms.names().next().map(str::to_owned).unwrap_or_default();
    arms.take(&name, json!(null))
}

fn registry() -> Registry {
    Registry::new().work("count", count).branch("first", first)
}

fn load(nodes: &Value) -> Result<Topology<Value, Value>, BuildError> {
    Topology::from_config(serde_json::from_value(json!({ "name": "t", "nodes": nodes })).unwrap(), &registry())
}

fn names<C>(topology: &Topology<Value, Value, C>) -> Vec<&str> {
    topology.graph().nodes().map(|(_, node)| node.name.as_str()).collect()
}

#[test]
fn a_topology_is_loaded_from_json_in_any_order() {
    let topology = load(&json!([
        { "name": "ship", "handler": "count", "trigger": "none_failed_one_success",
          "deps": [{ "on": "approve", "optional": true }, { "on": "size/small", "optional": true }] },
        { "name": "approve", "kind": "wait", "signal": "approval", "deps": ["size/large"] },
        { "name": "size", "kind": "branch", "handler": "first", "deps": ["fetch", "$input"], "arms": ["large", "small"] },
        { "name": "fetch", "handler": "count", "timeout_ms": 1500, "max_attempts": 9 },
    ]))
    .unwrap();
    assert_eq!(names(&topology), ["fetch", "size", "approve", "ship"]);
    let definition = topology.definition();
    assert!(definition.lenient);
    assert_eq!(definition.policies[0].timeout, Some(Duration::from_millis(1500)));
    assert_eq!(definition.policies[0].retry, crate::core::retry::RetryPolicy::default().max_attempts(9));
    assert!(definition.code[2].is_none(), "the code stands where the graph has put its node");
    assert_eq!(topology.graph().nodes().last().unwrap().1.rule, TriggerRule::NoneFailedOneSuccess);
    assert_eq!(attempt(definition, "fetch", vec![bytes("{}")]).unwrap(), value("1"));
    assert!(matches!(attempt(definition, "size", vec![]).unwrap(), Outcome::Branch { taken: Some(_), .. }));
}

#[test]
fn a_named_topology_and_a_typed_one_of_the_same_shape_have_one_fingerprint() {
    let mut t = Topology::builder::<u8>("typed");
    let input = t.input();
    let fetch: Node<u8> = t.node("fetch", input, async |_, n| Ok(n));
    let (large, _) = t.branch("size", fetch, (arm("large"), arm::<()>("small")), async |_, (large, _), n| Ok(large.take(n)));
    let approve = t.wait_for("approve", large, Signal::<bool>::new("approval"));
    let ship = t.node("ship", (fetch, approve.optional()), async |_, (n, _)| Ok(n));
    let typed = t.build(ship).unwrap();

    let named = Topology::dynamic::<()>("named")
        .node("fetch", (), count)
        .branch("size", "fetch", ["large", "small"], first)
        .wait_for("approve", ["size/large"], "approval")
        .node("ship", [Dep::on("fetch"), Dep::on("approve").optional()], count);
    let named = named.output("ship").build().unwrap();
    assert_eq!(typed.graph().fingerprint(), named.graph().fingerprint());
    assert_eq!(typed.definition().output, named.definition().output);
}

#[test]
fn a_wrong_shape_is_refused_by_name() {
    let work = |name: &str, dep: &str| json!({ "name": name, "handler": "count", "deps": [dep] });
    let size = json!({ "name": "size", "kind": "branch", "handler": "first", "arms": ["large"] });
    for (nodes, expected) in [
        (json!([work("a", "b"), work("b", "a")]), "`a`, `b` depend on each other in a circle"),
        (json!([work("a", "a")]), "`a` depend on each other in a circle"),
        (json!([work("a", "b")]), "`a` depends on `b`, which is not a node of this topology"),
        (json!([work("a", "b/c")]), "`a` depends on `b/c`, which is not a node of this topology"),
        (json!([size, work("a", "size/tiny")]), "`a` depends on the arm `tiny` of `size`, which has no such arm"),
        (json!([size, work("a", "size")]), "`a` depends on the branch `size` itself: depend on one of its arms"),
        (json!([work("a", "$input"), work("a", "$input")]), "two nodes are called `a`: rename one"),
        (json!([{ "name": "a" }]), "`a` runs the handler `a`, which is not registered for work nodes"),
        (json!([{ "name": "a", "handler": "first" }]), "`a` runs the handler `first`, which is not registered for work nodes"),
        (
            json!([{ "name": "a", "handler": "count", "kind": "branch", "arms": ["x"] }]),
            "`a` runs the handler `count`, which is not registered for branch nodes",
        ),
        (
            json!([{ "name": "a", "kind": "branch", "handler": "first", "arms": [] }]),
            "the arms of `a` must be 1 to 1024 different names",
        ),
    ] {
        assert_eq!(load(&nodes).unwrap_err().to_string(), expected);
    }
    let error = load(&json!([work("a", "b"), work("b", "a")])).unwrap_err();
    assert!(matches!(error, BuildError::Graph(GraphError::Cycle(names)) if names == ["a", "b"]));
}

#[test]
fn options_and_outputs_of_nobody_are_refused_by_name() {
    let topology = || Topology::dynamic::<()>("t").node("a", (), count).branch("b", "a", ["x"], first);
    let error = topology().options("c", |c| c.max_attempts(1)).build().unwrap_err();
    assert_eq!(error.to_string(), "options are set for `c`, which is not a node of this topology");
    for output in ["c", "b", "b/y"] {
        let error = topology().output(output).build().unwrap_err();
        assert!(matches!(error, BuildError::Output(name) if name == output));
    }
    assert!(topology().output("b/x").build().is_ok());
    assert!(topology().output(Dep::input()).build().is_ok());
}

#[test]
fn a_configuration_says_where_it_is_wrong() {
    for (node, expected) in [
        (r#"{"name": "a", "dpes": []}"#, "unknown field `dpes`"),
        (r#"{"name": "a", "deps": [1]}"#, "a dependency is a name, or"),
        (r#"{"name": "a", "kind": "loop"}"#, "unknown variant `loop`"),
        (r#"{"name": "a", "arms": ["x"]}"#, "`a` is a work node: it takes a `handler`"),
        (r#"{"name": "a", "kind": "branch"}"#, "`a` is a branch: it takes `arms`"),
        (r#"{"name": "a", "kind": "wait", "handler": "h"}"#, "`a` waits: it takes a `signal`"),
    ] {
        let error = serde_json::from_str::<NodeConfig>(node).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let names = |kind: &str| serde_json::from_value::<NodeConfig>(json!({ "name": "a", "kind": kind, "arms": ["x"] })).unwrap();
    assert_eq!(names("branching"), names("branch"), "the kinds may be called as topology-runner calls them");
}

#[test]
fn values_have_the_names_of_their_dependencies_and_nothing_for_what_is_missing() {
    let dump = async |_: Ctx, values: Values| Ok(values.iter().map(|(name, value)| json!([name, value])).collect());
    let topology = Topology::dynamic::<()>("t")
        .node("z", (), count)
        .branch("size", (), ["large"], first)
        .node("dump", ["z", "size/large", "$input"], dump)
        .build()
        .unwrap();
    let run = |values| attempt(topology.definition(), "dump", values);
    let all = run(vec![bytes("1"), bytes("2"), bytes("3")]).unwrap();
    assert_eq!(all, value(r#"[["z",1],["size/large",2],["$input",3]]"#));
    assert_eq!(run(vec![None, bytes("2"), None]).unwrap(), value(r#"[["size/large",2]]"#));
    let error = run(vec![bytes("{")]).unwrap_err();
    assert_eq!(error.disposition(), Disposition::Terminal);
    assert!(error.message().starts_with("the value of `z` cannot be read"), "{error}");
}

#[test]
fn a_value_that_is_missing_or_of_another_type_is_a_terminal_error() {
    let topology = Topology::dynamic::<()>("t")
        .node("sum", (), async |_, values| Ok(values.parse::<Vec<u32>>("$input")?.iter().sum::<u32>().into()))
        .build()
        .unwrap();
    let run = |values| attempt(topology.definition(), "sum", values).map_err(|e: NodeError| (e.disposition(), e.message()));
    assert_eq!(run(vec![bytes("[1, 2]")]).unwrap(), value("3"));
    assert_eq!(run(vec![None]).unwrap_err(), (Disposition::Terminal, "`$input` has no value".to_owned()));
    assert_eq!(run(vec![bytes("{}")]).unwrap_err().0, Disposition::Terminal);
}

#[test]
fn an_arm_that_the_branch_does_not_have_is_a_terminal_error() {
    let topology =
        Topology::dynamic::<()>("t").branch("b", (), ["x", "y"], async |_, arms, _| arms.take("z", json!(1))).build().unwrap();
    let error = attempt(topology.definition(), "b", vec![]).unwrap_err();
    assert_eq!(
        (error.disposition(), error.message().as_str()),
        (Disposition::Terminal, "the branch has no arm `z`, only `x`, `y`")
    );
}

#[test]
fn a_resumable_named_node_sees_what_it_saved() {
    let topology =
        Topology::dynamic::<()>("t").resumable("a", (), async |_, saved, _| Ok(json!(saved.last()))).build().unwrap();
    let run = crate::topology::tests::start(topology.definition(), "a", (), &std::sync::Arc::default(), bytes("[1]"), vec![]);
    assert_eq!(futures_util::FutureExt::now_or_never(run).unwrap().unwrap(), value("[1]"));
}

#[test]
fn without_a_choice_the_output_is_what_nobody_depends_on() {
    let topology = Topology::dynamic::<()>("t")
        .node("last", "first", count)
        .node("first", (), count)
        .wait_for("signed", (), "signature")
        .branch("b", (), ["x"], first)
        .build()
        .unwrap();
    let labels: HashSet<_> = topology.definition().output.iter().filter_map(|e| e.upstream.node()).collect();
    let find = |name| topology.graph().find(name).unwrap();
    assert_eq!(labels, HashSet::from([find("last"), find("signed")]));
    assert_eq!(topology.decode_output(vec![bytes("1"), bytes("true")]).unwrap(), json!({ "last": 1, "signed": true }));
    assert_eq!(topology.decode_output(vec![None, bytes("true")]).unwrap(), json!({ "signed": true }), "skipped");
}

#[test]
fn a_chosen_output_is_that_value_alone() {
    let topology = |output: Dep| Topology::dynamic::<()>("t").node("a", (), count).output(output).build().unwrap();
    assert_eq!(topology("a".into()).decode_output(vec![bytes("[1]")]).unwrap(), json!([1]));
    assert_eq!(topology("a".into()).decode_output(vec![None]).unwrap_err().to_string(), "`a` has no value");
    assert_eq!(topology(Dep::on("a").optional()).decode_output(vec![None]).unwrap(), json!(null));
}

#[test]
fn a_name_with_a_slash_is_a_node_before_it_is_an_arm() {
    let topology = |dep: Dep| {
        let t = Topology::dynamic::<()>("t").branch("a", (), ["b"], first).node("a/b", (), count).node("c", dep, count).build();
        t.unwrap().graph().nodes().last().unwrap().1.edges[0].upstream
    };
    let ids = (NodeId(0), NodeId(1));
    assert_eq!(topology(Dep::on("a/b")), crate::core::graph::Upstream::Node(ids.1));
    assert_eq!(topology(Dep::arm("a", "b")), crate::core::graph::Upstream::Arm(ids.0, crate::core::graph::ArmId(0)));
}

/// Nodes that depend on some of those before them, declared in any order: `(node, dependencies)`.
fn declarations() -> impl Strategy<Value = Vec<(usize, Vec<usize>)>> {
    let masks = proptest::collection::vec(any::<u8>(), 1..8);
    let node = |(node, mask): (usize, u8)| (node, (0..node).filter(|dep| mask >> dep & 1 == 1).collect());
    masks.prop_map(move |masks| masks.into_iter().enumerate().map(node).collect::<Vec<_>>()).prop_shuffle()
}

proptest! {
    #[test]
    fn whatever_the_order_of_declaration_each_node_keeps_its_code_and_its_dependencies(declared in declarations()) {
        let mut t = Topology::dynamic::<()>("t");
        for (node, deps) in &declared {
            let own = *node;
            let deps: Vec<_> = deps.iter().map(usize::to_string).collect();
            t = t.node(node.to_string(), deps, move |_, _| async move { Ok(json!(own)) });
            t = t.options(node.to_string(), |options| options.timeout(Duration::from_secs(*node as u64)));
        }
        let topology = t.build().unwrap();
        let definition = topology.definition();
        for (node, deps) in &declared {
            let id = definition.graph.find(&node.to_string()).unwrap();
            prop_assert_eq!(definition.policies[id.index()].timeout, Some(Duration::from_secs(*node as u64)));
            let output = attempt(definition, &node.to_string(), vec![]).unwrap();
            prop_assert_eq!(output, Outcome::Value(node.to_string().into()));
            let upstreams = definition.graph.node(id).edges.iter().filter_map(|edge| edge.upstream.node());
            prop_assert!(definition.graph.node(id).edges.iter().all(|edge| edge.upstream.node() < Some(id)));
            let upstreams: Vec<_> = upstreams.map(|id| definition.graph.node(id).name.clone()).collect();
            prop_assert_eq!(upstreams, deps.iter().map(usize::to_string).collect::<Vec<_>>());
        }
    }
}
