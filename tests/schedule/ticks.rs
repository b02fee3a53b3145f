//! What a moment asks of a schedule, as stories.

use anabranch::{
    core::schedule::{Letter, Liveness, Missed, Overlap, Plan, Record, Tick},
    time::Timestamp,
};
use std::{num::NonZeroU32, time::Duration};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Noon, and so many seconds.
pub(crate) fn noon(seconds: u64) -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-25T12:00:00Z").unwrap() + Duration::from_secs(seconds)
}

pub(crate) fn plan(rule: &str, missed: Missed, overlap: Overlap) -> Plan {
    let letter = Letter { queue: "reports".into(), ..Letter::default() };
    Plan { rule: rule.parse().unwrap(), missed, tolerance: MINUTE, overlap, patience: MINUTE * 60, letter }
}

pub(crate) fn all(most: u32) -> Missed {
    Missed::All(NonZeroU32::new(most).unwrap())
}

/// A schedule that began at noon.
fn record(rule: &str, missed: Missed, overlap: Overlap) -> Record {
    Record::new(plan(rule, missed, overlap), noon(0))
}

/// Seconds after noon for which something was fired.
fn fired(tick: &Tick) -> Vec<u64> {
    tick.firings.iter().map(|firing| firing.at.since(noon(0)).as_secs()).collect()
}

fn seconds(times: &[Timestamp]) -> Vec<u64> {
    times.iter().map(|at| at.since(noon(0)).as_secs()).collect()
}

#[test]
fn a_firing_is_named_by_its_schedule_and_its_time() {
    let record = record("* * * * *", Missed::Last, Overlap::Allow);
    assert_eq!(record.next, Some(noon(60)));
    let tick = record.tick("s", noon(61), Liveness::Unknown);
    assert_eq!(tick.firings[0].id, "s@2026-11-25T12:01:00Z");
    assert_eq!((tick.record.next, tick.record.last, tick.record.fired), (Some(noon(120)), Some(noon(60)), 1));
}

#[test]
fn nothing_is_due_before_its_time_nor_a_second_time() {
    let record = record("* * * * *", all(1000), Overlap::Allow);
    assert_eq!(fired(&record.tick("s", noon(59), Liveness::Unknown)), Vec::<u64>::new());
    let tick = record.tick("s", noon(60), Liveness::Unknown);
    assert_eq!(fired(&tick), [60]);
    for again in [60, 119, 0] {
        let repeated = tick.record.tick("s", noon(again), Liveness::Unknown);
        assert_eq!((fired(&repeated), &repeated.record), (vec![], &tick.record), "at {again}");
    }
}

#[test]
fn what_is_late_within_the_tolerance_is_not_missed() {
    for missed in [Missed::Skip, Missed::Last, all(1)] {
        let tick = record("@every 1s", missed, Overlap::Allow).tick("s", noon(60), Liveness::Unknown);
        assert_eq!(fired(&tick), (1..=60).collect::<Vec<_>>(), "{missed:?}");
        assert_eq!(tick.missed, None);
    }
}

#[test]
fn missed_firings_are_skipped_when_they_are_to_be() {
    let tick = record("*/10 * * * *", Missed::Skip, Overlap::Allow).tick("s", noon(3550), Liveness::Unknown);
    assert_eq!((fired(&tick), tick.record.lost), (vec![], 5));
    let late = tick.missed.unwrap();
    assert_eq!((late.first, late.last, late.count), (noon(600), noon(3000), 5));
    assert_eq!(tick.record.next, Some(noon(3600)));
}

#[test]
fn of_missed_firings_the_last_is_made_up_for_unless_another_is_in_time() {
    let record = record("*/10 * * * *", Missed::Last, Overlap::Allow);
    let tick = record.tick("s", noon(3550), Liveness::Unknown);
    assert_eq!((fired(&tick), tick.record.lost), (vec![3000], 4));
    let tick = record.tick("s", noon(3610), Liveness::Unknown);
    assert_eq!((fired(&tick), tick.record.lost), (vec![3600], 5));
    let tick = record.tick("s", noon(700), Liveness::Unknown);
    assert_eq!((fired(&tick), tick.missed), (vec![600], None));
}

/// D27: all that were missed are made up for, not only the last, and also those from before it was first deployed.
#[test]
fn all_missed_firings_are_made_up_for_up_to_a_maximum() {
    let since_morning = Record::new(plan("*/10 * * * *", all(1000), Overlap::Allow), noon(0));
    let tick = since_morning.tick("s", noon(3550), Liveness::Unknown);
    assert_eq!((fired(&tick), tick.missed), (vec![600, 1200, 1800, 2400, 3000], None));
    let three = record("*/10 * * * *", all(3), Overlap::Allow).tick("s", noon(3610), Liveness::Unknown);
    // One of them is in time, and does not count.
    assert_eq!((fired(&three), three.record.lost), (vec![1800, 2400, 3000, 3600], 2));
    assert_eq!(three.missed.unwrap().last, noon(1200));
}

