//! Three printers and eight workers: never more than three print, and a worker that is started again does not take a second one.
//!
//! ```text
//! cargo run --example semaphore
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example semaphore
//! ```
//!
//! Each worker asks for a permit under its name, prints, and gives it back. Worker 1 is started again while it holds its permit:
//! it goes on with the same one, and its earlier self learns that it lost it. The example fails if a fourth worker prints, or if a
//! name takes two permits.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{coordination::Semaphore, engine::Engine};
use std::{
    env,
    error::Error,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

type Failure = Box<dyn Error + Send + Sync>;

const LEASE: Duration = Duration::from_secs(2);
const PRINTERS: NonZeroU32 = NonZeroU32::new(3).expect("3 is not 0");

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("semaphore").await?;
    // Each start has printers of its own, since on a server there may be workers of another.
    let printers = format!("printers {}", space.clock().now().as_micros());
    let printers = Semaphore::new(&space, &printers, PRINTERS, LEASE)?;

    let printing = AtomicU32::new(0);
    let most = AtomicU32::new(0);
    let workers = (1..=8).map(|number| {
        let (printers, printing, most, clock) = (&printers, &printing, &most, space.clock());
        async move {
            let permit = printers.acquire_as(&format!("worker {number}")).await?;
            let now = printing.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            println!("worker {number} prints, {now} of {PRINTERS}");
            clock.sleep(Duration::from_millis(200)).await; // stands for work
            printing.fetch_sub(1, Ordering::SeqCst);
            permit.release().await?;
            Ok::<(), Failure>(())
        }
    });
    futures_util::future::try_join_all(workers).await?;
    let most = most.into_inner();
    println!("never more than {most} printed");
    if most > PRINTERS.get() {
        return Err("more printed than there are printers".into());
    }

    let before = printers.acquire_as("worker 1").await?;
    println!("worker 1 prints again, and is started anew meanwhile");
    let after = printers.acquire_as("worker 1").await?;
    let holders = printers.holders().await?;
    if holders.len() != 1 || printers.available().await? != PRINTERS.get() - 1 || after.token() <= before.token() {
        return Err(format!("a name took {} permits", holders.len()).into());
    }
    before.lost().await;
    println!("its earlier self has lost the permit, and it holds 1 of {PRINTERS}");
    after.release().await?;
    if printers.available().await? != PRINTERS.get() {
        return Err("somebody kept a permit".into());
    }
    println!("all {PRINTERS} printers are free");
    Ok(())
}
