//! The table of trigger rules: what becomes of a node behind two others, however those end.

use crate::{
    shape::{branch, topology, work},
    story::Story,
};
use anabranch::core::{
    graph::TriggerRule::{self, AllDone, AllSuccess, NoneFailedOneSuccess, OneSuccess},
    snapshot::{
        NodeStatus::{self, Pending, Running, Skipped},
        RunStatus,
    },
};

/// How a dependency ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeeds,
    Skips,
    Fails,
    Lasts,
}
use End::{Fails, Lasts, Skips, Succeeds};

/// `left` and `right` hang on arms of `which`, which skips either; `last` depends on both.
fn with(rule: TriggerRule, ends: [End; 2]) -> NodeStatus {
    let plan = topology([
        branch("l", ["go", "no"]),
        branch("r", ["go", "no"]),
        work("left").arm("l", "go"),
        work("right").arm("r", "go"),
        work("last").maybe("left").maybe("right").rule(rule),
        work("keeps the run open"),
    ]);
    let mut story = Story::of(plan);
    for (name, switch, end) in [("left", "l", ends[0]), ("right", "r", ends[1])] {
        story = match end {
            Skips => story.takes_none(switch),
            Succeeds => story.takes(switch, "go").completes(name),
            Fails => story.takes(switch, "go").fails_for_good(name),
            Lasts => story.takes(switch, "go"),
        };
    }
    story.node("last").status
}

#[test]
fn each_rule_answers_each_pair_of_ends() {
    let ends = [
        [Succeeds, Succeeds],
        [Succeeds, Skips],
        [Succeeds, Fails],
        [Succeeds, Lasts],
        [Skips, Skips],
        [Skips, Fails],
        [Skips, Lasts],
        [Fails, Fails],
        [Fails, Lasts],
        [Lasts, Lasts],
    ];
    // A pending node waits while something lasts, and is blocked for good behind a failure.
    let table = [
        (AllSuccess, [Running, Running, Pending, Pending, Running, Pending, Pending, Pending, Pending, Pending]),
        (NoneFailedOneSuccess, [Running, Running, Pending, Pending, Skipped, Pending, Pending, Pending, Pending, Pending]),
        (AllDone, [Running, Running, Running, Pending, Running, Running, Pending, Running, Pending, Pending]),
        (OneSuccess, [Running, Running, Running, Running, Skipped, Pending, Pending, Pending, Pending, Pending]),
    ];
    for (rule, wanted) in table {
        for ([left, right], wanted) in ends.into_iter().zip(wanted) {
            assert_eq!(with(rule, [left, right]), wanted, "{rule:?} behind {left:?} and {right:?}");
            assert_eq!(with(rule, [right, left]), wanted, "{rule:?} behind {right:?} and {left:?}");
        }
    }
}

#[test]
fn a_required_dependency_that_is_skipped_skips_its_dependents_at_once() {
    let plan =
        topology([branch("b", ["go"]), work("x").arm("b", "go"), work("slow"), work("needs both").after("x").after("slow")]);
    Story::of(plan).takes_none("b").is(NodeStatus::Skipped, ["x", "needs both"]).is(NodeStatus::Running, ["slow"]);
}

#[test]
fn clean_up_runs_behind_a_node_that_was_blocked_by_a_failure() {
    for rule in [AllSuccess, NoneFailedOneSuccess, OneSuccess] {
        let plan = topology([work("a"), work("b").maybe("a").rule(rule), work("tidy").maybe("b").rule(AllDone)]);
        Story::of(plan)
            .fails_for_good("a")
            .starts(["tidy"])
            .is(NodeStatus::Pending, ["b"])
            .completes("tidy")
            .finishes(RunStatus::Errored);
    }
}

#[test]
fn one_success_does_not_wait_and_runs_once() {
    let plan = topology([work("a"), work("b"), work("first").maybe("a").maybe("b").rule(OneSuccess)]);
    Story::of(plan)
        .completes("b")
        .starts(["first"])
        .completes("first")
        .completes("a")
        .starts([])
        .finishes(RunStatus::Completed);
}

#[test]
fn a_rule_without_dependencies_runs_at_once() {
    for rule in [AllSuccess, NoneFailedOneSuccess, AllDone, OneSuccess] {
        Story::of(topology([work("a").rule(rule)])).starts(["a"]);
    }
}
