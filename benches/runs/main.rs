//! Topology runs a second, beside the floor of the same engine: what each run must at least do, done by hand.
//!
//! A run of the diamond is one message, a few writes of one snapshot and one acknowledgement. The floor pulls the same messages
//! and makes as many writes as the library made in the same round, as large as the last of them and with labels and a time to live
//! as they have, each with the revision of the one before, and acknowledges them. On a server the same is done once more on the
//! NATS client alone, without our engine. All are measured in turns, in one process.
//!
//! How to read it: the ratio of the medians is what counts, and compares within one call only. The time of the processor says
//! what it is made of, and is much steadier on a machine that others use; a server's is not in it. The writes of a run are what the
//! revisions of the store tell, heartbeats included; the bench fails when they are more than one a transition.
//!
//! `ANABRANCH_URL=nats://localhost:4222 cargo bench --bench runs -- 5000 256`: runs a round, and how many at the same time. A
//! third argument, `library`, `floor` or `bare`, has only that measured, for a profiler.
#![allow(clippy::cast_precision_loss, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[cfg(feature = "nats")]
mod bare;
#[path = "../contention/machine.rs"]
#[allow(dead_code, reason = "only the processor time is asked for")]
mod machine;

use anabranch::{
    Ctx, NodeResult, Topology,
    engine::{Delivery, Engine, Expect, Key, Message, PutOptions, Queue, QueueOptions, Space},
    runtime::{Retention, Runtime, RuntimeOptions},
    time::{Clock, nonce},
};
use futures_util::TryStreamExt as _;
use machine::own_cpu;
use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet};

const ROUNDS: usize = 3;
/// How often a diamond may be stored: its start, three transitions and its end.
const MOST_WRITES: usize = 5;
/// How many heartbeats may be among the writes of a round.
const BEATS: usize = 16;

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

/// One round of one side.
#[derive(Clone, Copy)]
struct Round {
    messages: usize,
    at_once: usize,
}

/// What a round came to.
#[derive(Clone, Copy)]
struct Measured {
    runs_per_second: f64,
    /// Microseconds of this process's processor time for each run; not a number where the system does not tell.
    cpu: f64,
}

impl Measured {
    fn show(self, side: &str) {
        println!("{side:<15}: {:>7.0} runs/s, {:>4.0} us of processor a run", self.runs_per_second, self.cpu);
    }

    /// The medians of both figures.
    fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        Self { runs_per_second: of(|m| m.runs_per_second), cpu: of(|m| m.cpu) }
    }
}

/// What the library wrote, for the floor to write the same.
#[derive(Clone)]
struct Written {
    /// By all runs together.
    writes: usize,
    /// How large the last snapshot is.
    bytes: usize,
    label: String,
    /// How long the last one is kept.
    ttl: Duration,
}

impl Written {
    /// How many writes the run of one message makes, so that all together make as many as the library.
    fn share(&self, message: usize, round: Round) -> usize {
        let by = |message: usize| message * self.writes / round.messages;
        by(message + 1) - by(message)
    }
}

impl Round {
    async fn measure(self, work: impl Future<Output = ()>) -> Measured {
        let (started, cpu) = (Clock::system().instant(), own_cpu());
        work.await;
        let (took, cpu) = (started.elapsed(), own_cpu() - cpu);
        let messages = self.messages as f64;
        Measured { runs_per_second: messages / took.as_secs_f64(), cpu: cpu * 1e6 / messages }
    }

    async fn filled(self, space: &Space, name: &str) -> Arc<dyn Queue> {
        let queue = space.queue(name, QueueOptions::default()).await.unwrap();
        let mut publishing = JoinSet::new();
        for n in 0..self.messages {
            let queue = Arc::clone(&queue);
            publishing.spawn(async move { queue.publish(Message::new(n.to_string())).await.unwrap() });
            if publishing.len() >= 256 {
                publishing.join_next().await;
            }
        }
        while publishing.join_next().await.is_some() {}
        queue
    }

