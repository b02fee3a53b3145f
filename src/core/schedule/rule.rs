//! When a schedule fires: a pattern on the clock of a time zone, or an interval.
//!
//! It promises that the next time is always later than the one that it is asked about, that there is a next time for everything that
//! was accepted, and that asked in any way the times are the same. What daylight saving does to them is in `zone`. It does not
//! know what time it is.

use super::zone::Zone;
use crate::time::Timestamp;
use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use jiff::{SignedDuration, civil::DateTime};
use std::{fmt, str::FromStr, time::Duration};

/// A rule that says when.
///
/// A cron pattern has five fields (minute, hour, day of the month, month, day of the week), or six with seconds in front; names
/// of months and days, lists, ranges and steps, `L`, `W` and `#`, and `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`. When both a day of
/// the month and a day of the week are given, either will do. It is read on the clock of its zone, UTC unless it is given:
///
/// - an hour that is there twice, when the clock is set back, counts once: the first time;
/// - a time that is not there, when the clock is set forward, is the moment right after; several of them are one.
///
/// So a pattern such as `* * * * *` is silent for the second of two hours. Whoever wants each minute of them takes an interval,
/// or UTC.
///
/// ```
/// use anabranch::{core::schedule::Rule, time::Timestamp};
///
/// let rule: Rule = "30 2 * * *".parse()?;
/// let berlin = rule.in_zone("Europe/Berlin")?;
/// let day = Timestamp::parse_rfc3339("2026-03-28T12:00:00Z").unwrap();
/// // On the 29th the clock goes from 2:00 to 3:00.
/// assert_eq!(berlin.next_after(day).unwrap().to_string(), "2026-03-29T01:00:00Z");
/// # Ok::<(), anabranch::core::schedule::RuleError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Cron(Pattern),
    Every { period: Duration, anchor: Timestamp },
}

/// A cron pattern on the clock of a zone.
#[derive(Clone)]
struct Pattern {
    text: Box<str>,
    cron: Box<Cron>,
    zone: Zone,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({} in {})", self.text, self.zone.name())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.zone) == (&other.text, &other.zone)
    }
}

impl Eq for Pattern {}

/// Why something is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// It is no cron pattern: correct it.
    #[error("`{pattern}` is no cron pattern: {reason}")]
    Pattern {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The pattern means days that no year has, such as the 30th of February.
    #[error("`{0}` never fires")]
    Never(String),
    /// There is no such time zone: take a name of the IANA database, such as `Europe/Berlin`.
    #[error("there is no time zone `{0}`")]
    Zone(String),
    /// It is no interval: write `@every 90s` or `@every 1h30m`, from one second to 366 days.
    #[error("`{0}` is no interval of one second to 366 days")]
    Interval(String),
    /// An interval is the same in all time zones: give it none.
    #[error("an interval has no time zone")]
    ZoneOfInterval,
}

/// The longest interval, and the shortest one.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
const SHORTEST: Duration = Duration::from_secs(1);

impl Rule {
    /// Reads a cron pattern, on the clock of UTC.
    ///
    /// # Errors
    ///
    /// [`RuleError::Pattern`] when it is none, [`RuleError::Never`] when it means days that no year has.
    pub fn cron(pattern: &str) -> Result<Self, RuleError> {
        let bad = |error: CronError| RuleError::Pattern { pattern: pattern.to_owned(), reason: reason(error) };
        let text = pattern.split_whitespace().collect::<Vec<_>>().join(" ");
        let known = if text.eq_ignore_ascii_case("@midnight") { "@daily" } else { &text };
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = Box::new(parser.parse(known).map_err(bad)?);
        let pattern = Pattern { text: text.into(), cron, zone: Zone::utc() };
        // A pattern that means a day at all means one within a cycle of the calendar, which every year begins.
        if pattern.following(DateTime::constant(2000, 1, 1, 0, 0, 0, 0), true).is_none() {
            return Err(RuleError::Never(pattern.text.into()));
        }
        Ok(Self(Kind::Cron(pattern)))
    }

    /// Fires each `period`, one second to 366 days to the microsecond: at the multiples of it since 1970, in UTC, unless it is
    /// [anchored](Self::anchored) elsewhere. So it is the same whoever asks and since when.
    ///
    /// # Errors
    ///
    /// [`RuleError::Interval`] for a period that is shorter or longer.
    pub fn every(period: Duration) -> Result<Self, RuleError> {
        let period = Duration::from_micros(u64::try_from(period.as_micros()).unwrap_or(u64::MAX));
        if (SHORTEST..=LONGEST).contains(&period) {
            Ok(Self(Kind::Every { period, anchor: Timestamp::EPOCH }))
        } else {
            Err(RuleError::Interval(format!("{period:?}")))
        }
    }

    /// Reads a pattern on the clock of another time zone.
    ///
    /// # Errors
    ///
    /// [`RuleError::Zone`] when there is no such zone, [`RuleError::ZoneOfInterval`] when this is an interval.
    pub fn in_zone(self, name: &str) -> Result<Self, RuleError> {
        match self.0 {
            Kind::Cron(pattern) => Ok(Self(Kind::Cron(Pattern { zone: Zone::named(name)?, ..pattern }))),
            Kind::Every { .. } => Err(RuleError::ZoneOfInterval),
        }
    }

