//! Everything that is stored of a schedule, and what people do with it: define, pause, resume, trigger, report that a firing ended.
//!
//! What time does with it is in `tick`. Each operation leaves it with the next time to look at it, so that whoever stores it knows
//! when to come back.

use super::{Firing, Letter, Missed, Overlap, Rule};
use crate::time::Timestamp;
use std::time::Duration;

/// What a schedule is to do: its definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// When it fires.
    pub rule: Rule,
    /// What becomes of firings that were missed.
    pub missed: Missed,
    /// How late a firing may be without being missed.
    pub tolerance: Duration,
    /// What becomes of a firing while the one before goes on.
    pub overlap: Overlap,
    /// How long a firing of which nothing is known is taken to go on.
    pub patience: Duration,
    /// What it sends.
    pub letter: Letter,
}

/// A firing that was sent, or is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Which.
    pub firing: Firing,
    /// When it was decided.
    pub sent: Timestamp,
}

/// A schedule as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// What it is to do.
    pub plan: Plan,
    /// Everything up to here is decided.
    pub since: Timestamp,
    /// When to look again; `None` while it is paused, and when it never fires again.
    pub next: Option<Timestamp>,
    /// Whether it is paused.
    pub paused: bool,
    /// The newest time for which it fired.
    pub last: Option<Timestamp>,
    /// The firing that others may have to wait for; none under [`Overlap::Allow`].
    pub running: Option<Live>,
    /// The firing that waits for it.
    pub queued: Option<Timestamp>,
    /// How often it was triggered by hand.
    pub triggered: u64,
    /// What whoever triggered it last recognizes that by.
    pub token: u64,
    /// How many firings were sent, by hand too.
    pub fired: u64,
    /// How many were missed and dropped; at least, since very many are not counted one by one.
    pub lost: u64,
    /// How many were dropped on account of the one before.
    pub skipped: u64,
    /// Firings that were decided and are not sent yet, on an engine that cannot do both at once.
    pub pending: Vec<Live>,
}

impl Record {
    /// Begins a schedule: the first firing is the first after `since`, which may lie in the past.
    #[must_use]
    pub fn new(plan: Plan, since: Timestamp) -> Self {
        let next = plan.rule.next_after(since);
        Self {
            plan,
            since,
            next,
            paused: false,
            last: None,
            running: None,
            queued: None,
            triggered: 0,
            token: 0,
            fired: 0,
            lost: 0,
            skipped: 0,
            pending: Vec::new(),
        }
    }

    /// Gives it another definition, and tells whether it is another. What was due by a rule that is replaced, and is not sent, is
    /// not sent any more; a rule that stays goes on where it is.
    pub fn redefine(&mut self, plan: Plan, now: Timestamp) -> bool {
        if self.plan == plan {
            return false;
        }
        if self.plan.rule != plan.rule {
            self.since = self.since.max(now);
            self.queued = None;
        }
        if plan.overlap == Overlap::Allow {
            self.running = None;
        }
        if plan.overlap != Overlap::Queue {
            self.queued = None;
        }
        self.plan = plan;
        self.look_again();
        self.hurry(now);
        true
    }

    /// Stops it until it is resumed, and tells whether it was going. A firing that waits for another one is dropped.
    pub fn pause(&mut self) -> bool {
        let was = !self.paused;
        self.paused = true;
        self.queued = None;
        self.look_again();
        was
    }

    /// Goes on from now, and tells whether it was paused. What was due meanwhile is not missed: it was not to be.
    pub fn resume(&mut self, now: Timestamp) -> bool {
        let was = self.paused;
        if was {
            self.since = self.since.max(now);
            self.paused = false;
            self.look_again();
        }
        was
    }

    /// Fires by hand, whatever else goes on; paused or not. `token` is a number that nobody else has drawn.
    pub fn trigger(&mut self, schedule: &str, now: Timestamp, token: u64) -> Firing {
        self.triggered = self.triggered.saturating_add(1);
        self.fired = self.fired.saturating_add(1);
        self.token = token;
        Firing::manual(schedule, now, self.triggered)
    }

    /// Takes note that a firing has ended, and tells whether it was the one that others wait for. Whoever waits is due at once.
    pub fn finish(&mut self, id: &str, now: Timestamp) -> bool {
        if self.running.as_ref().is_none_or(|live| live.firing.id != id) {
            return false;
        }
        self.running = None;
        self.hurry(now);
        true
    }

    /// Has a firing looked at that waits for another: the rule does not tell when.
    fn hurry(&mut self, now: Timestamp) {
        if self.queued.is_some() {
            self.next = Some(self.next.map_or(now, |next| next.min(now)));
        }
    }

    /// Says when to look again, by the rule.
    pub(super) fn look_again(&mut self) {
        self.next = if self.paused { None } else { self.plan.rule.next_after(self.since) };
    }
}
