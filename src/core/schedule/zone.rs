//! What the clock on a wall shows and when: a time zone, and what becomes of an hour that is there twice or not at all.
//!
//! It promises that time on the wall, read upwards, is time upwards: of a stretch that a clock shows twice the first one counts, and
//! a stretch that it jumps over is the moment of the jump. Zones are IANA's, and their data is compiled in, so every process of
//! a version reads them alike, whatever its machine has. It does not know patterns.

use super::rule::RuleError;
use crate::time::Timestamp;
use jiff::{
    ToSpan as _,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase},
};
use std::{fmt, sync::LazyLock};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone by its IANA name, such as `Europe/Berlin`.
#[derive(Clone)]
pub(super) struct Zone {
    name: Box<str>,
    zone: TimeZone,
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

/// Where on the wall a moment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnTheWall {
    /// What the clock shows, to the second.
    pub(super) shows: DateTime,
    /// When the clock shows it for the second time: what it showed when it was set back. Everything before that has had its moment.
    pub(super) set_back_at: Option<DateTime>,
}

impl Zone {
    pub(super) fn utc() -> Self {
        Self { name: "UTC".into(), zone: TimeZone::UTC }
    }

    pub(super) fn named(name: &str) -> Result<Self, RuleError> {
        let zone = ZONES.get(name).map_err(|_| RuleError::Zone(name.to_owned()))?;
        // As IANA writes it, so that two spellings are one zone.
        let name = zone.iana_name().unwrap_or(name).into();
        Ok(Self { name, zone })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Finds out what the clock shows at a moment; `None` beyond the years that a calendar has.
    pub(super) fn look(&self, at: Timestamp) -> Option<OnTheWall> {
        let at = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
        // Rounded down, also before 1970.
        let at = jiff::Timestamp::from_second(at.as_microsecond().div_euclid(1_000_000)).ok()?;
        let shows = self.zone.to_datetime(at);
        let ambiguous = self.zone.to_ambiguous_timestamp(shows);
        let set_back_at = match ambiguous.offset() {
            AmbiguousOffset::Fold { before, .. } if ambiguous.earlier().is_ok_and(|first| first != at) => {
                Some(before.to_datetime(self.change_before(at)?))
            }
            _ => None,
        };
        Some(OnTheWall { shows, set_back_at })
    }

    /// Finds the moment at which the clock shows a time: the first of two, and that of the jump when it is jumped over.
    pub(super) fn moment(&self, shows: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(shows);
        let at = match ambiguous.offset() {
            // Read with the offset of afterwards it is less than a gap before the jump.
            AmbiguousOffset::Gap { after, .. } => self.change_after(after.to_timestamp(shows).ok()?)?,
            _ => ambiguous.earlier().ok()?,
        };
        Some(Timestamp::from_micros(at.as_microsecond()))
    }

    fn offset(&self, at: jiff::Timestamp) -> Offset {
        self.zone.to_offset(at)
    }

    /// The last moment until `at` at which the clock was set. What changes but a name is no change.
    fn change_before(&self, at: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let sets = |t: &jiff::Timestamp| t.checked_sub(1.second()).is_ok_and(|before| self.offset(before) != self.offset(*t));
        let end = at.checked_add(1.second()).ok()?;
        self.zone.preceding(end).map(|t| t.timestamp()).find(sets)
    }

    /// The first moment after `at` at which the clock is set.
    fn change_after(&self, at: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let sets = |t: &jiff::Timestamp| t.checked_sub(1.second()).is_ok_and(|before| self.offset(before) != self.offset(*t));
        self.zone.following(at).map(|t| t.timestamp()).find(sets)
    }
}
