//! One write of one key: a publish that expects the subject's last sequence, and what became of it.
//!
//! A write whose answer is lost is looked for by its id, and sent again only with the same id and the same expectation, so a
//! ghost of it that arrives later conflicts instead of applying twice. What cannot be told within the store's patience is
//! [`StoreError::Unknown`]. Atomic batches use the same [`judge`](Core::judge) for the key that stands for the batch.

use super::{
    core::Core,
    errors::{Fault, Lapse, refused},
    ids::{Chain, WriteId},
    link::Patience,
    names::{EXPECTED, KV_OPERATION, LABEL, TOMBSTONE_TTL, TTL, WRITE, ttl_text},
    space::Keeping,
};
use crate::{
    engine::{Expect, Key, Rejection, Revision, StoreError, WriteOp, bucket},
    error::BoxError,
};
use async_nats::HeaderMap;
use bytes::Bytes;

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
}

impl Core {
    /// Writes a key, in one round trip when the expectation holds.
    pub(super) async fn write(&self, key: &Key, expect: Expect, op: &WriteOp) -> Result<Revision, StoreError> {
        let subject = self.names.key(key)?;
        self.check(op)?;
        let id = WriteId::fresh();
        let expected = first_expectation(expect);
        let mut attempt = Attempt { subject: &subject, id, expect, expected, lost: false, floor: self.chains.seen() };
        let mut patience = self.link.patience();
        loop {
            let cause: BoxError;
            let chain = self.chains.next(&subject, attempt.expected, id);
            // A crash on this line leaves a write that nobody waits for, as if the answer had been lost.
            let sent = headers(&chain, attempt.expected, op, self.keeping);
            match self.link.publish(subject.clone(), sent, body(op)).await {
                Ok(ack) => {
                    self.chains.remember(&subject, ack.sequence, chain);
                    return Ok(Revision::new(ack.sequence));
                }
                Err(Fault::Api(error)) if error.is_conflict() => {
                    if !attempt.lost && expect != Expect::Absent {
                        return Err(StoreError::Conflict);
                    }
                    cause = error.into();
                    if let Some(done) = self.settle(&mut attempt, &mut patience).await {
                        return done;
                    }
                }
                Err(Fault::Api(error)) if error.is_passing() => cause = error.into(),
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
                    if let Some(done) = self.settle(&mut attempt, &mut patience).await {
                        return done;
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
            let head = self.last(attempt.subject, patience).await?;
            if let Some(revision) = head.as_ref().and_then(|h| h.chain().find(h.sequence, attempt.id)) {
                return Ok(Verdict::Ours(revision));
            }
            let Some(expected) = attempt.expected else {
                if patience.pause().await {
                    continue;
                }
                return Ok(Verdict::Unclear);
            };
            let absent = attempt.expect == Expect::Absent;
            // A leader that was just elected may not have applied yet what its predecessor acknowledged.
            let behind = head.as_ref().map_or(!absent && expected > 0, |h| h.sequence < expected);
            if attempt.lost && behind && patience.pause().await {
                continue;
            }
            return Ok(match head {
                // Nothing expires within the patience of an operation without leaving a marker.
                None if expected == 0 || absent => Verdict::Free(0),
                Some(h) if h.sequence == expected => Verdict::Free(expected),
                Some(h) if absent && h.gone().is_some() => {
                    // What was there before the first send cannot hide it.
                    if !attempt.lost || h.sequence <= attempt.floor || h.chain().reaches(expected) {
                        Verdict::Free(h.sequence)
                    } else {
                        Verdict::Unclear
                    }
                }
                _ if !attempt.lost => Verdict::Taken,
                _ if behind => Verdict::Unclear,
                Some(h) if h.sequence <= attempt.floor || h.chain().reaches(expected) => Verdict::Taken,
                _ => Verdict::Unclear,
            });
        }
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
pub(super) fn headers(chain: &Chain, expected: Option<u64>, op: &WriteOp, keeping: Keeping) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(WRITE, chain.to_string());
    if let Some(expected) = expected {
        headers.insert(EXPECTED, expected.to_string());
    }
    match op {
        WriteOp::Put(_, options) => {
            if let Some(ttl) = options.ttl {
                headers.insert(TTL, ttl_text(ttl));
            }
            if let Some(label) = &options.label {
                headers.insert(LABEL, &**label);
            }
        }
        WriteOp::Delete => {
            // PURGE and not DEL: the server writes no expiry marker when a PURGE tombstone goes. Where a history is kept, PURGE
            // would say that it is gone.
            headers.insert(KV_OPERATION, if keeping.history == Some(1) { "PURGE" } else { "DEL" });
            // In a history, a tombstone that goes would bring back what was before it.
            if keeping.ttl {
                headers.insert(TTL, ttl_text(TOMBSTONE_TTL));
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