#[test]
fn a_long_absence_costs_no_more_than_what_is_made_up_for() {
    let year = Duration::from_secs(366 * 86_400);
    let tick = record("* * * * * *", all(1000), Overlap::Allow).tick("s", noon(0) + year, Liveness::Unknown);
    assert_eq!(tick.firings.len(), 100, "the rest is left to the next tick");
    let late = tick.missed.unwrap();
    assert_eq!((late.first, late.count), (noon(1), 1000), "very many are not counted one by one");
    assert_eq!(tick.firings[0].at, late.last + Duration::from_secs(1));
    let mut sent = tick.firings.len();
    let mut record = tick.record;
    while record.next.unwrap() <= noon(0) + year {
        let tick = record.tick("s", noon(0) + year, Liveness::Unknown);
        assert_eq!(tick.missed, None);
        sent += tick.firings.len();
        record = tick.record;
    }
    assert_eq!(sent, 1000 + 61, "those missed, and those in time");
}

#[test]
fn a_firing_is_skipped_while_the_one_before_goes_on() {
    let first = record("* * * * *", Missed::Last, Overlap::Skip).tick("s", noon(60), Liveness::Unknown);
    assert_eq!(fired(&first), [60]);
    assert_eq!(first.record.asks_for_liveness(noon(60)), None, "nothing is due");
    assert_eq!(first.record.asks_for_liveness(noon(120)).unwrap().firing, first.firings[0]);
    let second = first.record.tick("s", noon(120), Liveness::Running);
    assert_eq!((fired(&second), seconds(&second.skipped), second.record.skipped), (vec![], vec![120], 1));
    let third = second.record.tick("s", noon(180), Liveness::Done);
    assert_eq!((fired(&third), third.skipped.len()), (vec![180], 0));
    // Of several that are due at once the first goes on when the others come.
    let several = third.record.tick("s", noon(305), Liveness::Done);
    assert_eq!((fired(&several), seconds(&several.skipped)), (vec![300], vec![]));
}

#[test]
fn a_firing_of_which_nothing_is_known_goes_on_until_patience_ends() {
    let first = record("*/30 * * * *", Missed::Last, Overlap::Skip).tick("s", noon(1800), Liveness::Unknown);
    let second = first.record.tick("s", noon(3600), Liveness::Unknown);
    assert_eq!(seconds(&second.skipped), [3600]);
    let third = second.record.tick("s", noon(5400), Liveness::Unknown);
    assert_eq!(fired(&third), [5400]);
}

#[test]
fn one_firing_waits_for_the_one_before_and_others_do_not() {
    let first = record("* * * * *", Missed::Last, Overlap::Queue).tick("s", noon(60), Liveness::Unknown);
    let second = first.record.tick("s", noon(120), Liveness::Running);
    assert_eq!((fired(&second), second.queued, second.record.queued), (vec![], Some(noon(120)), Some(noon(120))));
    assert_eq!(second.record.next, Some(noon(121)), "somebody waits, so it is looked at again soon");
    let third = second.record.tick("s", noon(180), Liveness::Running);
    assert_eq!((seconds(&third.skipped), third.record.queued), (vec![180], Some(noon(120))));
    let fourth = third.record.tick("s", noon(190), Liveness::Done);
    assert_eq!((fired(&fourth), fourth.record.queued, fourth.record.next), (vec![120], None, Some(noon(240))));
    assert_eq!(fourth.record.last, Some(noon(120)));
}

/// A new letter had it wait for the next time of the rule, which may be a day away.
#[test]
fn whoever_waits_is_looked_at_also_after_the_schedule_was_defined_anew() {
    let first = record("0 * * * *", Missed::Last, Overlap::Queue).tick("s", noon(3600), Liveness::Unknown);
    let second = first.record.tick("s", noon(7200), Liveness::Running).record;
    assert_eq!(second.queued, Some(noon(7200)));
    let mut defined = second;
    let letter = Letter { queue: "others".into(), ..Letter::default() };
    assert!(defined.redefine(Plan { letter, ..defined.plan.clone() }, noon(7300)));
    assert_eq!(defined.next, Some(noon(7300)));
    assert_eq!(fired(&defined.tick("s", noon(7300), Liveness::Done)), [7200]);
}

