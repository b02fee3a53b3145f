//! Order, branches and the joins behind them.

use crate::{
    shape::{branch, diamond, topology, work},
    story::{Story, value},
};
use anabranch::core::{
    graph::TriggerRule,
    machine::{Event, IllegalEvent, Plan},
    snapshot::{NodeStatus, RunStatus},
};

fn shop() -> Plan {
    topology([
        branch("size", ["large", "small"]),
        work("sign").arm("size", "large"),
        work("file").after("sign"),
        work("tag").arm("size", "small"),
        work("ship").maybe("file").maybe("tag").rule(TriggerRule::NoneFailedOneSuccess),
    ])
}

#[test]
fn a_diamond_runs_both_sides_at_once_and_joins_them() {
    Story::of(diamond())
        .starts(["load"])
        .completes("load")
        .starts(["left", "right"])
        .completes("right")
        .starts([])
        .goes_on()
        .completes("left")
        .starts(["join"])
        .completes("join")
        .finishes(RunStatus::Completed);
}

#[test]
fn a_run_without_nodes_completes_at_once() {
    Story::of(topology([])).finishes(RunStatus::Completed);
}

/// D2: one transition is one write.
#[test]
fn d2_a_branch_skips_what_it_does_not_take_in_the_same_transition() {
    Story::of(shop())
        .starts(["size"])
        .takes("size", "small")
        .starts(["tag"])
        .is(NodeStatus::Completed, ["size"])
        .is(NodeStatus::Skipped, ["sign", "file"])
        .is(NodeStatus::Pending, ["ship"]);
}

#[test]
fn an_arm_carries_its_value_and_the_reason_is_kept() {
    let story = Story::of(shop()).takes("size", "large").starts(["sign"]);
    let size = story.node("size");
    assert_eq!(size.selected.as_ref().map(|s| s.name.as_str()), Some("large"));
    assert_eq!(size.output, Some(value("for large")));
    assert_eq!(size.because.as_deref(), Some("it is large"));
}

/// D4: skipped is not pending for ever.
#[test]
fn d4_a_join_behind_a_branch_runs_once_its_taken_side_ended() {
    Story::of(shop())
        .takes("size", "large")
        .completes("sign")
        .starts(["file"])
        .completes("file")
        .starts(["ship"])
        .completes("ship")
        .finishes(RunStatus::Completed);
}

/// D4: also without nodes in between.
#[test]
fn d4_optional_dependencies_join_arms_directly() {
    let plan = topology([
        branch("size", ["large", "small"]),
        work("ship").maybe_arm("size", "large").maybe_arm("size", "small"),
        work("log").after("ship"),
    ]);
    Story::of(plan).takes("size", "small").starts(["ship"]).completes("ship").starts(["log"]);
}

/// D9: none is no arm, and no text.
#[test]
fn d9_a_branch_that_takes_none_skips_all_its_arms() {
    let story = Story::of(shop()).takes_none("size").finishes(RunStatus::Completed);
    let story = story.is(NodeStatus::Skipped, ["sign", "file", "tag", "ship"]);
    assert_eq!(story.node("size").selected, None);
    assert_eq!(story.node("size").output, None);
}

#[test]
fn a_branch_cannot_complete_without_deciding() {
    let story = Story::of(shop());
    let (size, event) = (story.id("size"), story.completion("size", 1));
    let (_, error) = story.refuses(event);
    assert_eq!(error, IllegalEvent::NoSuchArm { node: size });
}

/// D2: what is no arm of the branch is refused before anything is recorded.
#[test]
fn only_a_branch_decides_and_only_for_its_own_arms() {
    let two = topology([branch("b", ["x", "y"]), work("onto").arm("b", "y")]);
    let anabranch::core::graph::Upstream::Arm(_, second) = two.graph.node(two.graph.find("onto").unwrap()).edges[0].upstream
    else {
        panic!("`onto` depends on an arm")
    };
    let plan = topology([branch("b", ["only"]), work("w")]);
    let story = Story::of(plan).starts(["b", "w"]);
    for name in ["b", "w"] {
        let node = story.id(name);
        let event = Event::Branched { node, attempt: 1, taken: Some((second, value(1))), because: None };
        let (_, error) = story.clone().refuses(event);
        assert_eq!(error, IllegalEvent::NoSuchArm { node });
    }
}

#[test]
fn a_node_that_the_graph_does_not_have_is_refused() {
    let large = Story::of(diamond()).completes("load").completes("left").completes("right");
    let event = large.completion("join", 1);
    let (_, error) = Story::of(topology([work("a")])).refuses(event);
    assert!(matches!(error, IllegalEvent::NoSuchNode { .. }));
}
