//! A schedule as its owner describes it.

use super::{
    ScheduleError,
    ledger::{letter, outgoing},
};
use crate::{
    core::schedule::{Firing, Missed, Overlap, Plan, Record, Rule},
    engine::Outgoing,
    time::Timestamp,
};
use std::time::Duration;

/// The longest tolerance and patience.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// What is sent again and again, and when.
///
/// The message of each firing has the firing's id (`NAME@TIME`) in the place of its own, and the headers `Schedule-Name` and
/// `Schedule-Time`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "give it to `Schedules::create` or `Schedules::put`"]
pub struct Schedule {
    pub(super) name: String,
    pub(super) plan: Plan,
    pub(super) since: Option<Timestamp>,
}

impl Schedule {
    /// Describes a schedule that sends a message to a queue. `name` is any text of visible characters, 1 to 128 bytes, and unique in its
    /// space.
    pub fn new(name: impl Into<String>, rule: Rule, sends: Outgoing) -> Self {
        let plan = Plan {
            rule,
            missed: Missed::default(),
            tolerance: Duration::from_secs(60),
            overlap: Overlap::default(),
            patience: Duration::from_secs(3600),
            letter: letter(&sends),
        };
        Self { name: name.into(), plan, since: None }
    }

    /// Sets what becomes of firings that were missed; [`Missed::Last`] unless it is set.
    pub fn missed(mut self, missed: Missed) -> Self {
        self.plan.missed = missed;
        self
    }

    /// Sets how late a firing may be without being missed; 1 minute unless it is set, at most 366 days.
    ///
    /// It is also by how much the clocks of schedulers may differ from each other, and from that of the engine: with less, what is in
    /// time by one is missed by another.
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.plan.tolerance = tolerance;
        self
    }

    /// Sets what becomes of a firing while the one before goes on; [`Overlap::Allow`] unless it is set.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.plan.overlap = overlap;
        self
    }

    /// Sets how long a firing of which nothing is known is taken to go on; 1 hour unless it is set, at most 366 days.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.plan.patience = patience;
        self
    }

    /// Lets a schedule that is created begin at another time than now: what is due since then was missed, and is made up for as
    /// [`missed`](Self::missed) says. It changes nothing of one that is there.
    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its rule.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.plan.rule
    }

    /// Returns everything else that it says.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn check(&self) -> Result<(), ScheduleError> {
        check_name(&self.name)?;
        if self.plan.tolerance > LONGEST || self.plan.patience > LONGEST {
            return Err(ScheduleError::Invalid("a schedule's tolerance and patience are at most 366 days"));
        }
        if matches!(self.plan.missed, Missed::All(most) if most.get() > Missed::MOST) {
            return Err(ScheduleError::Invalid("at most 1000 missed firings are made up for"));
        }
        Ok(outgoing(&self.plan.letter, |message| message)?.message.check()?)
    }
}

pub(super) fn check_name(name: &str) -> Result<(), ScheduleError> {
    if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
        return Err(ScheduleError::Invalid("a name is 1 to 128 bytes of visible characters"));
    }
    Ok(())
}

/// A schedule as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What it is to do.
    pub schedule: Schedule,
    /// Whether it is paused.
    pub paused: bool,
    /// When it is looked at next: when it fires, or, while a firing waits for another, when that is asked about.
    pub next: Option<Timestamp>,
    /// The newest time for which it fired.
    pub last: Option<Timestamp>,
    /// The firing that others wait for, as far as is known here. Always `None` where overlaps are allowed.
    pub running: Option<Firing>,
    /// The time of the firing that waits for it.
    pub queued: Option<Timestamp>,
    /// How many firings were sent since it was created, by hand too.
    pub fired: u64,
    /// How many were triggered by hand.
    pub triggered: u64,
    /// How many were missed and dropped, at least.
    pub missed: u64,
    /// How many were dropped while the one before went on.
    pub skipped: u64,
}

impl Status {
    pub(super) fn of(name: String, record: Record) -> Self {
        Self {
            schedule: Schedule { name, plan: record.plan, since: None },
            paused: record.paused,
            next: record.next,
            last: record.last,
            running: record.running.map(|live| live.firing),
            queued: record.queued,
            fired: record.fired,
            triggered: record.triggered,
            missed: record.lost,
            skipped: record.skipped,
        }
    }
}
