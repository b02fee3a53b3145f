//! One commit on its way: the messages that it is sent as, and what a fault means for it.
//!
//! It keeps its write id over all attempts. A rejected batch does not say which of its conditions failed, so keys that must be
//! absent are read again: a deleted key has a tombstone, and is absent too. When it is sent, and with whom, is decided in
//! [`group`](super::group).

use super::{
    core::Core,
    errors::{Fault, Lapse, refused},
    expiry::Expiring,
    link::Patience,
    names::EXPECTED_NAME,
    parts::{Anchor, Part, Plan, Single},
    publish::publish,
    verdict::{Attempt, Verdict},
};
use crate::{
    engine::{Commit, Committed, Outgoing, Rejection, Revision, StoreError, Write, bucket},
    error::BoxError,
};
use futures_util::future::try_join_all;
use std::{mem::take, sync::Arc};

/// A commit, and what is known of it.
#[derive(Debug)]
pub(super) struct Sending {
    plan: Plan,
    pub(super) parts: Vec<Part>,
    anchor: Anchor,
    /// The newest revision that was seen before it was first sent.
    floor: u64,
    patience: Patience,
    /// Whether an attempt of it may have been applied.
    lost: bool,
    /// How often it was refused by somebody who may not lead any more.
    doubts: u32,
}

/// How often a commit is sent again that was refused by somebody who may not lead any more.
const DOUBTS: u32 = 3;

/// The newest sequence that a batch expects of any key.
fn newest_expected(parts: &[Part]) -> u64 {
    let expected = |part: &Part| part.headers.get(EXPECTED_NAME.as_ref() as &str)?.as_str().parse::<u64>().ok();
    parts.iter().filter_map(expected).max().unwrap_or(0)
}

/// What a fault means for a commit.
#[derive(Debug)]
pub(super) enum After {
    /// It was not applied, and is to be sent again.
    Again,
    /// It was applied all the same; its last message has this sequence.
    Applied(u64),
    /// Nothing is left to do.
    Empty,
    Failed(StoreError),
}

impl Core {
    /// Does all of a commit, or nothing.
    pub(super) async fn commit(self: &Arc<Self>, commit: Commit) -> Result<Committed, StoreError> {
        self.able(&commit)?;
        let plan = Plan::new(self, commit)?;
        match plan.single() {
            Some(Single::Write(Write { key, expect, op })) if !self.shares_writes => {
                return Ok(Committed { revisions: vec![self.write(key, *expect, op).await?] });
            }
            Some(Single::Message(Outgoing { queue, message })) => {
                publish(&self.link, &self.names, queue, message).await?;
                return Ok(Committed { revisions: Vec::new() });
            }
            None if plan.commit.is_empty() => return Ok(Committed { revisions: Vec::new() }),
            _ => {}
        }
        self.leave(plan).await
    }

    /// Does one write with the next batch; by itself it leaves without one, as soon as no other is under way.
    pub(super) async fn write_shared(self: &Arc<Self>, write: Write) -> Result<Revision, StoreError> {
        let mut commit = Commit::new();
        commit.writes.push(write);
        let committed = self.leave(Plan::new(self, commit)?).await?;
        Ok(*committed.revisions.first().expect("one revision for each write"))
    }

    async fn leave(self: &Arc<Self>, plan: Plan) -> Result<Committed, StoreError> {
        let (parts, anchor) = plan.parts(self)?;
        let expiring = Expiring::among(&plan, &parts);
        let (floor, patience) = (self.rings.seen(), self.link.patience());
        let committed = self.join(Sending { plan, parts, anchor, floor, patience, lost: false, doubts: 0 }).await?;
        match expiring {
            Some(expiring) => self.hold_all(expiring, committed).await,
            None => Ok(committed),
        }
    }

