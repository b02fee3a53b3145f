//! Jobs that were given up, why, and how they are put back when the cause is gone.
//!
//! ```text
//! cargo run --example redrive
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example redrive
//! ```
//!
//! The printer is out of paper, so each of three labels is tried twice and then given up: its letter holds the message, the errors and
//! how often it was tried. One letter is thrown away, and the others are put back when there is paper. The example fails unless both
//! are printed, and no letter is left.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    Codec, RetryPolicy,
    engine::Engine,
    jobs::{Job, JobError, JobResult, Jobs, Topic, TopicOptions, What, Worker},
};
use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

type Failure = Box<dyn Error + Send + Sync>;

const LABEL: Topic<String> = Topic::new("label", Codec::json());

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("redrive").await?;
    let start = space.clock().now().as_micros();
    let jobs = Jobs::open(&space, "labels").await?;
    for address in ["ann", "bob", "eve"] {
        jobs.submit_as(format!("{address}-{start}"), &LABEL, &address.to_owned()).await?;
    }

    let paper = Arc::new(AtomicBool::new(false));
    let tray = Arc::clone(&paper);
    let twice = TopicOptions::default()
        .retry(RetryPolicy::default().max_attempts(2).fixed(Duration::from_millis(50)).jitter(0))
        .keep_results();
    let mut worker = Worker::builder(&space, "labels").topic_with(LABEL, twice, move |job: Job<String>| {
        let tray = Arc::clone(&tray);
        async move {
            if !tray.load(Ordering::Relaxed) {
                return Err(JobError::retryable("the printer is out of paper"));
            }
            JobResult::Ok(format!("label for {}", job.payload))
        }
    });
    let mut events = worker.events();
    let worker = worker.spawn().await?;
    let mut given_up = 0;
    while given_up < 3 {
        let event = events.next().await.ok_or("the worker is gone")?;
        given_up += usize::from(matches!(event.what, What::DeadLettered { .. }));
    }

    let letters = jobs.dead_letters().await?;
    for letter in letters.list(100).await? {
        let last = letter.failures.last().ok_or("a letter without its errors")?;
        println!("{}: given up after {} attempts, the last: {}", letter.id, letter.attempts, last.message);
    }
    if !letters.purge(&format!("eve-{start}")).await? {
        return Err("the letter to be thrown away is not there".into());
    }
    println!("eve's is thrown away");

    paper.store(true, Ordering::Relaxed);
    println!("there is paper: {} are put back", letters.redrive_all().await?);
    for address in ["ann", "bob"] {
        println!("printed: {}", jobs.outcome::<String>(&format!("{address}-{start}")).await?);
    }
    worker.drain().await;
    match letters.list(100).await?.len() {
        0 => println!("no letter is left"),
        some => return Err(format!("{some} letters are left").into()),
    }
    Ok(())
}
