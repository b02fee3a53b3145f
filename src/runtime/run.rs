//! A handle to one run: await its outcome, or follow its progress, wherever it is driven.

use super::{RunError, body, dead_letter::failures, hosted::Hosted, lifecycle::Runtime};
use crate::{
    core::snapshot::{RunStatus, Snapshot},
    engine::Change,
    topology::Topology,
};
use futures_util::{Stream, StreamExt as _, stream};
use std::{fmt, sync::Arc, time::Duration};

/// One run. Handles are cheap and keep their runtime alive; dropping one changes nothing for the run.
pub struct Run<I, O, C> {
    pub(super) hosted: Arc<Hosted<C>>,
    pub(super) topology: Topology<I, O, C>,
    pub(super) id: Arc<str>,
    /// A run that is awaited has a worker, also when its `Runs` was a temporary.
    pub(super) runtime: Runtime,
}

impl<I, O, C> Clone for Run<I, O, C> {
    fn clone(&self) -> Self {
        Self {
            hosted: Arc::clone(&self.hosted),
            topology: self.topology.clone(),
            id: Arc::clone(&self.id),
            runtime: self.runtime.clone(),
        }
    }
}

impl<I, O, C> fmt::Debug for Run<I, O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<I, O, C: Send + Sync + 'static> Run<I, O, C> {
    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the run has ended, and returns its output.
    ///
    /// A suspended run is waited for: a signal moves it.
    ///
    /// # Errors
    ///
    /// [`RunError::Failed`] or [`RunError::Cancelled`] for a run that ended so, [`RunError::Output`] when it completed without
    /// the output that the topology promises, [`RunError::NotFound`] when it was deleted.
    ///
    /// # Cancel safety
    ///
    /// Safe: waiting changes nothing.
    pub async fn outcome(&self) -> Result<O, RunError> {
        let snapshot = self.wait_for(|s| s.status.is_terminal()).await?;
        match snapshot.status {
            RunStatus::Completed => {
                let values: Vec<_> = body::values(&snapshot, &self.hosted.definition.output).collect();
                let values = self.hosted.outputs.fetch_all(&values).await?;
                Ok(self.topology.decode_output(values)?)
            }
            RunStatus::Cancelled => Err(RunError::Cancelled {
                run: snapshot.run.clone(),
                reason: snapshot.reason.clone().unwrap_or_else(|| "no reason was given".into()),
            }),
            status => Err(RunError::Failed {
                run: snapshot.run.clone(),
                status,
                reason: snapshot.reason.clone(),
                failures: failures(&snapshot),
            }),
        }
    }

    /// Returns the run as it is.
    ///
    /// # Errors
    ///
    /// [`RunError::NotFound`] when there is no such run any more.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, RunError> {
        if let Some(live) = self.hosted.live(&self.id) {
            return Ok(Arc::new(live.progress.borrow().snapshot()));
        }
        let record = self.hosted.load(&self.id).await?.ok_or_else(|| RunError::NotFound(self.id.to_string()))?;
        Ok(Arc::new(record.snapshot))
    }

    /// Waits until the run is as `wanted`, and returns it.
    ///
    /// # Errors
    ///
    /// [`RunError::NotFound`] when the run was deleted; what the store says when it cannot be watched.
    ///
    /// # Cancel safety
    ///
    /// Safe: waiting changes nothing.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&Snapshot) -> bool) -> Result<Arc<Snapshot>, RunError> {
        let mut progress = std::pin::pin!(self.progress());
        while let Some(snapshot) = progress.next().await {
            let snapshot = snapshot?;
            if wanted(&snapshot) {
                return Ok(snapshot);
            }
        }
        Err(RunError::NotFound(self.id.to_string()))
    }

    /// Follows the run: its state now, then each newer one, until it has ended. States may be skipped, never repeated.
    ///
    /// # Errors
    ///
    /// An item is an error when the run was deleted or cannot be read, and is then the last.
    pub fn progress(&self) -> impl Stream<Item = Result<Arc<Snapshot>, RunError>> + Send + use<I, O, C> {
        let follow = Follow { hosted: Arc::clone(&self.hosted), id: Arc::clone(&self.id), seen: None, from: From::Nowhere };
        stream::unfold(Some(follow), |follow| async move {
            let mut follow = follow?;
            match follow.next().await {
                Ok(snapshot) => {
                    let ended = snapshot.status.is_terminal();
                    Some((Ok(snapshot), (!ended).then_some(follow)))
                }
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

/// Following one run through its owners: its actor while it lives here, a watch of its key otherwise.
struct Follow<C> {
    hosted: Arc<Hosted<C>>,
    id: Arc<str>,
    /// The newest state that was given out.
    seen: Option<Arc<Snapshot>>,
    from: From,
}

enum From {
    Nowhere,
    Actor(crate::newest::Receiver<super::hosted::Progress>),
    Store {
        changes: stream::BoxStream<'static, Change>,
        /// Whether the run was there since the watch began, or began anew.
        there: bool,
    },
}

impl<C: Send + Sync + 'static> Follow<C> {
    async fn next(&mut self) -> Result<Arc<Snapshot>, RunError> {
        loop {
            match &mut self.from {
                From::Nowhere => match self.hosted.live(&self.id) {
                    Some(live) => self.from = From::Actor(live.progress),
                    // Most that nobody has are at rest, and then there is nothing to watch.
                    None => match self.look().await? {
                        rests if rests.status.is_terminal() && self.is_news(&rests) => return Ok(self.saw(rests)),
                        _ => self.watch().await?,
                    },
                },
                From::Actor(progress) => {
                    let snapshot = Arc::new(progress.borrow_and_update().snapshot());
                    if self.is_news(&snapshot) {
                        return Ok(self.saw(snapshot));
                    }
                    let From::Actor(progress) = &mut self.from else { continue };
                    let ended = progress.borrow().ended.is_some();
                    if ended || progress.changed().await.is_err() {
                        // At rest, or driven by somebody else: the store tells.
                        self.watch().await?;
                    }
                }
                From::Store { changes, there } => match changes.next().await {
                    Some(Change::Put(entry)) => {
                        *there = true;
                        let record = self.hosted.decode(&self.id, entry)?;
                        let snapshot = Arc::new(record.snapshot);
                        if self.is_news(&snapshot) {
                            return Ok(self.saw(snapshot));
                        }
                    }
                    // What serves the watch may be behind: the store itself is asked, and its answer is to come here, too.
                    Some(Change::Synced) if !*there => drop(self.look().await?),
                    Some(Change::Synced) => {}
                    Some(Change::Deleted(..) | Change::Expired(..)) => return Err(RunError::NotFound(self.id.to_string())),
                    Some(Change::Resynced) => *there = false,
                    None => {
                        self.hosted.clock().sleep(Duration::from_millis(100)).await;
                        self.from = From::Nowhere;
                    }
                },
            }
        }
    }

    /// Reads the run; one that is not there is told at once rather than waited for.
    async fn look(&mut self) -> Result<Arc<Snapshot>, RunError> {
        let record = self.hosted.load(&self.id).await?.ok_or_else(|| RunError::NotFound(self.id.to_string()))?;
        Ok(Arc::new(record.snapshot))
    }

    /// Watches the run's key and no other: what it costs to follow a run does not depend on how many there are.
    async fn watch(&mut self) -> Result<(), RunError> {
        let changes = self.hosted.store().watch(&self.hosted.key(&self.id)?.alone()).await?;
        self.from = From::Store { changes, there: false };
        Ok(())
    }

    fn is_news(&self, snapshot: &Snapshot) -> bool {
        self.seen.as_ref().is_none_or(|seen| **seen != *snapshot)
    }

    fn saw(&mut self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.seen = Some(Arc::clone(&snapshot));
        snapshot
    }
}
