//! Several kinds of jobs in one queue, one worker that does them, and a stop that loses nothing.
//!
//! ```text
//! cargo run --example jobs
//! ANABRANCH_URL=file:/tmp/jobs.db cargo run --example jobs -- 1000
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example jobs -- 1000
//! ```
//!
//! The argument says how many jobs of each kind are submitted; without one it is 4, with 0 none, and the worker does what is there. An
//! email is JSON, a thumbnail MessagePack, an invoice protobuf. Every third email fails once, since the mail server is busy, and is
//! tried again. Ctrl-C or SIGTERM stops the worker: what runs is finished, and what has not begun goes back to the queue at once. On a
//! file or on a server the next start goes on with it.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    Codec, RetryPolicy,
    engine::Engine,
    jobs::{Job, JobResult, Jobs, NodeResultExt, Topic, TopicOptions, What, Worker},
};
use serde::{Deserialize, Serialize};
use std::{env, error::Error, num::NonZeroUsize, time::Duration};

type Failure = Box<dyn Error + Send + Sync>;

const EMAIL: Topic<Email> = Topic::new("email", Codec::json());
const THUMBNAIL: Topic<Thumbnail> = Topic::new("thumbnail", Codec::message_pack());
const INVOICE: Topic<Invoice> = Topic::new("invoice", Codec::protobuf());

#[derive(Debug, Serialize, Deserialize)]
struct Email {
    to: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Thumbnail {
    picture: String,
    width: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Invoice {
    #[prost(string, tag = "1")]
    customer: String,
    #[prost(uint64, tag = "2")]
    cents: u64,
}

async fn send(job: Job<Email>) -> JobResult<()> {
    job.clock().sleep(Duration::from_millis(20)).await; // stands for work
    if job.attempt() == 1 && job.payload.to.ends_with('3') {
        return Err("the mail server is busy").retry_after(Duration::from_millis(100));
    }
    println!("email to {}, attempt {}", job.payload.to, job.attempt());
    Ok(())
}

async fn shrink(job: Job<Thumbnail>) -> JobResult<()> {
    job.clock().sleep(Duration::from_millis(20)).await; // stands for work
    println!("{} is {} pixels wide", job.payload.picture, job.payload.width);
    Ok(())
}

async fn bill(job: Job<Invoice>) -> JobResult<()> {
    job.clock().sleep(Duration::from_millis(20)).await; // stands for work
    println!("{} owes {} cents", job.payload.customer, job.payload.cents);
    Ok(())
}

/// Waits until somebody stops the program.
async fn stopped() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminated = signal(SignalKind::terminate()).expect("a process may listen to its signals");
        tokio::select! {
            _ = interrupted => {}
            _ = terminated.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = interrupted.await;
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let count: u64 = env::args().nth(1).map_or(Ok(4), |count| count.parse())?;
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("jobs").await?;

    let jobs = Jobs::open(&space, "work").await?;
    for n in 1..=count {
        jobs.submit(&EMAIL, &Email { to: format!("ann{n}") }).await?;
        jobs.submit(&THUMBNAIL, &Thumbnail { picture: format!("picture {n}"), width: 64 }).await?;
        jobs.submit(&INVOICE, &Invoice { customer: format!("customer {n}"), cents: 100 * n }).await?;
    }

    let patient = TopicOptions::default().retry(RetryPolicy::default().max_attempts(5)).timeout(Duration::from_secs(30));
    let mut worker = Worker::builder(&space, "work")
        .concurrency(NonZeroUsize::new(4).expect("4 is not 0"))
        .topic_with(EMAIL, patient, send)
        .topic(THUMBNAIL, shrink)
        .topic(INVOICE, bill);
    let mut events = worker.events();
    let worker = worker.spawn().await?;
    println!("the worker takes jobs");

    let mut done = 0;
    let all = async {
        while count == 0 || done < 3 * count {
            match events.next().await.map(|event| (event.what, event.job)) {
                Some((What::Completed { .. }, _)) => done += 1,
                Some((What::Failed { message, retry_in: Some(delay), .. }, Some(job))) => {
                    println!("{} {} failed ({message}), again in {delay:?}", job.topic, job.sequence);
                }
                Some((What::Missed(events), _)) => done += events,
                Some(_) => {}
                None => return,
            }
        }
    };
    let early = tokio::select! {
        () = all => false,
        () = stopped() => true,
    };
    worker.drain().await;
    // The drain finished what ran, and told so.
    if early {
        while let Some(event) = events.next().await {
            match event.what {
                What::Completed { .. } => done += 1,
                What::Drained => break,
                _ => {}
            }
        }
        println!("stopped after {done} jobs; what is left waits in the queue");
    } else {
        println!("all {done} jobs are done");
    }
    Ok(())
}
