//! A schedule and a delayed message as protobuf bytes.

use super::{Firing, Letter, Live, Missed, Overlap, Plan, Record, Rule, Waiting, pb};
use crate::{core::coordination::NotThis, time::Timestamp};
use bytes::Bytes;
use prost::Message as _;
use std::{num::NonZeroU32, time::Duration};

/// What tells a stored schedule, and a delayed message, from everything else.
const SCHEDULE: u32 = 16;
const DELAYED: u32 = 17;

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Letter {
    fn to_pb(&self) -> pb::Letter {
        let header = |(name, value): &(String, String)| pb::LetterHeader { name: name.clone(), value: value.clone() };
        pb::Letter {
            queue: self.queue.clone(),
            id: self.id.clone().unwrap_or_default(),
            headers: self.headers.iter().map(header).collect(),
            payload: self.payload.clone(),
        }
    }

    fn of_pb(stored: Option<pb::Letter>) -> Result<Self, NotThis> {
        let stored = stored.ok_or(NotThis::Broken("it has no message"))?;
        Ok(Self {
            queue: stored.queue,
            id: Some(stored.id).filter(|id| !id.is_empty()),
            headers: stored.headers.into_iter().map(|header| (header.name, header.value)).collect(),
            payload: stored.payload,
        })
    }
}

impl Live {
    fn to_pb(&self) -> pb::schedule::Live {
        let Self { firing, sent } = self;
        pb::schedule::Live { id: firing.id.clone(), at_micros: firing.at.as_micros(), sent_micros: sent.as_micros() }
    }

    fn of_pb(stored: pb::schedule::Live) -> Self {
        let firing = Firing::new(stored.id, Timestamp::from_micros(stored.at_micros));
        Self { firing, sent: Timestamp::from_micros(stored.sent_micros) }
    }
}

impl Plan {
    fn of_pb(stored: &mut pb::Schedule) -> Result<Self, NotThis> {
        let rule = if stored.pattern.is_empty() {
            let anchor = Timestamp::from_micros(stored.anchor_micros);
            Rule::every(Duration::from_micros(stored.period_micros)).map(|rule| rule.anchored(anchor))
        } else {
            Rule::cron(&stored.pattern).and_then(|rule| rule.in_zone(&stored.zone))
        };
        let missed = match stored.missed() {
            pb::schedule::Missed::Skip => Missed::Skip,
            pb::schedule::Missed::Last => Missed::Last,
            pb::schedule::Missed::All => NonZeroU32::new(stored.missed_most)
                .map(Missed::All)
                .ok_or(NotThis::Broken("it makes up for all that was missed, and for none of it"))?,
            pb::schedule::Missed::Unspecified => return Err(NotThis::Broken("what becomes of missed firings is not known")),
        };
        let overlap = match stored.overlap() {
            pb::schedule::Overlap::Allow => Overlap::Allow,
            pb::schedule::Overlap::Skip => Overlap::Skip,
            pb::schedule::Overlap::Queue => Overlap::Queue,
            pb::schedule::Overlap::Cancel => Overlap::Cancel,
            pb::schedule::Overlap::Unspecified => return Err(NotThis::Broken("what becomes of an overlap is not known")),
        };
        Ok(Self {
            rule: rule.map_err(|_| NotThis::Broken("its rule is none that this version knows"))?,
            missed,
            tolerance: Duration::from_micros(stored.tolerance_micros),
            overlap,
            patience: Duration::from_micros(stored.patience_micros),
            letter: Letter::of_pb(stored.letter.take())?,
        })
    }
}

impl Record {
    /// Writes it as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let plan = &self.plan;
        let (period, anchor) = plan.rule.period().unwrap_or_default();
        let (missed, missed_most) = match plan.missed {
            Missed::Skip => (pb::schedule::Missed::Skip, 0),
            Missed::Last => (pb::schedule::Missed::Last, 0),
            Missed::All(most) => (pb::schedule::Missed::All, most.get()),
        };
        let overlap = match plan.overlap {
            Overlap::Allow => pb::schedule::Overlap::Allow,
            Overlap::Skip => pb::schedule::Overlap::Skip,
            Overlap::Queue => pb::schedule::Overlap::Queue,
            Overlap::Cancel => pb::schedule::Overlap::Cancel,
        };
        let stored = pb::Schedule {
            kind: SCHEDULE,
            pattern: plan.rule.pattern().unwrap_or_default().to_owned(),
            zone: plan.rule.zone().unwrap_or_default().to_owned(),
            period_micros: micros(period),
            anchor_micros: anchor.as_micros(),
            missed: missed.into(),
            missed_most,
            tolerance_micros: micros(plan.tolerance),
            overlap: overlap.into(),
            patience_micros: micros(plan.patience),
            letter: Some(plan.letter.to_pb()),
            since_micros: self.since.as_micros(),
            next_micros: self.next.map(Timestamp::as_micros),
            paused: self.paused,
            last_micros: self.last.map(Timestamp::as_micros),
            running: self.running.as_ref().map(Live::to_pb),
            queued_micros: self.queued.map(Timestamp::as_micros),
            triggered: self.triggered,
            token: self.token,
            fired: self.fired,
            lost: self.lost,
            skipped: self.skipped,
            pending: self.pending.iter().map(Live::to_pb).collect(),
        };
        stored.encode_to_vec().into()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`NotThis`] for everything else.
    pub fn decode(bytes: Bytes) -> Result<Self, NotThis> {
        let mut stored = pb::Schedule::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(stored.kind, SCHEDULE, "schedule")?;
        let at = |micros: Option<i64>| micros.map(Timestamp::from_micros);
        Ok(Self {
            plan: Plan::of_pb(&mut stored)?,
            since: Timestamp::from_micros(stored.since_micros),
            next: at(stored.next_micros),
            paused: stored.paused,
            last: at(stored.last_micros),
            running: stored.running.map(Live::of_pb),
            queued: at(stored.queued_micros),
            triggered: stored.triggered,
            token: stored.token,
            fired: stored.fired,
            lost: stored.lost,
            skipped: stored.skipped,
            pending: stored.pending.into_iter().map(Live::of_pb).collect(),
        })
    }
}

impl Waiting {
    /// Writes it as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self { due, token, letter, leaving } = self;
        let letter = Some(letter.to_pb());
        let stored = pb::Delayed { kind: DELAYED, due_micros: due.as_micros(), token: *token, letter, leaving: *leaving };
        stored.encode_to_vec().into()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`NotThis`] for everything else.
    pub fn decode(bytes: Bytes) -> Result<Self, NotThis> {
        let stored = pb::Delayed::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(stored.kind, DELAYED, "delayed message")?;
        let (due, letter) = (Timestamp::from_micros(stored.due_micros), Letter::of_pb(stored.letter)?);
        Ok(Self { due, token: stored.token, letter, leaving: stored.leaving })
    }
}
