//! How a run begins and changes hands: create, adopt after a crash, resume by hand, park.

use super::{Effects, GraphMismatch, Plan, RunMachine, failure};
use crate::{
    core::{
        graph::NodeId,
        retry::StopReason,
        snapshot::{FailureKind, NodeState, NodeStatus, Owner, RunStatus, Snapshot, Source, StoredKind, Trace, Value},
    },
    time::Timestamp,
};
use std::collections::BTreeMap;

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id.
    pub run: String,
    /// What it is started with.
    pub input: Value,
    /// SHA-256 of the encoded input.
    pub input_digest: [u8; 32],
    /// For each node, whether the run includes it.
    pub included: Vec<bool>,
    /// Outputs of nodes that are left out, given instead of computed.
    pub provided: Vec<(NodeId, Value)>,
    /// Who works on it.
    pub owner: Owner,
    /// The trace that it belongs to.
    pub trace: Option<Trace>,
    /// The message that it was started by.
    pub source: Option<Source>,
}

/// What an explicit resume does to a run that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Continuation {
    /// Keeps what completed and was skipped, and tries the rest again with fresh counts.
    #[default]
    KeepCompleted,
    /// Starts every node again.
    FromScratch,
}

impl RunMachine {
    /// Makes a run, with the first attempts of its first nodes.
    pub fn create(plan: Plan, new: NewRun, now: Timestamp) -> (Self, Effects) {
        let mut nodes: Vec<NodeState> = plan.graph.nodes().map(|(id, _)| NodeState::pending(&plan.graph, id)).collect();
        for (state, included) in nodes.iter_mut().zip(&new.included) {
            if !included {
                state.status = NodeStatus::Excluded;
            }
        }
        for (id, value) in new.provided {
            let state = &mut nodes[id.index()];
            state.output = Some(value);
            Self::close(state, NodeStatus::Completed, now);
        }
        let worker = Some(new.owner.clone());
        let snapshot = Snapshot {
            topology: plan.graph.name().to_owned(),
            run: new.run,
            fingerprint: plan.graph.fingerprint(),
            status: RunStatus::Running,
            epoch: 1,
            owner: Some(new.owner),
            created_at: now,
            finished_at: None,
            progressed_at: now,
            input: new.input,
            input_digest: new.input_digest,
            nodes,
            signals: BTreeMap::new(),
            cancel: None,
            trace: new.trace,
            source: new.source,
            reason: None,
        };
        let mut machine = Self { plan, snapshot, worker, told: None };
        let mut effects = Effects::default();
        machine.settle(now, &mut effects);
        (machine, effects)
    }

    /// Takes the run over from whoever had it: the epoch grows, so that owner's next write conflicts.
    ///
    /// Attempts that were running died with their owner; they count as failed and as crashed. A node in which the process died
    /// too often is poison: it fails, and the run is [`RunStatus::Dead`]. Nothing happens to a run that has ended but the
    /// change of hands being refused.
    ///
    /// # Errors
    ///
    /// The run's status, when it has ended.
    pub fn adopt(&mut self, owner: Owner, now: Timestamp) -> Result<Effects, RunStatus> {
        if self.snapshot.status.is_terminal() {
            return Err(self.snapshot.status);
        }
        self.take(owner);
        let mut poisoned: Option<String> = None;
        for (state, policy) in self.snapshot.nodes.iter_mut().zip(self.plan.policies.iter()) {
            if state.status != NodeStatus::Running {
                continue;
            }
            state.crashes = state.crashes.saturating_add(1);
            state.failures = state.failures.saturating_add(1);
            let message = format!("the process died in attempt {}", state.attempt);
            state.error = Some(failure(FailureKind::Crash, message, state.attempt, now));
            if policy.retry.is_poison(state.crashes) {
                poisoned = Some(format!("the process died {} times in `{}`", state.crashes, state.name));
                Self::close(state, NodeStatus::Errored, now);
            } else if policy.retry.delay_after(state.failures, 0).is_none() {
                Self::close(state, NodeStatus::Errored, now);
            } else {
                Self::interrupt(state);
            }
        }
        let mut effects = Effects::default();
        if poisoned.is_some() {
            self.snapshot.reason = poisoned;
            self.finish(RunStatus::Dead, now, &mut effects);
        } else {
            self.snapshot.status = RunStatus::Running;
            self.snapshot.reason = None;
            self.settle(now, &mut effects);
        }
        Ok(effects)
    }

    /// Moves a run that has ended, or is parked, again. What runs or waits for a signal is adopted as it is.
    pub fn resume(&mut self, owner: Owner, how: Continuation, now: Timestamp) -> Effects {
        self.take(owner);
        for (index, state) in self.snapshot.nodes.iter_mut().enumerate() {
            let keep = match state.status {
                NodeStatus::Excluded => true,
                NodeStatus::Completed if state.attempt == 0 && state.kind != StoredKind::Wait => true,
                NodeStatus::Completed | NodeStatus::Skipped => how == Continuation::KeepCompleted,
                NodeStatus::Pending | NodeStatus::Running | NodeStatus::Suspended | NodeStatus::Errored => false,
            };
            if !keep {
                let saved = state.saved.take().filter(|_| how == Continuation::KeepCompleted);
                let fresh = NodeState::pending(&self.plan.graph, NodeId::at(index));
                // The attempt number goes on, so that a result of an earlier life is never taken for one of this.
                *state = NodeState { attempt: state.attempt, saved, ..fresh };
            }
        }
        if how == Continuation::FromScratch {
            self.snapshot.signals.clear();
        }
        self.snapshot.status = RunStatus::Running;
        self.snapshot.finished_at = None;
        self.snapshot.cancel = None;
        self.told = None;
        self.snapshot.reason = None;
        self.snapshot.progressed_at = now;
        let mut effects = Effects::default();
        self.settle(now, &mut effects);
        effects
    }

    /// Replaces the state by what somebody else noted into it in the meantime, under the same epoch: signals, a cancellation.
    ///
    /// A snapshot of another epoch belongs to somebody else: it is taken over for reading, and nothing starts.
    ///
    /// # Errors
    ///
    /// [`GraphMismatch`] when it is of another graph.
    pub fn refresh(&mut self, snapshot: Snapshot, now: Timestamp) -> Result<Effects, GraphMismatch> {
        let cancelled_before = self.snapshot.cancel.is_some();
        let ours = snapshot.epoch == self.snapshot.epoch;
        let loaded = Self::load(self.plan.clone(), snapshot)?;
        *self = Self { worker: self.worker.take().filter(|_| ours), told: self.told.filter(|_| ours), ..loaded };
        let mut effects = Effects::default();
        if self.snapshot.status.is_terminal() || !ours {
            return Ok(effects);
        }
        if self.snapshot.cancel.is_some() && !cancelled_before {
            self.stop_running(StopReason::Cancelled, &mut effects);
        }
        self.settle(now, &mut effects);
        Ok(effects)
    }

    fn take(&mut self, owner: Owner) {
        // Only who edits an export comes near the end of these numbers, and what fences is the revision.
        self.snapshot.epoch = self.snapshot.epoch.saturating_add(1);
        self.snapshot.owner = Some(owner.clone());
        self.worker = Some(owner);
    }
}

/// Sets a run aside for whoever has the graph that it belongs to.
pub fn park(snapshot: &mut Snapshot, reason: String) {
    snapshot.status = RunStatus::Parked;
    snapshot.owner = None;
    snapshot.epoch = snapshot.epoch.saturating_add(1);
    snapshot.reason = Some(reason);
}
