//! A worker, to whoever started it.

use super::{
    attempt::Floor,
    builder::{Source, WorkerBuilder},
    events::{Events, What},
};
use crate::{core::retry::StopReason, engine::Space};
use std::{fmt, sync::Arc, time::Duration};
use tokio_util::{sync::DropGuard, task::TaskTracker};

/// What the last steps of a drain may take: to store what became of a job, and to tell its queue.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// Works on the jobs of a queue, until it is drained or dropped.
///
/// A worker that is dropped takes no more jobs; those that run go on, and are settled.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{Codec, engine::Engine, jobs::{Job, JobResult, NodeResultExt, Jobs, Topic, TopicOptions, Worker}};
///
/// const SQUARE: Topic<i64> = Topic::new("square", Codec::json());
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let jobs = Jobs::open(&space, "numbers").await?;
/// let worker = Worker::builder(&space, "numbers")
///     .topic_with(SQUARE, TopicOptions::default().keep_results(), async |job: Job<i64>| -> JobResult<i64> {
///         job.payload.checked_mul(job.payload).ok_or("too large a number").terminal()
///     })
///     .spawn()
///     .await?;
/// let seven = jobs.submit(&SQUARE, &7).await?;
/// assert_eq!(jobs.outcome::<i64>(&seven.id).await?, 49);
/// assert!(jobs.submit_as("job-1", &SQUARE, &8).await?.duplicate == false);
/// assert!(jobs.submit_as("job-1", &SQUARE, &8).await?.duplicate);
/// worker.drain().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Worker {
    floor: Arc<Floor>,
    intakes: TaskTracker,
    watches: TaskTracker,
    drain_timeout: Duration,
    _guard: DropGuard,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("in_hand", &self.floor.tasks.len()).finish_non_exhaustive()
    }
}

impl Worker {
    /// Prepares a worker on a queue of a space.
    pub fn builder(space: &Space, queue: impl Into<Source>) -> WorkerBuilder {
        WorkerBuilder::new(space, queue.into())
    }

    pub(super) fn new(floor: Arc<Floor>, (intakes, watches): (TaskTracker, TaskTracker), drain_timeout: Duration) -> Self {
        let guard = floor.stop.clone().drop_guard();
        Self { floor, intakes, watches, drain_timeout, _guard: guard }
    }

    /// Listens to what happens to jobs here, from now on. A listener who is slow loses the oldest events and is told how many.
    #[must_use]
    pub fn events(&self) -> Events {
        self.floor.bus.listen()
    }

    /// Returns how many jobs are in hand.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.floor.tasks.len()
    }

    /// Takes no more jobs, hands back what has not begun, and waits until those that run have ended. What still runs after the
    /// [`drain_timeout`](WorkerBuilder::drain_timeout) is told [`StopReason::Stopped`], has the
    /// [`stop_grace`](WorkerBuilder::stop_grace) if it listens, and is handed back; no attempt is used up. Every message is kept
    /// alive until it is settled. Always returns.
    ///
    /// # Cancel safety
    ///
    /// A drain that is dropped has stopped the worker; what runs goes on.
    pub async fn drain(self) {
        let timeout = self.drain_timeout;
        self.end(timeout, StopReason::Stopped).await;
    }

    /// Drains as [`drain`](Self::drain) does, with another time for what runs; none tells it at once.
    ///
    /// # Cancel safety
    ///
    /// As [`drain`](Self::drain).
    pub async fn drain_within(self, timeout: Duration) {
        self.end(timeout, StopReason::Stopped).await;
    }

    /// Drains all workers at once, as a process does that ends: what runs is told [`StopReason::Shutdown`].
    ///
    /// # Cancel safety
    ///
    /// As [`drain`](Self::drain).
    pub async fn drain_all(workers: impl IntoIterator<Item = Self>) {
        let drains = workers.into_iter().map(|worker| {
            let timeout = worker.drain_timeout;
            worker.end(timeout, StopReason::Shutdown)
        });
        futures_util::future::join_all(drains).await;
    }

    async fn end(self, timeout: Duration, reason: StopReason) {
        let Self { floor, intakes, .. } = &self;
        let clock = floor.space.clock();
        floor.stop.cancel();
        let all = async {
            intakes.wait().await;
            floor.tasks.close();
            floor.tasks.wait().await;
        };
        let mut all = std::pin::pin!(all);
        if clock.timeout(timeout, &mut all).await.is_none() {
            floor.running.ask_all(reason);
            if clock.timeout(floor.stop_grace + LAST_STEPS, &mut all).await.is_none() {
                // What could not be stored or told until now is left as it is: its messages come again after `ack_wait`.
                tracing::warn!(jobs = floor.tasks.len(), "a drain leaves jobs unsettled");
                floor.gone.cancel();
                let _ = clock.timeout(LAST_STEPS, &mut all).await;
            }
        }
        floor.gone.cancel();
        self.watches.wait().await;
        floor.bus.say(What::Drained);
    }
}
