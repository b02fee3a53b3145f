//! Rules by example: what is accepted, when it fires, and what daylight saving does to it.

use anabranch::{
    core::schedule::{Rule, RuleError},
    time::Timestamp,
};
use std::time::Duration;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn rule(text: &str) -> Rule {
    text.parse().unwrap()
}

/// The next `n` times after a moment, each checked to be later than the one before, and to be found backwards as well.
#[track_caller]
fn times(rule: &Rule, after: &str, n: usize) -> Vec<String> {
    let mut found: Vec<Timestamp> = Vec::new();
    for _ in 0..n {
        let after = found.last().copied().unwrap_or_else(|| at(after));
        let next = rule.next_after(after).unwrap();
        assert!(next > after);
        assert_eq!(rule.last_until(next), Some(next), "{next} is found backwards");
        found.push(next);
    }
    found.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn fires(text: &str, after: &str, wanted: &[&str]) {
    assert_eq!(times(&rule(text), after, wanted.len()), wanted, "{text} after {after}");
}

#[test]
fn a_pattern_has_five_fields_or_seconds_in_front() {
    fires("*/20 9-10 * * MON-FRI", "2026-11-27T10:30:00Z", &["2026-11-27T10:40:00Z", "2026-11-30T09:00:00Z"]);
    fires("15,45 0 12 1 JAN *", "2026-11-25T00:00:00Z", &["2027-01-01T12:00:15Z", "2027-01-01T12:00:45Z"]);
    fires("0 0 29 2 *", "2026-11-25T00:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    fires("0 12 L * *", "2027-02-01T00:00:00Z", &["2027-02-28T12:00:00Z", "2027-03-31T12:00:00Z"]);
    // A day of the month or a day of the week.
    fires("0 0 13 * FRI", "2026-11-10T00:00:00Z", &["2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"]);
    // Strictly later, also within a second.
    fires("* * * * * *", "2026-11-25T00:00:00.25Z", &["2026-11-25T00:00:01Z", "2026-11-25T00:00:02Z"]);
}

#[test]
fn names_stand_for_usual_patterns() {
    let now = "2026-11-25T13:37:00Z";
    fires("@hourly", now, &["2026-11-25T14:00:00Z"]);
    fires("@daily", now, &["2026-11-26T00:00:00Z"]);
    fires("@midnight", now, &["2026-11-26T00:00:00Z"]);
    fires("@weekly", now, &["2026-11-29T00:00:00Z"]);
    fires("@monthly", now, &["2026-12-01T00:00:00Z"]);
    fires("@yearly", now, &["2027-01-01T00:00:00Z"]);
}

#[test]
fn an_interval_is_anchored_in_utc_and_the_same_whoever_asks() {
    fires("@every 90s", "2026-11-25T00:00:00Z", &["2026-11-25T00:01:30Z", "2026-11-25T00:03:00Z"]);
    fires("@every 1h30m", "1969-12-31T23:00:00Z", &["1970-01-01T00:00:00Z", "1970-01-01T01:30:00Z"]);
    let anchored = Rule::every(Duration::from_secs(3600)).unwrap().anchored(at("2026-11-25T00:10:00Z"));
    assert_eq!(times(&anchored, "2026-11-24T22:30:00Z", 2), ["2026-11-24T23:10:00Z", "2026-11-25T00:10:00Z"]);
    assert_eq!(anchored.period(), Some((Duration::from_secs(3600), at("2026-11-25T00:10:00Z"))));
}

#[test]
fn a_rule_is_read_back_from_what_it_shows() {
    for text in ["0 2 * * *", "CRON_TZ=Europe/Berlin 30 2 * * *", "@every 90s", "@every 1h30m", "@daily"] {
        let read = rule(text);
        assert_eq!(rule(&read.to_string()), read, "{text} shows as {read}");
    }
    assert_eq!(rule("  0   2 * * *  ").to_string(), "0 2 * * *");
    assert_eq!(rule("CRON_TZ=europe/berlin @daily").zone(), Some("Europe/Berlin"));
}

#[test]
fn what_is_no_rule_is_an_error_that_says_why() {
    let error = |text: &str| text.parse::<Rule>().unwrap_err();
    for bad in
        ["", "* * * *", "* * * * * * *", "61 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "@sometimes", "a b c d e"]
    {
        assert!(matches!(error(bad), RuleError::Pattern { .. }), "{bad}: {:?}", error(bad));
    }
    for bad in ["@every", "@every soon", "@every 0s", "@every 999ms", "@every -5s", "@every 367d"] {
        assert!(matches!(error(bad), RuleError::Interval(_)), "{bad}: {:?}", error(bad));
    }
    assert_eq!(error("CRON_TZ=Europe/Bern 0 2 * * *"), RuleError::Zone("Europe/Bern".into()));
    assert_eq!(error("CRON_TZ=Europe/Berlin @every 90s"), RuleError::ZoneOfInterval);
    assert_eq!(error("0 0 61 * *").to_string().lines().count(), 1);
}

#[test]
fn a_date_that_no_year_has_is_refused_and_searched_for_no_longer_than_a_moment() {
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 0 31 FEB *"] {
        assert_eq!(never.parse::<Rule>(), Err(RuleError::Never(never.into())));
    }
}

#[test]
fn at_the_ends_of_the_calendar_there_is_no_next_time() {
    for text in ["0 2 * * *", "@every 90s"] {
        let rule = rule(text);
        assert_eq!(rule.next_after(Timestamp::from_micros(i64::MAX)), None, "{text}");
        assert_eq!(rule.last_until(Timestamp::from_micros(i64::MIN)), None, "{text}");
    }
}

#[test]
fn in_berlin_a_skipped_time_is_the_moment_after_and_a_repeated_one_counts_once() {
    let daily = "CRON_TZ=Europe/Berlin 30 2 * * *";
    fires(daily, "2026-03-28T00:00:00Z", &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    fires(daily, "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    // Asked in the second of the two hours.
    fires(daily, "2026-10-25T01:15:00Z", &["2026-10-26T01:30:00Z"]);
    let often = "CRON_TZ=Europe/Berlin */30 * * * *";
    fires(often, "2026-03-29T00:30:00Z", &["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
    fires(often, "2026-10-25T00:15:00Z", &["2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"]);
    fires(often, "2026-10-25T01:45:00Z", &["2026-10-25T02:00:00Z"]);
    // An interval knows no such hour.
    fires("@every 30m", "2026-10-25T00:30:00Z", &["2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"]);
}

#[test]
fn in_new_york_the_same_at_another_time() {
    let daily = "CRON_TZ=America/New_York 15 2 * * *";
    fires(daily, "2026-03-07T12:00:00Z", &["2026-03-08T07:00:00Z", "2026-03-09T06:15:00Z"]);
    let early = "CRON_TZ=America/New_York 15 1 * * *";
    fires(early, "2026-10-31T12:00:00Z", &["2026-11-01T05:15:00Z", "2026-11-02T06:15:00Z"]);
}

#[test]
fn on_lord_howe_it_is_half_an_hour() {
    // From 2:00 to 2:30 on October 4th, from 2:00 back to 1:30 on April 5th.
    let daily = "CRON_TZ=Australia/Lord_Howe 10 2 * * *";
    fires(daily, "2026-10-03T00:00:00Z", &["2026-10-03T15:30:00Z", "2026-10-04T15:10:00Z"]);
    let early = "CRON_TZ=Australia/Lord_Howe 45 1 * * *";
    fires(early, "2026-04-04T00:00:00Z", &["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]);
    let often = "CRON_TZ=Australia/Lord_Howe */15 * * * *";
    fires(often, "2026-04-04T14:30:00Z", &["2026-04-04T14:45:00Z", "2026-04-04T15:30:00Z"]);
}

#[test]
fn where_midnight_or_a_whole_day_is_skipped_it_is_the_moment_after() {
    // Cairo goes from midnight to 1:00.
    fires("CRON_TZ=Africa/Cairo @daily", "2026-04-23T12:00:00Z", &["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]);
    // Samoa had no December 30th in 2011.
    fires("CRON_TZ=Pacific/Apia 0 12 * * *", "2011-12-29T12:00:00Z", &["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z"]);
    fires("CRON_TZ=Pacific/Apia 0 12 30 12 *", "2011-06-01T00:00:00Z", &["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"]);
}
