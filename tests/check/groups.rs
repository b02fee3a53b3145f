//! Wait groups: who is woken, and when.

use crate::caught;
use anabranch::testing::check::{
    Until,
    wait_group::{Event, check},
};

fn changed(by: i64, called: u64, returned: Option<u64>) -> Event {
    Event::Changed { client: "a".into(), group: "g".into(), by, called, returned }
}

fn waited(called: u64, waiting: Option<u64>, woken: Option<u64>) -> Event {
    Event::Waited { client: "w".into(), group: "g".into(), called, waiting, woken }
}

fn quiet(events: &[Event]) -> Result<(), anabranch::testing::check::Violation> {
    check(events, Until::Quiet)
}

#[test]
fn nobody_is_woken_before_zero() {
    let enter = changed(2, 0, Some(10));
    quiet(&[enter.clone(), changed(-1, 20, Some(30)), changed(-1, 40, Some(50)), waited(15, None, Some(45))]).unwrap();
    let early = [enter.clone(), changed(-1, 20, Some(30)), changed(-1, 40, Some(50)), waited(15, None, Some(39))];
    caught(&early, "wait_group.early", quiet);
    // Perhaps it had not even begun to count, or somebody was done of whom nobody knows.
    quiet(&[enter.clone(), waited(5, None, Some(6))]).unwrap();
    quiet(&[enter.clone(), changed(-2, 20, None), waited(15, None, Some(21))]).unwrap();
    quiet(&[changed(2, 0, None), waited(5, None, Some(60))]).unwrap();
    caught(&[enter, changed(-1, 20, None), waited(15, None, Some(21))], "wait_group.early", quiet);
}

#[test]
fn a_zero_before_somebody_waited_wakes_nobody() {
    let events = [changed(1, 0, Some(10)), changed(-1, 20, Some(30)), changed(1, 40, Some(50)), waited(60, None, Some(70))];
    caught(&events, "wait_group.early", quiet);
    let violation = caught(&[changed(1, 0, Some(10)), waited(20, None, Some(25))], "wait_group.early", quiet);
    assert_eq!(
        violation.to_string(),
        "\
wait_group.early: w was woken, and g was not zero since it waits
  seconds after 0 us
      0.000000 - 0.000010     a  +1
      0.000020 - 0.000025     w  waits, and is woken"
    );
}

#[test]
fn whoever_waits_at_zero_is_woken() {
    let (enter, done) = (changed(1, 0, Some(10)), changed(-1, 30, Some(40)));
    let lost = [enter.clone(), done.clone(), waited(20, None, None)];
    caught(&lost, "wait_group.lost", quiet);
    check(&lost, Until::Cut).unwrap();
    quiet(&[enter.clone(), done.clone(), waited(20, None, Some(41))]).unwrap();
    // It is not known to be zero.
    quiet(&[enter.clone(), changed(-1, 30, None), waited(20, None, None)]).unwrap();
    quiet(&[enter.clone(), waited(20, None, None)]).unwrap();
    // A zero that is over at once wakes those who surely waited for it.
    let again = changed(1, 50, Some(60));
    quiet(&[enter.clone(), done.clone(), again.clone(), waited(20, None, None)]).unwrap();
    quiet(&[enter.clone(), done.clone(), again.clone(), waited(20, Some(45), None)]).unwrap();
    caught(&[enter, done, again, waited(20, Some(29), None)], "wait_group.lost", quiet);
}

#[test]
fn nobody_waits_for_a_group_that_is_over() {
    let over = Event::Over { group: "g".into(), at: 50 };
    caught(&[changed(1, 0, Some(10)), waited(20, None, None), over.clone()], "wait_group.lost", quiet);
    let other = Event::Waited { client: "w".into(), group: "h".into(), called: 20, waiting: None, woken: None };
    quiet(&[
        changed(1, 0, Some(10)),
        Event::Changed { client: "a".into(), group: "h".into(), by: 1, called: 0, returned: Some(1) },
        other,
        over,
    ])
    .unwrap();
}
