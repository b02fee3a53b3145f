//! What suspended runs cost the process that suspended them, and how long one takes to go on.
//!
//! Runs are started by messages until all wait for a signal. Then nothing of them is to be left here but what the store itself
//! keeps, which is all of it in memory, the pages that it caches with a file, and nothing with a server. So the floor is the same
//! number of values of the same size, written by hand.
//!
//! How to read it: the resident memory of a run beside that of a value by hand, and the tasks that are alive, of which each
//! actor is one. The bench fails when either says that runs are kept. The time to resume is that from the call that sends the
//! signal to the first line of the body behind it, one run at a time; by hand it is one read and one write of such a value.
//!
//! `ANABRANCH_URL=nats://localhost:4222 cargo bench --bench suspended -- 10000`: how many runs.
#![allow(clippy::cast_precision_loss, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use anabranch::{
    Ctx, NodeResult, Signal, Topology,
    engine::{Engine, Expect, Key, Message, PutOptions, Queue, QueueOptions, Space},
    runtime::{Runs, Runtime},
    time::{Clock, nonce},
};
use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet};

const GO: Signal<u64> = Signal::new("go");
const AT_ONCE: usize = 256;
/// How many are suspended before it counts, so that what many runs at once need is there already.
const FIRST: usize = 2000;
const RESUMED: usize = 500;
/// What a run may leave in this process beside a value by hand. An actor takes several times as much.
const MOST_BYTES: f64 = 1024.0;
/// How many tasks may be more than before: those of a worker and its store.
const MOST_TASKS: usize = 64;

/// What the bodies tell the bench.
struct Told {
    begun: AtomicUsize,
    ids: Mutex<Vec<String>>,
    resumed: mpsc::UnboundedSender<()>,
}

type App = Arc<Told>;

fn topology() -> Topology<u64, u64, App> {
    let mut t = Topology::builder::<u64>("suspended").app::<App>();
    let input = t.input();
    let before = t.node("before", input, async |ctx: Ctx<App>, value: u64| -> NodeResult<u64> {
        let mut ids = ctx.app().ids.lock().unwrap();
        if ids.len() < RESUMED {
            ids.push(ctx.run_id().to_owned());
        }
        ctx.app().begun.fetch_add(1, Ordering::Relaxed);
        Ok(value)
    });
    let go = t.wait_for("go", before, GO);
    let after = t.node("after", go, async |ctx: Ctx<App>, value: u64| -> NodeResult<u64> {
        ctx.app().resumed.send(()).unwrap();
        Ok(value)
    });
    t.build(after).unwrap()
}

async fn filled(space: &Space, messages: usize) -> Arc<dyn Queue> {
    let queue = space.queue(&format!("suspended-{:x}", nonce()), QueueOptions::default()).await.unwrap();
    let mut publishing = JoinSet::new();
    for n in 0..messages {
        let queue = Arc::clone(&queue);
        publishing.spawn(async move { queue.publish(Message::new(n.to_string())).await.unwrap() });
        if publishing.len() >= AT_ONCE {
            publishing.join_next().await;
        }
    }
    while publishing.join_next().await.is_some() {}
    queue
}

/// Starts runs until all of them wait.
async fn suspend(runs: &Runs<u64, u64, App>, queue: Arc<dyn Queue>, told: &Told, messages: usize) {
    let tag = nonce();
    let supervisor = runs
        .supervise(queue)
        .concurrency(NonZeroUsize::new(AT_ONCE).unwrap())
        .run_id(move |m| format!("{tag:x}-{}", m.sequence()))
        .spawn()
        .await
        .unwrap();
    let all = told.begun.load(Ordering::Relaxed) + messages;
    while told.begun.load(Ordering::Relaxed) < all {
        Clock::system().sleep(Duration::from_millis(1)).await;
    }
    supervisor.drain().await;
}

/// Writes values by hand.
async fn write(space: &Space, values: usize, bytes: usize) {
    let mut writing = JoinSet::new();
    for n in 0..values {
        let (space, key) = (space.clone(), Key::new(format!("hand.{n:020}")).unwrap());
        writing.spawn(async move {
            space.store().put(&key, vec![b'x'; bytes].into(), Expect::Absent, PutOptions::default()).await.unwrap();
        });
        if writing.len() >= AT_ONCE {
            writing.join_next().await;
        }
    }
    while writing.join_next().await.is_some() {}
}

/// Memory and tasks of this process.
#[derive(Clone, Copy)]
struct Held {
    bytes: f64,
    tasks: usize,
}

impl Held {
    /// Memory is not a number where the system does not tell it in a file.
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|r| r.trim().trim_end_matches(" kB").parse::<f64>().ok());
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        Self { bytes: kib.unwrap_or(f64::NAN) * 1024.0, tasks }
    }
}

fn show(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    println!("{what:<16}: {:>9.1?} in the middle, {:>9.1?} at 99 of 100", at(50), at(99));
}

#[tokio::main]
async fn main() {
    let number = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let count: usize = number.unwrap_or(10_000).max(RESUMED);
    let url = std::env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await.unwrap().space(format!("bench-{:x}", nonce())).await.unwrap();
    println!("{} | {count} runs that wait", space.store().capabilities().engine);
    let (resumed, mut heard) = mpsc::unbounded_channel();
    let told = Arc::new(Told { begun: AtomicUsize::new(0), ids: Mutex::default(), resumed });
    let runtime = Runtime::start(space.clone()).await.unwrap();
    let runs = runtime.host(topology(), Arc::clone(&told)).unwrap();

    suspend(&runs, filled(&space, FIRST).await, &told, FIRST).await;
    let one = told.ids.lock().unwrap()[0].clone();
    let key = Key::new("run.suspended").unwrap().join(&Key::token(&one));
    let bytes = space.store().get(&key).await.unwrap().unwrap().value.len();
    let queue = filled(&space, count).await;

    let before = Held::now();
    write(&space, count, bytes).await;
    let by_hand = Held::now();
    suspend(&runs, queue, &told, count).await;
    let after = Held::now();
    let each = |to: Held, from: Held| (to.bytes - from.bytes) / count as f64;
    let (ours, floor) = (each(after, by_hand), each(by_hand, before));
    println!("memory of a run : {ours:>6.0} bytes here, {floor:>6.0} of a value by hand; each has {bytes} in the store");
    println!("tasks           : {} before, {} after", before.tasks, after.tasks);
    assert!(after.tasks < before.tasks + MOST_TASKS, "actors of suspended runs are kept");
    assert!(ours.is_nan() || ours - floor < MOST_BYTES, "{ours} bytes of a suspended run are kept");

    let (clock, ids) = (Clock::system(), told.ids.lock().unwrap().clone());
    let (mut signalled, mut hand) = (Vec::new(), Vec::new());
    for (n, id) in ids.iter().enumerate() {
        let started = clock.instant();
        runs.signal(id, GO, 1).await.unwrap();
        heard.recv().await.unwrap();
        signalled.push(started.elapsed());
        let key = Key::new(format!("hand.{n:020}")).unwrap();
        let started = clock.instant();
        let entry = space.store().get(&key).await.unwrap().unwrap();
        space.store().put(&key, entry.value, Expect::At(entry.revision), PutOptions::default()).await.unwrap();
        hand.push(started.elapsed());
    }
    show("time to resume", signalled);
    show("by hand", hand);
    runtime.drain().await.unwrap();
}
