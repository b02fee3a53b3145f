//! D5: what can never run is refused when the graph is made.

use crate::shape::{Shape, branch, graph, wait, work};
use anabranch::core::graph::{GraphError, TriggerRule};

fn refused(shapes: impl IntoIterator<Item = Shape>) -> GraphError {
    graph(shapes).unwrap_err()
}

/// D5: a circle.
#[test]
fn d5_a_circle_is_refused_by_the_names_in_it() {
    let error = refused([work("in"), work("a").after("in").after("c"), work("b").after("a"), work("c").after("b")]);
    assert_eq!(error, GraphError::Cycle(["a", "b", "c"].map(String::from).to_vec()));
}

/// D5: the smallest circle.
#[test]
fn d5_a_node_that_waits_for_itself_is_refused() {
    assert_eq!(refused([work("a").after("a")]), GraphError::Cycle(vec!["a".into()]));
}

/// D5: a dependency that nobody is.
#[test]
fn d5_an_unknown_dependency_is_refused() {
    let error = refused([work("a").after("ghost")]);
    assert_eq!(error, GraphError::Unknown { node: "a".into(), dependency: "ghost".into() });
}

/// D5: what can never be ready for another reason.
#[test]
fn d5_a_node_that_needs_two_arms_of_one_branch_is_refused_also_through_others() {
    let unreachable = |node: &str| GraphError::Unreachable { node: node.into(), branch: "b".into() };
    let direct = refused([branch("b", ["x", "y"]), work("both").arm("b", "x").arm("b", "y")]);
    assert_eq!(direct, unreachable("both"));

    let through = [branch("b", ["x", "y"]), work("l").arm("b", "x"), work("r").arm("b", "y"), work("j").after("l").after("r")];
    assert_eq!(refused(through), unreachable("j"));
}

#[test]
fn the_same_join_with_optional_dependencies_is_fine() {
    let shapes = [branch("b", ["x", "y"]), work("l").arm("b", "x"), work("r").arm("b", "y"), work("j").maybe("l").maybe("r")];
    graph(shapes).unwrap();
}

#[test]
fn arms_must_exist_and_a_branch_itself_has_no_value() {
    let arm = |branch: &str| GraphError::UnknownArm { node: "w".into(), branch: branch.into(), arm: "z".into() };
    assert_eq!(refused([branch("b", ["x"]), work("w").arm("b", "z")]), arm("b"));
    assert_eq!(refused([work("a"), work("w").arm("a", "z")]), arm("a"));
    let whole = GraphError::BranchHasNoValue { node: "w".into(), branch: "b".into() };
    assert_eq!(refused([branch("b", ["x"]), work("w").after("b")]), whole);
    assert_eq!(refused([branch("b", ["x", "x"])]), GraphError::Arms("b".into()));
    assert_eq!(refused([branch("b", [])]), GraphError::Arms("b".into()));
}

#[test]
fn names_are_unique_and_neither_empty_nor_endless() {
    assert_eq!(refused([work("a"), wait("a", "s")]), GraphError::Duplicate("a".into()));
    assert_eq!(refused([work("")]), GraphError::Name(String::new()));
    assert!(matches!(refused([work(&"x".repeat(257))]), GraphError::Name(_)));
}

#[test]
fn a_rule_that_can_do_without_values_asks_for_optional_dependencies() {
    for rule in [TriggerRule::NoneFailedOneSuccess, TriggerRule::AllDone, TriggerRule::OneSuccess] {
        let error = refused([work("a"), work("b").after("a").rule(rule)]);
        assert_eq!(error, GraphError::RuleNeedsOptional("b".into()));
    }
}

#[test]
fn nodes_may_be_declared_in_any_order_and_the_fingerprint_tells_shapes_apart() {
    let forwards = graph([work("a"), work("b").after("a")]).unwrap();
    let backwards = graph([work("b").after("a"), work("a")]).unwrap();
    assert_eq!(forwards.fingerprint(), backwards.fingerprint());
    let loose = graph([work("a"), work("b").maybe("a")]).unwrap();
    assert_ne!(forwards.fingerprint(), loose.fingerprint());
}
