//! A batch of jobs that several processes work on, and who waits for its end.
//!
//! ```text
//! cargo run --example wait_group
//! cargo run --example wait_group -- 100
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example wait_group
//! ```
//!
//! The jobs, 20 unless the argument says another number, are members of a wait group before their messages are sent, and every
//! fourth message is sent twice, as a queue does when an acknowledgement was lost. Three workers do the jobs, and two waiters see
//! the batch end; on a server each of them has a connection of its own, as a process has. A job that comes twice counts once, and
//! a member that has left does not enter again. The example fails if the end is seen too early, or a job counts twice.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    coordination::{Counter, Ended, WaitGroup},
    engine::{Engine, Message, QueueOptions, Space},
    time::unique,
};
use serde::{Deserialize, Serialize};
use std::{env, error::Error, num::NonZeroUsize, time::Duration};
use tokio::{sync::mpsc, task::JoinSet};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Serialize, Deserialize)]
struct Job {
    batch: String,
    name: String,
}

/// Opens the engine as another process does. What is in memory has one process only.
async fn another_process(url: &str, here: &Space) -> Result<Space, Failure> {
    if url.starts_with("nats") { Ok(Engine::open(url).await?.space("wait-group").await?) } else { Ok(here.clone()) }
}

/// Works for ever, and tells what it did.
async fn work(space: Space, worker: usize, told: mpsc::UnboundedSender<Job>) -> Result<(), Failure> {
    let queue = space.queue("jobs", QueueOptions::default()).await?;
    let mut messages = queue.pull().await?;
    loop {
        for delivery in messages.next(NonZeroUsize::MIN).await? {
            let job: Job = serde_json::from_slice(&delivery.message().payload)?;
            space.clock().sleep(Duration::from_millis(20)).await; // stands for work
            // First what was done, then that it is done: whoever sees the end sees all of it. A crash anywhere repeats both.
            let counted = Counter::new(&space, &job.batch)?.add_once(&job.name, 1).await?;
            let left = WaitGroup::new(&space, &job.batch)?.leave(&job.name).await?;
            let remark = if counted.repeated { "  (it came twice)" } else { "" };
            println!("worker {worker} did {:<7} {left:>3} left{remark}", job.name);
            delivery.ack().await?;
            told.send(job)?;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let count: usize = env::args().nth(1).map_or(Ok(20), |count| count.parse())?;
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("wait-group").await?;
    let jobs = space.queue("jobs", QueueOptions::default()).await?;
    let batch = format!("batch-{}", unique(space.clock()));
    let group = WaitGroup::new(&space, &batch)?;

    // All of them enter before anybody can leave: otherwise there would be an end between two jobs.
    for n in 1..=count {
        group.enter(&format!("job-{n}")).await?;
    }
    let mut waiters = JoinSet::new();
    for n in 1..=2 {
        let (space, batch) = (another_process(&url, &space).await?, batch.clone());
        waiters.spawn(async move {
            let ended = WaitGroup::new(&space, &batch)?.wait_within(Duration::from_secs(100)).await?;
            Ok::<_, Failure>((n, ended, Counter::new(&space, &batch)?.value().await?))
        });
    }
    let (told, mut done) = mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    for worker in 1..=3 {
        workers.spawn(work(another_process(&url, &space).await?, worker, told.clone()));
    }
    let mut sent = 0;
    for n in 1..=count {
        let job = Job { batch: batch.clone(), name: format!("job-{n}") };
        for _ in 0..=usize::from(n % 4 == 0) {
            jobs.publish(Message::new(serde_json::to_vec(&job)?)).await?;
            sent += 1;
        }
    }

    while let Some(waiter) = waiters.join_next().await {
        let (n, ended, counted) = waiter??;
        println!("waiter {n} sees the end: {ended:?}, {counted} jobs are done");
        if ended != Ended::Zero || usize::try_from(counted)? != count {
            return Err(format!("waiter {n} saw {ended:?} with {counted} of {count} jobs").into());
        }
    }
    // What was sent twice is worked off as well; a worker that fails ends the example.
    while sent > 0 {
        tokio::select! {
            job = done.recv() => sent -= usize::from(job.ok_or("the workers are gone")?.batch == batch),
            failed = workers.join_next() => failed.ok_or("there are no workers")???,
        }
    }
    workers.shutdown().await;
    let counted = Counter::new(&space, &batch)?.value().await?;
    if usize::try_from(counted)? != count || group.enter("job-1").await? {
        return Err(format!("{counted} of {count} jobs are counted, or one of them entered again").into());
    }
    println!("{count} jobs counted once each, and none of them enters again");

    // A batch that is called off: who waits for it is told.
    let off = WaitGroup::new(&space, &format!("{batch}-called-off"))?;
    off.add(2).await?;
    off.close().await?;
    println!("a batch that is called off ends as {:?}", off.wait().await?);
    off.delete().await?;
    Ok(())
}
