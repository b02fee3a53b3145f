//! Real processes that are killed at random moments, on an engine that outlives them; and a server that is killed as well.
//!
//! A child is this very test binary, started again with [`CHILD`] set: it works on a queue until everything is done, or until
//! it is killed. What ran is noted in a file that survives it. Another engine takes part by another [`Place`].
//!
//! Messages come in rounds, and in each round somebody dies, so that every kill meets runs that are under way. The moment is
//! drawn as progress (how many attempts have started) plus some time, so that a slow machine sees kills in the middle too. A
//! complaint begins with the seed, and [`SEED`] repeats what it decides: the moments and the victims.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use anabranch::{
    Ctx, NodeResult, RetryPolicy, Topology,
    core::snapshot::RunStatus,
    engine::{Delivery, Engine, Message, OpenError, Queue, QueueOptions, Space, StoreError},
    runtime::{RunError, Runs, Runtime, RuntimeOptions},
    testing::{Dice, server::NatsServer},
    time::{Clock, nonce},
};
use futures_util::future::select_all;
use std::{
    collections::{HashMap, HashSet},
    error::Error,
    io::Write as _,
    num::NonZeroUsize,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// Set in a child, to the engine's URL.
const CHILD: &str = "ANABRANCH_CRASH_CHILD";
/// Where a child notes what ran.
const JOURNAL: &str = "ANABRANCH_CRASH_JOURNAL";
/// Decides who is killed when; a fresh one otherwise.
const SEED: &str = "ANABRANCH_SEED";
const MESSAGES: u64 = 200;
/// As many kills; in every fourth the server dies too, where there is one to kill.
const ROUNDS: u64 = 20;
/// Longer than a process that lives is ever silent, also on a machine that is busy with other tests.
const LEASE: Duration = Duration::from_secs(3);
/// Turns a hang into a failure, and decides nothing else.
const PATIENCE: Duration = Duration::from_secs(600);

/// The dice of this test, which a seed repeats.
fn dice() -> Dice {
    let seed = std::env::var(SEED).map_or_else(|_| nonce(), |seed| seed.parse().unwrap());
    eprintln!("repeat this with {SEED}={seed}");
    Dice::new(seed)
}

/// Each line is `run node attempt .`, written at the start of an attempt. One that is torn, because its process was killed between
/// two pages of the file or is still writing, has no dot and spoils no other.
#[derive(Clone)]
struct Journal(PathBuf);

impl Journal {
    fn note(&self, line: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.0).unwrap();
        file.write_all(format!("\n{line} .\n").as_bytes()).unwrap();
        // For whoever decides when to kill: there is more to read.
        std::io::stdout().write_all(b"ran\n").unwrap();
    }

    fn lines(&self) -> Vec<(String, String, u32)> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let words = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
            [run, node, attempt, "."] => Some((run.to_owned(), node.to_owned(), attempt.parse().unwrap())),
            _ => None,
        };
        text.lines().filter_map(words).collect()
    }
}

/// Lets time pass, as work does, or as a fault does that comes a little later.
async fn passes(time: Duration) {
    let _ = Clock::system().timeout(time, std::future::pending::<()>()).await;
}

async fn step(ctx: Ctx<Journal>, value: u64) -> NodeResult<u64> {
    ctx.app().note(&format!("{} {} {}", ctx.run_id(), ctx.node(), ctx.attempt()));
    // Long enough that some are under way when the process dies.
    passes(Duration::from_millis(3)).await;
    Ok(value + 1)
}

/// `a -> (b, c) -> d`
fn topology() -> Topology<u64, u64, Journal> {
    let mut graph = Topology::builder::<u64>("crash").app::<Journal>();
    let input = graph.input();
    let a = graph.node("a", input, step);
    let b = graph.node("b", a, step);
    let c = graph.node("c", a, step);
    let d = graph.node("d", (b, c), async |ctx: Ctx<Journal>, (b, c): (u64, u64)| step(ctx, b * 100 + c).await);
    for node in [a, b, c, d] {
        graph.options(node).retry(RetryPolicy::default().max_attempts(1000).max_crashes(1000));
    }
    graph.build(d).unwrap()
}

fn id(message: u64) -> String {
    format!("run-{message}")
}

fn run_of(delivery: &Delivery) -> String {
    format!("run-{}", String::from_utf8_lossy(&delivery.message().payload))
}

