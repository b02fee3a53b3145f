//! Moving a run that has ended, by hand.

use crate::{
    shape::{branch, topology, wait, work},
    story::{SECOND, Story},
};
use anabranch::{
    NodePolicy, RetryPolicy,
    core::{
        machine::{
            Continuation::{FromScratch, KeepCompleted},
            Plan,
        },
        snapshot::{NodeStatus, RunStatus},
    },
};

fn once(retry: RetryPolicy) -> NodePolicy {
    NodePolicy { timeout: None, retry: retry.delays([SECOND]).jitter(0) }
}

fn review() -> Plan {
    topology([
        branch("size", ["large", "small"]),
        work("sign").arm("size", "large"),
        work("tag").arm("size", "small").policy(once(RetryPolicy::never())),
        work("ship").after("tag"),
    ])
}

fn errored() -> Story {
    Story::of(review()).takes("size", "small").saves("tag").fails("tag").finishes(RunStatus::Errored)
}

#[test]
fn a_resume_keeps_what_completed_and_was_skipped_and_tries_the_rest_again() {
    let story = errored().resumed(KeepCompleted).starts_attempt("tag", 2).goes_on();
    assert!(story.node("tag").saved.is_some(), "saved progress survives");
    assert_eq!((story.node("tag").failures, &story.node("tag").error), (0, &None), "with fresh counts");
    assert_eq!((story.machine.snapshot().finished_at, story.node("tag").finished_at), (None, None), "nothing has ended");
    story
        .is(NodeStatus::Completed, ["size"])
        .is(NodeStatus::Skipped, ["sign"])
        .completes("tag")
        .starts(["ship"])
        .completes("ship")
        .finishes(RunStatus::Completed);
}

#[test]
fn from_scratch_starts_every_node_again_under_new_attempt_numbers() {
    let story = errored().resumed(FromScratch).starts_attempt("size", 2);
    assert_eq!(story.node("size").selected, None);
    assert_eq!(story.node("tag").saved, None);
    story.is(NodeStatus::Pending, ["sign", "tag", "ship"]).takes("size", "large").starts(["sign"]);
}

#[test]
fn a_result_of_an_earlier_life_is_never_taken_for_one_of_this() {
    let story = errored().resumed(FromScratch).takes("size", "small").starts_attempt("tag", 2);
    let late = story.completion("tag", 1);
    story.refuses(late);
}

#[test]
fn signals_survive_a_resume_and_not_a_fresh_start() {
    let plan = topology([wait("w", "s"), work("a").after("w").policy(once(RetryPolicy::never()))]);
    let failed = Story::of(plan).signalled("s").fails("a").finishes(RunStatus::Errored);
    failed.clone().resumed(KeepCompleted).starts_attempt("a", 2);
    failed.resumed(FromScratch).finishes(RunStatus::Suspended).signalled("s").starts_attempt("a", 2);
}

#[test]
fn a_cancelled_run_can_be_resumed() {
    Story::of(topology([work("a"), work("b").after("a")]))
        .completes("a")
        .cancelled()
        .stopped("b")
        .finishes(RunStatus::Cancelled)
        .resumed(KeepCompleted)
        .starts_attempt("b", 2)
        .completes("b")
        .finishes(RunStatus::Completed);
}

#[test]
fn a_dead_run_can_be_resumed_and_dies_again_only_after_as_many_crashes() {
    let policy = once(RetryPolicy::default().max_attempts(9).max_crashes(2));
    Story::of(topology([work("a").policy(policy)]))
        .crashes()
        .crashes()
        .finishes(RunStatus::Dead)
        .resumed(KeepCompleted)
        .starts_attempt("a", 3)
        .crashes()
        .starts_attempt("a", 4)
        .crashes()
        .finishes(RunStatus::Dead);
}

#[test]
fn resuming_a_completed_run_changes_nothing_but_who_did_it() {
    let story = Story::of(topology([work("a")])).completes("a").finishes(RunStatus::Completed);
    story.resumed(KeepCompleted).starts([]).finishes(RunStatus::Completed).attempts("a", 1);
}

#[test]
fn a_suspended_run_stays_suspended_when_it_is_resumed_without_its_signal() {
    Story::of(topology([wait("w", "s")])).resumed(KeepCompleted).finishes(RunStatus::Suspended);
}

#[test]
fn a_stuck_run_can_be_resumed() {
    Story::of(topology([work("a"), work("b").after("a")]))
        .completes("a")
        .edited(|s| s.status = RunStatus::Stuck)
        .resumed(KeepCompleted)
        .starts_attempt("b", 2);
}

#[test]
fn an_edited_snapshot_with_something_pending_goes_on_and_never_completes() {
    Story::of(topology([work("a"), work("b").after("a")]))
        .edited(|s| s.nodes[0].status = NodeStatus::Pending)
        .after(SECOND)
        .starts_attempt("a", 2)
        .goes_on();
}
