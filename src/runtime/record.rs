//! Snapshots in the store: where they are, how they are read, and the one write that a transition is.

use super::{RunError, dead_letter, hosted::Hosted};
use crate::{
    core::snapshot::{RunStatus, Snapshot, Source, Value},
    engine::{Commit, Entry, Expect, Key, KeyInfo, PutOptions, Revision, StoreError},
};
use bytes::Bytes;
use std::time::Duration;

/// The longest id of a run, as an escaped token, in bytes: leaves room for topology, digest and chunk in a key.
const MAX_ID: usize = 160;

/// A snapshot and the write that put it there.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) snapshot: Snapshot,
    pub(super) revision: Revision,
}

/// A snapshot on its way to the store, apart from the machine, which goes on meanwhile.
#[derive(Debug)]
pub(super) struct Transition {
    bytes: Bytes,
    options: PutOptions,
    /// The state of a run whose failure is to be recorded along with it, and the message that it is recorded for.
    failed: Option<Box<(Snapshot, Source)>>,
}

/// What a key's label tells of its run without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) status: RunStatus,
    pub(super) worker: Option<String>,
}

impl Label {
    fn of(snapshot: &Snapshot) -> String {
        match &snapshot.owner {
            Some(owner) => [snapshot.status.name(), ".", &owner.worker].concat(),
            None => snapshot.status.name().to_owned(),
        }
    }

    /// Reads a label; `None` when another client wrote the key, or a newer version did.
    pub(super) fn parse(info: &KeyInfo) -> Option<Self> {
        let label = info.label.as_deref()?;
        let (status, worker) = label.split_once('.').map_or((label, None), |(s, w)| (s, Some(w.to_owned())));
        Some(Self { status: RunStatus::parse(status)?, worker })
    }
}

impl<C: Send + Sync + 'static> Hosted<C> {
    /// Where a run's snapshot is.
    pub(super) fn key(&self, run: &str) -> Result<Key, RunError> {
        let token = Key::token(run);
        if run.is_empty() || token.len() > MAX_ID {
            return Err(RunError::InvalidId(run.to_owned()));
        }
        Ok(self.runs.join(&token))
    }

    /// Reads a run.
    pub(super) async fn load(&self, run: &str) -> Result<Option<Record>, RunError> {
        let entry = self.store().get(&self.key(run)?).await?;
        entry.map(|entry| self.decode(run, entry)).transpose()
    }

    #[expect(clippy::unused_self, reason = "reads as what it is: this topology's way to read an entry")]
    pub(super) fn decode(&self, run: &str, entry: Entry) -> Result<Record, RunError> {
        let snapshot = Snapshot::decode(entry.value).map_err(|source| RunError::Unreadable { run: run.to_owned(), source })?;
        Ok(Record { snapshot, revision: entry.revision })
    }

    /// Writes a snapshot.
    pub(super) async fn write(&self, snapshot: &Snapshot, bytes: Bytes, expect: Expect) -> Result<Revision, RunError> {
        self.store_at(&self.key(&snapshot.run)?, self.transition(snapshot, bytes), expect).await
    }

    /// Prepares to write a snapshot.
    pub(super) fn transition(&self, snapshot: &Snapshot, bytes: Bytes) -> Transition {
        let mut options = PutOptions::default().label(Label::of(snapshot));
        if let Some(ttl) = self.kept_for(snapshot.status) {
            options = options.ttl(ttl);
        }
        let failed = dead_letter::due(snapshot).map(|source| Box::new((snapshot.clone(), source.clone())));
        Transition { bytes, options, failed }
    }

    /// Stores a transition: one put, or one commit when a record of failure leaves with it.
    ///
    /// A crash before this returns leaves the run as it was or as it is now, and whoever adopts it goes on from there.
    pub(super) async fn store_at(&self, key: &Key, transition: Transition, expect: Expect) -> Result<Revision, RunError> {
        let Transition { bytes, options, failed } = transition;
        let Some(failed) = failed else {
            return Ok(self.store().put(key, bytes, expect, options).await?);
        };
        // Few runs end so, and the others need not have room for it.
        Box::pin(self.store_failure(key, (bytes, options), expect, *failed)).await
    }

    async fn store_failure(
        &self,
        key: &Key,
        (bytes, options): (Bytes, PutOptions),
        expect: Expect,
        (failed, source): (Snapshot, Source),
    ) -> Result<Revision, RunError> {
        let letter = self.dead_letter(&failed, &source).await?;
        if self.store().capabilities().atomic_commit {
            let commit = Commit::new().put(key.clone(), bytes, expect, options).send(letter.queue, letter.message);
            let committed = self.store().commit(commit).await?;
            return Ok(*committed.revisions.first().expect("one revision for each write"));
        }
        // The slower road of older servers: the record first, so that a crash in between repeats it and never loses it.
        let queue = self.shared.space.queue(letter.queue.as_str(), crate::engine::QueueOptions::default()).await?;
        queue.publish(letter.message).await?;
        Ok(self.store().put(key, bytes, expect, options).await?)
    }

    /// How long a run of this status is kept.
    pub(super) fn kept_for(&self, status: RunStatus) -> Option<Duration> {
        let retention = &self.shared.options.retention;
        let kept = match status {
            RunStatus::Completed | RunStatus::Cancelled => retention.completed,
            RunStatus::Errored | RunStatus::Dead | RunStatus::Stuck => retention.failed,
            RunStatus::Running | RunStatus::Suspended | RunStatus::Parked => None,
        };
        kept.filter(|_| self.store().capabilities().ttl)
    }

    /// Encodes a snapshot, and first moves its largest values out of line while it is larger than the limit.
    pub(super) async fn encode(&self, snapshot: &mut Snapshot) -> Result<Bytes, StoreError> {
        const WORTH_MOVING: usize = 1024;
        let limit = self.shared.options.snapshot_limit;
        let mut bytes = snapshot.encode();
        while bytes.len() > limit {
            let run = snapshot.run.clone();
            let inline = snapshot.values_mut().filter_map(|value| match value {
                Value::Inline(bytes) if bytes.len() > WORTH_MOVING => Some((bytes.clone(), value)),
                Value::Inline(_) | Value::Stored(_) => None,
            });
            let Some((largest, value)) = inline.max_by_key(|(bytes, _)| bytes.len()) else { break };
            *value = self.outputs.store(&run, &largest).await?;
            bytes = snapshot.encode();
        }
        Ok(bytes)
    }
}