    /// Refuses what this server cannot do, before anything is sent.
    fn able(&self, commit: &Commit) -> Result<(), StoreError> {
        let can = &self.capabilities;
        if !can.queues {
            return Ok(bucket::admit(can, commit)?);
        }
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

    /// Remembers what a commit wrote. Its messages have consecutive sequences, of which `last` is the last.
    pub(super) fn committed(&self, sending: Sending, last: u64) -> Committed {
        let first = last + 1 - sending.parts.len() as u64;
        let mut revisions = Vec::with_capacity(sending.plan.commit.writes.len());
        for (sequence, part) in (first..).zip(sending.parts) {
            if let Some(trace) = part.trace {
                self.rings.remember(&part.subject, sequence, trace.ring, trace.ends);
                revisions.push(Revision::new(sequence));
            }
        }
        Committed { revisions }
    }

    /// Finds out what became of a commit whose attempt failed, and waits before the next one.
    pub(super) async fn after(&self, sending: &mut Sending, fault: Arc<Fault>) -> After {
        match self.judge_fault(sending, fault).await {
            Ok(after) => after,
            // Once an answer was lost, what fails later does not say that nothing was done.
            Err(StoreError::Unavailable(source)) if sending.lost => After::Failed(StoreError::Unknown(source)),
            Err(error) => After::Failed(error),
        }
    }

    async fn judge_fault(&self, sending: &mut Sending, fault: Arc<Fault>) -> Result<After, StoreError> {
        let mut was_lost = sending.lost;
        match &*fault {
            Fault::Api(error) if error.is_conflict() || error.is_repeated_id() => {
                let is_open =
                    error.is_conflict() && self.leaves_open(error, &sending.anchor.subject, newest_expected(&sending.parts));
                sending.lost |= is_open;
                was_lost |= is_open;
                // Perhaps on account of this very commit.
                if was_lost && let Some(last) = self.resolve(sending).await? {
                    return Ok(After::Applied(last));
                }
                if is_open && sending.doubts < DOUBTS {
                    // The leader may be about to store it; when it is sent again, that will show.
                    sending.doubts += 1;
                } else if error.is_conflict() {
                    self.look_for_tombstones(sending).await?;
                } else {
                    self.drop_repeated(sending).await?;
                    if sending.plan.commit.is_empty() {
                        return Ok(After::Empty);
                    }
                }
            }
            Fault::Api(error) if error.is_passing() => {
                sending.lost |= self.leaves_open(error, &sending.anchor.subject, newest_expected(&sending.parts));
            }
            Fault::Api(_) | Fault::Lapse(Lapse::Refused(_)) if was_lost => return Err(StoreError::Unknown(fault.into())),
            Fault::Api(error) => return Err(refused(error.clone())),
            Fault::Lapse(Lapse::Refused(_)) => return Err(Rejection::Refused(fault.into()).into()),
            Fault::Lapse(Lapse::Deaf | Lapse::Away(_)) => {}
            Fault::Lapse(Lapse::Lost(source)) => {
                tracing::debug!(%source, "the acknowledgement of a commit was lost");
                sending.lost = true;
                if let Some(last) = self.resolve(sending).await? {
                    return Ok(After::Applied(last));
                }
            }
        }
        if !sending.patience.pause().await {
            return Err(StoreError::Unavailable(fault.into()));
        }
        (sending.parts, sending.anchor) = sending.plan.parts(self)?;
        Ok(After::Again)
    }

    /// Looks for a commit whose answer was lost: the sequence of its last message, or `None` to send it again.
    async fn resolve(&self, sending: &mut Sending) -> Result<Option<u64>, StoreError> {
        let Sending { plan, parts, anchor, floor, patience, .. } = sending;
        let last_of = |sequence: u64| sequence + (parts.len() - 1 - anchor.index) as u64;
        if !anchor.is_key {
            let found = self.last(&anchor.subject, patience).await?;
            return Ok(found.map(|f| last_of(f.sequence)));
        }
        let (subject, expected) = (&*anchor.subject, Some(anchor.expected));
        let (id, expect, floor, fades) = (plan.flight.id, anchor.expect, *floor, self.fades());
        let attempt = Attempt { subject, id, expect, expected, lost: true, floor, fades };
        match self.judge(&attempt, patience).await? {
            Verdict::Ours(sequence) => Ok(Some(last_of(sequence))),
            Verdict::Free(_) => Ok(None),
            Verdict::Taken => Err(StoreError::Conflict),
            Verdict::Unclear => Err(StoreError::Unknown("the commit was overwritten, or never arrived".into())),
        }
    }

    /// After a batch that was rejected for an id: drops the messages that the server has already. Which these are it does not
    /// say, so it is asked for each.
    async fn drop_repeated(&self, Sending { plan, patience, .. }: &mut Sending) -> Result<(), StoreError> {
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
    async fn is_repeated(&self, [asking, never]: &[Part; 2], patience: &mut Patience) -> Result<bool, StoreError> {
        loop {
            let cause: BoxError = match self.publish_batch(&[asking, never]).await {
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
    async fn look_for_tombstones(&self, Sending { plan, patience, .. }: &mut Sending) -> Result<(), StoreError> {
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
        if learned && !patience.is_over() { Ok(()) } else { Err(StoreError::Conflict) }
    }
}
