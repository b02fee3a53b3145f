//! The rules: whether a delivery is run, and what its end means for the job and for its message.
//!
//! | the record | a delivery of it |
//! |---|---|
//! | none, or open | is run, unless it was asked to end, or too many attempts left no trace |
//! | ended | is acknowledged, and nothing runs |
//! | of a later generation | is acknowledged: it was given up and put back since |
//! | of an earlier generation | is run as if there were no record |
//!
//! Every rule holds for a delivery that was decided already, whose answer was lost: it is decided alike, and nothing counts twice.

use super::record::{Failure, How, Progress, Record, State};
use crate::{
    core::{machine::Disposition, retry::RetryPolicy},
    time::Timestamp,
};
use bytes::Bytes;
use std::time::Duration;

/// A delivery of a job, as its message tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Which delivery of the message it is, counted from 1.
    pub number: u32,
    /// How often the job was put back after it had been given up.
    pub generation: u32,
}

/// Whether a delivery is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Run {
        /// Which attempt that is, counted from 1.
        attempt: u32,
    },
    /// The job has ended: the message is acknowledged.
    Ended,
    /// Somebody asked that the job ends.
    Cancel,
    /// The job is given up before another attempt.
    Bury(String),
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its handler succeeded; with what it returned, when that is kept.
    Done(Option<Bytes>),
    /// Its attempt failed.
    Failed {
        /// In what way.
        how: How,
        /// The error and its causes.
        message: String,
        /// What the handler wishes.
        disposition: Disposition,
    },
    /// The worker stopped before the handler ended, or before it began.
    HandedBack,
    /// Something that it needs is taken; it comes again after this long, or later and later.
    Blocked(Option<Duration>),
    /// It ended because somebody had asked for that.
    Cancelled,
    /// No attempt can succeed: it cannot be read, or nobody knows its topic, or it is poison.
    Hopeless(String),
}

/// What happens to the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is acknowledged.
    Ack,
    /// It is handed back, and comes again after this long.
    Retry(Duration),
    /// The job is given up: its letter is kept, then the message is rejected.
    Bury(String),
    /// Nothing: a later delivery has the message.
    Leave,
}

/// What a delivery's end means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to be stored first; `None` when that is stored already, or nothing has to be.
    pub record: Option<Record>,
    /// What is done then.
    pub verdict: Verdict,
}

/// Of a job whose record is of an earlier generation nothing is known.
fn current(record: Option<&Record>, delivered: Delivered) -> Option<&Record> {
    record.filter(|r| r.generation >= delivered.generation)
}

/// Which attempt a delivery is.
fn attempt(record: Option<&Record>, delivered: Delivered) -> u32 {
    delivered.number.saturating_sub(record.map_or(0, |r| r.spared)).max(1)
}

/// Decides whether a delivery is run.
#[must_use]
pub fn admit(record: Option<&Record>, delivered: Delivered, policy: &RetryPolicy) -> Admission {
    let record = current(record, delivered);
    if record.is_some_and(|r| r.is_ended() || r.generation > delivered.generation) {
        return Admission::Ended;
    }
    if record.is_some_and(|r| r.cancel) {
        return Admission::Cancel;
    }
    let attempt = attempt(record, delivered);
    // What began before this attempt and left no trace was taken down with its process, or was silent for too long.
    let silent = attempt.saturating_sub(1).saturating_sub(record.map_or(0, |r| r.failed));
    if silent > 0 && policy.is_poison(silent) {
        return Admission::Bury(format!("{silent} attempts ended without a word"));
    }
    if attempt > 1 && policy.delay_after(attempt - 1, 0).is_none() {
        let last = record.and_then(|r| r.failures.last());
        return Admission::Bury(exhausted(attempt - 1, last.map(|f| &*f.message)));
    }
    Admission::Run { attempt }
}

