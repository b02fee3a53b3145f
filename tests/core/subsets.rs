//! Runs of a part of the graph.

use crate::{
    shape::{diamond, topology, work},
    story::{Story, new_run, value},
};
use anabranch::core::{
    graph::{Subset, SubsetError},
    machine::{
        Continuation::{FromScratch, KeepCompleted},
        Plan,
    },
    snapshot::{NodeStatus, RunStatus},
};

fn part(plan: Plan, subset: &Subset, provided: &[&str], lenient: bool) -> Result<Story, SubsetError> {
    let ids: Vec<_> = provided.iter().map(|name| plan.graph.find(name).unwrap()).collect();
    let included = subset.resolve(&plan.graph, |id| ids.contains(&id), lenient)?;
    let provided = ids.iter().map(|id| (*id, value("given"))).collect();
    let run = anabranch::core::machine::NewRun { included, provided, ..new_run(&plan) };
    Ok(Story::create(plan, run))
}

#[test]
fn nodes_that_are_left_out_do_not_run_and_do_not_hold_up_the_end() {
    let subset = Subset::all().exclude(["join"]);
    let story = part(diamond(), &subset, &[], false).unwrap();
    story
        .completes("load")
        .completes("left")
        .completes("right")
        .finishes(RunStatus::Completed)
        .is(NodeStatus::Excluded, ["join"]);
}

#[test]
fn exclude_wins_where_both_name_a_node() {
    let subset = Subset::all().include(["load", "left"]).exclude(["left"]);
    part(diamond(), &subset, &[], false).unwrap().starts(["load"]).completes("load").finishes(RunStatus::Completed);
}

#[test]
fn a_node_that_misses_its_input_is_refused_by_name() {
    let error = part(diamond(), &Subset::all().exclude(["left"]), &[], false).unwrap_err();
    assert_eq!(error, SubsetError::MissingInput { node: "join".into(), dependency: "left".into() });
}

#[test]
fn an_unknown_name_is_refused() {
    let error = part(diamond(), &Subset::all().exclude(["lfet"]), &[], true).unwrap_err();
    assert_eq!(error, SubsetError::Unknown("lfet".into()));
}

#[test]
fn a_provided_output_stands_for_its_node_also_after_a_fresh_start() {
    let story = part(diamond(), &Subset::all(), &["left"], false).unwrap();
    let story = story.completes("load").starts(["right"]).completes("right").starts(["join"]).completes("join");
    let story = story.finishes(RunStatus::Completed).resumed(FromScratch).starts(["load"]);
    assert_eq!(story.node("left").output, Some(value("given")));
    story.is(NodeStatus::Completed, ["left"]).attempts("left", 0);
}

#[test]
fn what_was_left_out_stays_left_out_after_a_resume() {
    let story = part(diamond(), &Subset::all().exclude(["join"]), &[], false).unwrap();
    let story = story.completes("load").completes("left").fails_for_good("right").finishes(RunStatus::Errored);
    story
        .resumed(KeepCompleted)
        .starts(["right"])
        .completes("right")
        .finishes(RunStatus::Completed)
        .is(NodeStatus::Excluded, ["join"]);
}

#[test]
fn leniently_a_dependency_that_is_left_out_is_stripped() {
    let story = part(diamond(), &Subset::all().exclude(["left"]), &[], true).unwrap();
    story.completes("load").completes("right").starts(["join"]);
}

#[test]
fn an_optional_dependency_may_be_left_out() {
    let plan = topology([work("a"), work("b"), work("c").maybe("a").after("b")]);
    part(plan, &Subset::all().exclude(["a"]), &[], false).unwrap().starts(["b"]).completes("b").starts(["c"]);
}
