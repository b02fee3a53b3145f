//! Jobs that take long: kept alive, watched, timed out, and cancelled.
//!
//! ```text
//! cargo run --example long_job
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example long_job
//! ```
//!
//! The queue gives a message to another worker when nobody is heard of for a second, and the first job takes three: the worker says
//! that it goes on, so the job runs once. The second takes longer than it may, is told why, and fails. The third is cancelled from
//! outside. The example fails if a job runs twice, or ends otherwise.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    Codec, RetryPolicy,
    engine::{Engine, QueueOptions},
    jobs::{Event, Job, JobError, JobResult, Jobs, JobsError, Topic, TopicOptions, What, Worker},
};
use std::{env, error::Error, time::Duration};

type Failure = Box<dyn Error + Send + Sync>;

const SECOND: Duration = Duration::from_secs(1);

/// A film, and how many seconds it takes to encode it.
const ENCODE: Topic<(String, u32)> = Topic::new("encode", Codec::json());

/// Works in steps of a tenth of a second, and says how far it is.
async fn encode(job: Job<(String, u32)>) -> JobResult<String> {
    let (film, seconds) = &job.payload;
    for step in 1..=seconds * 10 {
        tokio::select! {
            reason = job.cancelled() => {
                println!("{film} stops: {reason}");
                return Err(JobError::retryable(reason.to_string()));
            }
            () = job.clock().sleep(SECOND / 10) => {}
        }
        if step % 10 == 0 {
            let percent = u8::try_from(step * 10 / seconds).unwrap_or(100);
            job.progress((percent, format!("{film}: {} of {seconds} seconds", step / 10))).await?;
        }
    }
    Ok(format!("{film} is encoded"))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("long-job").await?;
    let start = space.clock().now().as_micros();
    let id = |film: &str| format!("{film}-{start}");
    let films = ("films", QueueOptions::default().ack_wait(SECOND));
    let jobs = Jobs::open(&space, films.clone()).await?;

    let options = TopicOptions::default().timeout(4 * SECOND).expected(2 * SECOND).retry(RetryPolicy::never()).keep_results();
    let mut worker = Worker::builder(&space, films).topic_with(ENCODE, options, encode);
    let mut events = worker.events();
    let worker = worker.spawn().await?;
    for (film, seconds) in [("short", 3), ("endless", 3600), ("unwanted", 3600)] {
        jobs.submit_as(id(film), &ENCODE, &(film.to_owned(), seconds)).await?;
    }

    let (mut received, mut extended, mut left) = (0, 0, 3);
    while left > 0 {
        let Event { what, job, .. } = events.next().await.ok_or("the worker is gone")?;
        let name = job.map(|job| job.id.split('-').next().unwrap_or_default().to_owned()).unwrap_or_default();
        match what {
            What::Received => {
                received += 1;
                // Somebody changes his mind.
                if name == "unwanted" {
                    jobs.cancel(&id("unwanted")).await?;
                }
            }
            What::Working => extended += 1,
            What::Progressed { progress } => println!("{} ({} %)", progress.text, progress.percent.unwrap_or_default()),
            What::ExceededExpectation { expected } => println!("{name} takes longer than the expected {expected:?}"),
            What::TimedOut { timeout } => println!("{name} may take {timeout:?} and no longer"),
            What::Completed { .. } | What::Cancelled | What::DeadLettered { .. } => left -= 1,
            _ => {}
        }
    }
    println!("{}", jobs.outcome::<String>(&id("short")).await?);
    match jobs.outcome::<String>(&id("endless")).await {
        Err(JobsError::Dead { reason, .. }) => println!("given up: {reason}"),
        other => return Err(format!("the endless one ended otherwise: {other:?}").into()),
    }
    match jobs.outcome::<String>(&id("unwanted")).await {
        Err(JobsError::Cancelled(_)) => println!("the unwanted one is cancelled"),
        other => return Err(format!("the unwanted one ended otherwise: {other:?}").into()),
    }
    // So that the next start finds none.
    jobs.dead_letters().await?.purge(&id("endless")).await?;
    worker.drain().await;
    if received != 3 || extended == 0 {
        return Err(format!("{received} attempts for 3 jobs, extended {extended} times").into());
    }
    println!("each ran once, and the queue was told that they go on");
    Ok(())
}
