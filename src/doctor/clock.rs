//! Judges clocks: servers' beside this machine's.

use super::report::{Findings, Topic};
use crate::engine::nats::inspect::facts::{ClockSample, Facts};

/// In microseconds.
const SECOND: i64 = 1_000_000;
/// What schedules tolerate unless they are told otherwise, and after which an idle limiter is forgotten.
const TOLERANCE: i64 = 60 * SECOND;

/// Judges every clock that was seen.
pub(super) fn examine(facts: &Facts) -> Findings {
    let mut found = Findings::about(Topic::Clock);
    if facts.clocks.is_empty() {
        found.note(
            "clock",
            "no server's time was seen: servers tell it with a stream, or when they are monitored",
            "timers fire and TTLs end by the server's clock, schedules and limiters decide by this machine's",
            "give `--monitor` or `--system`, or examine when there is a space",
        );
    }
    facts.clocks.iter().for_each(|clock| judge(clock, &mut found));
    found
}

fn judge(ClockSample { server, ahead, uncertainty }: &ClockSample, found: &mut Findings) {
    let off = ahead.saturating_abs();
    // What it is at least, however the round trip was divided.
    let least = off.saturating_sub(*uncertainty);
    let direction = if *ahead < 0 { "behind" } else { "ahead of" };
    let text = format!("`{server}` is {} {direction} this machine, give or take {}", time(off), time(*uncertainty));
    let why = "timers and TTLs end by the server's clock, schedules fire and limiters count by that of the process: a \
        firing is early by as \
               much, and a limiter's span longer";
    let mend = "let time synchronization (chrony, ntpd, systemd-timesyncd) run on both machines: `chronyc tracking` or \
        `timedatectl` \
                tell which one is off";
    if least > TOLERANCE {
        let why = format!("{why}; beyond a minute a firing can be taken for missed, and a limiter can admit one burst more");
        found.problem("clock", text, why, mend);
    } else if least > SECOND {
        found.warning("clock", text, why, mend);
    } else if *uncertainty > SECOND {
        found.note("clock", text, "the round trip was too long to tell", "examine again when the connection is faster");
    } else {
        found.ok("clock", text);
    }
}

/// Writes microseconds in a unit that people read.
fn time(micros: i64) -> String {
    let duration = std::time::Duration::from_micros(micros.unsigned_abs());
    format!("{duration:.1?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{report::Severity, sample};

    fn of(ahead: i64, uncertainty: i64) -> Vec<Severity> {
        let mut facts = sample::healthy();
        facts.clocks = vec![ClockSample { server: "n1".to_owned(), ahead, uncertainty }];
        examine(&facts).of("clock")
    }

    #[test]
    fn a_clock_is_off_when_it_is_whatever_the_round_trip_was() {
        assert_eq!(examine(&sample::healthy()).of("clock"), [Severity::Ok]);
        assert_eq!(of(-SECOND / 2, 1_000), [Severity::Ok]);
        assert_eq!(of(3 * SECOND / 2, SECOND), [Severity::Ok]);
        assert_eq!(of(0, 2 * SECOND), [Severity::Note]);
        assert_eq!(of(-2 * SECOND, 1_000), [Severity::Warning]);
        assert_eq!(of(TOLERANCE + 2_000, 3_000), [Severity::Warning]);
        assert_eq!(of(TOLERANCE + 4_000, 3_000), [Severity::Problem]);
    }

    #[test]
    fn a_clock_that_was_not_seen_is_no_good_clock() {
        let mut facts = sample::healthy();
        facts.clocks.clear();
        assert_eq!(examine(&facts).of("clock"), [Severity::Note]);
    }
}
