//! A write over a value that expires at that moment.
//!
//! nats-server takes note of what has expired, and stores the marker of that a moment later, whatever was written in between: the
//! marker takes that along (`expireMsgs` and `handleRemovalOrSdm` in server/filestore.go). The moment is as long as the server takes to
//! agree with its replicas, and in an outage that is as long as the outage. So what replaced such a value is written once more, over
//! itself, before its writer is told that it is done. A marker that was on its way comes before the second write, or makes it fail, and then the
//! value is written over the marker. Whoever did something in between has it stay as it is, and the write is unknown.

use super::{
    core::Core,
    found::Gone,
    ids::{Flight, WriteId},
    link::Patience,
    parts::{Part, Plan},
    write::Stored,
};
use crate::{
    engine::{Committed, Expect, Key, Revision, StoreError, Write, WriteOp},
    time::Timestamp,
};
use futures_util::future::try_join_all;
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
        let held = expiring.writes.iter().filter(|(_, write, over)| self.may_take_along(*over, &write.op));
        let held = held.map(async |(place, Write { key, op, .. }, _)| {
            let (revision, mut patience) = (committed.revisions[*place], self.link.patience());
            let revision = self.hold(key, op, revision, expiring.flight.id, &mut patience).await?;
            Ok::<_, StoreError>((*place, revision))
        });
        for (place, revision) in try_join_all(held).await? {
            committed.revisions[place] = revision;
        }
        Ok(committed)
    }

    /// Tells whether the marker of a value that ends at `over` may take along what replaced it until now. A removal has nothing to lose.
    pub(super) fn may_take_along(&self, over: Timestamp, op: &WriteOp) -> bool {
        matches!(op, WriteOp::Put(..)) && over <= self.link.clock.now() + EARLY
    }

    /// Makes sure that a write stays, which is `revision` now and has this id, and returns its revision.
    ///
    /// A crash in here leaves a write that may be taken along by the marker, and whose writer was told of nothing.
    pub(super) async fn hold(
        &self,
        key: &Key,
        op: &WriteOp,
        revision: Revision,
        id: WriteId,
        patience: &mut Patience,
    ) -> Result<Revision, StoreError> {
        let flight = self.rings.take_off();
        let cause = match self.store(key, Expect::At(revision), op, flight.id, patience).await {
            Ok(Stored { revision, .. }) => return Ok(revision),
            Err(cause @ (StoreError::Conflict | StoreError::Unknown(_))) => cause,
            Err(cause) => return Err(unknown(cause)),
        };
        let head = self.last(&self.names.key(key)?, patience).await.map_err(unknown)?;
        let Some(head) = head.filter(|head| head.sequence > revision.get()) else { return Err(unknown(cause)) };
        let ring = head.ring();
        if let Some(second) = ring.find(head.sequence, flight.id) {
            return Ok(Revision::new(second));
        }
        // Whoever wrote over it has held it thereby.
        if ring.find(head.sequence, id).is_some() {
            return Ok(revision);
        }
        // Only over the marker itself: what somebody else has removed stays removed. The second write cannot come any more.
        if head.gone() != Some(Gone::Expired) {
            return Err(unknown(cause));
        }
        let third = self.store(key, Expect::At(head.revision()), op, flight.id, patience).await;
        third.map(|Stored { revision, .. }| revision).map_err(unknown)
    }
}

/// It was written, and whether it is still there is not known.
fn unknown(error: StoreError) -> StoreError {
    match error {
        StoreError::Conflict => StoreError::Unknown("it was written over what expired, and may have expired with that".into()),
        StoreError::Unavailable(source) => StoreError::Unknown(source),
        StoreError::Rejected(rejection) => StoreError::Unknown(rejection.into()),
        unknown @ StoreError::Unknown(_) => unknown,
    }
}
