//! One process of a measurement: it opens what it needs, says that it is ready, and writes until its time is over.

use crate::{
    Distribution,
    keys::Keys,
    machine,
    strategies::{Cost, Hand, Outcome, Strategy},
};
use anabranch::time::Clock;
use hdrhistogram::Histogram;
use std::{collections::HashMap, io, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// What a process has to do.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Task {
    pub(crate) strategy: Strategy,
    pub(crate) url: String,
    pub(crate) place: String,
    pub(crate) writers: usize,
    pub(crate) keys: usize,
    pub(crate) distribution: Distribution,
    pub(crate) exponent: f64,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

/// What a process measured.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Measured {
    pub(crate) done: u64,
    pub(crate) gave_up: u64,
    pub(crate) unknown: u64,
    pub(crate) attempts: u64,
    pub(crate) conflicts: u64,
    /// How long it took until the last caller had its answer, in seconds.
    pub(crate) seconds: f64,
    /// Seconds of processor time of this process.
    pub(crate) cpu: f64,
    /// How often an increment took how many microseconds.
    pub(crate) latencies: Vec<(u64, u64)>,
}

/// An empty histogram of microseconds, up to a minute.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap()
}

/// Does a task, and says what came of it as a line of JSON.
pub(crate) async fn work(task: &Task) {
    let hand = Arc::new(Hand::open(task.strategy, &task.url, &task.place, task.keys).await);
    println!("ready");
    let mut go = String::new();
    io::stdin().read_line(&mut go).unwrap();

    let clock = Clock::system();
    let (started, cpu) = (clock.instant(), machine::own_cpu());
    let until = started + Duration::from_secs_f64(task.seconds);
    let mut writers = JoinSet::new();
    for writer in 0..task.writers {
        let (hand, clock) = (Arc::clone(&hand), clock.clone());
        let mut keys = Keys::new(task.keys, task.distribution, task.exponent, task.seed + writer as u64);
        writers.spawn(async move {
            let (mut measured, mut cost, mut last) = (Measured::default(), Cost::default(), HashMap::new());
            let mut latencies = histogram();
            while clock.instant() < until {
                let key = keys.draw();
                let before = clock.instant();
                match hand.increment(key, &mut last, &mut cost).await {
                    Outcome::Done => {
                        measured.done += 1;
                        latencies.saturating_record(u64::try_from(before.elapsed().as_micros()).unwrap());
                    }
                    Outcome::GaveUp => measured.gave_up += 1,
                    Outcome::Unknown => measured.unknown += 1,
                }
            }
            (measured, cost, latencies)
        });
    }
    let (mut all, mut latencies) = (Measured::default(), histogram());
    while let Some(writer) = writers.join_next().await {
        let (measured, cost, of_writer) = writer.unwrap();
        all.done += measured.done;
        all.gave_up += measured.gave_up;
        all.unknown += measured.unknown;
        all.attempts += cost.attempts;
        all.conflicts += cost.conflicts;
        latencies.add(of_writer).unwrap();
    }
    let shared = hand.cost();
    all.attempts += shared.attempts;
    all.conflicts += shared.conflicts;
    all.seconds = started.elapsed().as_secs_f64();
    all.cpu = machine::own_cpu() - cpu;
    all.latencies = latencies.iter_recorded().map(|at| (at.value_iterated_to(), at.count_at_value())).collect();
    println!("{}", serde_json::to_string(&all).unwrap());
}