/// Repeats what fails because the engine is away, and nothing else.
async fn through_outages<T, E: Error + 'static>(act: impl AsyncFn() -> Result<T, E>) -> T {
    loop {
        match act().await {
            Ok(done) => return done,
            Err(error) if is_outage(&error) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn is_outage(error: &(dyn Error + 'static)) -> bool {
    let away = matches!(error.downcast_ref(), Some(StoreError::Unavailable(_) | StoreError::Unknown(_)));
    away || error.source().is_some_and(is_outage)
}

async fn open(url: &str) -> (Space, Arc<dyn Queue>) {
    let space = through_outages(async || -> Result<_, OpenError> { Ok(Engine::open(url).await?.space("crash").await?) }).await;
    let queue = through_outages(async || space.queue("in", QueueOptions::default().ack_wait(LEASE)).await).await;
    (space, queue)
}

async fn outcome(runs: &Runs<u64, u64, Journal>, id: &str) -> u64 {
    loop {
        let run = through_outages(async || match runs.get(id).await {
            Err(RunError::NotFound(_)) => Ok(None),
            other => other.map(Some),
        });
        match run.await {
            Some(run) => return through_outages(async || run.outcome().await).await,
            None => passes(Duration::from_millis(10)).await,
        }
    }
}

/// What a child does; in a test run it is nothing.
#[tokio::test]
async fn a_child_works_until_everything_is_done() {
    let (Ok(url), Ok(journal)) = (std::env::var(CHILD), std::env::var(JOURNAL)) else { return };
    let (space, queue) = open(&url).await;
    let options = RuntimeOptions::default().lease(LEASE);
    let runtime = through_outages(async || Runtime::start_with(space.clone(), options.clone()).await).await;
    let runs = runtime.host(topology(), Journal(journal.into())).unwrap();
    let at_once = NonZeroUsize::new(4).unwrap();
    let supervise = async || runs.supervise(Arc::clone(&queue)).concurrency(at_once).run_id(run_of).spawn().await;
    let _supervisor = through_outages(supervise).await;
    for message in 1..=MESSAGES {
        outcome(&runs, &id(message)).await;
    }
    runtime.drain().await.unwrap();
}

struct Worker {
    child: Child,
    ran: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(url: &str, journal: &Journal) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_child_works_until_everything_is_done", "--nocapture"]);
        command.env(CHILD, url).env(JOURNAL, &journal.0).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let ran = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, ran }
    }

    async fn finish(mut self) {
        while self.ran.next_line().await.unwrap().is_some() {}
        assert!(self.child.wait().await.unwrap().success(), "a worker failed");
    }
}

/// Where runs live, and who works there.
struct Place<'a> {
    url: String,
    /// How many processes work at the same time.
    workers: usize,
    /// Killed too, when there is one.
    server: Option<&'a mut NatsServer>,
}

impl Place<'_> {
    /// Publishes a round's messages. On a file nobody else may work then.
    async fn publish(&self, round: u64) {
        let (_space, queue) = open(&self.url).await;
        let each = MESSAGES / ROUNDS;
        for message in (round - 1) * each + 1..=round * each {
            let text = message.to_string();
            // Under an id, since the answer may be lost with the server.
            through_outages(async || queue.publish(Message::new(text.clone()).id(text.as_str())).await).await;
        }
    }

    /// Kills somebody in each round, when some of what its messages take has started, and lets the last ones finish.
    async fn work(&mut self, journal: &Journal, dice: &mut Dice) {
        self.publish(1).await;
        let mut workers: Vec<_> = (0..self.workers).map(|_| Worker::start(&self.url, journal)).collect();
        for round in 1..=ROUNDS {
            let (started, all) = (journal.lines().len() as u64, 4 * round * MESSAGES / ROUNDS);
            let until = started + dice.roll(all.saturating_sub(started) + 1);
            while (journal.lines().len() as u64) < until {
                let (heard, ..) = select_all(workers.iter_mut().map(|worker| Box::pin(worker.ran.next_line()))).await;
                assert!(heard.unwrap().is_some(), "a worker ended by itself");
            }
            passes(Duration::from_millis(dice.roll(20))).await;
            let unlucky = usize::try_from(dice.roll(self.workers as u64)).unwrap();
            match &mut self.server {
                Some(server) if round % 4 == 0 => {
                    server.kill();
                    passes(Duration::from_millis(dice.roll(500))).await;
                    workers[unlucky].child.kill().await.unwrap();
                    server.restart().await.unwrap();
                }
                _ => workers[unlucky].child.kill().await.unwrap(),
            }
            if round < ROUNDS {
                self.publish(round + 1).await;
            }
            workers[unlucky] = Worker::start(&self.url, journal);
        }
        for worker in workers {
            worker.finish().await;
        }
    }
}

