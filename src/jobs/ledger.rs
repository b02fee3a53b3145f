//! The records of a queue's jobs: read, decided about and written, with the letter of a job that is given up.
//!
//! An ordinary change is a closure of a cell. The end of a job that is given up goes with its letter: in one commit where the
//! engine has commits, else the letter first, under an id that makes a repetition harmless. This file does not know what a
//! record says beyond whether it has ended.

use super::job::passes;
use crate::{
    cell::{Cell, CellError, Cells},
    codec::{Codec, CodecError},
    core::jobs::{Decision, Record, Verdict},
    engine::{Commit, Expect, Key, Message, Name, NameError, Queue, Space, StoreError},
    time::{Backoff, Clock},
};
use sha2::{Digest as _, Sha256};
use std::{borrow::Cow, fmt::Write as _, sync::Arc, time::Duration};

/// The longest id, escaped, that is its own label; a longer one is told by its digest.
const LONGEST: usize = 200;

/// The records of one queue.
#[derive(Debug)]
pub(super) struct Ledger {
    space: Space,
    queue: Name,
    cells: Cells<Record>,
    dead: Arc<dyn Queue>,
    retention: Duration,
}

fn codec() -> Codec<Record> {
    let encode = |record: &Record| Ok(record.encode());
    Codec::new("anabranch.job", encode, |bytes| Record::decode(bytes).map_err(CodecError::new::<Record>))
}

/// Returns the name of the queue for the dead letters of a queue.
pub(super) fn dead_letters_of(queue: &Name) -> Result<Name, NameError> {
    Name::new(format!("{queue}-dead"))
}

/// Returns the label of a job's id.
pub(super) fn label(id: &str) -> Cow<'_, str> {
    if Key::token(id).len() <= LONGEST {
        return Cow::Borrowed(id);
    }
    let mut label = "sha256:".to_owned();
    for byte in Sha256::digest(id) {
        let _ = write!(label, "{byte:02x}");
    }
    Cow::Owned(label)
}

/// Returns the records of a queue's jobs.
pub(super) fn records(space: &Space, queue: &Name) -> Result<Cells<Record>, NameError> {
    let prefix = Key::new("job")?.join(&Key::token(queue.as_str()));
    Ok(Cells::below(space, &prefix, codec()))
}

/// What became of a decision.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) verdict: Verdict,
    /// It was this delivery that was decided about, and not one before it.
    pub(super) ours: bool,
}

impl Ledger {
    pub(super) fn new(space: &Space, queue: Name, dead: Arc<dyn Queue>, retention: Duration) -> Result<Self, NameError> {
        Ok(Self { cells: records(space, &queue)?, space: space.clone(), queue, dead, retention })
    }

    pub(super) fn queue(&self) -> &Name {
        &self.queue
    }

    pub(super) fn space(&self) -> &Space {
        &self.space
    }

    pub(super) fn clock(&self) -> &Clock {
        self.space.clock()
    }

    pub(super) fn cell(&self, id: &str) -> Result<Cell<Record>, NameError> {
        self.cells.cell(&label(id))
    }

    /// Reads a record, however long the store is away.
    pub(super) async fn read(&self, id: &str) -> Result<Option<Record>, CellError> {
        let cell = self.cell(id)?;
        let stored = patiently(self.clock(), || cell.read()).await?;
        Ok(stored.map(|stored| stored.value))
    }

