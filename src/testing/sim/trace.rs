//! What happened in a simulation: a fingerprint of all of it, and the end of it in words.
//!
//! Two executions with one fingerprint did the same things in the same order. Only the last lines are kept unless all are asked for, so
//! that a day of virtual time needs no more memory than a second.

use std::{
    collections::VecDeque,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How many lines are kept, unless it is said.
const LINES: usize = 400;

/// The record of one simulation.
#[derive(Clone, Default)]
pub(super) struct Trace(Arc<Mutex<Record>>);

struct Record {
    // Fixed keys: the same in every process.
    hasher: DefaultHasher,
    lines: VecDeque<(Duration, Arc<str>, String)>,
    most_lines: usize,
    /// Whether lines are missing at the beginning.
    cut: bool,
    events: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self { hasher: DefaultHasher::new(), lines: VecDeque::new(), most_lines: LINES, cut: false, events: 0 }
    }
}

impl Record {
    fn shorten(&mut self) {
        while self.lines.len() > self.most_lines {
            self.lines.pop_front();
            self.cut = true;
        }
    }
}

impl Trace {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a host did, in words.
    pub(super) fn say(&self, at: Duration, host: &Arc<str>, what: String) {
        let mut record = self.record();
        record.events += 1;
        (at, &**host, &what).hash(&mut record.hasher);
        record.lines.push_back((at, Arc::clone(host), what));
        record.shorten();
    }

    /// Keeps so many lines from now on.
    pub(super) fn keep(&self, lines: usize) {
        let mut record = self.record();
        record.most_lines = lines;
        record.shorten();
    }

    /// Takes note of what needs no words.
    pub(super) fn count(&self, at: Duration, host: usize, polls: u64) {
        let mut record = self.record();
        record.events += 1;
        (at, host, polls).hash(&mut record.hasher);
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.record().hasher.finish()
    }

    /// Returns how many things happened.
    pub(super) fn events(&self) -> u64 {
        self.record().events
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.record();
        if record.cut {
            writeln!(f, "(what came before is not kept)")?;
        }
        record.lines.iter().try_for_each(|(at, host, what)| writeln!(f, "{:>14.6}s  {host:<12} {what}", at.as_secs_f64()))
    }
}