    /// Lets an interval fire at `anchor` and in multiples of its period before and after; a pattern stays as it is.
    #[must_use]
    pub fn anchored(self, anchor: Timestamp) -> Self {
        match self.0 {
            Kind::Every { period, .. } => Self(Kind::Every { period, anchor }),
            cron @ Kind::Cron(_) => Self(cron),
        }
    }

    /// Returns the first time after `after`; `None` beyond the years that calendars have.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Cron(pattern) => {
                let wall = pattern.zone.look(after)?;
                // Where the clock shows times for the second time, the next one is after it has shown all of them.
                let next = match wall.set_back_at {
                    Some(end) => pattern.following(end, true)?,
                    None => pattern.following(wall.shows, false)?,
                };
                pattern.zone.moment(next).filter(|next| *next > after)
            }
            Kind::Every { period, anchor } => step(*period, *anchor, after, 1).filter(|next| *next > after),
        }
    }

    /// Returns the last time until `until`, which itself may be one; `None` before the years that calendars have.
    #[must_use]
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Cron(pattern) => {
                let wall = pattern.zone.look(until)?;
                let last = match wall.set_back_at {
                    Some(end) => pattern.preceding(end, false)?,
                    None => pattern.preceding(wall.shows, true)?,
                };
                pattern.zone.moment(last).filter(|last| *last <= until)
            }
            Kind::Every { period, anchor } => step(*period, *anchor, until, 0).filter(|last| *last <= until),
        }
    }

    /// Returns the pattern; `None` for an interval.
    #[must_use]
    pub fn pattern(&self) -> Option<&str> {
        match &self.0 {
            Kind::Cron(pattern) => Some(&pattern.text),
            Kind::Every { .. } => None,
        }
    }

    /// Returns the name of the time zone; `None` for an interval.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        match &self.0 {
            Kind::Cron(pattern) => Some(pattern.zone.name()),
            Kind::Every { .. } => None,
        }
    }

    /// Returns the period and the anchor of an interval; `None` for a pattern.
    #[must_use]
    pub fn period(&self) -> Option<(Duration, Timestamp)> {
        match &self.0 {
            Kind::Cron(_) => None,
            Kind::Every { period, anchor } => Some((*period, *anchor)),
        }
    }
}

/// The multiple of a period, seen from its anchor, that is `more` after the last one until `at`.
fn step(period: Duration, anchor: Timestamp, at: Timestamp, more: i128) -> Option<Timestamp> {
    let period = i128::try_from(period.as_micros()).ok()?;
    let since = i128::from(at.as_micros()) - i128::from(anchor.as_micros());
    let multiple = since.div_euclid(period) + more;
    i64::try_from(i128::from(anchor.as_micros()) + multiple * period).ok().map(Timestamp::from_micros)
}

impl Pattern {
    /// The first time that the pattern means after one that a clock shows.
    fn following(&self, shows: DateTime, inclusive: bool) -> Option<DateTime> {
        self.cron.find_next_occurrence(&shows, inclusive).ok()
    }

    /// The last one before.
    fn preceding(&self, shows: DateTime, inclusive: bool) -> Option<DateTime> {
        self.cron.find_previous_occurrence(&shows, inclusive).ok()
    }
}

/// What the parser says, without the names of its own parts.
fn reason(error: CronError) -> String {
    match error {
        CronError::InvalidPattern(what) | CronError::IllegalCharacters(what) | CronError::ComponentError(what) => what,
        CronError::EmptyPattern => "it is empty".to_owned(),
        CronError::InvalidDate | CronError::InvalidTime | CronError::TimeSearchLimitExceeded => "it means no time".to_owned(),
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    /// Reads a cron pattern, or `@every` and an interval such as `90s` or `1h30m`; in front of a pattern there may be
    /// `CRON_TZ=Europe/Berlin`.
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let text = text.trim();
        let (zone, rest) = match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
            Some(rest) => {
                rest.split_once(char::is_whitespace).map_or((Some(rest), ""), |(zone, rest)| (Some(zone), rest.trim()))
            }
            None => (None, text),
        };
        let every = rest.get(..6).filter(|word| word.eq_ignore_ascii_case("@every")).map(|_| rest[6..].trim());
        let rule = match every {
            Some(period) => {
                let bad = || RuleError::Interval(period.to_owned());
                let span = period.parse::<SignedDuration>().map_err(|_| bad())?;
                Self::every(Duration::try_from(span).map_err(|_| bad())?).map_err(|_| bad())?
            }
            None => Self::cron(rest)?,
        };
        match zone {
            Some(zone) => rule.in_zone(zone),
            None => Ok(rule),
        }
    }
}

impl fmt::Display for Rule {
    /// Writes what [`from_str`](Self::from_str) reads; the anchor of an interval is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Cron(pattern) if pattern.zone.name() == "UTC" => f.write_str(&pattern.text),
            Kind::Cron(pattern) => write!(f, "CRON_TZ={} {}", pattern.zone.name(), pattern.text),
            Kind::Every { period, .. } => {
                let micros = i64::try_from(period.as_micros()).unwrap_or(i64::MAX);
                write!(f, "@every {:#}", SignedDuration::from_micros(micros))
            }
        }
    }
}
