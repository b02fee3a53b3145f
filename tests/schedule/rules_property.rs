//! Rules against somebody who looks at the clock on the wall every minute, and notes what it shows.

use anabranch::{core::schedule::Rule, time::Timestamp};
use croner::Cron;
use jiff::{ToSpan as _, tz::TimeZone};
use proptest::prelude::*;
use std::{collections::BTreeSet, str::FromStr as _, time::Duration};

const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Pacific/Apia",
];
const MINUTE: i64 = 60_000_000;

/// When a pattern of minutes fires in some days, found without any search: each minute that the clock shows for the first time counts
/// when it matches, and each minute that it jumps over counts for the one to which it jumps.
fn looked_at(cron: &Cron, zone: &TimeZone, from: i64, minutes: i64) -> Vec<Timestamp> {
    let shows = |minute: i64| zone.to_datetime(jiff::Timestamp::from_microsecond(minute * MINUTE).unwrap());
    let matches = |civil| cron.is_time_matching(&civil).unwrap();
    let mut seen = BTreeSet::new();
    let mut fires = Vec::new();
    // Long enough before that every minute that comes a second time has been seen.
    for minute in from - 26 * 60..from + minutes {
        let (before, now) = (shows(minute - 1), shows(minute));
        let mut skipped = before.saturating_add(1.minute());
        let mut due = false;
        while skipped < now {
            due |= seen.insert(skipped) && matches(skipped);
            skipped = skipped.saturating_add(1.minute());
        }
        due |= seen.insert(now) && matches(now);
        if due && minute > from {
            fires.push(Timestamp::from_micros(minute * MINUTE));
        }
    }
    fires
}

/// Days on which clocks are set somewhere, and others.
fn days() -> impl Strategy<Value = i64> {
    let set = ["2026-03-28", "2026-10-24", "2026-03-07", "2026-10-31", "2026-10-03", "2026-04-04", "2026-04-23", "2018-11-03"];
    let known = set.map(|day| jiff::Timestamp::from_str(&format!("{day}T06:00:00Z")).unwrap().as_second() / 60);
    prop_oneof![
        3 => proptest::sample::select(known.to_vec()).prop_flat_map(|day| day..day + 1440),
        // From 1990 to 2040.
        1 => 10_519_200..36_817_200_i64,
    ]
}

fn patterns() -> impl Strategy<Value = String> {
    let minute = prop_oneof![Just("*".to_owned()), Just("*/15".to_owned()), (0..60_u8).prop_map(|m| m.to_string())];
    let hour = prop_oneof![Just("*".to_owned()), Just("0-3".to_owned()), (0..24_u8).prop_map(|h| h.to_string())];
    (minute, hour).prop_map(|(minute, hour)| format!("{minute} {hour} * * *"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_rule_fires_when_somebody_who_watches_the_clock_would(
        zone in proptest::sample::select(ZONES.to_vec()),
        from in days(),
        pattern in patterns(),
    ) {
        let (minutes, start) = (2 * 1440_i64, Timestamp::from_micros(from * MINUTE));
        let end = start + Duration::from_secs(minutes.unsigned_abs() * 60 - 60);
        let rule = Rule::cron(&pattern).unwrap().in_zone(zone).unwrap();
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
        let wanted = looked_at(&Cron::from_str(&pattern).unwrap(), &zone, from, minutes);
        let forwards: Vec<_> =
            std::iter::successors(rule.next_after(start), |at| rule.next_after(*at)).take_while(|at| *at <= end).collect();
        prop_assert_eq!(&forwards, &wanted);
        let before = |at: Timestamp| Timestamp::from_micros(at.as_micros() - 1);
        let mut backwards: Vec<_> =
            std::iter::successors(rule.last_until(end), |at| rule.last_until(before(*at))).take_while(|at| *at > start).collect();
        backwards.reverse();
        prop_assert_eq!(backwards, wanted);
    }

    #[test]
    fn the_next_time_is_later_than_any_moment_it_is_asked_for(
        zone in proptest::sample::select(ZONES.to_vec()),
        seconds in -5_000_000_000_i64..10_000_000_000,
        micros in 0..1_000_000_i64,
        pattern in patterns(),
    ) {
        let at = Timestamp::from_micros(seconds * 1_000_000 + micros);
        let rule = Rule::cron(&pattern).unwrap().in_zone(zone).unwrap();
        let (last, next) = (rule.last_until(at).unwrap(), rule.next_after(at).unwrap());
        prop_assert!(last <= at && at < next);
        // Nothing is between the two, from either side.
        prop_assert_eq!(rule.next_after(last), Some(next));
        prop_assert_eq!(rule.last_until(Timestamp::from_micros(next.as_micros() - 1)), Some(last));
    }
}
