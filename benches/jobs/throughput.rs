//! How many jobs a second are handled and acknowledged, of a queue that is full.

use crate::{PAYLOAD, ROUNDS, Side, fresh, machine::own_cpu, median};
use anabranch::{
    Codec,
    engine::{Message, Queue, QueueOptions, Space},
    jobs::{Job, JobResult, Topic, Worker},
    time::Clock,
};
use bytes::Bytes;
use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
};

const NOTHING: Topic<Bytes> = Topic::new("nothing", Codec::raw());

/// Measures all sides in turns, and shows the medians.
pub(crate) async fn measure(url: &str, jobs: usize, at_once: usize) {
    println!("throughput: {jobs} jobs a round, {at_once} at the same time, {ROUNDS} rounds");
    let sides = Side::all(url);
    let mut figures = vec![(Vec::new(), Vec::new()); sides.len()];
    for _ in 0..ROUNDS {
        for (side, (rates, cpus)) in sides.iter().zip(&mut figures) {
            let (rate, cpu) = match side {
                Side::Library => library(&fresh(url).await, jobs, at_once).await,
                Side::Engine => engine(&fresh(url).await, jobs, at_once).await,
                #[cfg(feature = "nats")]
                Side::Client => crate::client::throughput(url, jobs, at_once).await,
                #[cfg(not(feature = "nats"))]
                Side::Client => unreachable!("it is not among the sides"),
            };
            rates.push(rate);
            cpus.push(cpu);
        }
    }
    let floor = median(figures[sides.len() - 1].0.clone());
    for (side, (rates, cpus)) in sides.iter().zip(figures) {
        let (low, high) = (rates.iter().copied().fold(f64::INFINITY, f64::min), rates.iter().copied().fold(0.0, f64::max));
        let (rate, cpu) = (median(rates), median(cpus));
        let name = side.name();
        println!(
            "  {name:<15} {rate:>8.0} jobs/s ({low:.0}-{high:.0}), {cpu:>5.1} us of processor a job, {:.2} of the floor",
            rate / floor
        );
    }
}

/// Fills a queue.
async fn filled(space: &Space, jobs: usize) -> Arc<dyn Queue> {
    let queue = space.queue("work", QueueOptions::default()).await.unwrap();
    let mut publishing = JoinSet::new();
    for _ in 0..jobs {
        let (queue, message): (_, Message) =
            (Arc::clone(&queue), NOTHING.message(&Bytes::from_static(&[b'x'; PAYLOAD])).unwrap());
        publishing.spawn(async move { queue.publish(message).await.unwrap() });
        if publishing.len() >= 256 {
            publishing.join_next().await;
        }
    }
    while publishing.join_next().await.is_some() {}
    queue
}

/// Measures some work, as jobs a second and as microseconds of processor a job.
pub(crate) async fn timed(jobs: usize, work: impl Future<Output = ()>) -> (f64, f64) {
    let (started, cpu) = (Clock::system().instant(), own_cpu());
    work.await;
    let (took, cpu) = (started.elapsed().as_secs_f64(), own_cpu() - cpu);
    (jobs as f64 / took, cpu * 1e6 / jobs as f64)
}

async fn library(space: &Space, jobs: usize, at_once: usize) -> (f64, f64) {
    filled(space, jobs).await;
    let (done, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counter, last) = (Arc::clone(&done), Arc::clone(&all));
    let clock = Clock::system();
    let mut left = None;
    let measured = timed(jobs, async {
        let worker = Worker::builder(space, "work")
            .concurrency(NonZeroUsize::new(at_once).unwrap())
            .topic(NOTHING, move |_: Job<Bytes>| {
                if counter.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
                    last.notify_one();
                }
                std::future::ready(JobResult::Ok(()))
            })
            .spawn()
            .await
            .unwrap();
        all.notified().await;
        // Until the last acknowledgements are confirmed. A drain has to wait for a request that the server has, up to 200 ms.
        while worker.in_hand() > 0 {
            clock.sleep(Duration::from_millis(1)).await;
        }
        left = Some(worker);
    })
    .await;
    left.unwrap().drain().await;
    assert_eq!(done.load(Ordering::Relaxed), jobs, "a job ran twice");
    measured
}

async fn engine(space: &Space, jobs: usize, at_once: usize) -> (f64, f64) {
    let queue = filled(space, jobs).await;
    timed(jobs, async {
        let slots = Arc::new(Semaphore::new(at_once));
        let mut pull = queue.pull().await.unwrap();
        let (mut tasks, mut taken) = (JoinSet::new(), 0);
        while taken < jobs {
            drop(slots.acquire().await.unwrap());
            let free = NonZeroUsize::new(slots.available_permits()).unwrap();
            for delivery in pull.next(free).await.unwrap() {
                taken += 1;
                let slot = Arc::clone(&slots).try_acquire_owned();
                tasks.spawn(async move {
                    delivery.ack().await.unwrap();
                    drop(slot);
                });
            }
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
        pull.close().await;
    })
    .await
}
