//! Who lives, as far as clocks can tell: how long a holder may believe in itself, and when others may give it up.
//!
//! Clocks of two machines are never compared, and a store's TTL is never trusted. A member of a shared state beats: each of its
//! renewals counts up a number in it. A holder believes in itself until its lease has passed since *before* it sent the newest
//! renewal that was acknowledged, less a margin. Others give it up once a clock of their own has seen the same beat for the
//! whole lease since *after* they first saw it, plus a margin; and they remove it only while it is still at that beat. What is
//! seen was written before, and what was written was sent before, so the holder stops first, as long as no two clocks run
//! at speeds that differ by more than the margins allow: [`MARGIN`] parts of the lease on either side, so a clock may be 5
//! percent too fast or too slow. (Gray and Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed file cache
//! consistency", 1989, with what they call epsilon.) What stands still, such as a process whose machine is suspended, cannot
//! see its lease pass; it is the fencing token that stops what such a process does.
//!
//! Times are [`Duration`]s since a moment that a process chooses for itself, on a clock that never jumps.

use std::{collections::BTreeMap, time::Duration};

/// A margin is the lease divided by this.
pub const MARGIN: u32 = 20;

/// How long a member may be silent before it is given up: 1 second to 24 hours.
///
/// ```
/// use anabranch::core::coordination::Lease;
/// use std::time::Duration;
///
/// let lease = Lease::new(Duration::from_secs(20)).unwrap();
/// assert_eq!(lease.belief(), Duration::from_secs(19)); // a holder's, since it asked
/// assert_eq!(lease.patience(), Duration::from_secs(21)); // everybody else's, since they saw it
/// assert!(Lease::new(Duration::from_millis(999)).is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease(Duration);

impl Lease {
    /// The shortest.
    pub const MIN: Duration = Duration::from_secs(1);
    /// The longest.
    pub const MAX: Duration = Duration::from_secs(24 * 3600);

    /// Takes a length, in whole milliseconds; `None` when it is out of range.
    #[must_use]
    pub fn new(length: Duration) -> Option<Self> {
        let whole = Duration::from_millis(u64::try_from(length.as_millis()).ok()?);
        (Self::MIN..=Self::MAX).contains(&whole).then_some(Self(whole))
    }

    /// Returns the length.
    #[must_use]
    pub fn length(self) -> Duration {
        self.0
    }

    /// Returns for how long a holder believes in itself after it asked for the lease.
    #[must_use]
    pub fn belief(self) -> Duration {
        self.0 / MARGIN * (MARGIN - 1)
    }

    /// Returns for how long others believe in a member after they saw its beat.
    #[must_use]
    pub fn patience(self) -> Duration {
        self.0 + self.0 / MARGIN
    }

    /// Returns how long after it asked for its lease a member asks for the next.
    #[must_use]
    pub fn renewal(self) -> Duration {
        self.0 / 3
    }
}

/// What a holder knows of its own hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Belief {
    until: Duration,
    lost: bool,
}

impl Belief {
    /// Starts with a request that was sent at `sent` and granted.
    #[must_use]
    pub fn granted(sent: Duration, lease: Lease) -> Self {
        Self { until: sent + lease.belief(), lost: false }
    }

    /// Tells whether it still holds.
    #[must_use]
    pub fn holds(&self, now: Duration) -> bool {
        !self.lost && now < self.until
    }

    /// Returns when it stops to hold, unless it is renewed or lost before.
    #[must_use]
    pub fn until(&self) -> Duration {
        self.until
    }

    /// Learns at `now` that a renewal which was sent at `sent` was stored. What has stopped to hold does not start again: somebody
    /// may have been told.
    pub fn renewed(&mut self, sent: Duration, now: Duration, lease: Lease) {
        if self.holds(now) {
            self.until = self.until.max(sent + lease.belief());
        } else {
            self.lost = true;
        }
    }

    /// Learns that it is not among the holders any more.
    pub fn gone(&mut self) {
        self.lost = true;
    }
}

/// What one observer has seen of the members of a state, by its own clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings(BTreeMap<String, Sighting>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sighting {
    beat: u64,
    since: Duration,
    lease: Lease,
}

/// A member as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// The member.
    pub id: String,
    /// The beat that it has not gone beyond.
    pub beat: u64,
}

impl Sightings {
    /// Takes note at `now` of all members that a state has: their id, beat and lease. Who is missing is forgotten.
    ///
    /// `now` is after the state was read; a state that is older than one that was noted before only makes this observer wait longer.
    pub fn note<'a>(&mut self, now: Duration, members: impl IntoIterator<Item = (&'a str, u64, Lease)>) {
        let mut before = std::mem::take(&mut self.0);
        for (id, beat, lease) in members {
            let fresh = Sighting { beat, since: now, lease };
            let same = before.remove(id).filter(|seen| seen.beat == beat && seen.lease == lease);
            self.0.insert(id.to_owned(), same.unwrap_or(fresh));
        }
    }

    /// Returns the members that have been silent for too long, but for `me`.
    #[must_use]
    pub fn silent(&self, now: Duration, me: &str) -> Vec<Silent> {
        let silent = self.0.iter().filter(|(id, seen)| seen.due() <= now && *id != me);
        silent.map(|(id, seen)| Silent { id: id.clone(), beat: seen.beat }).collect()
    }

    /// Returns when the next member but `me` will have been silent for too long; may be over already.
    #[must_use]
    pub fn next_due(&self, me: &str) -> Option<Duration> {
        self.0.iter().filter(|(id, _)| *id != me).map(|(_, seen)| seen.due()).min()
    }
}

impl Sighting {
    fn due(&self) -> Duration {
        self.since + self.lease.patience()
    }
}
