//! Claims in turn, and an actor for each run that was claimed.
//!
//! One process claims a run once at a time, and a claim that was begun is carried through whoever stops to wait for it: a run must
//! not be left owned and not driven.

use super::{
    actor::RunActor,
    claim::{Ask, Claim, Held},
    error::RunError,
    hosted::{Hosted, Live, Progress},
    message::Msg,
};
use crate::core::snapshot::Snapshot;
use crate::newest;
use ractor::Actor as _;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tracing::Instrument as _;

/// What came of a claim.
#[derive(Debug)]
pub(super) enum Claimed {
    /// This call took the run up.
    Driven(Live),
    /// It lived here already.
    Here(Live),
    /// It lived here a moment ago: try again.
    Gone,
    /// Another worker has it.
    Elsewhere(Duration),
    /// It needs nobody.
    AtRest(Box<Snapshot>),
}

/// Who claims which run in this process, and who waits to: one process claims a run once at a time.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// One caller's place among those who claim a run; the last one to go takes the run off the list.
struct Turn<'t> {
    turns: &'t Turns,
    run: &'t str,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Turns {
    fn of<'t>(&'t self, run: &'t str) -> Turn<'t> {
        let lock = Arc::clone(self.list().entry(run.to_owned()).or_default());
        Turn { turns: self, run, lock }
    }

    fn list(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Waits until nobody else claims the run; held while it is claimed and its actor entered.
    async fn wait(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.lock.lock().await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut list = self.turns.list();
        // The list's handle and this one are left.
        if Arc::strong_count(&self.lock) == 2 {
            list.remove(self.run);
        }
    }
}

impl<C: Send + Sync + 'static> Hosted<C> {
    /// Claims a run and gives it an actor.
    ///
    /// In a task of its own: whoever asks may stop to wait at any moment, and must not leave a run that is owned and not driven.
    pub(super) async fn claim_and_drive(self: &Arc<Self>, run: &str, ask: Ask) -> Result<Claimed, RunError> {
        let (hosted, run, gone) = (Arc::clone(self), run.to_owned(), self.shared.gone.clone());
        let work = async move { gone.run_until_cancelled(hosted.claim_in_place(&run, ask)).await };
        match self.shared.claims.spawn(work.in_current_span()).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(RunError::ShuttingDown),
            Err(failed) => {
                failed.try_into_panic().map_or(Err(RunError::ShuttingDown), |panic| std::panic::resume_unwind(panic))
            }
        }
    }

    /// Does the same in the caller's own task, which nothing may stop before the runtime is gone.
    pub(super) async fn claim_in_place(self: &Arc<Self>, run: &str, ask: Ask) -> Result<Claimed, RunError> {
        let _waited_for = self.shared.claims.token();
        Box::pin(self.claim_in_turn(run, ask)).await
    }

    async fn claim_in_turn(self: &Arc<Self>, run: &str, ask: Ask) -> Result<Claimed, RunError> {
        if self.shared.draining.is_cancelled() {
            return Err(RunError::ShuttingDown);
        }
        let turn = self.turns.of(run);
        let _mine = turn.wait().await;
        if let Some(live) = self.live(run) {
            if !live.is_dead() {
                return Ok(Claimed::Here(live));
            }
            // Whoever comes first starts it again, be it the actor's supervisor or somebody who waits for the run.
            self.leave(run, live.actor.get_id());
        }
        match self.claim(run, ask).await? {
            Claim::Held(held) => Ok(Claimed::Driven(self.drive(held).await?)),
            Claim::Here => Ok(self.live(run).map_or(Claimed::Gone, Claimed::Here)),
            Claim::Elsewhere(left) => Ok(Claimed::Elsewhere(left)),
            Claim::AtRest(snapshot) => Ok(Claimed::AtRest(snapshot)),
        }
    }

    /// Gives a run that this worker owns an actor. A crash before this leaves the run owned and not driven, which is what a dead
    /// owner looks like.
    async fn drive(self: &Arc<Self>, held: Box<Held>) -> Result<Live, RunError> {
        let stored = held.stored.bytes.clone();
        let root = self.shared.root.get_cell();
        let (sender, progress) = newest::channel(Progress { stored, ended: None });
        let spawned = RunActor::spawn_linked(None, RunActor::new(), (Arc::clone(self), held, sender), root).await;
        let (actor, _) = spawned.map_err(|_| RunError::ShuttingDown)?;
        if self.shared.draining.is_cancelled() {
            let _ = actor.cast(Msg::Release);
        }
        Ok(Live { actor, progress })
    }
}
