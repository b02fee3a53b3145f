//! One write of one key: a publish that expects the subject's last sequence, and what became of it.
//!
//! A write whose answer is lost is looked for by its id, and sent again only with the same id and the same expectation, so a
//! ghost of it that arrives later conflicts instead of applying twice. What cannot be told within the store's patience is
//! [`StoreError::Unknown`]. What is rarely needed is boxed, since a future of more than a kilobyte costs every write the slow ways of
//! the memory. Atomic batches use the same [`judge`](Core::judge) for the key that stands for the batch.

use super::{
    core::Core,
    errors::{Fault, Lapse, refused},
    ids::{Ring, WriteId, tick},
    link::{Patience, PublishAck},
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
use futures_util::FutureExt as _;

/// A write that was done.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) revision: Revision,
    /// When that ends by itself which it replaced.
    over: Option<Timestamp>,
}

/// A write that was not acknowledged.
struct Trouble {
    fault: Fault,
    /// When that ends by itself which it was to replace.
    over: Option<Timestamp>,
}

impl Core {
    /// Writes a key, in one round trip when the expectation holds.
    #[expect(clippy::manual_async_fn, reason = "the arguments would be twice in its future, which is every write's")]
    pub(super) fn write(&self, key: &Key, expect: Expect, op: &WriteOp) -> impl Future<Output = Result<Revision, StoreError>> {
        async move {
            let (flight, mut patience) = (self.rings.take_off(), self.link.patience());
            let Stored { revision, over } = self.store(key, expect, op, flight.id, &mut patience).await?;
            match over.filter(|over| self.may_take_along(*over, op)) {
                Some(_) => Box::pin(self.hold(key, op, revision, flight.id, &mut patience)).await,
                None => Ok(revision),
            }
        }
    }

    /// Writes a key once, and tells when that ends by itself which it replaced.
    #[expect(clippy::manual_async_fn, reason = "the arguments would be twice in its future, which is every write's")]
    pub(super) fn store(
        &self,
        key: &Key,
        expect: Expect,
        op: &WriteOp,
        id: WriteId,
        patience: &mut Patience,
    ) -> impl Future<Output = Result<Stored, StoreError>> {
        async move {
            let subject = self.names.key(key)?;
            self.check(op)?;
            let (expected, floor) = (first_expectation(expect), self.rings.seen());
            match self.send(&subject, expected, op, id).await {
                Ok(stored) => Ok(stored),
                Err(trouble) => {
                    let fades = self.fades();
                    let attempt = Attempt { subject: &subject, id, expect, expected, lost: false, floor, fades };
                    Box::pin(self.go_on(attempt, trouble, op, patience)).await
                }
            }
        }
    }

    /// Sends a write once.
    fn send(
        &self,
        subject: &str,
        expected: Option<u64>,
        op: &WriteOp,
        id: WriteId,
    ) -> impl Future<Output = Result<Stored, Trouble>> {
        let now = self.link.clock.now();
        let (ring, over) = self.rings.next(subject, expected, id, tick(now));
        let ends = self.ends(now, op);
        let sent = headers(&ring, expected, op, self.keeping);
        // A crash on this line leaves a write that nobody waits for, as if the answer had been lost.
        self.link.publish(subject.to_owned(), sent, body(op)).map(move |answer| {
            let PublishAck { sequence, .. } = answer.map_err(|fault| Trouble { fault, over })?;
            self.rings.remember(subject, sequence, ring, ends);
            Ok(Stored { revision: Revision::new(sequence), over })
        })
    }

    /// Finds out what became of a write that was not acknowledged, and sends it again where it was not done.
    async fn go_on(
        &self,
        mut attempt: Attempt<'_>,
        mut trouble: Trouble,
        op: &WriteOp,
        patience: &mut Patience,
    ) -> Result<Stored, StoreError> {
        let Attempt { subject, id, expect, .. } = attempt;
        loop {
            let Trouble { fault, over } = trouble;
            let expected = attempt.expected.unwrap_or(0);
            let cause: BoxError = match fault {
                Fault::Api(error) if error.is_conflict() => {
                    // One that expects nothing is looked for in any case.
                    attempt.lost |= expect != Expect::Absent && self.leaves_open(&error, subject, expected);
                    if !attempt.lost && expect != Expect::Absent {
                        return Err(StoreError::Conflict);
                    }
                    if let Some(done) = self.settle(&mut attempt, patience).await {
                        return done.map(|revision| Stored { revision, over });
                    }
                    error.into()
                }
                Fault::Api(error) if error.is_passing() => {
                    attempt.lost |= self.leaves_open(&error, subject, expected);
                    error.into()
                }
                Fault::Api(error) => {
                    return Err(if attempt.lost { StoreError::Unknown(error.into()) } else { refused(error) });
                }
                Fault::Lapse(Lapse::Refused(source)) => {
                    return Err(if attempt.lost { StoreError::Unknown(source) } else { Rejection::Refused(source).into() });
                }
                Fault::Lapse(Lapse::Deaf) => "no server answers for this stream".into(),
                Fault::Lapse(Lapse::Away(source)) => source,
                Fault::Lapse(Lapse::Lost(source)) => {
                    tracing::debug!(subject, %source, "an acknowledgement was lost");
                    attempt.lost = true;
                    if let Some(done) = self.settle(&mut attempt, patience).await {
                        return done.map(|revision| Stored { revision, over });
                    }
                    source
                }
            };
            if !patience.pause().await {
                return Err(if attempt.lost { StoreError::Unknown(cause) } else { StoreError::Unavailable(cause) });
            }
            match self.send(subject, attempt.expected, op, id).await {
                Ok(stored) => return Ok(stored),
                Err(again) => trouble = again,
            }
        }
    }

    /// Decides how a write goes on: `None` to send it (again) as `attempt` now says.
    async fn settle(&self, attempt: &mut Attempt<'_>, patience: &mut Patience) -> Option<Result<Revision, StoreError>> {
        match self.judge(attempt, patience).await {
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
