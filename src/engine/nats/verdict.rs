//! What the newest message of a key says of a write whose acknowledgement was lost. Pure: nothing here reads or waits.

use super::{
    found::Found,
    ids::{Ring, WriteId},
};
use crate::engine::Expect;

/// What is known of a write that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was applied, with this revision.
    Ours(u64),
    /// It was not applied, and will be with this expectation, if nobody comes first.
    Free(u64),
    /// It was not applied, and cannot be any more.
    Taken,
    /// The evidence is gone.
    Unclear,
}

/// A write under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) subject: &'a str,
    pub(super) id: WriteId,
    pub(super) expect: Expect,
    /// The sequence that it was sent with: 0 for no message, `None` for any.
    pub(super) expected: Option<u64>,
    /// Whether a send of it may have been applied.
    pub(super) lost: bool,
    /// The newest revision that was seen before it was first sent.
    pub(super) floor: u64,
    /// Whether what was written can be gone without a trace while this write is looked for.
    pub(super) fades: bool,
}

/// The newest message of a key, as far as it is evidence.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) sequence: u64,
    /// Whether it says that nothing is there.
    pub(super) is_gone: bool,
    pub(super) ring: Ring,
}

impl From<&Found> for Evidence {
    fn from(found: &Found) -> Self {
        Self { sequence: found.sequence, is_gone: found.gone().is_some(), ring: found.ring() }
    }
}

impl Attempt<'_> {
    /// Tells whether a leader that was just elected may not have applied yet what its predecessor acknowledged.
    pub(super) fn is_behind(&self, head: Option<&Evidence>, expected: u64) -> bool {
        head.map_or(self.expect != Expect::Absent && expected > 0, |head| head.sequence < expected)
    }

    /// Judges by the newest message of the key; `None` when the write has no expectation and was not found, so that it may still
    /// come.
    pub(super) fn verdict(&self, head: Option<&Evidence>) -> Option<Verdict> {
        if let Some(revision) = head.and_then(|head| head.ring.find(head.sequence, self.id)) {
            return Some(Verdict::Ours(revision));
        }
        let expected = self.expected?;
        let is_absent = self.expect == Expect::Absent;
        // What was there before the first send cannot hide it, nor can a ring that reaches back to what it expected. Where
        // evidence fades, a key that was created from nothing may have been there before.
        let is_whole =
            |head: &Evidence| head.sequence <= self.floor || (head.ring.reaches(expected) && !(self.fades && expected == 0));
        Some(match head {
            // Elsewhere nothing goes within the patience of an operation without leaving a marker.
            None if expected == 0 || is_absent => {
                if self.lost && self.fades {
                    Verdict::Unclear
                } else {
                    Verdict::Free(0)
                }
            }
            Some(head) if head.sequence == expected => Verdict::Free(expected),
            Some(head) if is_absent && head.is_gone => {
                if !self.lost || is_whole(head) {
                    Verdict::Free(head.sequence)
                } else {
                    Verdict::Unclear
                }
            }
            _ if !self.lost => Verdict::Taken,
            _ if self.is_behind(head, expected) => Verdict::Unclear,
            Some(head) if is_whole(head) => Verdict::Taken,
            _ => Verdict::Unclear,
        })
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
