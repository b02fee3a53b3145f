//! No sequence of moments fires anything twice, or leaves anything out that was to be made up for.

use super::ticks::{all, noon, plan};
use anabranch::{
    core::schedule::{Liveness, Missed, Overlap, Record, Tick},
    time::Timestamp,
};
use proptest::prelude::*;
use std::{collections::BTreeSet, time::Duration};

/// Ticks at one moment until it asks for nothing more.
fn settle(record: &mut Record, now: Timestamp, liveness: Liveness, mut seen: impl FnMut(&Tick)) {
    loop {
        let tick = record.tick("s", now, liveness);
        seen(&tick);
        let more = tick.record.next.is_some_and(|next| next <= now) && tick.record != *record;
        *record = tick.record;
        if !more {
            return;
        }
    }
}

fn rules() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["@every 7s", "* * * * * *", "*/3 * * * *", "CRON_TZ=Europe/Berlin */20 * * * *"])
}

fn missed() -> impl Strategy<Value = Missed> {
    prop_oneof![Just(Missed::Skip), Just(Missed::Last), (1..20_u32).prop_map(all)]
}

fn overlaps() -> impl Strategy<Value = Overlap> {
    proptest::sample::select(vec![Overlap::Allow, Overlap::Skip, Overlap::Queue, Overlap::Cancel])
}

fn liveness() -> impl Strategy<Value = Liveness> {
    proptest::sample::select(vec![Liveness::Running, Liveness::Done, Liveness::Unknown])
}

proptest! {
    /// D21: whoever ticks, whenever, and by whatever clock: within the maximum the firings are those of a single tick.
    #[test]
    fn any_ticks_fire_what_one_tick_fires_when_all_are_made_up_for(
        rule in rules(),
        moments in proptest::collection::vec(0..900_u64, 0..20),
    ) {
        let start = Record::new(plan(rule, all(1000), Overlap::Allow), noon(0));
        let end = noon(900);
        let collect = |moments: &[Timestamp]| {
            let (mut record, mut ids) = (start.clone(), Vec::new());
            for now in moments {
                settle(&mut record, *now, Liveness::Unknown, |tick| ids.extend(tick.firings.iter().map(|f| f.id.clone())));
            }
            (record, ids)
        };
        let (_, wanted) = collect(&[end]);
        // In any order, since clocks differ, and at last at the end.
        let moments: Vec<_> = moments.into_iter().map(noon).chain([end]).collect();
        let (record, ids) = collect(&moments);
        prop_assert_eq!(&ids, &wanted);
        prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        prop_assert_eq!(record.lost, 0);
        prop_assert!(record.next.unwrap() > end);
    }

    #[test]
    fn no_ticks_fire_anything_twice_and_everything_due_is_accounted_for_once(
        rule in rules(),
        missed in missed(),
        overlap in overlaps(),
        moments in proptest::collection::vec((0..900_u64, liveness()), 1..40),
    ) {
        let mut record = Record::new(plan(rule, missed, overlap), noon(0));
        let (mut fired, mut dropped, mut newest) = (Vec::new(), 0, noon(0));
        for (now, liveness) in moments {
            let now = noon(now);
            // One that waited was due by the clock of whoever said so.
            newest = newest.max(now);
            settle(&mut record, now, liveness, |tick| {
                for firing in &tick.firings {
                    assert!(firing.at <= newest, "{firing:?} at {now}");
                    fired.push(firing.at);
                }
                dropped += tick.skipped.len() as u64 + tick.missed.map_or(0, |late| late.count);
            });
        }
        let due = std::iter::successors(record.plan.rule.next_after(noon(0)), |at| record.plan.rule.next_after(*at));
        let due: Vec<_> = due.take_while(|at| *at <= record.since).collect();
        let once: BTreeSet<_> = fired.iter().copied().collect();
        prop_assert_eq!(once.len(), fired.len());
        prop_assert!(fired.iter().all(|at| due.contains(at)));
        prop_assert_eq!(record.fired, fired.len() as u64);
        prop_assert_eq!(record.lost + record.skipped, dropped);
        // Each is sent, dropped, or waits.
        prop_assert_eq!(fired.len() as u64 + dropped + u64::from(record.queued.is_some()), due.len() as u64);
    }

    #[test]
    fn pausing_and_changing_a_schedule_on_the_way_fires_nothing_twice(
        steps in proptest::collection::vec((0..5_u8, 0..30_u64), 1..60),
        overlap in overlaps(),
    ) {
        let mut record = Record::new(plan("@every 7s", all(1000), overlap), noon(0));
        let (mut now, mut fired) = (noon(0), BTreeSet::new());
        for (step, later) in steps {
            now = now + Duration::from_secs(later);
            match step {
                0 => drop(record.pause()),
                1 => drop(record.resume(now)),
                2 => drop(record.redefine(plan(if later % 2 == 0 { "@every 7s" } else { "* * * * * *" }, all(5), overlap), now)),
                3 => {
                    let id = record.trigger("s", now, later).id;
                    assert!(fired.insert(id));
                }
                _ => settle(&mut record, now, Liveness::Done, |tick| {
                    for firing in &tick.firings {
                        assert!(fired.insert(firing.id.clone()), "{} fires twice", firing.id);
                    }
                }),
            }
            prop_assert_eq!(&Record::decode(record.encode()).unwrap(), &record);
        }
    }
}
