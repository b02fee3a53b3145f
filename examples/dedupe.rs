//! A job that is submitted many times and done once.
//!
//! ```text
//! cargo run --example dedupe
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example dedupe
//! ```
//!
//! Two things keep a job from being done twice. The queue drops a message whose id it has seen in the last minutes: cheap, and over
//! when its window is over. The record of a job whose result is kept says that it has ended, for as long as the record is kept: so
//! whatever brings the job again, be it a sender that tries again after an hour or a delivery whose acknowledgement was lost, it is
//! acknowledged, and its handler does not run. The example fails if the customer is charged twice.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    Codec,
    engine::Engine,
    jobs::{JOB_ID, Job, JobResult, Jobs, Topic, TopicOptions, What, Worker},
};
use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

type Failure = Box<dyn Error + Send + Sync>;

/// A payment, in cents.
const CHARGE: Topic<u64> = Topic::new("charge", Codec::json());

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("dedupe").await?;
    // Of this start of the program, since a server remembers the ones before.
    let order = format!("order-{}", space.clock().now().as_micros());
    let jobs = Jobs::open(&space, "payments").await?;

    // By the id of the message: somebody clicks twice.
    for _ in 0..3 {
        let submitted = jobs.submit_as(&order, &CHARGE, &4200).await?;
        println!("submitted{}", if submitted.duplicate { ", and dropped: the queue has it already" } else { "" });
    }

    let charged = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&charged);
    let mut worker =
        Worker::builder(&space, "payments").topic_with(CHARGE, TopicOptions::default().keep_results(), move |job: Job<u64>| {
            let counter = Arc::clone(&counter);
            async move {
                counter.fetch_add(1, Ordering::Relaxed);
                JobResult::Ok(format!("receipt for {} cents", job.payload))
            }
        });
    let mut events = worker.events();
    let worker = worker.spawn().await?;
    println!("done: {}", jobs.outcome::<String>(&order).await?);

    // By its state: the same job in a message of another id, as a sender has it who comes back when the queue has forgotten.
    let late = CHARGE.message(&4200)?.header(JOB_ID, order.as_str());
    jobs.queue().publish(late).await?;
    loop {
        let event = events.next().await.ok_or("the worker is gone")?;
        if matches!(event.what, What::Superseded) {
            println!("it came again, had ended, and was only acknowledged");
            break;
        }
    }
    worker.drain().await;
    match charged.load(Ordering::Relaxed) {
        1 => println!("the customer is charged once"),
        times => return Err(format!("the customer is charged {times} times").into()),
    }
    Ok(())
}
