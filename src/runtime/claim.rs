//! How this worker comes to own a run: it creates it, or takes it over from nobody or from the dead.
//!
//! A claim is one compare-and-set: of any number of workers that try, one has the run, and a former owner's next write
//! conflicts. The rules of redelivery are here too, since a message that comes again is one more claim.

use super::{
    RunError,
    hosted::Hosted,
    options::{OnDuplicate, OnGraphChange},
    record::Record,
    worker::Verdict,
};
use crate::{
    core::{
        machine::{Continuation, Effects, NewRun, RunMachine, note_cancel, note_signal, park},
        snapshot::{RunStatus, Snapshot, Value},
    },
    engine::{Expect, Key, Revision, StoreError},
    time::Backoff,
};
use bytes::Bytes;
use std::time::Duration;

/// A run that this worker owns and nobody drives yet.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) machine: RunMachine,
    pub(super) effects: Effects,
    pub(super) stored: Stored,
}

/// What a claim stored, and where.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) key: Key,
    pub(super) bytes: Bytes,
    pub(super) revision: Revision,
}

/// What a claim found.
#[derive(Debug)]
pub(super) enum Claim {
    /// The run is this worker's now.
    Held(Box<Held>),
    /// It lives here already.
    Here,
    /// Another worker has it, and may live for this long without being heard.
    Elsewhere(Duration),
    /// It needs nobody: it ended, or waits for a signal, or is parked.
    AtRest(Box<Snapshot>),
}

/// What a claim is made for.
#[derive(Debug)]
pub(super) enum Ask {
    /// To make a run, or to deal with the one that has its id.
    Create(Box<NewRun>, OnDuplicate),
    /// To take a run over that is there.
    TakeUp(Want),
}

/// What a claim wants of a run that is there.
#[derive(Debug, Clone)]
pub(super) enum Want {
    /// To go on with it, if it needs somebody.
    Continue,
    /// To move it again although it ended.
    Resume(Continuation),
    /// To change it first, such as to note a signal.
    Note(Note),
}

/// A fact for a run's snapshot.
#[derive(Debug, Clone)]
pub(super) enum Note {
    Signal { name: String, payload: Value },
    Cancel { reason: String },
}

