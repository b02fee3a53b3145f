//! Several workers, an unreliable store, crashes, drains and pauses at random moments: what must hold all the same.
//!
//! Each complaint names the seed that it is about. The seed decides topologies, failures, and what happens to workers when; delays of the library's
//! own backoff are drawn elsewhere, so a seed finds the same kind of trouble and not always the same order.

use crate::{
    kit::{ACK_WAIT, LEASE, left_in, letters, options, queue, time_passes},
    support::space,
};
use anabranch::{
    Ctx, NodeError, NodeResult, RetryPolicy, Topology,
    core::snapshot::{NodeStatus, RunStatus, Snapshot},
    engine::{Message, Queue, Space, Store},
    runtime::{Runs, Runtime, Supervisor},
    testing::{
        Dice,
        faulty::{FaultyStore, Odds},
    },
    topology::dynamic::{Dep, Values},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

const RUNS: u64 = 40;

/// A graph of work nodes: each returns one more than its dependencies' sum, or than the input.
#[derive(Clone)]
struct Shape {
    deps: Vec<Vec<usize>>,
    waits: bool,
}

impl Shape {
    fn of(dice: &mut Dice) -> Self {
        let nodes = 2 + usize::try_from(dice.roll(5)).unwrap();
        let deps = (0..nodes).map(|n| (0..n).filter(|_| dice.roll(2) == 0).collect());
        Self { deps: deps.collect(), waits: dice.roll(3) == 0 }
    }

    fn expected(&self, input: u64) -> u64 {
        let mut values: Vec<u64> = Vec::new();
        for deps in &self.deps {
            let sum = if deps.is_empty() { input } else { deps.iter().map(|d| values[*d]).sum() };
            values.push(sum + 1);
        }
        values[self.deps.len() - 1]
    }

    fn topology(&self) -> Topology<Value, Value, World> {
        let mut t = Topology::dynamic::<World>("chaos");
        for (node, deps) in self.deps.iter().enumerate() {
            let name = format!("n{node}");
            let deps: Vec<Dep> = deps.iter().map(|d| Dep::on(format!("n{d}"))).collect();
            t = t.node(name.clone(), deps, work).options(name, |o| {
                let retry = RetryPolicy::default().max_attempts(30).max_crashes(6).delays([Duration::from_millis(300)]);
                o.timeout(Duration::from_secs(20)).retry(retry)
            });
        }
        let last = format!("n{}", self.deps.len() - 1);
        if self.waits {
            t = t.wait_for("waits", Dep::on(last.clone()), "go");
        }
        t.output(Dep::on(last)).build().unwrap()
    }
}

async fn work(ctx: Ctx<World>, values: Values) -> NodeResult<Value> {
    let world = ctx.app();
    let input = values.run_input().and_then(Value::as_u64);
    let mut dice = world.starts(&ctx).await;
    let time = Duration::from_millis(20 + dice.roll(1500));
    // Half of the bodies listen.
    if dice.roll(2) == 0 {
        tokio::select! {
            reason = ctx.cancelled() => return Err(NodeError::retryable(reason.to_string())),
            _ = world.space.clock().timeout(time, std::future::pending::<()>()) => {}
        }
    } else {
        let _ = world.space.clock().timeout(time, std::future::pending::<()>()).await;
    }
    match dice.roll(12) {
        0 => return Err(NodeError::retryable("unlucky")),
        1 => panic!("unlucky as well"),
        _ => {}
    }
    if input.is_some_and(|i| i % 17 == 3) {
        return Err(NodeError::terminal("never"));
    }
    let sum: u64 = input.unwrap_or_else(|| values.iter().filter_map(|(_, v)| v.as_u64()).sum());
    Ok(json!(sum + 1))
}

/// Run, node, number.
type Attempt = (String, String, u32);

/// What all bodies share, whichever worker runs them: the witness.
#[derive(Clone)]
struct World {
    seed: u64,
    space: Space,
    attempts: Arc<Mutex<HashMap<Attempt, u32>>>,
    violations: Arc<Mutex<Vec<String>>>,
}

impl World {
    /// Notes that an attempt starts, and looks in the store whether it may.
    async fn starts(&self, ctx: &Ctx<Self>) -> Dice {
        let attempt = (ctx.run_id().to_owned(), ctx.node().to_owned(), ctx.attempt());
        let times = {
            let mut attempts = self.attempts.lock().unwrap();
            let times = attempts.entry(attempt.clone()).or_insert(0);
            *times += 1;
            *times
        };
        if times > 1 {
            self.violated(format!("{attempt:?} ran {times} times"));
        }
        let stored = self.stored(ctx.run_id()).await;
        let node = stored.as_ref().and_then(|s| s.nodes.iter().find(|n| n.name == ctx.node()));
        if node.is_none_or(|n| n.status == NodeStatus::Completed || n.attempt < ctx.attempt()) {
            self.violated(format!("{attempt:?} started although the store has {node:?}"));
        }
        let hash = attempt
            .0
            .bytes()
            .chain(attempt.1.bytes())
            .fold(self.seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        Dice::new(hash.wrapping_add(u64::from(attempt.2)))
    }

    /// Reads a run past all faults.
    async fn stored(&self, run: &str) -> Option<Snapshot> {
        use anabranch::engine::Key;
        let key = Key::new("run").unwrap().join(&Key::token("chaos")).join(&Key::token(run));
        let entry = self.space.store().get(&key).await.unwrap()?;
        Some(Snapshot::decode(entry.value).unwrap())
    }

    fn violated(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }
}

struct Worker {
    runtime: Runtime,
    faulty: Arc<FaultyStore>,
    _supervisor: Supervisor,
    runs: Runs<Value, Value, World>,
}

async fn hire(world: &World, shape: &Shape, queue: &Arc<dyn Queue>, dice: &mut Dice) -> Worker {
    let faulty = FaultyStore::over(&world.space, dice.roll(u64::MAX));
    let space = world.space.clone().with_store(Arc::clone(&faulty) as Arc<dyn Store>);
    let runtime = Runtime::start_with(space, options().sweep_interval(20 * LEASE)).await.unwrap();
    let runs = runtime.host(shape.topology(), world.clone()).unwrap();
    let at_once = std::num::NonZeroUsize::new(8).unwrap();
    let supervisor = runs.supervise(Arc::clone(queue)).concurrency(at_once).spawn().await.unwrap();
    faulty.odds(Odds { unknown: 25, conflict: 25, unavailable: 40, latency: Duration::from_millis(30) });
    Worker { runtime, faulty, _supervisor: supervisor, runs }
}

#[expect(clippy::print_stdout, reason = "shown when the test fails")]
async fn chaos(seed: u64) {
    println!("seed {seed}");
    let (space, mut dice) = (space().await, Dice::new(seed));
    let world = World { seed, space: space.clone(), attempts: Arc::default(), violations: Arc::default() };
    let (shape, queue) = (Shape::of(&mut dice), queue(&space, "in").await);
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(hire(&world, &shape, &queue, &mut dice).await);
    }
    for input in 1..=RUNS {
        queue.publish(Message::new(input.to_string())).await.unwrap();
        if input % 10 == 0 {
            queue.publish(Message::new("junk")).await.unwrap();
        }
        if dice.roll(3) > 0 {
            continue;
        }
        time_passes(&space, Duration::from_millis(100 + dice.roll(3000))).await;
        let unlucky = usize::try_from(dice.roll(3)).unwrap();
        match dice.roll(5) {
            0 | 1 => {
                let next = hire(&world, &shape, &queue, &mut dice).await;
                std::mem::replace(&mut workers[unlucky], next).runtime.crash();
            }
            2 => {
                let next = hire(&world, &shape, &queue, &mut dice).await;
                // Whether others could be told is the store's business.
                let _ = std::mem::replace(&mut workers[unlucky], next).runtime.drain().await;
            }
            3 => {
                workers[unlucky].faulty.hold();
                time_passes(&space, LEASE * 2).await;
                workers[unlucky].faulty.resume();
            }
            _ => {}
        }
    }
    for worker in &workers {
        worker.faulty.behave();
    }
    let ended = at_rest(&world).await;
    // Whoever had a message is silent or done with it by now.
    time_passes(&space, 3 * ACK_WAIT).await;
    for (run, snapshot) in &ended {
        let input = input_of(snapshot);
        let status = snapshot.status;
        match status {
            RunStatus::Completed => {
                let handle = workers[0].runs.get(run).await.unwrap();
                assert_eq!(handle.outcome().await.unwrap(), json!(shape.expected(input)), "seed {seed}, {run}");
            }
            RunStatus::Suspended => assert!(shape.waits, "seed {seed}, {run}"),
            RunStatus::Errored | RunStatus::Dead => {}
            _ => panic!("seed {seed}: {run} is {status}"),
        }
    }
    for worker in workers {
        worker.runtime.drain().await.unwrap();
    }
    let letters = letters(&space, "in-dead").await;
    let (junk, failed): (Vec<_>, Vec<_>) = letters.into_iter().partition(|l| l.run.is_empty());
    assert_eq!(junk.len(), 4, "seed {seed}");
    let failed: Vec<String> = failed.into_iter().map(|l| l.run).collect();
    let lost: Vec<_> = ended.iter().filter(|(_, s)| matches!(s.status, RunStatus::Errored | RunStatus::Dead)).collect();
    assert_eq!(failed.iter().collect::<BTreeSet<_>>(), lost.iter().map(|(run, _)| *run).collect(), "seed {seed}");
    assert_eq!(failed.len(), lost.len(), "seed {seed}: one record for each");
    assert_eq!(left_in(&space, &queue).await, [], "seed {seed}: every message is settled");
    assert_eq!(*world.violations.lock().unwrap(), Vec::<String>::new(), "seed {seed}");
    let attempts = world.attempts.lock().unwrap().len();
    let moved = ended.values().filter(|s| s.epoch > 1).count();
    assert!(moved > 0 && attempts > shape.deps.len() * ended.len(), "seed {seed}: nothing happened");
    let completed = ended.values().filter(|s| matches!(s.status, RunStatus::Completed | RunStatus::Suspended)).count();
    assert!(completed * 2 > ended.len(), "seed {seed}: most runs get through, here {completed}");
}

fn input_of(snapshot: &Snapshot) -> u64 {
    match &snapshot.input {
        anabranch::core::snapshot::Value::Inline(bytes) => serde_json::from_slice(bytes).unwrap(),
        other @ anabranch::core::snapshot::Value::Stored(_) => panic!("{other:?}"),
    }
}

/// Waits until all runs are there and need nobody.
async fn at_rest(world: &World) -> BTreeMap<String, Snapshot> {
    let sequences: Vec<u64> = (1..=RUNS + RUNS / 10).filter(|s| s % 11 != 0).collect();
    for _ in 0..600 {
        let mut found = BTreeMap::new();
        for sequence in &sequences {
            let run = format!("in-{sequence}");
            if let Some(snapshot) = world.stored(&run).await.filter(|s| s.status != RunStatus::Running) {
                found.insert(run, snapshot);
            }
        }
        if found.len() == sequences.len() {
            return found;
        }
        time_passes(&world.space, Duration::from_secs(1)).await;
    }
    panic!("seed {}: some runs do not come to rest", world.seed);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_done_twice_whatever_happens_to_workers_and_store() {
    for seed in 1..=6 {
        chaos(seed).await;
    }
}
