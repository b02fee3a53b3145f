//! A job that two workers get, and one runs; and a worker that loses its lock and stops.
//!
//! ```text
//! cargo run --example exclusive_job
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example exclusive_job
//! ```
//!
//! A queue delivers at least once, so the same report comes to two workers. Each tries the report's lock: one gets it and runs,
//! the other leaves the job alone. Then a worker is cut off in the middle of a report, as by a network that fails: another one takes
//! the lock once the lease is over, and the first has stopped by then. What it had still sent comes too late: the report is
//! written with the lock's fencing token. Those who use Redis know the first part as Redlock. The example fails if a report is
//! made twice, or if two workers hold the lock at the same time.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    Codec,
    cell::{CellError, Cells},
    coordination::{CoordinationError, Lock},
    engine::{Engine, Key, Message, QueueOptions, Space},
    testing::faulty::FaultyStore,
};
use std::{env, error::Error, num::NonZeroUsize, sync::Arc, time::Duration};

type Failure = Box<dyn Error + Send + Sync>;

const LEASE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("exclusive-job").await?;
    let run = space.clock().now().as_micros();
    one_of_two_runs_it(&space, &format!("report {run}")).await?;
    who_loses_the_lock_stops(&space, &format!("audit {run}")).await?;
    Ok(())
}

/// A message that was published twice comes to two workers at the same time.
async fn one_of_two_runs_it(space: &Space, report: &str) -> Result<(), Failure> {
    let jobs = space.queue("jobs", QueueOptions::default()).await?;
    for _ in 0..2 {
        jobs.publish(Message::new(report.to_owned())).await?;
    }
    let made = Cells::<u32>::below(space, &Key::new("made")?, Codec::json()).cell(report)?;
    let mut pull = jobs.pull().await?;
    let mut deliveries = Vec::new();
    while deliveries.len() < 2 {
        for delivery in pull.next(NonZeroUsize::MIN).await? {
            // On a server there may be messages of an earlier start that was interrupted.
            if delivery.message().payload == report.as_bytes() { deliveries.push(delivery) } else { delivery.ack().await? }
        }
    }
    let work = ["ann", "bob"].into_iter().zip(deliveries).map(|(worker, delivery)| {
        let made = made.clone();
        async move {
            let lock = Lock::new(space, report, LEASE)?.holder_info(worker);
            match lock.try_acquire().await? {
                Some(guard) => {
                    // Whoever comes later, after the lock was given back, finds that there is nothing left to do.
                    if made.read().await?.is_none() {
                        println!("{worker} makes the {report}, with token {}", guard.token());
                        space.clock().sleep(Duration::from_millis(300)).await; // stands for work
                        made.update_fenced(&guard, |times| *times += 1).await?;
                    }
                    guard.release().await?;
                }
                None => println!("{worker} leaves it to another"),
            }
            delivery.ack().await?;
            Ok::<(), Failure>(())
        }
    });
    futures_util::future::try_join_all(work).await?;
    pull.close().await;
    match made.read().await?.map(|stored| stored.value) {
        Some(1) => println!("the report is made once"),
        times => return Err(format!("the report is made {times:?} times").into()),
    }
    Ok(())
}

/// A worker is cut off from the store: nothing that it sends arrives, and nothing is answered.
async fn who_loses_the_lock_stops(space: &Space, report: &str) -> Result<(), Failure> {
    let result = |space: &Space| Cells::<String>::below(space, &Key::new("result")?, Codec::json()).cell(report);
    let clock = space.clock().clone();
    // Ann's way to the store; the test kit knows how to break it.
    let way = FaultyStore::over(space, 0);
    let hers = space.clone().with_store(Arc::<FaultyStore>::clone(&way));
    let ann = Lock::new(&hers, report, LEASE)?.holder_info("ann").acquire().await?;
    println!("ann makes the {report}, with token {}", ann.token());
    way.hold();

    let next = Lock::new(space, report, LEASE)?.holder_info("bob");
    let follows = async {
        let bob = next.acquire().await?;
        Ok::<_, Failure>((bob, clock.instant()))
    };
    let stops = async {
        ann.lost().await;
        println!("ann has lost the lock, and stops");
        clock.instant()
    };
    let both = clock.timeout(LEASE * 5, async { tokio::join!(stops, follows) });
    let (lost, followed) = both.await.ok_or("bob waits for ever")?;
    let (bob, taken) = followed?;
    println!("bob makes the {report}, with token {}", bob.token());
    if lost >= taken || bob.token() <= ann.token() {
        return Err("two workers held the lock".into());
    }
    result(space)?.update_fenced(&bob, |text| "by bob".clone_into(text)).await?;

    // The network is back, and with it what ann had sent before she stopped.
    way.resume();
    match result(&hers)?.update_fenced(&ann.token(), |text| "by ann".clone_into(text)).await {
        Err(CellError::Fenced { ours, newest }) => println!("a late write with token {ours} is refused: {newest} was here"),
        Ok(()) => return Err("a late write came through".into()),
        // The store is away, which says nothing of the lock.
        Err(error) => return Err(error.into()),
    }
    match ann.release().await {
        Err(CoordinationError::Lost(_)) => {}
        Ok(()) => return Err("ann gave back what bob holds".into()),
        Err(error) => return Err(error.into()),
    }
    // He had it to the end, or this says that he did not.
    bob.release().await?;
    let stored = result(space)?.read().await?.map(|stored| stored.value).unwrap_or_default();
    if stored != "by bob" {
        return Err(format!("the result is {stored}").into());
    }
    println!("the result is the one of the worker that held the lock last");
    Ok(())
}
