//! Rate limiters: how much is admitted in any span of time.

use crate::caught;
use anabranch::{
    core::coordination::Quota,
    testing::{
        Dice,
        check::limiter::{Admission, check},
    },
};
use std::time::Duration;

fn admitted(called: u64, returned: u64, cells: u32) -> Admission {
    Admission { client: "c".into(), key: "k".into(), called, returned, cells }
}

fn two_a_second(admissions: &[Admission]) -> Result<(), anabranch::testing::check::Violation> {
    check(admissions, Quota::per_second(2).unwrap(), Duration::ZERO)
}

#[test]
fn one_cell_too_many_is_found_and_one_that_is_due_is_not() {
    two_a_second(&[admitted(0, 0, 2), admitted(500_000, 500_000, 1), admitted(10, 1_000_000, 1)]).unwrap();
    let events = [admitted(0, 0, 1), admitted(0, 0, 1), admitted(499_999, 499_999, 1)];
    let violation = caught(&events, "limiter", two_a_second);
    assert_eq!(
        violation.to_string(),
        "\
limiter: 3 cells of k within 499.999ms, and 2 in 1s, 2 at once are 2
  seconds after 0 us
      0.000000                c  1 admitted
      0.000000                c  1 admitted
      0.499999                c  1 admitted"
    );
}

#[test]
fn what_may_lie_outside_of_a_span_is_not_in_it() {
    two_a_second(&[admitted(0, 600_000, 1), admitted(100_000, 100_000, 2)]).unwrap();
    caught(&[admitted(0, 599_999, 1), admitted(100_000, 100_000, 2), admitted(110_000, 120_000, 1)], "limiter", two_a_second);
}

#[test]
fn clocks_that_differ_and_keys_of_their_own_are_allowed_for() {
    let events = [admitted(0, 0, 2), admitted(400_000, 400_000, 1)];
    let quota = Quota::per_second(2).unwrap();
    check(&events, quota, Duration::from_millis(100)).unwrap();
    caught(&events, "limiter", |events| check(events, quota, Duration::from_micros(99_999)));
    two_a_second(&[admitted(0, 0, 2), Admission { key: "other".into(), ..admitted(0, 0, 2) }]).unwrap();
}

#[test]
fn the_smallest_span_is_told_of_among_many() {
    let mut events: Vec<Admission> = (0..100).map(|n| admitted(n * 500_000, n * 500_000, 1)).collect();
    two_a_second(&events).unwrap();
    events.extend([admitted(20_100_000, 20_100_001, 2), admitted(20_200_000, 20_200_000, 2)]);
    let violation = caught(&events, "limiter", two_a_second);
    assert_eq!(violation.evidence().len(), 2, "{violation}");
}

/// A bucket of tokens, kept exactly, whose calls begin before and end after.
#[test]
fn what_a_bucket_admits_passes_and_a_cell_more_does_not() {
    let quota = Quota::new(3, Duration::from_secs(1)).unwrap().burst(5).unwrap();
    for seed in 0..100 {
        let (mut dice, mut events) = (Dice::new(seed), Vec::new());
        // In thirds of a microsecond: a cell takes a million of them.
        let (mut full_at, mut now) = (0_u64, 0_u64);
        for _ in 0..60 {
            now += dice.roll(800_000);
            let cells = 1 + dice.roll(2);
            let next = full_at.max(now * 3) + cells * 1_000_000;
            if next <= now * 3 + 5_000_000 {
                full_at = next;
                let called = now.saturating_sub(dice.roll(1000));
                events.push(admitted(called, now + dice.roll(1000), u32::try_from(cells).unwrap()));
            }
        }
        check(&events, quota, Duration::ZERO).unwrap();
        // As much again at once is more than any bucket holds.
        events.push(admitted(now, now, 6));
        caught(&events, "limiter", |events| check(events, quota, Duration::ZERO));
    }
}

/// Every span that begins with a call and ends with a return, looked at for itself.
fn has_a_crowded_span(events: &[Admission], quota: Quota, slack: Duration) -> bool {
    let ends = || events.iter().map(|event| event.returned);
    let spans = events.iter().flat_map(|event| ends().map(|end| (event.called, end))).filter(|(begin, end)| begin <= end);
    spans.into_iter().any(|(begin, end)| {
        let inside = events.iter().filter(|event| event.called >= begin && event.returned <= end);
        let cells: u128 = inside.map(|event| u128::from(event.cells)).sum();
        let span = Duration::from_micros(end - begin) + slack;
        cells
            > u128::from(quota.most_at_once().get())
                + span.as_nanos() * u128::from(quota.amount().get()) / quota.period().as_nanos()
    })
}

#[test]
fn what_is_found_is_what_a_look_at_each_span_finds() {
    let mut dice = Dice::new(1);
    let mut crowded = 0;
    let few = |dice: &mut Dice, most: u64| u32::try_from(1 + dice.roll(most)).unwrap();
    for _ in 0..2000 {
        let quota = Quota::new(few(&mut dice, 3), Duration::from_micros(10 + dice.roll(20))).unwrap();
        let quota = quota.burst(few(&mut dice, 4)).unwrap();
        let slack = Duration::from_micros(dice.roll(3));
        let events: Vec<_> = (0..dice.roll(12))
            .map(|_| {
                let called = dice.roll(100);
                admitted(called, called + dice.roll(20), few(&mut dice, 2))
            })
            .collect();
        let found = check(&events, quota, slack).is_err();
        assert_eq!(found, has_a_crowded_span(&events, quota, slack), "{quota} {slack:?} {events:?}");
        crowded += u32::from(found);
    }
    assert!((200..1800).contains(&crowded), "{crowded}");
}
