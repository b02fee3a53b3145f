//! Schedules: what is due is fired once.

use crate::caught;
use anabranch::testing::check::schedules::{Event, check};
use std::time::Duration;

const EARLY: Duration = Duration::from_micros(5);

fn due(due: u64) -> Event {
    Event::Due { schedule: "s".into(), due }
}

fn fired(due: u64, by: &str, at: u64) -> Event {
    Event::Fired { schedule: "s".into(), due, by: by.into(), at }
}

fn skipped(due: u64, at: u64) -> Event {
    Event::Skipped { schedule: "s".into(), due, why: "missed".into(), at }
}

fn judge(events: &[Event]) -> Result<(), anabranch::testing::check::Violation> {
    check(events, EARLY, Some(300))
}

#[test]
fn what_is_due_is_fired_or_skipped_once_and_not_before() {
    let other = Event::Fired { schedule: "t".into(), due: 100, by: "w".into(), at: 100 };
    let due_there = Event::Due { schedule: "t".into(), due: 100 };
    judge(&[due(100), due(200), due(301), fired(100, "w", 95), skipped(200, 290), other, due_there]).unwrap();
    let right = [due(100), due(200), fired(200, "w", 201)];
    let with = |events: &[Event]| [&right[..], events].concat();
    let violation = caught(&with(&[fired(100, "w", 101), fired(100, "v", 102)]), "schedules.twice", judge);
    assert_eq!(
        violation.to_string(),
        "\
schedules.twice: the firing of s that is due at 100 was decided more than once
  seconds after 100 us
      0.000000                   due
      0.000001                w  fired
      0.000002                v  fired"
    );
    caught(&with(&[fired(100, "w", 101), skipped(100, 102)]), "schedules.twice", judge);
    caught(&with(&[skipped(100, 101), skipped(100, 102)]), "schedules.twice", judge);
    caught(&with(&[fired(100, "w", 94)]), "schedules.early", judge);
    caught(&with(&[]), "schedules.missed", judge);
    caught(&with(&[fired(100, "w", 101), due(300)]), "schedules.missed", judge);
    check(&with(&[]), EARLY, Some(99)).unwrap();
    check(&with(&[]), EARLY, None).unwrap();
    caught(&with(&[fired(100, "w", 101), fired(150, "w", 151)]), "schedules.invented", judge);
    caught(&with(&[fired(100, "w", 101), skipped(150, 151)]), "schedules.invented", judge);
}
