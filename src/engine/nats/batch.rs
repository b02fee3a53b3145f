//! An atomic batch: several messages of one stream that the server stores all, or none.
//!
//! Every attempt has a batch id of its own and keeps the write id of its commit. A rejected batch does not say which of its
//! conditions failed, so keys that must be absent are read again: a deleted key has a tombstone, and is absent too. This file
//! does not know what a commit means; see [`Plan`].

use super::{
    core::Core,
    errors::{ApiError, Fault, Lapse, refused},
    ids::WriteId,
    link::{Patience, PublishAck},
    names::{BATCH_COMMIT, BATCH_ID, BATCH_SEQUENCE},
    parts::{Anchor, Part, Plan, Single},
    publish::publish,
    write::{Attempt, Verdict},
};
use crate::{
    engine::{Commit, Committed, Outgoing, Rejection, Revision, StoreError, Write},
    error::BoxError,
};
use futures_util::future::try_join_all;
use std::mem::take;

impl Core {
    /// Does all of a commit, or nothing.
    pub(super) async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.able(&commit)?;
        let mut plan = Plan::new(self, commit)?;
        match plan.single() {
            Some(Single::Write(Write { key, expect, op })) => {
                return Ok(Committed { revisions: vec![self.write(key, *expect, op).await?] });
            }
            Some(Single::Message(Outgoing { queue, message })) => {
                publish(&self.link, &self.names, queue, message).await?;
                return Ok(Committed { revisions: Vec::new() });
            }
            None => {}
        }
        if plan.commit.is_empty() {
            return Ok(Committed { revisions: Vec::new() });
        }
        let mut lost = false;
        match self.apply(&mut plan, &mut lost).await {
            // Once an answer was lost, what fails later does not say that nothing was done.
            Err(StoreError::Unavailable(source)) if lost => Err(StoreError::Unknown(source)),
            done => done,
        }
    }

    /// Sends a batch until the server has said what became of it; tells in `lost` whether an answer was lost on the way.
    async fn apply(&self, plan: &mut Plan, lost: &mut bool) -> Result<Committed, StoreError> {
        let floor = self.seen();
        let mut patience = self.link.patience();
        loop {
            let (parts, anchor) = plan.parts(self)?;
            let cause: BoxError;
            // A crash on this line leaves a batch that is applied as a whole or not at all.
            match self.publish_batch(&parts).await {
                Ok(ack) => return Ok(self.committed(plan, parts, ack.sequence)),
                Err(Fault::Api(error)) if error.is_conflict() => {
                    if *lost && let Some(last) = self.resolve(plan, &anchor, parts.len(), floor, &mut patience).await? {
                        return Ok(self.committed(plan, parts, last));
                    }
                    self.look_for_tombstones(plan, &error, &mut patience).await?;
                    cause = error.into();
                }
                Err(Fault::Api(error)) if error.is_repeated_id() => {
                    // Perhaps by this very commit.
                    if *lost && let Some(last) = self.resolve(plan, &anchor, parts.len(), floor, &mut patience).await? {
                        return Ok(self.committed(plan, parts, last));
                    }
                    self.drop_repeated(plan, &mut patience).await?;
                    if plan.commit.is_empty() {
                        return Ok(Committed { revisions: Vec::new() });
                    }
                    cause = error.into();
                }
                Err(Fault::Api(error)) if error.is_passing() => cause = error.into(),
                Err(Fault::Api(error)) => return Err(if *lost { StoreError::Unknown(error.into()) } else { refused(error) }),
                Err(Fault::Lapse(Lapse::TooLarge(source))) => return Err(Rejection::Refused(source).into()),
                Err(Fault::Lapse(Lapse::Deaf)) => cause = "no server answers for this stream".into(),
                Err(Fault::Lapse(Lapse::Away(source))) => cause = source,
                Err(Fault::Lapse(Lapse::Lost(source))) => {
                    tracing::debug!(%source, "the acknowledgement of a commit was lost");
                    *lost = true;
                    cause = source;
                    if let Some(last) = self.resolve(plan, &anchor, parts.len(), floor, &mut patience).await? {
                        return Ok(self.committed(plan, parts, last));
                    }
                }
            }
            if !patience.pause().await {
                return Err(StoreError::Unavailable(cause));
            }
        }
    }

    /// Refuses what this server cannot do, before anything is sent.
    fn able(&self, commit: &Commit) -> Result<(), StoreError> {
        let can = &self.capabilities;
        let lacks = |what, remedy| Err(Rejection::Unsupported { what, engine: can.engine.clone(), remedy }.into());
        if !commit.timers.is_empty() && !can.timers {
            return lacks("a timer", "nats-server 2.12 or newer has schedules");
        }
        if commit.len() > 1 && !can.atomic_commit {
            return lacks("a commit of several parts", "nats-server 2.12 or newer stores batches as one");
        }
        if commit.len() > can.max_commit {
            return Err(Rejection::TooLarge { size: commit.len(), limit: can.max_commit, unit: "parts" }.into());
        }
        Ok(())
    }

    /// Sends a batch in one round trip: all but the last message without waiting.
    async fn publish_batch(&self, parts: &[Part]) -> Result<PublishAck, Fault> {
        let Some((last, before)) = parts.split_last() else { return Err(Fault::Lapse(Lapse::Away("an empty batch".into()))) };
        if before.is_empty() {
            // One message needs no batch, which spares the server the commit of one.
            return self.link.publish(last.subject.clone(), last.headers.clone(), last.payload.clone()).await;
        }
        let id = WriteId::fresh().to_string();
        for (i, part) in before.iter().enumerate() {
            let mut headers = part.headers.clone();
            headers.insert(BATCH_ID, &*id);
            headers.insert(BATCH_SEQUENCE, (i + 1).to_string());
            // Whatever happens here, the commit is not sent: the server forgets the batch.
            let sent = self.link.send(part.subject.clone(), None, headers, part.payload.clone()).await;
            sent.map_err(|lapse| match lapse {
                Lapse::Lost(source) => Fault::Lapse(Lapse::Away(source)),
                other => Fault::Lapse(other),
            })?;
        }
        let mut headers = last.headers.clone();
        headers.insert(BATCH_ID, &*id);
        headers.insert(BATCH_SEQUENCE, parts.len().to_string());
        headers.insert(BATCH_COMMIT, "1");
        self.link.publish(last.subject.clone(), headers, last.payload.clone()).await
    }

    /// Remembers what a batch wrote. Its messages have consecutive sequences, of which `last` is the last.
    fn committed(&self, plan: &Plan, parts: Vec<Part>, last: u64) -> Committed {
        let first = last + 1 - parts.len() as u64;
        let mut revisions = Vec::with_capacity(plan.commit.writes.len());
        for (sequence, part) in (first..).zip(parts) {
            if let Some(chain) = part.chain {
                self.wrote(&part.subject, sequence, chain);
                revisions.push(Revision::new(sequence));
            }
        }
        Committed { revisions }
    }

    /// Looks for a batch whose answer was lost: the sequence of its last message, or `None` to send it again.
    async fn resolve(
        &self,
        plan: &Plan,
        anchor: &Anchor,
        parts: usize,
        floor: u64,
        patience: &mut Patience,
    ) -> Result<Option<u64>, StoreError> {
        let last_of = |sequence: u64| sequence + (parts - 1 - anchor.index) as u64;
        if !anchor.is_key {
            let found = self.last(&anchor.subject, patience).await?;
            return Ok(found.map(|f| last_of(f.sequence)));
        }
        let (subject, expected) = (&*anchor.subject, Some(anchor.expected));
        let attempt = Attempt { subject, id: plan.id, expect: anchor.expect, expected, lost: true, floor };
        match self.judge(&attempt, patience).await? {
            Verdict::Ours(sequence) => Ok(Some(last_of(sequence))),
            Verdict::Free(_) => Ok(None),
            Verdict::Taken => Err(StoreError::Conflict),
            Verdict::Unclear => Err(StoreError::Unknown("the commit was overwritten, or never arrived".into())),
        }
    }

    /// After a batch that was rejected for an id: drops the messages that the server has already. Which these are it does not
    /// say, so it is asked for each.
    async fn drop_repeated(&self, plan: &mut Plan, patience: &mut Patience) -> Result<(), StoreError> {
        let mut left = Vec::with_capacity(plan.commit.messages.len());
        for outgoing in take(&mut plan.commit.messages) {
            let repeated = match plan.probe(self, &outgoing) {
                Some(probe) => self.is_repeated(&probe, patience).await?,
                None => false,
            };
            if !repeated {
                left.push(outgoing);
            }
        }
        plan.commit.messages = left;
        Ok(())
    }

    /// Sends a batch that is rejected in any case, and tells whether for the id in it.
    async fn is_repeated(&self, probe: &[Part], patience: &mut Patience) -> Result<bool, StoreError> {
        loop {
            let cause: BoxError = match self.publish_batch(probe).await {
                Err(Fault::Api(error)) if error.is_conflict() => return Ok(false),
                Err(Fault::Api(error)) if error.is_repeated_id() => return Ok(true),
                Err(Fault::Api(error)) if error.is_passing() => error.into(),
                Err(Fault::Api(error)) => return Err(refused(error)),
                Err(Fault::Lapse(lapse)) => lapse.unavailable().into(),
                Ok(_) => "the server stored what it had to reject".into(),
            };
            if !patience.pause().await {
                return Err(StoreError::Unavailable(cause));
            }
        }
    }

    /// After a rejected batch: finds the tombstones of keys that must be absent, so that the next attempt expects those. Nothing
    /// new means that something else was not as expected.
    async fn look_for_tombstones(&self, plan: &mut Plan, error: &ApiError, patience: &mut Patience) -> Result<(), StoreError> {
        let absent = plan.absent(self)?;
        let mut learned = false;
        let heads = try_join_all(absent.iter().map(async |subject| {
            let mut patience = self.link.patience();
            self.last(subject, &mut patience).await
        }));
        for (subject, head) in absent.iter().zip(heads.await?) {
            let sequence = match head {
                Some(found) if found.gone().is_none() => return Err(StoreError::Conflict),
                Some(found) => found.sequence,
                None => 0,
            };
            learned |= plan.tombstones.insert(subject.clone(), sequence).unwrap_or(0) != sequence;
        }
        if learned && !patience.is_over() {
            return Ok(());
        }
        tracing::debug!(%error, "a commit met other revisions than it expected");
        Err(StoreError::Conflict)
    }
}