#[test]
fn whoever_waits_is_due_as_soon_as_it_is_told_that_the_one_before_has_ended() {
    let first = record("* * * * *", Missed::Last, Overlap::Queue).tick("s", noon(60), Liveness::Unknown);
    let mut second = first.record.tick("s", noon(120), Liveness::Running).record;
    assert!(!second.finish("s@another", noon(125)), "another one is not waited for");
    assert!(second.finish(&first.firings[0].id, noon(125)));
    assert_eq!(second.next, Some(noon(121)));
    assert_eq!(fired(&second.tick("s", noon(125), Liveness::Unknown)), [120]);
}

#[test]
fn the_firing_before_is_cancelled_when_the_next_one_comes() {
    let first = record("* * * * *", Missed::Last, Overlap::Cancel).tick("s", noon(60), Liveness::Unknown);
    assert_eq!(first.cancel, None);
    let second = first.record.tick("s", noon(120), Liveness::Running);
    assert_eq!((second.cancel.as_ref(), fired(&second)), (Some(&first.firings[0]), vec![120]));
    let third = second.record.tick("s", noon(180), Liveness::Done);
    assert_eq!((third.cancel.as_ref(), fired(&third)), (None, vec![180]));
}

#[test]
fn of_several_that_would_cancel_each_other_the_newest_is_sent() {
    let record = record("* * * * *", all(10), Overlap::Cancel);
    let tick = record.tick("s", noon(185), Liveness::Unknown);
    assert_eq!((fired(&tick), seconds(&tick.skipped), tick.cancel.as_ref()), (vec![180], vec![60, 120], None));
    assert_eq!((tick.record.fired, tick.record.skipped), (1, 2));
}

#[test]
fn what_was_due_while_it_was_paused_was_not_to_be() {
    let mut record = record("* * * * *", all(1000), Overlap::Allow);
    assert!(record.pause() && !record.pause());
    assert_eq!(record.next, None);
    assert_eq!(fired(&record.tick("s", noon(600), Liveness::Unknown)), Vec::<u64>::new());
    assert!(record.resume(noon(610)) && !record.resume(noon(700)));
    assert_eq!(record.next, Some(noon(660)));
    assert_eq!(fired(&record.tick("s", noon(660), Liveness::Unknown)), [660]);
}

#[test]
fn the_same_definition_again_changes_nothing_and_another_rule_starts_from_now() {
    let mut record = record("* * * * *", Missed::Last, Overlap::Queue);
    let before = record.clone();
    assert!(!record.redefine(before.plan.clone(), noon(30)));
    assert_eq!(record, before);
    // Another message with the rule that it has: nothing is lost of what is due.
    let letter = Letter { queue: "elsewhere".into(), ..Letter::default() };
    assert!(record.redefine(Plan { letter, ..before.plan.clone() }, noon(70)));
    assert_eq!(record.next, Some(noon(60)));
    assert!(record.redefine(plan("*/5 * * * *", Missed::Last, Overlap::Allow), noon(301)));
    assert_eq!(record.next, Some(noon(600)), "what the old rule wanted is not sent");
}

#[test]
fn a_firing_by_hand_is_none_of_those_that_the_rule_wants() {
    let mut record = record("* * * * *", Missed::Last, Overlap::Skip);
    let by_hand = record.trigger("s", noon(60), 7);
    assert_eq!(by_hand.id, "s@2026-11-25T12:01:00Z+1");
    assert_ne!(record.trigger("s", noon(60), 8).id, by_hand.id);
    let tick = record.tick("s", noon(60), Liveness::Unknown);
    assert_eq!((fired(&tick), tick.record.fired), (vec![60], 3));
}

#[test]
fn a_stored_schedule_is_read_back_and_anything_else_is_refused() {
    let mut record = record("CRON_TZ=Europe/Berlin 30 2 * * *", all(7), Overlap::Queue);
    record.plan.letter =
        Letter { queue: "q".into(), id: None, headers: vec![("A".into(), "b".into())], payload: "payload".into() };
    let mut tick = record.tick("s", noon(200_000), Liveness::Unknown).record;
    tick.pending = vec![tick.running.clone().unwrap()];
    tick.queued = Some(noon(5));
    assert_eq!(Record::decode(tick.encode()).unwrap(), tick);
    let every = Record::new(plan("@every 90s", Missed::Skip, Overlap::Cancel), noon(1));
    assert_eq!(Record::decode(every.encode()).unwrap(), every);
    for foreign in ["", "nonsense", "\u{8}\u{1}"] {
        assert!(Record::decode(foreign.as_bytes().to_vec().into()).is_err(), "{foreign:?}");
    }
}
