//! Suspension and what ends it.

use crate::{
    shape::{topology, wait, work},
    story::{SECOND, Story, owner, signal, value},
};
use anabranch::core::{
    machine::{Continuation, Effects, Event, IllegalEvent, NoteError, Plan, RunMachine, note_cancel, note_signal},
    snapshot::{NodeStatus, RunStatus},
};

fn approval() -> Plan {
    topology([work("draft"), wait("approve", "approval").after("draft"), work("publish").after("approve")])
}

/// D3: one transition is one write.
#[test]
fn d3_the_run_suspends_in_the_transition_that_reaches_the_wait() {
    Story::of(approval())
        .completes("draft")
        .starts([])
        .finishes(RunStatus::Suspended)
        .is(NodeStatus::Suspended, ["approve"])
        .is(NodeStatus::Pending, ["publish"]);
}

#[test]
fn a_signal_resumes_the_run_with_its_payload() {
    let story = Story::of(approval()).completes("draft").signalled("approval").starts(["publish"]).goes_on();
    assert_eq!(story.node("approve").output, Some(value("yes")));
    assert_eq!(story.machine.snapshot().owner, Some(owner("ann")), "a run that moves has its owner again");
    story.completes("publish").finishes(RunStatus::Completed);
}

#[test]
fn a_signal_before_its_wait_is_kept_for_it() {
    Story::of(approval())
        .signalled("approval")
        .starts([])
        .goes_on()
        .completes("draft")
        .starts(["publish"])
        .is(NodeStatus::Completed, ["approve"]);
}

#[test]
fn one_signal_resumes_every_node_that_waits_for_it() {
    let plan = topology([wait("a", "go"), wait("b", "go"), wait("c", "other"), work("d").after("a").after("b")]);
    Story::of(plan).finishes(RunStatus::Suspended).signalled("go").starts(["d"]).is(NodeStatus::Suspended, ["c"]);
}

#[test]
fn a_second_signal_is_refused_before_and_after_it_is_used() {
    let twice = IllegalEvent::Note(NoteError::AlreadySignalled("approval".into()));
    let (story, error) = Story::of(approval()).signalled("approval").refuses(signal("approval"));
    assert_eq!(error, twice);
    let (_, error) = story.completes("draft").refuses(signal("approval"));
    assert_eq!(error, twice);
}

#[test]
fn an_unknown_signal_is_refused() {
    let (_, error) = Story::of(approval()).refuses(signal("aproval"));
    assert_eq!(error, IllegalEvent::Note(NoteError::UnknownSignal("aproval".into())));
}

#[test]
fn a_run_that_has_ended_takes_no_signal() {
    let story = Story::of(approval()).fails_for_good("draft").finishes(RunStatus::Errored);
    let (story, error) = story.refuses(signal("approval"));
    assert_eq!(error, IllegalEvent::Closed(RunStatus::Errored));
    let mut snapshot = story.machine.snapshot().clone();
    let graph = &story.machine.plan().graph;
    let noted = note_signal(&mut snapshot, graph, "approval", value(1), story.now);
    assert_eq!(noted, Err(NoteError::Closed(RunStatus::Errored)));
}

#[test]
fn other_nodes_go_on_while_one_waits() {
    Story::of(topology([wait("w", "s"), work("a"), work("b").after("a")]))
        .starts(["a"])
        .goes_on()
        .completes("a")
        .starts(["b"])
        .completes("b")
        .finishes(RunStatus::Suspended);
}

#[test]
fn a_failure_beside_a_wait_ends_the_run_and_a_resume_waits_again() {
    Story::of(topology([wait("w", "s"), work("a"), work("b").after("w")]))
        .fails_for_good("a")
        .finishes(RunStatus::Errored)
        .resumed(Continuation::KeepCompleted)
        .starts(["a"])
        .completes("a")
        .finishes(RunStatus::Suspended)
        .signalled("s")
        .starts(["b"]);
}

#[test]
fn time_does_not_end_a_suspension() {
    Story::of(approval())
        .completes("draft")
        .looks_again_in(None)
        .after(3600 * SECOND)
        .starts([])
        .finishes(RunStatus::Suspended);
}

#[test]
fn a_signal_that_somebody_else_noted_reaches_the_owner_by_a_refresh() {
    let mut story = Story::of(approval()).completes("draft").finishes(RunStatus::Suspended);
    let mut stored = story.machine.snapshot().clone();
    note_signal(&mut stored, &story.machine.plan().graph, "approval", value("yes"), story.now).unwrap();
    let effects = story.machine.refresh(stored, story.now).unwrap();
    assert_eq!(effects.execute, [(story.id("publish"), 1)]);
    assert_eq!(story.machine.snapshot().owner, Some(owner("ann")));
}

#[test]
fn a_refresh_that_shows_another_epoch_starts_nothing() {
    let mut story = Story::of(approval()).completes("draft");
    let mut other = story.clone().crashes().machine.snapshot().clone();
    note_signal(&mut other, &story.machine.plan().graph, "approval", value("yes"), story.now).unwrap();
    note_cancel(&mut other, "enough".into(), story.now).unwrap();
    let effects = story.machine.refresh(other.clone(), story.now).unwrap();
    assert!(effects.is_empty(), "{effects:?}");
    assert_eq!(story.machine.snapshot(), &other);
}

#[test]
fn a_loaded_suspended_run_that_nobody_owns_records_a_signal_and_waits_for_an_owner() {
    Story::of(approval())
        .completes("draft")
        .edited(|_| ())
        .signalled("approval")
        .starts([])
        .goes_on()
        .is(NodeStatus::Completed, ["approve"])
        .crashes()
        .starts_attempt("publish", 1);
}

#[test]
fn a_suspension_that_ends_before_it_is_persisted_is_not_reported() {
    let story = Story::of(approval());
    let (mut machine, now) = (story.machine.clone(), story.now);
    let mut effects: Effects = machine.apply(story.completion("draft", 1), now).unwrap();
    assert_eq!(effects.finished, Some(RunStatus::Suspended));
    effects.merge(machine.apply(signal("approval"), now).unwrap());
    assert_eq!((effects.finished, effects.execute.len()), (None, 1));

    effects.merge(machine.apply(Event::Released, now).unwrap());
    assert!(effects.is_empty(), "what was released before it started never starts: {effects:?}");
}

#[test]
fn a_snapshot_of_another_graph_is_not_loaded() {
    let other = topology([work("draft")]);
    let snapshot = Story::of(approval()).machine.snapshot().clone();
    assert!(RunMachine::load(other, snapshot).is_err());
}