/// Lets workers die over two hundred runs, then looks what was done. `emptied` returns once every message was taken by whoever
/// works now.
async fn survives(mut place: Place<'_>, emptied: impl AsyncFnOnce(&Runs<u64, u64, Journal>, &dyn Queue)) {
    let scratch = tempfile::tempdir().unwrap();
    let journal = Journal(scratch.path().join("journal"));
    place.work(&journal, &mut dice()).await;
    let (space, queue) = open(&place.url).await;
    let runtime = Runtime::start(space).await.unwrap();
    let runs = runtime.host(topology(), journal.clone()).unwrap();
    // The message of a worker that died may come again after others have finished its run: then it is acknowledged, and no code
    // runs.
    let supervisor = runs.supervise(Arc::clone(&queue)).run_id(run_of).spawn().await.unwrap();
    emptied(&runs, &*queue).await;
    supervisor.drain().await;
    let mut pull = queue.pull().await.unwrap();
    let left = Clock::system().timeout(Duration::from_millis(500), pull.next(NonZeroUsize::MIN)).await;
    assert!(left.is_none(), "{left:?}");

    let lines = journal.lines();
    let mut newest: HashMap<(&str, &str), u32> = HashMap::new();
    for (run, node, attempt) in &lines {
        newest.insert((run, node), *attempt);
    }
    for message in 1..=MESSAGES {
        let id = id(message);
        assert_eq!(runs.get(&id).await.unwrap().outcome().await.unwrap(), (message + 2) * 101 + 1, "{id}");
        let snapshot = runs.inspect(&id).await.unwrap().unwrap();
        assert_eq!(snapshot.status, RunStatus::Completed);
        for node in &snapshot.nodes {
            let last = newest[&(id.as_str(), node.name.as_str())];
            assert_eq!(last, node.attempt, "{id} {}: the last that ran is the one that counts", node.name);
        }
    }
    assert_eq!(lines.iter().collect::<HashSet<_>>().len(), lines.len(), "no attempt ran twice");
    let again = lines.iter().filter(|(.., attempt)| *attempt > 1).count();
    assert_ne!(again, 0, "nobody was killed in the middle");
    // Whoever comes behind a node starts once it has completed; it never runs again after that.
    for (at, (run, node, _)) in lines.iter().enumerate() {
        let before = match node.as_str() {
            "d" => &["a", "b", "c"][..],
            "b" | "c" => &["a"],
            _ => &[],
        };
        let again = lines[at..].iter().find(|(r, n, _)| r == run && before.contains(&n.as_str()));
        assert_eq!(again, None, "{run}: after {node}");
    }
    runtime.drain().await.unwrap();
}

/// Fails what hangs.
async fn in_time(work: impl Future<Output = ()>) {
    Clock::system().timeout(PATIENCE, work).await.expect("it hangs");
}

#[tokio::test]
async fn killed_processes_lose_nothing_and_repeat_nothing_that_completed() {
    let scratch = tempfile::tempdir().unwrap();
    let url = format!("file:{}", scratch.path().join("runs.redb").display());
    // What a process of before had is there when the file is opened, and ahead of what comes then.
    let emptied = async |runs: &Runs<u64, u64, Journal>, queue: &dyn Queue| {
        let witness = MESSAGES + 1;
        queue.publish(Message::new(witness.to_string())).await.unwrap();
        outcome(runs, &id(witness)).await;
    };
    in_time(Box::pin(survives(Place { url, workers: 1, server: None }, emptied))).await;
}

/// Waits until every message is settled: what was delivered to a worker that died comes again after `ack_wait`.
#[cfg(feature = "nats")]
async fn until_all_is_settled(url: String) {
    use async_nats::jetstream::{consumer::pull, new};
    let stream = new(async_nats::connect(url).await.unwrap()).get_stream("KV_crash").await.unwrap();
    let mut consumer = stream.get_consumer::<pull::Config>("queue-in").await.unwrap();
    while consumer.info().await.is_ok_and(|info| info.num_pending > 0 || info.num_ack_pending > 0) {
        passes(Duration::from_millis(50)).await;
    }
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_on_a_server_lose_nothing_whichever_is_killed() {
    let server = NatsServer::start().await.unwrap();
    let url = server.url();
    let place = Place { url: url.clone(), workers: 3, server: None };
    in_time(Box::pin(survives(place, async |_, _| until_all_is_settled(url).await))).await;
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_lose_nothing_when_the_server_is_killed_as_well() {
    let mut server = NatsServer::start().await.unwrap();
    let url = server.url();
    let place = Place { url: url.clone(), workers: 3, server: Some(&mut server) };
    in_time(Box::pin(survives(place, async |_, _| until_all_is_settled(url).await))).await;
}