/// Decides what the end of a delivery means. `keep` is whether a success is recorded although nothing else is; `seed` is for jitter.
#[must_use]
pub fn settle(
    record: Option<&Record>,
    delivered: Delivered,
    topic: &str,
    outcome: &Outcome,
    policy: &RetryPolicy,
    (keep, now, seed): (bool, Timestamp, u64),
) -> Decision {
    let known = current(record, delivered);
    if let Some(record) = known {
        if record.is_ended() || record.generation > delivered.generation {
            // Also of one that was given up: its letter was kept before that was written, or with it.
            return Decision { record: None, verdict: Verdict::Ack };
        }
        let succeeded = matches!(outcome, Outcome::Done(_));
        if record.decided > delivered.number && !succeeded {
            return Decision { record: None, verdict: Verdict::Leave };
        }
        if record.decided == delivered.number && !succeeded {
            let after = record.resume_at.map_or(Duration::ZERO, |at| at.since(now));
            return Decision { record: None, verdict: Verdict::Retry(after) };
        }
    }
    if matches!(outcome, Outcome::Done(_)) && known.is_none() && !keep {
        return Decision { record: None, verdict: Verdict::Ack };
    }
    let attempt = attempt(known, delivered);
    let mut next = known.cloned().unwrap_or_default();
    topic.clone_into(&mut next.topic);
    next.generation = delivered.generation;
    next.decided = next.decided.max(delivered.number);
    let verdict = match outcome {
        Outcome::Done(result) => {
            next.end(State::Completed { result: result.clone() }, now);
            Verdict::Ack
        }
        Outcome::Cancelled => {
            next.end(State::Cancelled, now);
            Verdict::Ack
        }
        Outcome::Hopeless(reason) => bury(&mut next, reason.clone(), now),
        Outcome::HandedBack => later(&mut next, Duration::ZERO, now),
        Outcome::Blocked(after) => {
            next.blocked = next.blocked.saturating_add(1);
            let after = after.unwrap_or_else(|| blocked_for(next.blocked, seed));
            later(&mut next, after, now)
        }
        Outcome::Failed { how, message, disposition } => {
            next.blocked = 0;
            match disposition {
                Disposition::Snooze { after } => later(&mut next, *after, now),
                wish => {
                    next.fail(Failure { attempt, how: *how, message: message.clone(), at: now });
                    let delay = match wish {
                        Disposition::Retry { after } => policy.delay_after(attempt, seed).map(|d| after.unwrap_or(d)),
                        _ => None,
                    };
                    match (delay, wish) {
                        (Some(delay), _) => {
                            next.resume_at = Some(now + delay);
                            Verdict::Retry(delay)
                        }
                        (None, Disposition::Terminal) => bury(&mut next, message.clone(), now),
                        (None, _) => bury(&mut next, exhausted(attempt, Some(message)), now),
                    }
                }
            }
        }
    };
    Decision { record: Some(next), verdict }
}

/// Hands a job back without using an attempt up.
fn later(record: &mut Record, after: Duration, now: Timestamp) -> Verdict {
    record.spared = record.spared.saturating_add(1);
    record.resume_at = Some(now + after);
    Verdict::Retry(after)
}

fn bury(record: &mut Record, reason: String, now: Timestamp) -> Verdict {
    record.end(State::Dead { reason: reason.clone() }, now);
    Verdict::Bury(reason)
}

fn exhausted(attempts: u32, last: Option<&str>) -> String {
    let last = last.map_or_else(String::new, |message| format!(": {message}"));
    format!("all {attempts} attempts failed{last}")
}

/// How long a job that was handed back `times` in a row waits: ever longer, up to half a minute, so that nobody spins.
fn blocked_for(times: u32, seed: u64) -> Duration {
    let policy = RetryPolicy::default().max_attempts(u32::MAX).jitter(50);
    let policy = policy.exponential(Duration::from_millis(100), 2, Duration::from_secs(20));
    policy.delay_after(times.min(u32::MAX - 1), seed).unwrap_or(Duration::from_secs(20))
}

impl Record {
    /// Notes a report of an attempt that is under way; `false` when the job has ended, or somebody else has it.
    pub fn report(&mut self, delivered: Delivered, topic: &str, progress: Progress) -> bool {
        if self.generation < delivered.generation {
            *self = Self { generation: delivered.generation, ..Self::default() };
        }
        let ours = !self.is_ended() && self.generation == delivered.generation && self.decided < delivered.number;
        if ours {
            topic.clone_into(&mut self.topic);
            self.progress = Some(progress);
        }
        ours
    }
}
