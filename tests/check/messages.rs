//! Queues: what becomes of messages.

use crate::caught;
use anabranch::testing::check::{
    Until,
    queues::{Event, Verdict, check, exactly_once},
};

fn published(id: &str) -> Event {
    Event::Published { id: id.into(), at: 0 }
}

fn handled(id: &str, worker: &str, at: u64) -> Event {
    Event::Handled { id: id.into(), worker: worker.into(), at }
}

fn settled(id: &str, verdict: Verdict, at: u64) -> Event {
    Event::Settled { id: id.into(), verdict, worker: "w".into(), at }
}

fn effect(id: &str, at: u64) -> Event {
    Event::Effect { id: id.into(), at }
}

fn quiet(events: &[Event]) -> Result<(), anabranch::testing::check::Violation> {
    check(events, Until::Quiet)
}

fn once(events: &[Event]) -> Result<(), anabranch::testing::check::Violation> {
    exactly_once(events, Until::Quiet)
}

#[test]
fn what_is_right_passes() {
    quiet(&[
        published("a"),
        handled("a", "w", 10),
        // It comes again while the first one is at it, and after its acknowledgement was lost.
        handled("a", "v", 15),
        settled("a", Verdict::Done, 20),
        handled("a", "v", 25),
        settled("a", Verdict::Done, 30),
        // Nobody knows whether it was accepted.
        Event::Attempted { id: "b".into(), at: 5 },
        published("c"),
        settled("c", Verdict::Dropped, 6),
        published("d"),
        handled("d", "w", 10),
        settled("d", Verdict::Dead, 20),
    ])
    .unwrap();
}

#[test]
fn a_message_that_is_lost_has_two_ends_or_comes_from_nowhere_is_found() {
    let noise = [published("x"), handled("x", "w", 1), settled("x", Verdict::Done, 2)];
    let with = |events: &[Event]| [&noise[..], events].concat();
    let lost = with(&[published("a"), handled("a", "w", 10)]);
    check(&lost, Until::Cut).unwrap();
    let violation = caught(&lost, "queues.lost", quiet);
    assert_eq!(
        violation.to_string(),
        "\
queues.lost: a was accepted, and has no end
  seconds after 0 us
      0.000000                   published
      0.000010                w  handles it"
    );
    let two = with(&[published("a"), handled("a", "w", 1), settled("a", Verdict::Done, 5), settled("a", Verdict::Dead, 6)]);
    assert_eq!(caught(&two, "queues.two_ends", quiet).evidence(), [3, 4, 5, 6]);
    caught(&with(&[handled("a", "w", 1)]), "queues.invented", quiet);
    caught(&with(&[settled("a", Verdict::Dropped, 1)]), "queues.invented", quiet);
    caught(&with(&[published("a"), settled("a", Verdict::Done, 1)]), "queues.unhandled", quiet);
    caught(&with(&[published("a"), settled("a", Verdict::Done, 1), handled("a", "w", 2)]), "queues.unhandled", quiet);
}

#[test]
fn an_effect_that_is_missing_doubled_or_of_nothing_is_found() {
    let done = [published("a"), handled("a", "w", 1), settled("a", Verdict::Done, 3)];
    once(&[&done[..], &[effect("a", 2)]].concat()).unwrap();
    once(&[published("b"), handled("b", "w", 1), settled("b", Verdict::Dead, 3)]).unwrap();
    exactly_once(&done, Until::Cut).unwrap();
    caught(&done, "queues.without_effect", once);
    caught(&[&done[..], &[effect("a", 2), effect("a", 9)]].concat(), "queues.twice", once);
    caught(&[&done[..], &[effect("a", 2), effect("b", 9)]].concat(), "queues.invented", once);
}

#[test]
fn events_are_written_down_and_read_again() {
    let line = r#"{"Settled":{"id":"a","verdict":"Dead","worker":"w","at":3}}"#;
    let event: Event = serde_json::from_str(line).unwrap();
    assert_eq!(event, settled("a", Verdict::Dead, 3));
    assert_eq!(serde_json::to_string(&event).unwrap(), line);
}
