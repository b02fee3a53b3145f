//! A run as a job: the job's id is the run's, so a job that comes again joins the run that is there.
//!
//! Attempts of the job repeat nothing that the run has done, since that is in its snapshot. What a failure of the run means is
//! decided here, and when the job comes again by its worker.

use super::{RunError, runs::Runs};
use crate::{
    codec::Payload,
    core::retry::StopReason,
    jobs::Job,
    topology::{NodeError, NodeResult},
};
use std::time::Duration;

/// When a job comes again whose runtime shuts down.
const ELSEWHERE: Duration = Duration::from_secs(1);

impl<I: Payload, O: Send + 'static, C: Send + Sync + 'static> Runs<I, O, C> {
    /// Starts the run of a job, with the job's id and payload, and waits for its output: a handler in one line. A job that comes again
    /// joins its run.
    ///
    /// A job that is cancelled, or takes longer than its topic allows, cancels its run. When its worker stops, the run goes on, and the
    /// job joins it when it comes again.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use anabranch::{Codec, Topology, engine::Engine, jobs::{Job, Jobs, Topic, TopicOptions, Worker}, runtime::Runtime};
    ///
    /// const DOUBLE: Topic<u64> = Topic::new("double", Codec::json());
    ///
    /// let mut t = Topology::builder::<u64>("double");
    /// let input = t.input();
    /// let doubled = t.node("double", input, async |_, n: u64| Ok(n * 2));
    /// let space = Engine::open("memory:").await?.space("shop").await?;
    /// let runtime = Runtime::start(space.clone()).await?;
    /// let runs = runtime.host(t.build(doubled)?, ())?;
    ///
    /// let own = runs.clone();
    /// let worker = Worker::builder(&space, "work")
    ///     .topic_with(DOUBLE, TopicOptions::default().keep_results(), move |job: Job<u64>| {
    ///         let runs = own.clone();
    ///         async move { runs.run_job(job).await }
    ///     })
    ///     .spawn()
    ///     .await?;
    /// let jobs = Jobs::open(&space, "work").await?;
    /// jobs.submit_as("order-7", &DOUBLE, &21).await?;
    /// assert_eq!(jobs.outcome::<u64>("order-7").await?, 42);
    /// assert_eq!(runs.get("order-7").await?.outcome().await?, 42);
    /// worker.drain().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// A terminal error when the run has failed or was cancelled, or belongs to another input: its nodes had their attempts, so the job
    /// is given up; resume the run, and then redrive the job. What may pass, as a store that is away, is tried again.
    ///
    /// # Cancel safety
    ///
    /// A run that was started goes on.
    pub async fn run_job(&self, job: Job<I>) -> NodeResult<O> {
        let (input, job) = job.split();
        let run = self.start(job.id(), input).await.map_err(failed)?;
        tokio::select! {
            biased;
            outcome = run.outcome() => outcome.map_err(failed),
            reason = job.cancelled() => {
                if matches!(reason, StopReason::Cancelled | StopReason::Timeout) {
                    // A crash before this leaves a run that goes on until its job comes again.
                    match self.cancel(job.id(), format!("its job ends: {reason}")).await {
                        Ok(()) | Err(RunError::Refused(_) | RunError::NotFound(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(NodeError::retryable(reason.to_string()))
            }
        }
    }
}

/// What a run's error means to its job.
fn failed(error: RunError) -> NodeError {
    match error {
        RunError::ShuttingDown => NodeError::throttled(ELSEWHERE),
        RunError::Store(_) | RunError::NotFound(_) => error.into(),
        _ => NodeError::terminal(error),
    }
}
