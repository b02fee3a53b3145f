//! Jobs that start runs of a topology: one run a job, however often the job comes.

use super::kit::*;
use anabranch::{
    NodeResultExt as _, Topology,
    core::snapshot::RunStatus,
    engine::Space,
    jobs::{Job, JobsError, TopicOptions, WorkerBuilder},
    runtime::{RunError, Runs, Runtime},
};

/// What a node of the topology sees.
#[derive(Clone)]
struct Seen {
    journal: Journal,
    gate: Gate,
}

/// `note -> double`, of which the first tells of itself and waits at the gate.
fn topology() -> Topology<u64, u64, Seen> {
    let mut t = Topology::builder::<u64>("double").app::<Seen>();
    let input = t.input();
    let noted = t.node("note", input, async |ctx: anabranch::Ctx<Seen>, n: u64| {
        ctx.app().journal.note(n.to_string());
        ctx.app().gate.pass().await;
        Ok(n)
    });
    let doubled = t.node("double", noted, async |_, n: u64| match n {
        13 => Err("an unlucky number").terminal(),
        n => Ok(n * 2),
    });
    t.build(doubled).unwrap()
}

fn running(space: &Space, runs: &Runs<u64, u64, Seen>) -> WorkerBuilder {
    let runs = runs.clone();
    worker(space).topic_with(NUMBER, TopicOptions::default().keep_results(), move |job: Job<u64>| {
        let runs = runs.clone();
        async move { runs.run_job(job).await }
    })
}

async fn hosted(space: &Space) -> (Runtime, Runs<u64, u64, Seen>, Seen) {
    let seen = Seen { journal: Journal::default(), gate: Gate::default() };
    let runtime = Runtime::start(space.clone()).await.unwrap();
    let runs = runtime.host(topology(), seen.clone()).unwrap();
    (runtime, runs, seen)
}

#[tokio::test(start_paused = true)]
async fn a_job_starts_a_run_under_its_id_and_joins_it_when_it_comes_again() {
    let space = space().await;
    let (_runtime, runs, Seen { journal, gate }) = hosted(&space).await;
    let jobs = jobs(&space).await;
    jobs.submit_as("order-7", &NUMBER, &21).await.unwrap();
    let first = running(&space, &runs).spawn().await.unwrap();
    journal.until(1).await;
    // The worker stops in the middle of the run: the job is handed back, the run goes on.
    first.drain_within(SECOND).await;
    let second = running(&space, &runs).spawn().await.unwrap();
    gate.open();
    assert_eq!(jobs.outcome::<u64>("order-7").await.unwrap(), 42);
    assert_eq!(runs.get("order-7").await.unwrap().outcome().await.unwrap(), 42);
    assert_eq!(journal.all(), ["21"], "the run is one, and its node ran once");
    assert!(jobs.record("order-7").await.unwrap().unwrap().failures.is_empty(), "no attempt was used up");
    second.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_run_failed_is_given_up_with_what_the_run_says() {
    let space = space().await;
    let (_runtime, runs, seen) = hosted(&space).await;
    seen.gate.open();
    let worker = running(&space, &runs).spawn().await.unwrap();
    let jobs = jobs(&space).await;
    jobs.submit_as("order-13", &NUMBER, &13).await.unwrap();
    let Err(JobsError::Dead { reason, .. }) = jobs.outcome::<u64>("order-13").await else { panic!("it has failed") };
    assert!(reason.contains("an unlucky number"), "{reason}");
    assert_eq!(seen.journal.all(), ["13"], "nothing of the run is repeated by its job");
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_cancelled_cancels_its_run() {
    let space = space().await;
    let (_runtime, runs, seen) = hosted(&space).await;
    let worker = running(&space, &runs).spawn().await.unwrap();
    let jobs = jobs(&space).await;
    jobs.submit_as("order-7", &NUMBER, &21).await.unwrap();
    seen.journal.until(1).await;
    jobs.cancel("order-7").await.unwrap();
    assert!(matches!(jobs.outcome::<u64>("order-7").await, Err(JobsError::Cancelled(_))));
    let run = runs.get("order-7").await.unwrap();
    assert!(matches!(run.outcome().await, Err(RunError::Cancelled { .. })));
    assert_eq!(run.snapshot().await.unwrap().status, RunStatus::Cancelled);
    worker.drain().await;
}
