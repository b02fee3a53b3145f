//! Retries, delays, timeouts, and reports that come too late.

use crate::{
    shape::{Shape, topology, wait, work},
    story::{SECOND, Story},
};
use anabranch::{
    NodePolicy, RetryPolicy, StopReason,
    core::{
        machine::{Event, IllegalEvent},
        snapshot::{FailureKind, NodeStatus, RunStatus},
    },
};

fn tries(attempts: u32) -> NodePolicy {
    let retry = RetryPolicy::default().max_attempts(attempts).delays([SECOND, 5 * SECOND]).jitter(0);
    NodePolicy { timeout: Some(60 * SECOND), retry }
}

fn alone(attempts: u32) -> Story {
    Story::of(topology([work("a").policy(tries(attempts))])).starts_attempt("a", 1)
}

fn pair() -> [Shape; 3] {
    [work("a").policy(tries(1)), work("behind").after("a"), work("beside").policy(tries(2))]
}

/// D8: nodes have attempts, and each knows its number.
#[test]
fn a_failed_attempt_is_repeated_after_its_delay() {
    alone(3)
        .fails("a")
        .starts([])
        .goes_on()
        .looks_again_in(Some(SECOND))
        .after(SECOND / 2)
        .starts([])
        .after(SECOND / 2)
        .starts_attempt("a", 2)
        .looks_again_in(Some(60 * SECOND))
        .fails("a")
        .looks_again_in(Some(5 * SECOND))
        .after(5 * SECOND)
        .starts_attempt("a", 3)
        .fails("a")
        .finishes(RunStatus::Errored)
        .is(NodeStatus::Errored, ["a"]);
}

#[test]
fn a_success_after_failures_keeps_the_last_failure_for_reading() {
    let story = alone(3).fails("a").after(SECOND).completes("a").finishes(RunStatus::Completed);
    assert_eq!(story.node("a").error.as_ref().map(|e| (e.kind, e.attempt)), Some((FailureKind::Error, 1)));
}

#[test]
fn an_attempt_may_ask_for_its_own_delay_but_not_for_more_attempts() {
    alone(2)
        .fails_for("a", 9 * SECOND)
        .looks_again_in(Some(9 * SECOND))
        .after(9 * SECOND)
        .starts_attempt("a", 2)
        .fails_for("a", 9 * SECOND)
        .finishes(RunStatus::Errored);
}

#[test]
fn a_terminal_failure_stops_only_what_depends_on_it() {
    Story::of(topology(pair()))
        .starts(["a", "beside"])
        .fails_for_good("a")
        .goes_on()
        .is(NodeStatus::Pending, ["behind"])
        .completes("beside")
        .finishes(RunStatus::Errored)
        .is(NodeStatus::Pending, ["behind"])
        .is(NodeStatus::Completed, ["beside"]);
}

#[test]
fn siblings_of_a_failed_node_still_use_their_retries() {
    Story::of(topology(pair())).fails("a").fails("beside").goes_on().after(SECOND).starts_attempt("beside", 2);
}

#[test]
fn a_snooze_burns_no_attempt() {
    let mut story = alone(1);
    for attempt in 2..6 {
        story = story.snoozes("a", SECOND).looks_again_in(Some(SECOND)).after(SECOND).starts_attempt("a", attempt);
        assert_eq!(story.node("a").failures, 0);
    }
    story.completes("a").finishes(RunStatus::Completed);
}

#[test]
fn an_attempt_that_takes_too_long_is_stopped_and_counts_as_failed() {
    let story = alone(2).after(60 * SECOND).stops(["a"], StopReason::Timeout).is(NodeStatus::Pending, ["a"]);
    assert_eq!(story.node("a").error.as_ref().map(|e| e.kind), Some(FailureKind::Timeout));
    story
        .looks_again_in(Some(SECOND))
        .after(SECOND)
        .starts_attempt("a", 2)
        .after(60 * SECOND)
        .stops(["a"], StopReason::Timeout)
        .finishes(RunStatus::Errored);
}

#[test]
fn a_look_before_the_deadline_changes_nothing() {
    let story = alone(2);
    let before = story.machine.snapshot().clone();
    let story = story.after(59 * SECOND).starts([]).goes_on();
    assert_eq!(story.machine.snapshot(), &before);
}

#[test]
fn a_late_result_of_an_attempt_loses_to_the_next_one() {
    let story = alone(3).after(60 * SECOND).after(SECOND).starts_attempt("a", 2);
    let late = story.completion("a", 1);
    let (story, error) = story.refuses(late);
    let (node, status) = (story.id("a"), NodeStatus::Running);
    assert_eq!(error, IllegalEvent::NotRunning { node, attempt: 1, status, newest: 2 });
    story.completes("a").finishes(RunStatus::Completed);
}

#[test]
fn a_body_that_ends_after_its_timeout_is_not_heard() {
    let story = alone(3).after(60 * SECOND);
    let node = story.id("a");
    let (story, _) = story.refuses(Event::Stopped { node, attempt: 1 });
    let (story, _) = story.refuses(Event::Saved { node, attempt: 1, progress: crate::story::value(1) });
    story.is(NodeStatus::Pending, ["a"]);
}

#[test]
fn a_result_counts_once() {
    let story = Story::of(topology([work("a"), work("b").after("a")]));
    let twice = story.completion("a", 1);
    let (story, error) = story.completes("a").refuses(twice);
    assert!(matches!(error, IllegalEvent::NotRunning { status: NodeStatus::Completed, .. }), "{error}");
    let after = story.completion("b", 1);
    let (_, error) = story.completes("b").refuses(after);
    assert_eq!(error, IllegalEvent::Closed(RunStatus::Completed));
}

/// D1: a stop is no success.
#[test]
fn d1_a_body_that_returns_because_it_was_stopped_completes_nothing() {
    Story::of(topology([work("a"), work("b").after("a")]))
        .stopped("a")
        .goes_on()
        .is(NodeStatus::Running, ["a"])
        .is(NodeStatus::Pending, ["b"])
        .starts_attempt("a", 2);
}

/// D1: nor does it complete what has not run.
#[test]
fn d1_a_released_run_is_pending_and_never_completed() {
    let story = Story::of(topology([work("a"), work("b").after("a"), wait("w", "s")]))
        .released()
        .starts([])
        .stops(["a"], StopReason::Shutdown)
        .goes_on()
        .is(NodeStatus::Pending, ["a", "b"]);
    assert_eq!(story.machine.snapshot().owner, None);
    assert_eq!((story.node("a").failures, story.node("a").crashes), (0, 0), "nothing counts as failed");
    let late = story.completion("a", 1);
    let (story, _) = story.refuses(late);
    story.crashes().starts_attempt("a", 2);
}

#[test]
fn nothing_starts_after_a_release_until_somebody_adopts_the_run() {
    Story::of(topology([work("a").policy(tries(3)), wait("w", "s"), work("b").after("w")]))
        .fails("a")
        .released()
        .looks_again_in(None)
        .after(60 * SECOND)
        .starts([])
        .signalled("s")
        .starts([])
        .goes_on()
        .is(NodeStatus::Completed, ["w"])
        .crashes()
        .starts(["a", "b"]);
}
