//! How soon a job begins: from before it is submitted until its handler runs.

use crate::{Side, fresh, median, shown};
use anabranch::{
    Codec,
    engine::{QueueOptions, Space},
    jobs::{Job, JobResult, Jobs, Topic, Worker},
    time::{Clock, Instant},
};
use hdrhistogram::Histogram;
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinSet};

const NUMBER: Topic<u64> = Topic::new("number", Codec::json());
const ROUNDS: usize = 3;

/// Measures each number of callers on all sides in turns, and shows the medians.
pub(crate) async fn measure(url: &str, jobs: usize) {
    for at_once in [1, 16, 256] {
        // One caller at a time takes long, and needs no more to be known.
        let jobs = if at_once == 1 { jobs.div_ceil(10) } else { jobs };
        println!("latency: {jobs} jobs a round, {at_once} in flight, {ROUNDS} rounds");
        let sides = Side::all(url);
        let mut figures = vec![[const { Vec::new() }; 2]; sides.len()];
        for _ in 0..ROUNDS {
            for (side, [middle, late]) in sides.iter().zip(&mut figures) {
                let taken = match side {
                    Side::Library => library(&fresh(url).await, jobs, at_once).await,
                    Side::Engine => engine(&fresh(url).await, jobs, at_once).await,
                    #[cfg(feature = "nats")]
                    Side::Client => crate::client::latency(url, jobs, at_once).await,
                    #[cfg(not(feature = "nats"))]
                    Side::Client => unreachable!("it is not among the sides"),
                };
                middle.push(taken.value_at_quantile(0.5) as f64);
                late.push(taken.value_at_quantile(0.99) as f64);
            }
        }
        for (side, [middle, late]) in sides.iter().zip(figures) {
            let micros = |figures| shown(Duration::from_secs_f64(median(figures) / 1e6));
            println!("  {:<15} p50 {:>8}, p99 {:>8}", side.name(), micros(middle), micros(late));
        }
    }
}

/// Who waits for the begin of each job.
pub(crate) struct Waiting(Vec<Mutex<Option<oneshot::Sender<Instant>>>>);

impl Waiting {
    pub(crate) fn of(jobs: usize) -> Arc<Self> {
        Arc::new(Self((0..jobs).map(|_| Mutex::default()).collect()))
    }

    pub(crate) fn begins(&self, job: usize) {
        if let Some(waits) = self.0[job].lock().unwrap().take() {
            let _ = waits.send(Clock::system().instant());
        }
    }

    /// Has so many callers submit one job after the other.
    pub(crate) async fn all<F, Fut>(self: &Arc<Self>, at_once: usize, submit: F) -> Histogram<u64>
    where
        F: Fn(usize) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let mut callers = JoinSet::new();
        for caller in 0..at_once {
            let (own, submit) = (Arc::clone(self), submit.clone());
            callers.spawn(async move {
                let mut taken = Histogram::<u64>::new(3).unwrap();
                for job in (caller..own.0.len()).step_by(at_once) {
                    let (sender, begun) = oneshot::channel();
                    *own.0[job].lock().unwrap() = Some(sender);
                    let before = Clock::system().instant();
                    submit(job).await;
                    let micros = begun.await.unwrap().saturating_duration_since(before).as_micros();
                    taken.record(u64::try_from(micros).unwrap()).unwrap();
                }
                taken
            });
        }
        let mut taken = Histogram::<u64>::new(3).unwrap();
        while let Some(some) = callers.join_next().await {
            taken.add(some.unwrap()).unwrap();
        }
        taken
    }
}

async fn library(space: &Space, jobs: usize, at_once: usize) -> Histogram<u64> {
    let waiting = Waiting::of(jobs);
    let told = Arc::clone(&waiting);
    let worker = Worker::builder(space, "work")
        // So that nobody waits for a slot whose job is done and only not confirmed yet.
        .concurrency(NonZeroUsize::new(4 * at_once.max(16)).unwrap())
        .topic(NUMBER, move |job: Job<u64>| {
            told.begins(usize::try_from(job.payload).unwrap());
            std::future::ready(JobResult::Ok(()))
        })
        .spawn()
        .await
        .unwrap();
    let queue = Jobs::open(space, "work").await.unwrap();
    let submit = move |job| {
        let queue = queue.clone();
        async move {
            let _ = queue.submit(&NUMBER, &(job as u64)).await.unwrap();
        }
    };
    let taken = waiting.all(at_once, submit).await;
    worker.drain().await;
    taken
}

async fn engine(space: &Space, jobs: usize, at_once: usize) -> Histogram<u64> {
    let waiting = Waiting::of(jobs);
    let told = Arc::clone(&waiting);
    let queue = space.queue("work", QueueOptions::default()).await.unwrap();
    let mut pull = queue.pull().await.unwrap();
    let most = NonZeroUsize::new(at_once.max(16)).unwrap();
    let mut handling = JoinSet::new();
    handling.spawn(async move {
        let mut handled = 0;
        let mut acks = JoinSet::new();
        while handled < jobs {
            for delivery in pull.next(most).await.unwrap() {
                handled += 1;
                let job: u64 = serde_json::from_slice(&delivery.message().payload).unwrap();
                told.begins(usize::try_from(job).unwrap());
                acks.spawn(async move { delivery.ack().await.unwrap() });
            }
            while acks.try_join_next().is_some() {}
        }
        acks.join_all().await;
        pull.close().await;
    });
    let submit = move |job| {
        let queue = Arc::clone(&queue);
        async move {
            let _ = queue.publish(NUMBER.message(&(job as u64)).unwrap()).await.unwrap();
        }
    };
    let taken = waiting.all(at_once, submit).await;
    handling.join_all().await;
    taken
}
