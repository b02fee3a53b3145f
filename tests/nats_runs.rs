//! Runs on a real nats-server: the same runtime, over the wire, through a crash and a restart of the server.
#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, missing_docs)]

use anabranch::{
    Ctx, NodeResult, NodeResultExt as _, Signal, Topology,
    core::snapshot::{RunStatus, Snapshot},
    engine::{Delivery, Engine, Message, Queue, QueueOptions, Space},
    runtime::{DeadLetter, RunError, Runtime, RuntimeOptions},
    testing::server::NatsServer,
    time::nonce,
};
use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};

const APPROVAL: Signal<String> = Signal::new("approval");

/// Another worker's view of a space: a connection of its own.
async fn view(url: &str, space: &str) -> Space {
    Engine::open(url).await.unwrap().space(space).await.unwrap()
}

async fn worker(space: Space) -> Runtime {
    Runtime::start_with(space, RuntimeOptions::default().lease(Duration::from_secs(1))).await.unwrap()
}

#[derive(Clone, Default)]
struct App {
    entered: Arc<Notify>,
    open: watch::Sender<bool>,
    bodies: Arc<AtomicUsize>,
}

impl App {
    async fn pass(&self) {
        self.entered.notify_one();
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

async fn step(ctx: Ctx<App>, value: u64) -> NodeResult<u64> {
    ctx.app().bodies.fetch_add(1, Ordering::SeqCst);
    Ok(value + 1)
}

fn diamond() -> Topology<u64, u64, App> {
    let mut t = Topology::builder::<u64>("diamond").app::<App>();
    let input = t.input();
    let a = t.node("a", input, step);
    let b = t.node("b", a, step);
    let c = t.node("c", a, step);
    let d = t.node("d", (b, c), async |ctx: Ctx<App>, (b, c): (u64, u64)| {
        ctx.app().bodies.fetch_add(1, Ordering::SeqCst);
        Ok(b * 100 + c)
    });
    t.build(d).unwrap()
}

/// `first`, then `held` until the app's gate is open.
fn held() -> Topology<u64, u64, App> {
    let mut t = Topology::builder::<u64>("held").app::<App>();
    let input = t.input();
    let first = t.node("first", input, step);
    let held = t.node("held", first, async |ctx: Ctx<App>, value: u64| {
        ctx.app().pass().await;
        Ok(value)
    });
    t.build(held).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_become_runs_and_each_runs_once() {
    let space = view(&NatsServer::shared().await.url(), &format!("s{:x}", nonce())).await;
    let queue = space.queue("work", QueueOptions::default()).await.unwrap();
    for n in 0..50 {
        queue.publish(Message::new(n.to_string())).await.unwrap();
    }
    let (runtime, app) = (worker(space.clone()).await, App::default());
    let runs = runtime.host(diamond(), app.clone()).unwrap();
    let supervisor = runs.supervise(queue).concurrency(NonZeroUsize::new(16).unwrap());
    let supervisor = supervisor.run_id(|m: &Delivery| format!("order-{}", m.sequence())).spawn().await.unwrap();
    for n in 1..=50_u64 {
        let run = loop {
            match runs.get(&format!("order-{n}")).await {
                Ok(run) => break run,
                Err(RunError::NotFound(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(run.outcome().await.unwrap(), (n + 1) * 101, "message {n} carries {}", n - 1);
    }
    supervisor.drain().await;
    assert_eq!(app.bodies.load(Ordering::SeqCst), 200);
    runtime.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_workers_run_goes_on_in_another_after_its_lease() {
    let (url, name) = (NatsServer::shared().await.url(), format!("s{:x}", nonce()));
    let (first, app) = (worker(view(&url, &name).await).await, App::default());
    let runs = first.host(held(), app.clone()).unwrap();
    runs.start("r1", 1).await.unwrap();
    app.entered.notified().await;
    let second = worker(view(&url, &name).await).await;
    let others = second.host(held(), app.clone()).unwrap();
    assert_eq!(others.recover().await.unwrap().owned_elsewhere, 1, "the owner lives");
    first.crash();
    app.entered.notified().await;
    app.open.send_replace(true);
    let run = others.get("r1").await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), 2);
    assert_eq!(app.bodies.load(Ordering::SeqCst), 1, "what completed did not run again");
    let snapshot = run.snapshot().await.unwrap();
    assert_eq!((snapshot.epoch, snapshot.node("held").unwrap().attempt), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_workers_run_goes_on_at_once() {
    let (url, name) = (NatsServer::shared().await.url(), format!("s{:x}", nonce()));
    let options = RuntimeOptions::default().lease(Duration::from_secs(3600)).drain_timeout(Duration::from_millis(100));
    let first = Runtime::start_with(view(&url, &name).await, options).await.unwrap();
    let app = App::default();
    first.host(held(), app.clone()).unwrap().start("r1", 1).await.unwrap();
    app.entered.notified().await;
    first.drain().await.unwrap();
    app.open.send_replace(true);
    let second = worker(view(&url, &name).await).await;
    let runs = second.host(held(), app.clone()).unwrap();
    assert_eq!(runs.recover().await.unwrap().adopted, 1);
    assert_eq!(runs.get("r1").await.unwrap().outcome().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_from_another_process_moves_a_suspended_run() {
    let (url, name) = (NatsServer::shared().await.url(), format!("s{:x}", nonce()));
    let topology = || {
        let mut t = Topology::builder::<u64>("approved");
        let input = t.input();
        let approval = t.wait_for("approve", input, APPROVAL);
        let done = t.node("act", (input, approval), async |_, (v, by): (u64, String)| Ok(format!("{v} by {by}")));
        t.build(done).unwrap()
    };
    let (first, second) = (worker(view(&url, &name).await).await, worker(view(&url, &name).await).await);
    let (runs, others) = (first.host(topology(), ()).unwrap(), second.host(topology(), ()).unwrap());
    let run = runs.start("r1", 1).await.unwrap();
    run.wait_for(|s: &Snapshot| s.status == RunStatus::Suspended).await.unwrap();
    others.signal("r1", APPROVAL, "ann".into()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), "1 by ann");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_runs_record_arrives_in_the_dead_letter_queue() {
    let space = view(&NatsServer::shared().await.url(), &format!("s{:x}", nonce())).await;
    let queue = space.queue("work", QueueOptions::default()).await.unwrap();
    queue.publish(Message::new("7").id("m7")).await.unwrap();
    queue.publish(Message::new("not a number")).await.unwrap();
    let mut t = Topology::builder::<u64>("fails");
    let input = t.input();
    let node = t.node("work", input, async |_, _: u64| Err::<u64, _>("never").terminal());
    let runtime = worker(space.clone()).await;
    let runs = runtime.host(t.build(node).unwrap(), ()).unwrap();
    let supervisor = runs.supervise(queue).spawn().await.unwrap();
    let dead = space.queue("work-dead", QueueOptions::default()).await.unwrap();
    let mut letters = Vec::new();
    let mut pull = dead.pull().await.unwrap();
    while letters.len() < 2 {
        for delivery in pull.next(NonZeroUsize::MIN).await.unwrap() {
            letters.push(DeadLetter::decode(delivery.message().payload.clone()).unwrap());
            delivery.ack().await.unwrap();
        }
    }
    letters.sort_by_key(|l| l.sequence);
    assert_eq!((letters[0].run.as_str(), letters[0].message_id.as_str()), ("work-1", "m7"));
    assert_eq!((&*letters[0].payload, letters[0].failures[0].message.as_str()), (&b"7"[..], "never"));
    assert_eq!((letters[1].run.as_str(), &*letters[1].payload), ("", &b"not a number"[..]));
    supervisor.drain().await;
    assert_eq!(runs.inspect("work-1").await.unwrap().unwrap().status, RunStatus::Errored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_output_goes_through_a_server_that_refuses_large_values() {
    let space = view(&NatsServer::shared().await.url(), &format!("s{:x}", nonce())).await;
    let mut t = Topology::builder::<usize>("large");
    let input = t.input();
    let text = t.node("grow", input, async |_, size: usize| Ok("x".repeat(size)));
    let size = t.node("measure", text, async |_, text: String| Ok(text.len()));
    let runtime = worker(space).await;
    let runs = runtime.host(t.build(size).unwrap(), ()).unwrap();
    assert_eq!(runs.start("r1", 3 << 20).await.unwrap().outcome().await.unwrap(), 3 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_the_kill_and_restart_of_the_server() {
    let mut server = NatsServer::start().await.unwrap();
    let space = view(&server.url(), "s").await;
    let queue: Arc<dyn Queue> = space.queue("work", QueueOptions::default()).await.unwrap();
    queue.publish(Message::new("5")).await.unwrap();
    let (runtime, app) = (Runtime::start(space.clone()).await.unwrap(), App::default());
    let runs = runtime.host(held(), app.clone()).unwrap();
    let supervisor = runs.supervise(queue).spawn().await.unwrap();
    app.entered.notified().await;
    server.kill();
    app.open.send_replace(true);
    server.restart().await.unwrap();
    assert_eq!(runs.get("work-1").await.unwrap().outcome().await.unwrap(), 6);
    supervisor.drain().await;
    assert_eq!(app.bodies.load(Ordering::SeqCst), 1);
    let snapshot = runs.inspect("work-1").await.unwrap().unwrap();
    assert_eq!((snapshot.epoch, snapshot.node("held").unwrap().attempt), (1, 1), "its owner went on");
}
