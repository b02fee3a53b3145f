//! The process dies: what counts, what runs again, and when it is enough.

use crate::{
    shape::{topology, wait, work},
    story::{SECOND, Story, owner},
};
use anabranch::{
    NodePolicy, RetryPolicy,
    core::{
        machine::IllegalEvent,
        snapshot::{FailureKind, NodeStatus, RunStatus},
    },
};

fn policy(attempts: u32, crashes: u32) -> NodePolicy {
    NodePolicy { timeout: None, retry: RetryPolicy::default().max_attempts(attempts).max_crashes(crashes).delays([]).jitter(0) }
}

#[test]
fn an_attempt_that_died_with_its_process_counts_as_failed() {
    let story = Story::of(topology([work("a").policy(policy(5, 3))])).crashes().starts_attempt("a", 2);
    assert_eq!((story.node("a").failures, story.node("a").crashes), (1, 1));
    assert_eq!(story.node("a").error.as_ref().map(|e| (e.kind, e.attempt)), Some((FailureKind::Crash, 1)));
}

#[test]
fn what_may_run_once_never_runs_twice_even_after_a_crash() {
    Story::of(topology([work("a").policy(policy(1, 9)), work("b").after("a")]))
        .crashes()
        .starts([])
        .finishes(RunStatus::Errored)
        .is(NodeStatus::Errored, ["a"])
        .is(NodeStatus::Pending, ["b"]);
}

#[test]
fn a_node_that_kills_its_process_too_often_is_poison() {
    let story = Story::of(topology([work("a").policy(policy(99, 3)), work("b").policy(policy(99, 99))]))
        .completes("b")
        .crashes()
        .crashes()
        .starts_attempt("a", 3)
        .crashes()
        .starts([])
        .finishes(RunStatus::Dead)
        .is(NodeStatus::Errored, ["a"]);
    let reason = story.machine.snapshot().reason.as_deref().unwrap();
    assert!(reason.contains("`a`") && reason.contains('3'), "{reason}");
}

#[test]
fn saved_progress_starts_the_count_of_crashes_anew() {
    let mut story = Story::of(topology([work("a").policy(policy(99, 2))]));
    for attempt in 2..8 {
        story = story.saves("a").crashes().starts_attempt("a", attempt);
        assert!(story.node("a").saved.is_some(), "and is found by the next attempt");
    }
    story.crashes().finishes(RunStatus::Dead);
}

#[test]
fn crashes_use_attempts_up_like_failures_do() {
    Story::of(topology([work("a").policy(policy(3, 99))])).crashes().fails("a").crashes().finishes(RunStatus::Errored);
}

#[test]
fn what_waited_for_its_next_attempt_still_waits_after_a_crash() {
    let retry = RetryPolicy::default().delays([9 * SECOND]).jitter(0);
    Story::of(topology([work("a").policy(NodePolicy { timeout: None, retry })]))
        .fails("a")
        .crashes()
        .starts([])
        .goes_on()
        .looks_again_in(Some(9 * SECOND))
        .after(9 * SECOND)
        .starts_attempt("a", 2);
}

#[test]
fn completed_nodes_do_not_run_again_after_a_crash() {
    Story::of(topology([work("a"), work("b").after("a")]))
        .completes("a")
        .crashes()
        .starts_attempt("b", 2)
        .is(NodeStatus::Completed, ["a"])
        .attempts("a", 1);
}

#[test]
fn a_run_that_changes_hands_has_a_new_epoch_and_a_new_owner() {
    let story = Story::of(topology([work("a")]));
    assert_eq!(story.machine.snapshot().epoch, 1);
    let story = story.crashes();
    assert_eq!(story.machine.snapshot().epoch, 2);
    assert_eq!(story.machine.snapshot().owner, Some(owner("bob")));
    let late = story.completion("a", 1);
    let (_, error) = story.refuses(late);
    assert!(matches!(error, IllegalEvent::NotRunning { attempt: 1, newest: 2, .. }));
}

#[test]
fn a_run_that_has_ended_is_not_adopted() {
    let mut story = Story::of(topology([work("a")])).completes("a");
    let before = story.machine.snapshot().clone();
    assert_eq!(story.machine.adopt(owner("bob"), story.now), Err(RunStatus::Completed));
    assert_eq!(story.machine.snapshot(), &before);
}

#[test]
fn a_suspended_run_is_adopted_as_it_is() {
    Story::of(topology([wait("w", "s")])).crashes().finishes(RunStatus::Suspended).is(NodeStatus::Suspended, ["w"]);
}
