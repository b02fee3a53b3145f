//! Cancellation: while nodes run, wait for their next attempt, or wait for a signal.

use crate::{
    shape::{GRACE, topology, wait, work},
    story::{SECOND, Story},
};
use anabranch::{
    StopReason,
    core::{
        machine::{Event, IllegalEvent, NoteError, note_cancel},
        snapshot::{FailureKind, NodeStatus, RunStatus},
    },
};

#[test]
fn running_bodies_are_told_and_the_run_ends_with_the_last_of_them() {
    let story = Story::of(topology([work("a"), work("b"), work("c").after("a")]))
        .cancelled()
        .stops(["a", "b"], StopReason::Cancelled)
        .goes_on()
        .stopped("a")
        .goes_on()
        .stopped("b")
        .starts([])
        .finishes(RunStatus::Cancelled)
        .is(NodeStatus::Errored, ["a", "b"])
        .is(NodeStatus::Pending, ["c"]);
    assert_eq!(story.machine.snapshot().reason.as_deref(), Some("changed my mind"));
    assert_eq!(story.node("a").error.as_ref().map(|e| e.kind), Some(FailureKind::Cancelled));
}

#[test]
fn a_body_that_completes_in_its_grace_is_kept_and_nothing_follows_it() {
    Story::of(topology([work("a"), work("b").after("a")]))
        .cancelled()
        .completes("a")
        .starts([])
        .finishes(RunStatus::Cancelled)
        .is(NodeStatus::Completed, ["a"])
        .is(NodeStatus::Pending, ["b"]);
}

#[test]
fn a_body_that_fails_in_its_grace_is_not_tried_again() {
    Story::of(topology([work("a")])).cancelled().fails("a").starts([]).finishes(RunStatus::Cancelled);
}

/// An outage of the store took the grace away from bodies that had not been told.
#[test]
fn grace_counts_from_when_bodies_are_told() {
    Story::of(topology([work("a")]))
        .cancelled()
        .passes(GRACE)
        .tells()
        .looks_again_in(Some(GRACE))
        .after(GRACE.saturating_sub(SECOND))
        .goes_on()
        .after(SECOND)
        .finishes(RunStatus::Cancelled);
}

#[test]
fn a_body_that_does_not_end_is_abandoned_after_the_grace() {
    let story = Story::of(topology([work("a")]))
        .cancelled()
        .looks_again_in(Some(GRACE))
        .after(GRACE.saturating_sub(SECOND))
        .goes_on()
        .after(SECOND)
        .finishes(RunStatus::Cancelled)
        .is(NodeStatus::Errored, ["a"]);
    let late = story.completion("a", 1);
    let (_, error) = story.refuses(late);
    assert_eq!(error, IllegalEvent::Closed(RunStatus::Cancelled));
}

#[test]
fn a_run_in_back_off_ends_at_once() {
    Story::of(topology([work("a")])).fails("a").cancelled().starts([]).finishes(RunStatus::Cancelled);
}

#[test]
fn a_cancelled_back_off_does_not_ask_for_looks_that_change_nothing() {
    Story::of(topology([work("a"), work("b")])).fails("a").cancelled().goes_on().looks_again_in(Some(GRACE));
}

#[test]
fn a_suspended_run_ends_at_once_whoever_owns_it() {
    let suspended = Story::of(topology([wait("w", "s"), work("a").after("w")])).finishes(RunStatus::Suspended);
    suspended.clone().cancelled().finishes(RunStatus::Cancelled);
    suspended.edited(|_| ()).cancelled().starts([]).finishes(RunStatus::Cancelled);
}

#[test]
fn a_signal_does_not_move_a_run_that_is_being_cancelled() {
    Story::of(topology([work("a"), wait("w", "s"), work("b").after("w")]))
        .cancelled()
        .signalled("s")
        .starts([])
        .is(NodeStatus::Suspended, ["w"])
        .stopped("a")
        .finishes(RunStatus::Cancelled);
}

#[test]
fn cancelling_twice_or_after_the_end_is_refused() {
    let again = || Event::CancelRequested { reason: String::new() };
    let (story, error) = Story::of(topology([work("a")])).cancelled().refuses(again());
    assert_eq!(error, IllegalEvent::Note(NoteError::AlreadyCancelled));
    let (_, error) = story.stopped("a").refuses(again());
    assert_eq!(error, IllegalEvent::Closed(RunStatus::Cancelled));
}

#[test]
fn a_cancellation_that_somebody_else_noted_stops_the_owners_bodies_once() {
    let mut story = Story::of(topology([work("a")]));
    let mut stored = story.machine.snapshot().clone();
    note_cancel(&mut stored, "enough".into(), story.now).unwrap();
    let first = story.machine.refresh(stored.clone(), story.now).unwrap();
    assert_eq!(first.stop, [(story.id("a"), 1, StopReason::Cancelled)]);
    assert!(story.machine.refresh(stored, story.now).unwrap().is_empty());
}

#[test]
fn whoever_adopts_a_run_that_is_being_cancelled_ends_it() {
    Story::of(topology([work("a"), work("b").after("a")])).cancelled().crashes().starts([]).finishes(RunStatus::Cancelled);
}
