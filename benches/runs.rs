//! Topology runs a second, beside the floor of the same engine: what each run must at least do, done by hand.
//!
//! A run of the diamond is one message, one snapshot written five times (start, three transitions, end: `b` and `c` may share
//! one) and one acknowledgement. The floor pulls the same messages and writes five values of the same size, each with the revision of the one
//! before. Both are measured in turns, in one process, and the ratio is what counts.
//!
//! `ANABRANCH_URL=nats://localhost:4222 cargo bench --bench runs -- 5000 256`: runs a round, and how many at the same time.
#![allow(clippy::cast_precision_loss, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use anabranch::{
    Ctx, NodeResult, Topology,
    engine::{Delivery, Engine, Expect, Key, Message, PutOptions, Queue, QueueOptions, Space},
    runtime::{Runtime, RuntimeOptions},
    time::{Clock, nonce},
};
use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{sync::Semaphore, task::JoinSet};

const ROUNDS: usize = 3;
/// What the diamond's snapshot weighs.
const SNAPSHOT_BYTES: usize = 460;

#[derive(Clone, Default)]
struct Done(Arc<AtomicUsize>);

async fn step(_: Ctx<Done>, value: u64) -> NodeResult<u64> {
    Ok(value + 1)
}

fn diamond() -> Topology<u64, u64, Done> {
    let mut t = Topology::builder::<u64>("diamond").app::<Done>();
    let input = t.input();
    let a = t.node("a", input, step);
    let b = t.node("b", a, step);
    let c = t.node("c", a, step);
    let d = t.node("d", (b, c), async |ctx: Ctx<Done>, (b, c): (u64, u64)| {
        ctx.app().0.fetch_add(1, Ordering::Relaxed);
        Ok(b + c)
    });
    t.build(d).unwrap()
}

async fn filled(space: &Space, name: &str, messages: usize) -> Arc<dyn Queue> {
    let queue = space.queue(name, QueueOptions::default()).await.unwrap();
    let mut publishing = JoinSet::new();
    for n in 0..messages {
        let queue = Arc::clone(&queue);
        publishing.spawn(async move { queue.publish(Message::new(n.to_string())).await.unwrap() });
        if publishing.len() >= 256 {
            publishing.join_next().await;
        }
    }
    while publishing.join_next().await.is_some() {}
    queue
}

/// Runs a second of the library.
async fn library(space: &Space, round: usize, messages: usize, at_once: usize) -> f64 {
    let queue = filled(space, &format!("runs-{round}"), messages).await;
    let (runtime, done) = (Runtime::start_with(space.clone(), RuntimeOptions::default()).await.unwrap(), Done::default());
    let runs = runtime.host(diamond(), done.clone()).unwrap();
    let clock = Clock::system();
    let started = clock.instant();
    let tag = nonce();
    let supervisor = runs
        .supervise(queue)
        .concurrency(NonZeroUsize::new(at_once).unwrap())
        .run_id(move |m: &Delivery| format!("{tag}-{}", m.sequence()))
        .spawn()
        .await
        .unwrap();
    while done.0.load(Ordering::Relaxed) < messages {
        clock.sleep(std::time::Duration::from_millis(1)).await;
    }
    supervisor.drain().await;
    let took = started.elapsed();
    runtime.drain().await.unwrap();
    messages as f64 / took.as_secs_f64()
}

/// The same a second, by hand.
async fn floor(space: &Space, round: usize, messages: usize, at_once: usize) -> f64 {
    let queue = filled(space, &format!("floor-{round}"), messages).await;
    let (slots, tag) = (Arc::new(Semaphore::new(at_once)), nonce());
    let mut pull = queue.pull().await.unwrap();
    let mut tasks = JoinSet::new();
    let started = Clock::system().instant();
    let mut taken = 0;
    while taken < messages {
        drop(slots.acquire().await.unwrap());
        let free = NonZeroUsize::new(slots.available_permits()).unwrap();
        for delivery in pull.next(free).await.unwrap() {
            taken += 1;
            let (slot, space) = (Arc::clone(&slots).try_acquire_owned(), space.clone());
            tasks.spawn(async move {
                let key = Key::new(format!("floor.{tag}-{}", delivery.sequence())).unwrap();
                let mut expect = Expect::Absent;
                for _ in 0..5 {
                    let value = vec![b'x'; SNAPSHOT_BYTES].into();
                    expect = Expect::At(space.store().put(&key, value, expect, PutOptions::default()).await.unwrap());
                }
                delivery.ack().await.unwrap();
                drop(slot);
            });
        }
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
    let took = started.elapsed();
    pull.close().await;
    messages as f64 / took.as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::main]
async fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let (messages, at_once) = (numbers.first().copied().unwrap_or(5000), numbers.get(1).copied().unwrap_or(256));
    let url = std::env::var("ANABRANCH_URL").unwrap_or_else(|_| "memory:".into());
    let space = Engine::open(&url).await.unwrap().space(format!("bench-{:x}", nonce())).await.unwrap();
    println!("{} | {messages} runs a round, {at_once} at the same time", space.store().capabilities().engine);
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        floors.push(floor(&space, round, messages, at_once).await);
        ours.push(library(&space, round, messages, at_once).await);
        println!("round {round}: library {:>8.0} runs/s, floor {:>8.0} runs/s", ours[round], floors[round]);
    }
    let (ours, floor) = (median(ours), median(floors));
    println!("median : library {ours:>8.0} runs/s, floor {floor:>8.0} runs/s, ratio {:.2}", ours / floor);
}
