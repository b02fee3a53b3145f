//! What the parts of one space's store share: the connections, the names, and what was seen of the stream.

use super::{
    errors::ApiError,
    forgetful::Forgetful,
    found::Found,
    group::Groups,
    ids::Rings,
    link::Link,
    names::Names,
    space::{Keeping, Opened},
};
use crate::engine::Capabilities;
use std::sync::Arc;

/// One space.
#[derive(Debug)]
pub(super) struct Core {
    /// For state: requests and answers only.
    pub(super) link: Arc<Link>,
    /// For what the server pushes: a reader that falls behind here does not hold up a write.
    pub(super) feed: Arc<Link>,
    pub(super) names: Names,
    pub(super) replicas: usize,
    pub(super) capabilities: Capabilities,
    pub(super) keeping: Keeping,
    /// Whether single writes leave in batches, too.
    pub(super) shares_writes: bool,
    pub(super) rings: Arc<Rings>,
    _forgetful: Forgetful,
    pub(super) groups: Groups,
}

impl Core {
    pub(super) fn new((link, feed): (Arc<Link>, Arc<Link>), names: Names, opened: Opened, shares_writes: bool) -> Self {
        let Opened { replicas, capabilities, keeping, .. } = opened;
        // A server without batches takes each write for itself.
        let shares_writes = shares_writes && capabilities.atomic_commit;
        let (rings, groups) = (Arc::<Rings>::default(), Groups::default());
        let forgetful = Forgetful::of(&rings, &link.clock, link.timeout);
        Self { link, feed, names, replicas, capabilities, keeping, shares_writes, rings, _forgetful: forgetful, groups }
    }

    /// Remembers what was read.
    pub(super) fn saw(&self, found: &Found) {
        self.rings.remember(&found.subject, found.sequence, found.ring(), found.ends(self.keeping));
    }

    /// Tells whether an error that a server answered leaves open what became of a write of `subject` whose newest expectation was
    /// `expected`. Who expects what was never seen here, or can be gone without a trace, is refused by everybody.
    pub(super) fn leaves_open(&self, error: &ApiError, subject: &str, expected: u64) -> bool {
        let was_there = self.keeping.silent_age.is_none() && self.rings.newest(subject) >= expected;
        self.replicas > 1 && !error.proves_refusal(expected) && (was_there || !error.is_conflict())
    }

    /// Tells whether something that was written can be gone without a trace before an operation gives up on it.
    pub(super) fn fades(&self) -> bool {
        self.keeping.trace() < 4 * self.link.timeout
    }
}
