//! One write of one key: a publish that expects the subject's last sequence, and what became of it.
//!
//! A write whose answer is lost is looked for by its id, and sent again only with the same id and the same expectation, so a
//! ghost of it that arrives later conflicts instead of applying twice. What cannot be told within the store's patience is
//! [`StoreError::Unknown`]. Atomic batches use the same [`judge`](Core::judge) for the key that stands for the batch.

use super::{
    core::Core,
    errors::{Fault, Lapse, refused},
    ids::{Ring, WriteId, tick},
    link::Patience,
    names::{EXPECTED_NAME, KV_OPERATION, TOMBSTONE_TTL, TTL_NAME, WRITE_NAME, ttl_text},
    space::Keeping,
    verdict::{Attempt, Evidence, Verdict},
};
use crate::{
    engine::{Expect, Key, Rejection, Revision, StoreError, WriteOp, bucket},
    error::BoxError,
    time::Timestamp,
};
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

/// A write that was done.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) revision: Revision,
    /// When that ends by itself which it replaced.
    over: Option<Timestamp>,
}

impl Core {
    /// Writes a key, in one round trip when the expectation holds.
    pub(super) async fn write(&self, key: &Key, expect: Expect, op: &WriteOp) -> Result<Revision, StoreError> {
        let (flight, mut patience) = (self.rings.take_off(), self.link.patience());
        let Stored { revision, over } = self.store(key, expect, op, flight.id, &mut patience).await?;
        match over.filter(|over| self.may_take_along(*over, op)) {
            // Boxed, since every write's future would be as large.
            Some(_) => Box::pin(self.hold(key, op, revision, flight.id, &mut patience)).await,
            None => Ok(revision),
        }
    }

    /// Writes a key once, and tells when that ends by itself which it replaced.
    pub(super) async fn store(
        &self,
        key: &Key,
        expect: Expect,
        op: &WriteOp,
        id: WriteId,
        patience: &mut Patience,
    ) -> Result<Stored, StoreError> {
        let subject = self.names.key(key)?;
        self.check(op)?;
        let expected = first_expectation(expect);
        let (floor, fades) = (self.rings.seen(), self.fades());
        let mut attempt = Attempt { subject: &subject, id, expect, expected, lost: false, floor, fades };
        loop {
            let cause: BoxError;
            let now = self.link.clock.now();
            let (ring, over) = self.rings.next(&subject, attempt.expected, id, tick(now));
            // A crash on this line leaves a write that nobody waits for, as if the answer had been lost.
            let sent = headers(&ring, attempt.expected, op, self.keeping);
            match self.link.publish(subject.clone(), sent, body(op)).await {
                Ok(ack) => {
                    self.rings.remember(&subject, ack.sequence, ring, self.ends(now, op));
                    return Ok(Stored { revision: Revision::new(ack.sequence), over });
                }
                Err(Fault::Api(error)) if error.is_conflict() => {
                    // One that expects nothing is looked for in any case.
                    attempt.lost |=
                        expect != Expect::Absent && self.leaves_open(&error, &subject, attempt.expected.unwrap_or(0));
                    if !attempt.lost && expect != Expect::Absent {
                        return Err(StoreError::Conflict);
                    }
                    cause = error.into();
                    if let Some(done) = self.settle(&mut attempt, patience).await {
                        return done.map(|revision| Stored { revision, over });
                    }
                }
                Err(Fault::Api(error)) if error.is_passing() => {
                    attempt.lost |= self.leaves_open(&error, &subject, attempt.expected.unwrap_or(0));
                    cause = error.into();
                }
                Err(Fault::Api(error)) => {
                    return Err(if attempt.lost { StoreError::Unknown(error.into()) } else { refused(error) });
                }
                Err(Fault::Lapse(Lapse::Refused(source))) => {
                    return Err(if attempt.lost { StoreError::Unknown(source) } else { Rejection::Refused(source).into() });
                }
                Err(Fault::Lapse(Lapse::Deaf)) => cause = "no server answers for this stream".into(),
                Err(Fault::Lapse(Lapse::Away(source))) => cause = source,
                Err(Fault::Lapse(Lapse::Lost(source))) => {
                    tracing::debug!(subject, %source, "an acknowledgement was lost");
                    attempt.lost = true;
                    cause = source;
                    if let Some(done) = self.settle(&mut attempt, patience).await {
                        return done.map(|revision| Stored { revision, over });
                    }
                }
            }
            if !patience.pause().await {
                return Err(if attempt.lost { StoreError::Unknown(cause) } else { StoreError::Unavailable(cause) });
            }
        }
    }