    /// Has the library run the messages of a queue.
    async fn library(self, space: &Space) -> (Measured, Written) {
        let tag = nonce();
        let queue = self.filled(space, &format!("runs-{tag:x}")).await;
        let options = RuntimeOptions::default();
        let kept = Retention::default().completed.unwrap();
        let (runtime, done) = (Runtime::start_with(space.clone(), options).await.unwrap(), Done::default());
        let runs = runtime.host(diamond(), done.clone()).unwrap();
        let clock = Clock::system();
        let before = newest(space).await;
        let work = async {
            let supervisor = runs
                .supervise(queue)
                .concurrency(NonZeroUsize::new(self.at_once).unwrap())
                .run_id(move |m: &Delivery| format!("{tag:x}-{}", m.sequence()))
                .spawn()
                .await
                .unwrap();
            while done.0.load(Ordering::Relaxed) < self.messages {
                clock.sleep(Duration::from_millis(1)).await;
            }
            supervisor.drain().await;
        };
        let measured = self.measure(work).await;
        let writes = usize::try_from(newest(space).await - before).unwrap() - 1;
        let label = format!("running.{}", runtime.worker_id());
        runtime.drain().await.unwrap();
        let mut stored = space.store().keys(&Key::new("run.diamond").unwrap().below()).await.unwrap();
        let one = stored.try_next().await.unwrap().unwrap();
        let bytes = space.store().get(&one.key).await.unwrap().unwrap().value.len();
        (measured, Written { writes, bytes, label, ttl: kept })
    }

    /// Does the same by hand.
    async fn floor(self, space: &Space, written: &Written) -> Measured {
        let tag = nonce();
        let queue = self.filled(space, &format!("floor-{tag:x}")).await;
        let slots = Arc::new(Semaphore::new(self.at_once));
        let mut pull = queue.pull().await.unwrap();
        let work = async {
            let mut tasks = JoinSet::new();
            let mut taken = 0;
            while taken < self.messages {
                drop(slots.acquire().await.unwrap());
                let free = NonZeroUsize::new(slots.available_permits()).unwrap();
                for delivery in pull.next(free).await.unwrap() {
                    let writes = written.share(taken, self);
                    taken += 1;
                    let (slot, space, written) = (Arc::clone(&slots).try_acquire_owned(), space.clone(), written.clone());
                    tasks.spawn(async move {
                        let key = Key::new(format!("run.floor.{tag:x}-{}", delivery.sequence())).unwrap();
                        let mut expect = Expect::Absent;
                        for left in (0..writes).rev() {
                            let value = vec![b'x'; written.bytes].into();
                            let options = if left > 0 {
                                PutOptions::default().label(written.label.clone())
                            } else {
                                PutOptions::default().label("completed").ttl(written.ttl)
                            };
                            expect = Expect::At(space.store().put(&key, value, expect, options).await.unwrap());
                        }
                        delivery.ack().await.unwrap();
                        drop(slot);
                    });
                }
                while tasks.try_join_next().is_some() {}
            }
            while tasks.join_next().await.is_some() {}
        };
        let measured = self.measure(work).await;
        pull.close().await;
        measured
    }
}

/// The revision of a write made now: each write of a space is one more.
async fn newest(space: &Space) -> u64 {
    let probe = Key::new("probe").unwrap();
    space.store().put(&probe, "".into(), Expect::Anything, PutOptions::default()).await.unwrap().get()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let number = |at: usize, default| arguments.get(at).map_or(default, |a| a.parse().unwrap());
    let round = Round { messages: number(0, 5000), at_once: number(1, 256) };
    let only = arguments.get(2).map(String::as_str);
    let url = std::env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await.unwrap().space(format!("bench-{:x}", nonce())).await.unwrap();
    println!("{} | {} runs a round, {} at the same time", space.store().capabilities().engine, round.messages, round.at_once);
    let (mut ours, mut floors, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let mut written =
        Written { writes: MOST_WRITES * round.messages, bytes: 500, label: "running".into(), ttl: Duration::from_secs(3600) };
    for _ in 0..ROUNDS {
        if only.is_none_or(|only| only == "library") {
            let measured;
            (measured, written) = round.library(&space).await;
            measured.show("library");
            println!(
                "{:.2} writes a run, the last one of {} bytes",
                written.writes as f64 / round.messages as f64,
                written.bytes
            );
            assert!(written.writes <= MOST_WRITES * round.messages + BEATS, "a run is stored more than {MOST_WRITES} times");
            ours.push(measured);
        }
        if only.is_none_or(|only| only == "floor") {
            let measured = round.floor(&space, &written).await;
            measured.show("floor");
            floors.push(measured);
        }
        #[cfg(feature = "nats")]
        if only.is_none_or(|only| only == "bare") && url.starts_with("nats://") {
            let measured = bare::floor(&url, round, &written).await;
            measured.show("bare client");
            bare.push(measured);
        }
    }
    if only.is_none() {
        let (ours, floors) = (Measured::median(&ours), Measured::median(&floors));
        ours.show("library, median");
        floors.show("floor, median");
        println!("ratio {:.2}", ours.runs_per_second / floors.runs_per_second);
        if !bare.is_empty() {
            let bare = Measured::median(&bare);
            bare.show("bare, median");
            println!("ratio to the bare client {:.2}", ours.runs_per_second / bare.runs_per_second);
        }
    }
}
