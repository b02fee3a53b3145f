//! What a moment asks of a schedule.
//!
//! A firing is decided by moving `since` past its time, in the same value that says that it is sent, so whoever stores that value by
//! compare-and-set decides for everybody. A tick that is repeated on the value that it returned asks for nothing. It does not
//! matter whether time moves evenly, or backwards: an earlier moment than the last one asks for nothing.

use super::{Firing, Live, Liveness, Missed, Overlap, Record};
use crate::time::Timestamp;
use std::time::Duration;

/// How many firings a tick decides at most; more are left to the next one, which is due at once.
const AT_ONCE: usize = 100;
/// Up to how many of those that were missed are counted one by one.
const COUNTED: u64 = 1000;
/// How often it is asked whether what others wait for has ended.
const LOOK: Duration = Duration::from_secs(1);

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tick {
    /// What to store.
    pub record: Record,
    /// What to send, oldest first, together with storing it.
    pub firings: Vec<Firing>,
    /// What to cancel, before it is stored.
    pub cancel: Option<Firing>,
    /// What was missed and is dropped.
    pub missed: Option<Late>,
    /// The times whose firings are dropped since the one before goes on.
    pub skipped: Vec<Timestamp>,
    /// The time whose firing waits for the one before from now on.
    pub queued: Option<Timestamp>,
}

/// Firings that were missed and are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Late {
    /// The time of the first one.
    pub first: Timestamp,
    /// The time of the last one.
    pub last: Timestamp,
    /// How many, up to 1000.
    pub count: u64,
}

impl Record {
    /// Tells whether a tick at this moment has to know of the firing before, to decide what it asks for.
    #[must_use]
    pub fn asks_for_liveness(&self, now: Timestamp) -> Option<&Live> {
        self.running.as_ref().filter(|_| !self.paused && self.next.is_some_and(|next| next <= now))
    }

    /// Decides what this moment asks for. `liveness` is what is known of [`running`](Self::running); without one it means nothing.
    #[must_use]
    pub fn tick(&self, schedule: &str, now: Timestamp, liveness: Liveness) -> Tick {
        let mut tick =
            Tick { record: self.clone(), firings: Vec::new(), cancel: None, missed: None, skipped: Vec::new(), queued: None };
        if !self.paused {
            tick.run(schedule, now, liveness);
        }
        tick
    }
}

impl Tick {
    fn run(&mut self, schedule: &str, now: Timestamp, liveness: Liveness) {
        if self.record.running.as_ref().is_some_and(|live| has_ended(live, liveness, now, self.record.plan.patience)) {
            self.record.running = None;
        }
        if self.record.running.is_none()
            && let Some(at) = self.record.queued.take()
        {
            self.fire(schedule, at, now);
        }
        self.drop_missed(now);
        for _ in 0..AT_ONCE {
            let Some(at) = self.record.plan.rule.next_after(self.record.since).filter(|at| *at <= now) else { break };
            self.record.since = at;
            self.decide(schedule, at, now);
        }
        self.record.look_again();
        if self.record.queued.is_some() {
            let look = now + LOOK;
            self.record.next = Some(self.record.next.map_or(look, |next| next.min(look)));
        }
    }

    /// Decides about one firing whose time has come.
    fn decide(&mut self, schedule: &str, at: Timestamp, now: Timestamp) {
        match self.record.plan.overlap {
            Overlap::Skip if self.record.running.is_some() => self.skip(at),
            Overlap::Queue if self.record.running.is_some() => match self.record.queued {
                None => {
                    self.record.queued = Some(at);
                    self.queued = Some(at);
                }
                Some(_) => self.skip(at),
            },
            Overlap::Cancel => {
                // One that was decided a moment ago has sent nothing that could be cancelled.
                if let Some(replaced) = self.firings.pop() {
                    self.record.fired -= 1;
                    self.skip(replaced.at);
                } else if let Some(live) = self.record.running.take() {
                    self.cancel = Some(live.firing);
                }
                self.fire(schedule, at, now);
            }
            Overlap::Allow | Overlap::Skip | Overlap::Queue => self.fire(schedule, at, now),
        }
    }

    fn fire(&mut self, schedule: &str, at: Timestamp, now: Timestamp) {
        let firing = Firing::due(schedule, at);
        self.record.fired = self.record.fired.saturating_add(1);
        self.record.last = self.record.last.max(Some(at));
        if self.record.plan.overlap != Overlap::Allow {
            self.record.running = Some(Live { firing: firing.clone(), sent: now });
        }
        self.firings.push(firing);
    }

    fn skip(&mut self, at: Timestamp) {
        self.record.skipped = self.record.skipped.saturating_add(1);
        self.skipped.push(at);
    }

    /// Moves past what was missed and is not to be made up for.
    fn drop_missed(&mut self, now: Timestamp) {
        let (rule, since) = (&self.record.plan.rule, self.record.since);
        let before = |at: Timestamp| rule.last_until(Timestamp::from_micros(at.as_micros().saturating_sub(1)));
        let late = |at: &Timestamp| *at > since;
        let tolerance = i64::try_from(self.record.plan.tolerance.as_micros()).unwrap_or(i64::MAX);
        let in_time = Timestamp::from_micros(now.as_micros().saturating_sub(tolerance));
        let Some(newest) = before(in_time).filter(late) else { return };
        let dropped = match self.record.plan.missed {
            Missed::Skip => Some(newest),
            // One that is in time stands for those that were missed.
            Missed::Last if rule.next_after(newest).is_some_and(|next| next <= now) => Some(newest),
            Missed::Last => before(newest).filter(late),
            Missed::All(most) => {
                let steps = most.get().min(Missed::MOST);
                (0..steps).try_fold(newest, |at, _| before(at).filter(late))
            }
        };
        let Some(last) = dropped else { return };
        let times = std::iter::successors(rule.next_after(since), |at| rule.next_after(*at)).take_while(|at| *at <= last);
        let (mut count, mut first) = (0, last);
        for at in times.take(usize::try_from(COUNTED).unwrap_or(usize::MAX)) {
            (count, first) = (count + 1, first.min(at));
        }
        self.record.lost = self.record.lost.saturating_add(count);
        self.record.since = last;
        self.missed = Some(Late { first, last, count });
    }
}

/// Tells whether a firing has ended, or is given up on.
fn has_ended(live: &Live, liveness: Liveness, now: Timestamp, patience: Duration) -> bool {
    match liveness {
        Liveness::Running => false,
        Liveness::Done => true,
        Liveness::Unknown => now >= live.sent + patience,
    }
}