    /// Decides how a write goes on: `None` to send it (again) as `attempt` now says.
    async fn settle(&self, attempt: &mut Attempt<'_>, patience: &mut Patience) -> Option<Result<Revision, StoreError>> {
        // Boxed, since every write's future would be as large.
        match Box::pin(self.judge(attempt, patience)).await {
            Ok(Verdict::Ours(revision)) => Some(Ok(Revision::new(revision))),
            Ok(Verdict::Free(expected)) => {
                attempt.expected = Some(expected);
                None
            }
            Ok(Verdict::Taken) => Some(Err(StoreError::Conflict)),
            Ok(Verdict::Unclear) => Some(Err(StoreError::Unknown("the write was overwritten, or never arrived".into()))),
            Err(StoreError::Unavailable(source)) if attempt.lost => Some(Err(StoreError::Unknown(source))),
            Err(error) => Some(Err(error)),
        }
    }

    /// Looks at the key's leader for what became of a write. A write without expectation is waited for, never repeated: a
    /// ghost of it would overwrite whatever came since.
    pub(super) async fn judge(&self, attempt: &Attempt<'_>, patience: &mut Patience) -> Result<Verdict, StoreError> {
        loop {
            let head = self.last(attempt.subject, patience).await?.as_ref().map(Evidence::from);
            let verdict = attempt.verdict(head.as_ref());
            let may_come = match (verdict, attempt.expected) {
                (Some(Verdict::Ours(_)), _) => false,
                (_, Some(expected)) => attempt.lost && attempt.is_behind(head.as_ref(), expected),
                (_, None) => true,
            };
            if may_come && patience.pause().await {
                continue;
            }
            return Ok(verdict.unwrap_or(Verdict::Unclear));
        }
    }

    /// Tells when a write at `now` ends by itself.
    pub(super) fn ends(&self, now: Timestamp, op: &WriteOp) -> Option<Timestamp> {
        let WriteOp::Put(_, options) = op else { return None };
        self.keeping.ends(now, options.ttl)
    }

    /// Checks what can be checked before anything is sent.
    pub(super) fn check(&self, op: &WriteOp) -> Result<(), StoreError> {
        let WriteOp::Put(value, options) = op else { return Ok(()) };
        options.check()?;
        if options.ttl.is_some() && !self.keeping.ttl {
            bucket::admit_ttl(&self.capabilities, self.keeping.history)?;
        }
        let limit = self.capabilities.max_value;
        if value.len() > limit {
            return Err(Rejection::TooLarge { size: value.len(), limit, unit: "bytes" }.into());
        }
        Ok(())
    }
}

/// The sequence that a write is first sent with. A key that was deleted has a tombstone, which the conflict then shows.
pub(super) fn first_expectation(expect: Expect) -> Option<u64> {
    match expect {
        Expect::Anything => None,
        Expect::Absent => Some(0),
        Expect::At(revision) => Some(revision.get()),
    }
}

/// The headers of a write. Each write says its TTL anew, also over a tombstone.
pub(super) fn headers(ring: &Ring, expected: Option<u64>, op: &WriteOp, keeping: Keeping) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let label = if let WriteOp::Put(_, options) = op { options.label.as_deref() } else { None };
    headers.insert(WRITE_NAME.clone(), ring.header(label));
    if let Some(expected) = expected {
        headers.insert(EXPECTED_NAME.clone(), HeaderValue::from(expected));
    }
    match op {
        WriteOp::Put(_, options) => {
            if let Some(ttl) = options.ttl {
                headers.insert(TTL_NAME.clone(), ttl_text(ttl));
            }
        }
        WriteOp::Delete => {
            // PURGE and not DEL: the server writes no expiry marker when a PURGE tombstone goes. Where a history is kept, PURGE
            // would say that it is gone.
            headers.insert(KV_OPERATION, if keeping.history == Some(1) { "PURGE" } else { "DEL" });
            // In a history, a tombstone that goes would bring back what was before it.
            if keeping.ttl {
                headers.insert(TTL_NAME.clone(), ttl_text(TOMBSTONE_TTL));
            }
        }
    }
    headers
}

/// The payload of a write.
pub(super) fn body(op: &WriteOp) -> Bytes {
    match op {
        WriteOp::Put(value, _) => value.clone(),
        WriteOp::Delete => Bytes::new(),
    }
}
