//! A day in which a thousand runs arrive and a schedule fires each minute, while hosts and the server crash: what is left in the evening is
//! what was there after the first hour.
//!
//! Alone in its process, since it counts what is allocated. What leaks would be gone with a process, so one host lives through the day: it
//! stands still, is cut off and loses its connections, and is not killed. What is watched is counted on the server, where each watch and
//! each session of a worker is a task.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "shown when the test fails")]

use anabranch::{
    Topology,
    core::snapshot::{RunStatus, Snapshot},
    engine::{Change, Delivery, Key, Message, Name, Outgoing, QueueOptions, Scope, Space},
    error::BoxError,
    runtime::{Retention, Run, Runs, Runtime, RuntimeOptions, Supervisor},
    schedule::{Missed, Schedule, Scheduler, Schedules, fired_by, firing_id},
    testing::sim::{Host, SERVER, Simulation, Trouble},
    time::Timestamp,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{
    alloc::System,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const RUNS: usize = 1000;
/// So many of them in the first hour, and the others until 20 minutes before the end of the day.
const EARLY: usize = 42;
/// The one that lives through the day, and those that are killed.
const STEADY: &str = "steady";
const MORTALS: [&str; 2] = ["one", "two"];
/// How many tasks there may be more at one moment than at another: a heartbeat that is on its way, an answer that is waited for.
const UNDER_WAY: usize = 3;
/// How long runs are kept when they have ended.
const KEPT: Duration = Duration::from_secs(600);

/// When a run arrives.
fn arrival(run: usize) -> Duration {
    let nth = |n: usize, of: usize, time: Duration| time * u32::try_from(n).unwrap() / u32::try_from(of).unwrap();
    match run.checked_sub(EARLY) {
        None => nth(run, EARLY, HOUR),
        Some(late) => HOUR + 16 * MINUTE + nth(late, RUNS - EARLY, 22 * HOUR + 22 * MINUTE),
    }
}

/// What became of everything. It takes the same room in the morning and in the evening.
struct Ledger {
    /// How each run ended, as is seen in the store.
    ended: Vec<Option<RunStatus>>,
    /// How many were awaited and returned what they should.
    awaited: usize,
    /// By the minute of the day, the place in the queue of its firing.
    rung: Vec<u64>,
    /// Firings that have two places.
    twice: usize,
    bodies: usize,
}

type Book = Arc<Mutex<Ledger>>;

fn diamond(host: &Host, book: &Book) -> Topology<u64, u64> {
    let mut t = Topology::builder::<u64>("diamond");
    let input = t.input();
    let (clock, book) = (host.clock().clone(), Arc::clone(book));
    let work = move |value: u64| {
        let (clock, book) = (clock.clone(), Arc::clone(&book));
        async move {
            clock.sleep(20 * SECOND).await;
            book.lock().unwrap().bodies += 1;
            Ok(value + 1)
        }
    };
    let (first, second, third, last) = (work.clone(), work.clone(), work.clone(), work);
    let a = t.node("a", input, move |_, v: u64| first(v));
    let b = t.node("b", a, move |_, v: u64| second(v));
    let c = t.node("c", a, move |_, v: u64| third(v));
    let d = t.node("d", (b, c), move |_, (b, c): (u64, u64)| last(b + c));
    t.build(d).unwrap()
}

fn result(run: u64) -> u64 {
    (run + 2) * 2 + 1
}

type Diamonds = Runs<u64, u64, ()>;

/// Everything that a worker has.
struct Worker {
    space: Space,
    runs: Diamonds,
    _tasks: (Supervisor, Scheduler),
}

async fn open(host: &Host, book: &Book) -> Result<Worker, BoxError> {
    let space = host.engine().space("shop").await?;
    let retention = Retention::forever().completed(KEPT).failed(KEPT);
    let options = RuntimeOptions::default().lease(MINUTE).retention(retention);
    let runtime = Runtime::start_with(space.clone(), options).await?;
    let runs = runtime.host(diamond(host, book), ())?;
    let queue = space.queue("orders", QueueOptions::default()).await?;
    let supervisor = runs.supervise(queue).run_id(firing_id).spawn().await?;
    let scheduler = Scheduler::builder(&space).spawn().await?;
    Ok(Worker { space, runs, _tasks: (supervisor, scheduler) })
}

/// Tries until it goes.
async fn worker(host: &Host, book: &Book) -> Worker {
    loop {
        match open(host, book).await {
            Ok(worker) => return worker,
            Err(error) => host.say(format!("cannot begin: {error}")),
        }
        host.clock().sleep(SECOND).await;
    }
}

/// Lets the runs arrive at their times, every other one as a message.
async fn order(host: &Host, worker: &Worker, book: &Book) -> Result<(), BoxError> {
    let queue = worker.space.queue("orders", QueueOptions::default()).await?;
    let tasks = TaskTracker::new();
    for run in 0..RUNS {
        host.clock().sleep(arrival(run).saturating_sub(host.elapsed())).await;
        let (id, input) = (run.to_string(), run as u64);
        if run % 2 == 0 {
            let message = Message::new(serde_json::to_vec(&input)?).id(id);
            while queue.publish(message.clone()).await.is_err() {
                host.clock().sleep(SECOND).await;
            }
            continue;
        }
        let run = loop {
            match worker.runs.start(&id, input).await {
                Ok(run) => break run,
                Err(_) => host.clock().sleep(SECOND).await,
            }
        };
        tasks.spawn(hear(host.clone(), run, result(input), Arc::clone(book)));
    }
    std::future::pending().await
}

/// Waits for the outcome of a run, wherever it is driven.
async fn hear(host: Host, run: Run<u64, u64, ()>, right: u64, book: Book) {
    loop {
        match run.outcome().await {
            Ok(outcome) => {
                assert_eq!(outcome, right, "run {}", run.id());
                book.lock().unwrap().awaited += 1;
                return;
            }
            Err(error) => host.say(format!("run {} is not heard of: {error}", run.id())),
        }
        host.clock().sleep(SECOND).await;
    }
}

/// Sees how runs end.
async fn observe(worker: &Worker, book: &Book) -> Result<(), BoxError> {
    let mut changes = worker.space.store().watch(&Key::new("run.diamond")?.below()).await?;
    while let Some(change) = changes.next().await {
        let Change::Put(entry) = change else { continue };
        let snapshot = Snapshot::decode(entry.value)?;
        if snapshot.status.is_terminal() {
            book.lock().unwrap().ended[snapshot.run.parse::<usize>()?] = Some(snapshot.status);
        }
    }
    Ok(())
}

/// Schedules a bell for each minute, and hears it.
async fn ring(host: &Host, worker: &Worker, book: &Book) -> Result<(), BoxError> {
    let schedules = Schedules::new(&worker.space)?;
    let bell = Outgoing { queue: Name::new("bells")?, message: Message::new("ding") };
    let all = Missed::All(NonZeroU32::new(1000).unwrap());
    let schedule = Schedule::new("bell", "* * * * *".parse()?, bell).missed(all);
    while schedules.create(&schedule).await.is_err() {
        host.clock().sleep(SECOND).await;
    }
    let begun = Timestamp::from_millis(1_767_225_600_000);
    let note = |delivery: &Delivery| {
        let (_, at) = fired_by(delivery).unwrap();
        let minute = usize::try_from(at.since(begun).as_secs() / 60).unwrap();
        let mut book = book.lock().unwrap();
        let before = std::mem::replace(&mut book.rung[minute], delivery.sequence());
        book.twice += usize::from(before != 0 && before != delivery.sequence());
    };
    let mut pull = loop {
        match worker.space.queue("bells", QueueOptions::default()).await {
            Ok(queue) => break queue.pull().await?,
            Err(_) => host.clock().sleep(SECOND).await,
        }
    };
    loop {
        match pull.next(NonZeroUsize::MIN).await {
            Ok(some) => {
                for delivery in some {
                    note(&delivery);
                    // One that is not acknowledged comes again, from the same place.
                    drop(delivery.ack().await);
                }
            }
            Err(_) => host.clock().sleep(SECOND).await,
        }
    }
}

/// What there is of everything that could grow.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Measure {
    /// By host, with the server, where watches and sessions are tasks.
    tasks: Vec<(&'static str, usize)>,
    sleepers: usize,
    keys: Vec<String>,
    disk: usize,
    heap: usize,
}

impl Measure {
    fn take(sim: &mut Simulation) -> Self {
        let mut keys = sim.ask(|host| async move {
            let keys = host.engine().space("shop").await?.store().keys(&Scope::All).await?;
            Ok(keys.map_ok(|info| info.key.to_string()).try_collect::<Vec<_>>().await?)
        });
        keys.sort();
        let tasks = [SERVER, STEADY, MORTALS[0], MORTALS[1]].map(|host| (host, sim.tasks(host))).to_vec();
        let (sleepers, disk) = (sim.sleepers(), sim.disk(SERVER).bytes());
        let stats = ALLOCATOR.stats();
        let grown = isize::try_from(stats.bytes_allocated).unwrap() - isize::try_from(stats.bytes_deallocated).unwrap();
        let heap = usize::try_from(grown).unwrap();
        Self { tasks, sleepers, keys, disk, heap }
    }
}

fn trouble(sim: &mut Simulation) {
    let everyone = [STEADY, MORTALS[0], MORTALS[1]];
    sim.trouble(Trouble::crash(4 * MINUTE).lasting(20 * SECOND).of(MORTALS));
    sim.trouble(Trouble::pause(10 * MINUTE).lasting(MINUTE).of(everyone));
    sim.trouble(Trouble::cut(30 * MINUTE).lasting(20 * SECOND).of(everyone));
    sim.trouble(Trouble::broken_connection(15 * MINUTE).of(everyone));
    sim.trouble(Trouble::crash(3 * HOUR).lasting(5 * SECOND).of([SERVER]));
    sim.trouble(Trouble::power_loss(5 * HOUR).lasting(5 * SECOND).of([SERVER]));
}

#[test]
fn a_day_of_a_thousand_runs_and_crashes_leaves_nothing_behind() {
    let mut sim = Simulation::new(2026);
    let (ended, rung) = (vec![None; RUNS], vec![0; 24 * 60 + 2]);
    let book: Book = Arc::new(Mutex::new(Ledger { ended, awaited: 0, rung, twice: 0, bodies: 0 }));
    for name in MORTALS {
        let book = Arc::clone(&book);
        sim.host(name, move |host| {
            let book = Arc::clone(&book);
            async move {
                let _worker = worker(&host, &book).await;
                std::future::pending().await
            }
        });
    }
    let mine = Arc::clone(&book);
    sim.host(STEADY, move |host| {
        let book = Arc::clone(&mine);
        async move {
            let worker = worker(&host, &book).await;
            let (orders, eyes, bell) = (order(&host, &worker, &book), observe(&worker, &book), ring(&host, &worker, &book));
            futures_util::try_join!(orders, eyes, bell)?;
            Ok(())
        }
    });
    // Half past the minute nothing is under way.
    trouble(&mut sim);
    sim.run_for(HOUR);
    sim.calm();
    sim.run_for(15 * MINUTE + MINUTE / 2);
    let morning = Measure::take(&mut sim);
    trouble(&mut sim);
    sim.run_for((23 * HOUR + 40 * MINUTE).saturating_sub(sim.elapsed()));
    sim.calm();
    sim.run_for((DAY + MINUTE / 2).saturating_sub(sim.elapsed()));
    let evening = Measure::take(&mut sim);
    let book = book.lock().unwrap();
    let rest = |of: &Measure| Measure { keys: Vec::new(), ..of.clone() };
    println!("{} events, {} bodies\n{:?}\n{:?}", sim.events(), book.bodies, rest(&morning), rest(&evening));

    let lost: Vec<_> = (0..RUNS).filter(|run| book.ended[*run] != Some(RunStatus::Completed)).collect();
    assert!(lost.is_empty(), "of these runs it was not seen that they completed: {lost:?}");
    assert_eq!(book.awaited, RUNS / 2, "every other run was awaited");
    // Crashes cost some bodies, which is how it is known that there were some.
    assert!(book.bodies > 4 * RUNS + 20, "{} bodies", book.bodies);
    let silent: Vec<_> = (1..=24 * 60).filter(|minute| book.rung[*minute] == 0).collect();
    assert!(silent.is_empty() && book.twice == 0, "{} bells came twice, and none at {silent:?}", book.twice);

    for ((host, evening), (_, morning)) in evening.tasks.iter().zip(&morning.tasks) {
        assert!(*evening <= morning + UNDER_WAY, "{evening} tasks on {host}, {morning} before");
    }
    assert!(evening.sleepers <= morning.sleepers + UNDER_WAY, "{} sleepers, {} before", evening.sleepers, morning.sleepers);
    // A worker that died a moment ago still has its key.
    let workers = |of: &Measure| of.keys.iter().filter(|key| key.starts_with("worker.")).count();
    let others = |of: &Measure| of.keys.iter().filter(|key| !key.starts_with("worker.")).cloned().collect::<Vec<_>>();
    assert_eq!(others(&evening), others(&morning));
    assert!(workers(&evening) <= 3 + 2, "{:?}", evening.keys);
    // Pages and buffers that are kept for the next time.
    assert!(evening.disk <= morning.disk + morning.disk / 4, "{} bytes of disk, {} before", evening.disk, morning.disk);
    assert!(evening.heap <= morning.heap + morning.heap / 10, "{} bytes of heap, {} before", evening.heap, morning.heap);
}
