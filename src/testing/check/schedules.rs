//! Everything that is due is fired once, or accounted for otherwise.
//!
//! It holds schedules to what `docs/semantics.md` says of them: one firing whatever the number of schedulers, none early, and nothing that
//! is due forgotten. When something is due is the observer's to say, from the rule; so is what a policy may skip.

use super::violation::{Row, Violation};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// What happens to a schedule. A firing is known by the time at which it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The rule says that something is due.
    Due {
        /// Of which schedule.
        schedule: Box<str>,
        /// When, in microseconds.
        due: u64,
    },
    /// It was sent.
    Fired {
        /// Of which schedule.
        schedule: Box<str>,
        /// Which firing, in microseconds.
        due: u64,
        /// Who sent it.
        by: Box<str>,
        /// When it was sent, in microseconds.
        at: u64,
    },
    /// It was decided that it is not to be sent: it was missed, or another one was still at work.
    Skipped {
        /// Of which schedule.
        schedule: Box<str>,
        /// Which firing, in microseconds.
        due: u64,
        /// The policy's reason.
        why: Box<str>,
        /// When it was decided, in microseconds.
        at: u64,
    },
}

impl Event {
    fn place(&self) -> (&str, u64) {
        let (Self::Due { schedule, due } | Self::Fired { schedule, due, .. } | Self::Skipped { schedule, due, .. }) = self;
        (schedule, *due)
    }

    fn row(&self) -> Row {
        match self {
            Self::Due { due, .. } => Row::at(*due, "", "due"),
            Self::Fired { by, at, .. } => Row::at(*at, &**by, "fired"),
            Self::Skipped { why, at, .. } => Row::at(*at, "", format!("skipped: {why}")),
        }
    }
}

/// Checks that no firing is sent or skipped twice, both sent and skipped, sent without being due, or sent more than `early` before it is due;
/// and that all that were due until `until` (in microseconds) were sent or skipped.
///
/// `early` is how much the clocks of schedulers are ahead at most. `until` is so long before the end of the record that everything due by then
/// must have been sent; nothing, when nobody knows.
///
/// # Errors
///
/// One of the rules `schedules.twice`, `schedules.invented`, `schedules.early` and `schedules.missed`, with all that happened to the firing.
///
/// ```
/// use anabranch::testing::check::schedules::{Event, check};
/// use std::time::Duration;
///
/// let due = |due| Event::Due { schedule: "s".into(), due };
/// let fired = |due, at| Event::Fired { schedule: "s".into(), due, by: "w".into(), at };
/// let none = Duration::ZERO;
/// check(&[due(100), due(200), fired(100, 105), fired(200, 201)], none, Some(200))?;
/// assert_eq!(check(&[due(100), fired(100, 105), fired(100, 106)], none, None).unwrap_err().rule(), "schedules.twice");
/// assert_eq!(check(&[due(100), fired(100, 99)], none, None).unwrap_err().rule(), "schedules.early");
/// assert_eq!(check(&[due(100)], none, Some(100)).unwrap_err().rule(), "schedules.missed");
/// # Ok::<(), anabranch::testing::check::Violation>(())
/// ```
pub fn check(events: &[Event], early: Duration, until: Option<u64>) -> Result<(), Violation> {
    let mut firings: BTreeMap<(&str, u64), Vec<(usize, &Event)>> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        firings.entry(event.place()).or_default().push((at, event));
    }
    for ((schedule, due), events) in firings {
        let tell = |rule, what: &str| {
            let violation = Violation::new(rule, format!("the firing of {schedule} that is due at {due} {what}"));
            Err(events.iter().fold(violation, |violation, (at, event)| violation.with(*at, event.row())))
        };
        let ends = events.iter().filter(|(_, event)| !matches!(event, Event::Due { .. })).count();
        if ends > 1 {
            return tell("schedules.twice", "was decided more than once");
        }
        if ends == events.len() {
            return tell("schedules.invented", "is none of the rule");
        }
        let is_early = |at: u64| Duration::from_micros(due.saturating_sub(at)) > early;
        if events.iter().any(|(_, event)| matches!(event, Event::Fired { at, .. } if is_early(*at))) {
            return tell("schedules.early", "was sent before");
        }
        if ends == 0 && until.is_some_and(|until| due <= until) {
            return tell("schedules.missed", "was neither sent nor skipped");
        }
    }
    Ok(())
}
