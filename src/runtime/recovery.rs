//! Taking over what nobody works on: after a worker's death, after an actor's, and every now and then.
//!
//! A sweep lists the runs of a topology by their labels, which costs no reads of snapshots, and claims those whose owner is
//! dead. It does not decide what becomes of a run; the claim does.

use super::{
    admission::Claimed,
    claim::{Ask, Want},
    error::RunError,
    hosted::{Hosted, Shared},
    message::Msg,
    record::Label,
    worker::Verdict,
};
use crate::{
    core::snapshot::{Owner, RunStatus},
    engine::{Key, StoreError},
    time::Backoff,
};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture};
use ractor::ActorId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// How many runs are claimed at the same time.
const CLAIMS_AT_ONCE: usize = 32;

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Runs that this worker took over.
    pub adopted: usize,
    /// Runs whose owner may live: they are taken over when it turns out that it does not.
    pub owned_elsewhere: usize,
    /// Runs that could not be taken over; the log says why.
    pub failed: usize,
    /// For some of them that was the store's fault, so they are worth another try soon.
    store_was_away: bool,
}

/// The topologies of a runtime.
pub(super) type Hosts = Mutex<Vec<Arc<dyn Host>>>;

/// A hosted topology, whatever its types.
pub(super) trait Host: Send + Sync {
    /// Takes over what nobody works on.
    fn sweep(self: Arc<Self>) -> BoxFuture<'static, Result<Recovered, RunError>>;
    /// Takes over a run of this worker whose actor failed, if it is of this topology; `false` when that has to be tried again.
    fn restart(self: Arc<Self>, actor: ActorId) -> BoxFuture<'static, bool>;
    /// Tells all actors to let go, and waits until they have.
    fn release(&self, how: fn() -> Msg) -> BoxFuture<'_, ()>;
}

/// Sweeps when a worker died, when an actor failed, and every `sweep_interval`, until it is dropped.
pub(super) async fn keep_watch(
    shared: Arc<Shared>,
    hosts: Arc<Hosts>,
    mut deaths: mpsc::UnboundedReceiver<String>,
    mut failures: mpsc::UnboundedReceiver<ActorId>,
) {
    let clock = shared.space.clock().clone();
    let interval = shared.options.sweep_interval;
    let mut sooner = Backoff::new(Duration::from_secs(1).min(interval), interval);
    let mut next = clock.instant() + interval;
    loop {
        let failed = tokio::select! {
            biased;
            // First, so that no number of failures puts it off.
            () = clock.sleep(next.saturating_duration_since(clock.instant())) => None,
            Some(worker) = deaths.recv() => {
                tracing::info!(worker, "a worker is gone");
                // Several deaths are one sweep.
                while deaths.try_recv().is_ok() {}
                None
            }
            Some(actor) = failures.recv() => Some(actor),
        };
        if shared.draining.is_cancelled() {
            return;
        }
        let hosts = hosts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut complete = true;
        for host in hosts {
            complete &= match failed {
                Some(actor) => host.restart(actor).await,
                None => match host.sweep().await {
                    Ok(found) => !found.store_was_away,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "a sweep failed and is repeated");
                        false
                    }
                },
            };
        }
        if !complete {
            next = clock.instant() + sooner.next_delay();
        } else if failed.is_none() {
            sooner.reset();
            next = clock.instant() + interval;
        }
    }
}

impl<C: Send + Sync + 'static> Hosted<C> {
    /// Finds the runs that may need somebody, with what became of each.
    async fn abandoned(&self, found: &mut Recovered) -> Result<Vec<String>, RunError> {
        let mut keys = self.store().keys(&self.runs.below()).await?;
        let mut verdicts: HashMap<String, bool> = HashMap::new();
        let mut abandoned = Vec::new();
        let me = &self.shared.worker.me().worker;
        while let Some(info) = keys.try_next().await? {
            let Some(run) = Key::untoken(info.key.last_token()) else { continue };
            let label = Label::parse(&info);
            let free = match &label {
                // Ours, and nobody drives it: its actor died before its claim was entered.
                Some(Label { status: RunStatus::Running, worker: Some(worker) }) if worker == me => self.live(&run).is_none(),
                Some(Label { status: RunStatus::Running, worker: Some(worker) }) => {
                    if !verdicts.contains_key(worker) {
                        verdicts.insert(worker.clone(), self.is_dead(worker).await?);
                    }
                    verdicts[worker]
                }
                Some(Label { status: RunStatus::Running | RunStatus::Parked, .. }) | None => true,
                Some(_) => false,
            };
            if free {
                abandoned.push(run);
            } else if label.is_some_and(|l| l.status == RunStatus::Running) && self.live(&run).is_none() {
                found.owned_elsewhere += 1;
            }
        }
        Ok(abandoned)
    }

    /// Judges a worker by its name alone; the claim judges the whole owner once more.
    async fn is_dead(&self, worker: &str) -> Result<bool, StoreError> {
        // Under an engine that this process has for itself, the instance of a snapshot decides; reading it is the claim's work.
        if self.store().capabilities().exclusive {
            return Ok(true);
        }
        let owner = Owner { worker: worker.to_owned(), instance: self.shared.worker.me().instance.clone() };
        Ok(self.shared.worker.judge(&owner).await? == Verdict::Dead)
    }
}

impl<C: Send + Sync + 'static> Host for Hosted<C> {
    fn sweep(self: Arc<Self>) -> BoxFuture<'static, Result<Recovered, RunError>> {
        async move {
            let mut found = Recovered::default();
            let abandoned = self.abandoned(&mut found).await?;
            let claims = futures_util::stream::iter(abandoned).map(|run| {
                let hosted = Arc::clone(&self);
                async move { (hosted.claim_and_drive(&run, Ask::TakeUp(Want::Continue)).await, run) }
            });
            let outcomes: Vec<_> = claims.buffer_unordered(CLAIMS_AT_ONCE).collect().await;
            for (outcome, run) in outcomes {
                match outcome {
                    Ok(Claimed::Driven(_)) => found.adopted += 1,
                    Ok(Claimed::Elsewhere(_)) => found.owned_elsewhere += 1,
                    Ok(Claimed::Here(_) | Claimed::Gone | Claimed::AtRest(_)) | Err(RunError::NotFound(_)) => {}
                    Err(error) => {
                        tracing::warn!(run, error = &error as &dyn std::error::Error, "a run was not taken over");
                        found.failed += 1;
                        found.store_was_away |= matches!(error, RunError::Store(_));
                    }
                }
            }
            Ok(found)
        }
        .boxed()
    }

    fn restart(self: Arc<Self>, actor: ActorId) -> BoxFuture<'static, bool> {
        async move {
            let Some((run, mut live)) = self.find(actor) else { return true };
            // Its bodies are dropped with it.
            let _ = live.progress.wait_for(|p| p.ended.is_some()).await;
            let restarted = self.claim_and_drive(&run, Ask::TakeUp(Want::Continue)).await;
            if let Err(error) = &restarted {
                tracing::warn!(run, error = error as &dyn std::error::Error, "a run was not restarted");
            }
            restarted.is_ok()
        }
        .boxed()
    }

    fn release(&self, how: fn() -> Msg) -> BoxFuture<'_, ()> {
        async move {
            let live = self.all_live();
            for run in &live {
                let _ = run.actor.cast(how());
            }
            for mut run in live {
                let _ = run.progress.wait_for(|p| p.ended.is_some()).await;
            }
        }
        .boxed()
    }
}
