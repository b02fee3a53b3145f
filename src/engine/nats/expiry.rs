//! A write over a value that expires at that moment.
//!
//! nats-server takes note of what has expired, and stores the marker of that a moment later, whatever was written in between: the
//! marker takes that along (`expireMsgs` and `handleRemovalOrSdm` in server/filestore.go). The moment is as long as the server takes to
//! agree with its replicas, and in an outage that is as long as the outage. So what replaced such a value is written once more, over
//! itself, before anybody is told of it. A marker that was on its way comes before the second write, or makes it fail, and then the value is
//! written over the marker. Whoever came in between has found nothing, and keeps what he wrote.

use super::{
    core::Core,
    ids::{Flight, WriteId},
    parts::{Part, Plan},
    write::Stored,
};
use crate::{
    engine::{Committed, Expect, Key, Revision, StoreError, Write, WriteOp},
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};

/// How long before its end a value counts as expiring: clocks of servers differ from ours.
const EARLY: Duration = Duration::from_secs(5);

/// Those writes of a commit that replace what ends by itself.
#[derive(Debug)]
pub(super) struct Expiring {
    /// By its place among the writes: what is written, and when that ends which it replaces.
    writes: Vec<(usize, Write, Timestamp)>,
    flight: Arc<Flight>,
}

impl Expiring {
    /// Finds them in a commit that is about to leave; `None` when there are none.
    pub(super) fn among(plan: &Plan, parts: &[Part]) -> Option<Self> {
        let over = |place: usize| parts[place].trace.as_ref()?.over;
        let writes = plan.commit.writes.iter().enumerate();
        let writes: Vec<_> = writes.filter_map(|(place, write)| Some((place, write.clone(), over(place)?))).collect();
        (!writes.is_empty()).then(|| Self { writes, flight: Arc::clone(&plan.flight) })
    }
}

impl Core {
    /// Makes sure that the writes of a commit stay.
    pub(super) async fn hold_all(&self, expiring: Expiring, mut committed: Committed) -> Result<Committed, StoreError> {
        for (place, Write { key, op, .. }, over) in &expiring.writes {
            if self.may_take_along(*over, op) {
                let revision = &mut committed.revisions[*place];
                *revision = self.hold(key, op, *revision, expiring.flight.id).await?;
            }
        }
        Ok(committed)
    }

    /// Tells whether the marker of a value that ends at `over` may take along what replaced it until now. A removal has nothing to lose.
    pub(super) fn may_take_along(&self, over: Timestamp, op: &WriteOp) -> bool {
        matches!(op, WriteOp::Put(..)) && over <= self.link.clock.now() + EARLY
    }

    /// Makes sure that a write stays, which is `revision` now and has this id, and returns its revision.
    ///
    /// A crash in here leaves a write that may be taken along by the marker, and that nobody was told of.
    pub(super) async fn hold(&self, key: &Key, op: &WriteOp, revision: Revision, id: WriteId) -> Result<Revision, StoreError> {
        let flight = self.rings.take_off();
        let mut done = self.store(key, Expect::At(revision), op, flight.id).await;
        if matches!(done, Err(StoreError::Conflict)) {
            let subject = self.names.key(key)?;
            let head = self.last(&subject, &mut self.link.patience()).await.map_err(unknown)?;
            match head {
                // Whoever wrote over it has held it thereby.
                Some(head) if head.ring().find(head.sequence, id).is_some() => return Ok(revision),
                _ => done = self.store(key, Expect::Absent, op, flight.id).await,
            }
        }
        done.map(|Stored { revision, .. }| revision).map_err(unknown)
    }
}

/// It was written, and whether it is still there is not known.
fn unknown(error: StoreError) -> StoreError {
    match error {
        StoreError::Conflict => StoreError::Unknown("it was written over what expired, and may have expired with that".into()),
        StoreError::Unavailable(source) => StoreError::Unknown(source),
        other => StoreError::Unknown(other.into()),
    }
}
