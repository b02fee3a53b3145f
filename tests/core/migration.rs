//! A run meets another version of its graph: carried over by name, or set aside.

use crate::{
    shape::{branch, diamond, topology, wait, work},
    story::{SECOND, Story, owner},
};
use anabranch::core::{
    machine::{Continuation, RunMachine, park},
    snapshot::{NodeStatus, RunStatus},
};

#[test]
fn what_completed_stays_and_what_is_new_runs() {
    let old = topology([work("a"), work("b").after("a")]);
    let new = topology([work("before"), work("a"), work("between").after("a"), work("b").after("a").after("between")]);
    let story = Story::of(old).completes("a").starts(["b"]);
    let story = story.migrated(new).crashes().starts(["before", "between"]);
    story.is(NodeStatus::Completed, ["a"]).is(NodeStatus::Pending, ["b"]).completes("between").starts_attempt("b", 2);
}

#[test]
fn nodes_that_are_gone_are_forgotten() {
    let story = Story::of(diamond()).completes("load");
    let story = story.migrated(topology([work("load").input(), work("left").after("load")]));
    assert_eq!(story.machine.snapshot().nodes.len(), 2);
    story.crashes().starts_attempt("left", 2);
}

#[test]
fn a_branch_keeps_its_arm_where_it_moved_and_runs_again_where_it_is_gone() {
    let old = topology([branch("b", ["x", "y"]), work("on x").arm("b", "x"), work("on y").arm("b", "y")]);
    let moved = topology([branch("b", ["z", "y", "x"]), work("on x").arm("b", "x"), work("on z").arm("b", "z")]);
    let gone = topology([branch("b", ["y"]), work("on y").arm("b", "y")]);
    let story = Story::of(old).takes("b", "x").completes("on x").finishes(RunStatus::Completed);

    let resumed = story.clone().migrated(moved).resumed(Continuation::KeepCompleted).finishes(RunStatus::Completed);
    resumed.is(NodeStatus::Completed, ["b", "on x"]).is(NodeStatus::Skipped, ["on z"]);
    let story = story.migrated(gone).resumed(Continuation::KeepCompleted).starts_attempt("b", 2);
    story.is(NodeStatus::Pending, ["on y"]).takes("b", "y").starts(["on y"]);
}

#[test]
fn a_node_that_changed_its_kind_starts_anew() {
    let story = Story::of(topology([work("a"), work("b")])).completes("a");
    story.migrated(topology([wait("a", "s"), work("b")])).crashes().is(NodeStatus::Suspended, ["a"]);
}

#[test]
fn a_back_off_that_the_new_graph_makes_wait_asks_for_no_look() {
    let story = Story::of(topology([work("a")])).fails("a");
    let story = story.migrated(topology([work("new"), work("a").after("new")])).crashes().starts(["new"]);
    story.looks_again_in(None).after(3600 * SECOND).starts([]).completes("new").starts_attempt("a", 2);
}

/// D8: an old graph and new code do not mix.
#[test]
fn d8_a_run_of_another_graph_is_parked_until_somebody_has_that_graph() {
    let story = Story::of(topology([work("a"), work("b").after("a")])).completes("a");
    let mut stored = story.machine.snapshot().clone();
    park(&mut stored, "no worker has this version".into());
    assert_eq!((stored.status, stored.epoch, &stored.owner), (RunStatus::Parked, 2, &None));
    assert!(!stored.status.is_terminal(), "it can still be adopted");
    assert_eq!(stored.reason.as_deref(), Some("no worker has this version"));

    let mut machine = RunMachine::load(story.machine.plan().clone(), stored).unwrap();
    let effects = machine.adopt(owner("bob"), story.now).unwrap();
    assert_eq!(effects.execute, [(story.id("b"), 2)]);
    assert_eq!((machine.snapshot().status, machine.snapshot().epoch), (RunStatus::Running, 3));
    assert_eq!(machine.snapshot().reason, None);
}
