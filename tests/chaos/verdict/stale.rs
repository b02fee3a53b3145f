//! Reads that may have been stale, and are judged as such.
//!
//! What a server answers to a read is what it knows, and a leader that has been cut off from the others, or stood still, does not know
//! that it leads no more: "an outdated leader from a previous term answers" (nats-server, pull request 7146). So a read at such a time
//! may show what was so a little earlier, and nothing else: it is judged as if it had begun as much earlier. Writes are judged as ever.

use crate::faults::Kind;
use anabranch::testing::check::Violation;

/// How old what a leader knows may be that leads no more, in microseconds: it steps down when it has heard of no majority for ten seconds.
const OLD: u64 = 15_000_000;
/// How long after a fault somebody may still get an answer of that kind, in microseconds.
const AFTER: u64 = 5_000_000;

/// A fault, from when to when, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) kind: Kind,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

#[derive(Debug)]
pub(super) struct Stale<'w> {
    windows: &'w [Window],
    /// What was stale, as a story each.
    pub(super) stories: Vec<String>,
}

impl<'w> Stale<'w> {
    pub(super) fn new(windows: &'w [Window]) -> Self {
        Self { windows, stories: Vec::new() }
    }

    /// Returns when a read is to be judged as begun that lasted from and to these times.
    pub(super) fn may_begin(&self, from: u64, to: u64) -> u64 {
        let cut_off = |window: &&Window| matches!(window.kind, Kind::Partition | Kind::PauseLeader | Kind::PauseFollower);
        let meets = |window: &Window| window.from <= to && from <= window.to + AFTER;
        if self.windows.iter().filter(cut_off).any(meets) { from.saturating_sub(OLD) } else { from }
    }

    pub(super) fn found(&mut self, object: &str, violation: &Violation) {
        self.stories.push(format!("{object}: {violation}"));
    }
}