    /// Decides about a job by what is known of it, and stores what was decided, however long the store is away.
    ///
    /// A crash before the write leaves a delivery that comes again and counts as an attempt; a crash after it leaves one that
    /// comes again and is decided alike.
    pub(super) async fn settle(
        &self,
        id: &str,
        decide: impl Fn(Option<&Record>) -> Decision + Clone + Send + Sync + 'static,
        letter: impl Fn(&Record, &str) -> Message,
    ) -> Result<Settled, CellError> {
        let cell = self.cell(id)?;
        let retention = self.retention;
        // What was committed, as far as is known.
        let mut tried: Option<(Record, String)> = None;
        loop {
            if let Some((record, reason)) = tried.take()
                && patiently(self.clock(), || cell.read()).await?.is_some_and(|stored| stored.value == record)
            {
                return Ok(Settled { verdict: Verdict::Bury(reason), ours: true });
            }
            let decide_in_turn = decide.clone();
            let edited = patiently(self.clock(), || {
                let decide = decide_in_turn.clone();
                cell.edit(move |draft| {
                    let Decision { record, verdict } = decide(draft.get());
                    let buried = matches!(verdict, Verdict::Bury(_));
                    let ours = record.is_some();
                    if let Some(record) = record.filter(|_| !buried) {
                        if record.is_ended() {
                            draft.expire_after(retention);
                        }
                        draft.set(record);
                    }
                    Settled { verdict, ours }
                })
            });
            let settled = edited.await?.result;
            if !matches!(settled.verdict, Verdict::Bury(_)) {
                return Ok(settled);
            }
            if let Some(settled) = self.bury(&cell, &decide, &letter, &mut tried).await? {
                return Ok(settled);
            }
        }
    }

    /// Ends a job that is given up, together with its letter; `None` when the record changed meanwhile.
    async fn bury(
        &self,
        cell: &Cell<Record>,
        decide: &(impl Fn(Option<&Record>) -> Decision + Sync),
        letter: &impl Fn(&Record, &str) -> Message,
        tried: &mut Option<(Record, String)>,
    ) -> Result<Option<Settled>, CellError> {
        let stored = patiently(self.clock(), || cell.read()).await?;
        let (value, expect) = match &stored {
            Some(stored) => (Some(&stored.value), Expect::At(stored.revision)),
            None => (None, Expect::Absent),
        };
        let Decision { record: Some(record), verdict: Verdict::Bury(reason) } = decide(value) else { return Ok(None) };
        let message = letter(&record, &reason);
        *tried = Some((record.clone(), reason.clone()));
        let capabilities = self.space.store().capabilities();
        let options = capabilities.expiring(self.retention);
        if capabilities.atomic_commit {
            let dead = self.dead.name().clone();
            let commit = Commit::new().put(cell.key().clone(), record.encode(), expect, options).send(dead, message);
            match self.space.store().commit(commit).await {
                Ok(_) => {}
                Err(StoreError::Rejected(rejection)) => return Err(rejection.into()),
                // Looked at anew: what was committed is found to have ended.
                Err(error) => return self.wait(error).await,
            }
        } else {
            // A crash before the record is written repeats the letter, under its id.
            if let Err(error) = self.dead.publish(message).await {
                return match error {
                    StoreError::Rejected(rejection) => Err(rejection.into()),
                    error => self.wait(error).await,
                };
            }
            match self.space.store().put(cell.key(), record.encode(), expect, options).await {
                Ok(_) => {}
                Err(StoreError::Rejected(rejection)) => return Err(rejection.into()),
                Err(error) => return self.wait(error).await,
            }
        }
        Ok(Some(Settled { verdict: Verdict::Bury(reason), ours: true }))
    }

    /// Waits a moment before it is tried anew.
    async fn wait(&self, error: StoreError) -> Result<Option<Settled>, CellError> {
        tracing::debug!(error = &error as &dyn std::error::Error, "a job that is given up is not recorded yet");
        self.clock().sleep(Duration::from_millis(50)).await;
        Ok(None)
    }
}

/// Repeats what only failed because the store was away: a job must not suffer from that. Whoever waits keeps its message alive,
/// and ends this by dropping it.
pub(super) async fn patiently<T, F>(clock: &Clock, mut act: impl FnMut() -> F) -> Result<T, CellError>
where
    F: Future<Output = Result<T, CellError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    loop {
        match act().await {
            Err(error) if passes(&error) => clock.sleep(backoff.next_delay()).await,
            done => return done,
        }
    }
}