impl<C: Send + Sync + 'static> Hosted<C> {
    /// Claims a run once it is this claim's turn.
    pub(super) async fn claim(&self, run: &str, ask: Ask) -> Result<Claim, RunError> {
        match ask {
            Ask::Create(new, on_duplicate) => self.create(*new, on_duplicate).await,
            Ask::TakeUp(want) => Box::pin(self.take_up(run, want)).await,
        }
    }

    /// Makes a run, or deals with the one that has its id.
    async fn create(&self, new: NewRun, on_duplicate: OnDuplicate) -> Result<Claim, RunError> {
        let mut backoff = contention();
        loop {
            let (mut machine, effects) = RunMachine::create(self.plan.clone(), new.clone(), self.clock().now());
            match self.persist(&mut machine, Expect::Absent).await {
                Ok(stored) => return Ok(held(machine, effects, stored)),
                Err(RunError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(error),
            }
            let Some(record) = self.load(&new.run).await? else {
                self.clock().sleep(backoff.next_delay()).await;
                continue;
            };
            if replaces(&record.snapshot, on_duplicate) {
                // Past the old epoch, so that the owner of the run that was there is fenced.
                machine.snapshot_mut().epoch = record.snapshot.epoch + 1;
                match self.persist(&mut machine, Expect::At(record.revision)).await {
                    Ok(stored) => return Ok(held(machine, effects, stored)),
                    Err(RunError::Store(StoreError::Conflict)) => continue,
                    Err(error) => return Err(error),
                }
            }
            if on_duplicate == OnDuplicate::Reject {
                return Err(RunError::AlreadyExists { run: new.run, status: record.snapshot.status });
            }
            if record.snapshot.input_digest != new.input_digest {
                return Err(RunError::InputConflict(new.run));
            }
            // On the heap, as whatever most claims never need: what waits for a run's end is as large as all that it might do.
            if let Some(claim) = Box::pin(self.consider(record, &Want::Continue)).await? {
                return Ok(claim);
            }
            self.clock().sleep(backoff.next_delay()).await;
        }
    }

    /// Takes a run over that is there.
    async fn take_up(&self, run: &str, want: Want) -> Result<Claim, RunError> {
        let mut backoff = contention();
        loop {
            let record = self.load(run).await?.ok_or_else(|| RunError::NotFound(run.to_owned()))?;
            if let Some(claim) = self.consider(record, &want).await? {
                return Ok(claim);
            }
            self.clock().sleep(backoff.next_delay()).await;
        }
    }

    /// Decides about a run as it was read; `None` when it changed meanwhile and has to be read again.
    async fn consider(&self, record: Record, want: &Want) -> Result<Option<Claim>, RunError> {
        let Record { mut snapshot, revision } = record;
        let alive = match &snapshot.owner {
            Some(owner) => match self.shared.worker.judge(owner).await? {
                Verdict::Me if self.live(&snapshot.run).is_some() => return Ok(Some(Claim::Here)),
                // Ours, and no actor drives it although claims are taken one at a time: its actor died.
                Verdict::Me | Verdict::Dead => None,
                Verdict::Alive(left) => Some(left),
            },
            None => None,
        };
        if let (Some(left), Want::Continue | Want::Resume(_)) = (alive, want) {
            return Ok(Some(Claim::Elsewhere(left)));
        }
        if let Some(claim) = self.at_rest(&snapshot, want) {
            return Ok(Some(claim));
        }
        if snapshot.fingerprint != self.plan.graph.fingerprint() {
            if alive.is_some() {
                return Err(RunError::GraphChanged(snapshot.run));
            }
            match self.fit(snapshot, revision).await? {
                Some(fitted) => snapshot = fitted,
                None => return Ok(None),
            }
        }
        let now = self.clock().now();
        if let Want::Note(note) = want {
            self.note(&mut snapshot, note.clone())?;
            if let Some(left) = alive {
                return self.leave_note(snapshot, revision, left).await;
            }
        }
        let mut machine = RunMachine::load(self.plan.clone(), snapshot)
            .map_err(|_| RunError::GraphChanged(self.plan.graph.name().to_owned()))?;
        let me = self.shared.worker.me().clone();
        let effects = match want {
            Want::Resume(how) if !matches!(machine.snapshot().status, RunStatus::Running | RunStatus::Suspended) => {
                machine.resume(me, *how, now)
            }
            Want::Resume(_) | Want::Continue | Want::Note(_) => match machine.adopt(me, now) {
                Ok(effects) => effects,
                Err(_) => return Ok(Some(Claim::AtRest(Box::new(machine.snapshot().clone())))),
            },
        };
        match self.persist(&mut machine, Expect::At(revision)).await {
            Ok(stored) => Ok(Some(held(machine, effects, stored))),
            // Somebody was faster.
            Err(RunError::Store(StoreError::Conflict)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Finds that a run needs nobody.
    fn at_rest(&self, snapshot: &Snapshot, want: &Want) -> Option<Claim> {
        let rests = match (want, snapshot.status) {
            (Want::Note(_), _) | (_, RunStatus::Running) => false,
            // Parked for want of this very graph.
            (Want::Continue, RunStatus::Parked) => snapshot.fingerprint != self.plan.graph.fingerprint(),
            (Want::Continue, _) | (Want::Resume(_), RunStatus::Suspended) => true,
            (Want::Resume(how), RunStatus::Completed) => *how != Continuation::FromScratch,
            (Want::Resume(_), _) => false,
        };
        rests.then(|| Claim::AtRest(Box::new(snapshot.clone())))
    }

    /// Deals with a run of another graph; `None` when it has to be read again.
    async fn fit(&self, mut snapshot: Snapshot, revision: Revision) -> Result<Option<Snapshot>, RunError> {
        let run = snapshot.run.clone();
        match &self.options.on_graph_change {
            OnGraphChange::Exact => Err(RunError::GraphChanged(run)),
            OnGraphChange::Migrate(migrate) => {
                let failed = |source| RunError::Migration { run: run.clone(), source };
                let fitted = migrate(snapshot, &self.plan.graph).map_err(failed)?;
                let fits = fitted.fingerprint == self.plan.graph.fingerprint() && fitted.nodes.len() == self.plan.graph.len();
                if fits { Ok(Some(fitted)) } else { Err(failed("the result does not fit the graph".into())) }
            }
            OnGraphChange::Park if snapshot.status == RunStatus::Parked => Err(RunError::GraphChanged(run)),
            OnGraphChange::Park => {
                let found = snapshot.fingerprint;
                park(&mut snapshot, format!("waits for a worker whose graph has the fingerprint {found}"));
                let bytes = snapshot.encode();
                match self.write(&snapshot, bytes, Expect::At(revision)).await {
                    Ok(_) | Err(RunError::Store(StoreError::Conflict | StoreError::Unknown(_))) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn note(&self, snapshot: &mut Snapshot, note: Note) -> Result<(), RunError> {
        let now = self.clock().now();
        match note {
            Note::Signal { name, payload } => {
                note_signal(snapshot, &self.plan.graph, &name, payload, now)?;
            }
            Note::Cancel { reason } => note_cancel(snapshot, reason, now)?,
        }
        Ok(())
    }

    /// Leaves a fact in the snapshot of a run that another worker owns, and nudges that worker.
    async fn leave_note(&self, snapshot: Snapshot, revision: Revision, left: Duration) -> Result<Option<Claim>, RunError> {
        let bytes = snapshot.encode();
        match self.write(&snapshot, bytes, Expect::At(revision)).await {
            Ok(_) => {}
            Err(RunError::Store(StoreError::Conflict)) => return Ok(None),
            Err(error) => return Err(error),
        }
        // A crash here only delays: the owner meets the note at its next write.
        self.nudge(&snapshot.run).await;
        Ok(Some(Claim::Elsewhere(left)))
    }

    /// Persists a machine's state as a claim. When the outcome is unknown, the run itself tells: an epoch has one owner, so the
    /// very state that was to be written is ours, and any other is a conflict.
    async fn persist(&self, machine: &mut RunMachine, expect: Expect) -> Result<Stored, RunError> {
        let bytes = self.encode(machine.snapshot_mut()).await?;
        let snapshot = machine.snapshot();
        let key = self.key(&snapshot.run)?;
        let revision = match self.store_at(&key, self.transition(snapshot, bytes.clone()), expect).await {
            Err(RunError::Store(StoreError::Unknown(_))) => match self.load_patiently(&snapshot.run).await? {
                Some(record) if record.snapshot == *snapshot => record.revision,
                _ => return Err(StoreError::Conflict.into()),
            },
            outcome => outcome?,
        };
        Ok(Stored { key, bytes, revision })
    }

    /// Reads a run that this worker may have come to own. To give up early would leave it owned and not driven, and its attempts
    /// would count as crashed although they never started; so the store has a lease's time to come back.
    async fn load_patiently(&self, run: &str) -> Result<Option<Record>, RunError> {
        let mut backoff = contention();
        let started = self.clock().instant();
        loop {
            match self.load(run).await {
                Err(RunError::Store(StoreError::Unavailable(_) | StoreError::Unknown(_)))
                    if self.clock().instant().duration_since(started) < self.shared.options.lease =>
                {
                    self.clock().sleep(backoff.next_delay()).await;
                }
                outcome => return outcome,
            }
        }
    }
}

fn held(machine: RunMachine, effects: Effects, stored: Stored) -> Claim {
    Claim::Held(Box::new(Held { machine, effects, stored }))
}

/// Delays between claims that collided.
fn contention() -> Backoff {
    Backoff::new(Duration::from_millis(2), Duration::from_millis(200))
}

/// Tells whether a start takes the place of the run that it found.
fn replaces(found: &Snapshot, on_duplicate: OnDuplicate) -> bool {
    match on_duplicate {
        OnDuplicate::Attach | OnDuplicate::Reject => false,
        OnDuplicate::Restart => true,
        OnDuplicate::RestartFailed => found.status.is_terminal() && found.status != RunStatus::Completed,
    }
}
