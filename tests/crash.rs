//! Real processes that are killed at random moments, on an engine that outlives them.
//!
//! A child is this very test binary, started again with [`CHILD`] set: it works on a queue until everything is done, or until
//! it is killed. What ran is noted in a file that survives it. Another engine takes part by another URL in [`survives`].
#![allow(clippy::unwrap_used, missing_docs)]

use anabranch::{
    Ctx, NodeResult, RetryPolicy, Topology,
    core::snapshot::RunStatus,
    engine::{Engine, Message, Queue, QueueOptions, Space},
    runtime::{Runtime, RuntimeOptions},
};
use std::{
    collections::{HashMap, HashSet},
    io::Write as _,
    num::NonZeroUsize,
    path::{Path, PathBuf},
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
const MESSAGES: u64 = 40;
const KILLS: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// Each line is `run node attempt`, written at the start of an attempt in one piece.
#[derive(Clone)]
struct Journal(PathBuf);

impl Journal {
    fn note(&self, line: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.0).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
        // For whoever decides when to kill.
        std::io::stdout().write_all(b"ran\n").unwrap();
    }

    fn lines(&self) -> Vec<(String, String, u32)> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        let words = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap().parse().unwrap())
        };
        text.lines().map(words).collect()
    }
}

async fn step(ctx: Ctx<Journal>, value: u64) -> NodeResult<u64> {
    ctx.app().note(&format!("{} {} {}", ctx.run_id(), ctx.node(), ctx.attempt()));
    // Long enough that some are under way when the process dies.
    let clock = anabranch::time::Clock::system();
    let _ = clock.timeout(Duration::from_millis(3), std::future::pending::<()>()).await;
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

async fn open(url: &str) -> (Space, Arc<dyn Queue>) {
    let space = Engine::open(url).await.unwrap().space("crash").await.unwrap();
    let queue = space.queue("in", QueueOptions::default().ack_wait(Duration::from_secs(2))).await.unwrap();
    (space, queue)
}

/// What a child does; in a test run it is nothing.
#[tokio::test]
async fn a_child_works_until_everything_is_done() {
    let (Ok(url), Ok(journal)) = (std::env::var(CHILD), std::env::var(JOURNAL)) else { return };
    let (space, queue) = open(&url).await;
    let lease = RuntimeOptions::default().lease(Duration::from_secs(1));
    let runtime = Runtime::start_with(space.clone(), lease).await.unwrap();
    let runs = runtime.host(topology(), Journal(journal.into())).unwrap();
    let at_once = NonZeroUsize::new(4).unwrap();
    let _supervisor = runs.supervise(queue).concurrency(at_once).spawn().await.unwrap();
    for message in 1..=MESSAGES {
        let run = loop {
            match runs.get(&format!("in-{message}")).await {
                Ok(run) => break run,
                Err(_) => _ = space.clock().timeout(Duration::from_millis(10), std::future::pending::<()>()).await,
            }
        };
        run.outcome().await.unwrap();
    }
    runtime.drain().await.unwrap();
}

struct Worker {
    child: Child,
    ran: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(url: &str, journal: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_child_works_until_everything_is_done", "--nocapture"]);
        command.env(CHILD, url).env(JOURNAL, journal).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let ran = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, ran }
    }

    /// Waits for some attempts, and kills it in the middle of whatever it does then.
    async fn die_after(&mut self, attempts: u64) {
        let mut seen = 0;
        while seen < attempts {
            let Some(line) = self.ran.next_line().await.unwrap() else { break };
            seen += u64::from(line.ends_with("ran"));
        }
        self.child.kill().await.unwrap();
    }

    async fn finish(mut self) {
        while self.ran.next_line().await.unwrap().is_some() {}
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// Kills workers, of which `at_once` work at the same time, until only the last ones may finish; then looks what was done.
async fn survives(url: &str, journal: &Path, at_once: usize) {
    {
        let (_space, queue) = open(url).await;
        for message in 1..=MESSAGES {
            queue.publish(Message::new(message.to_string())).await.unwrap();
        }
    }
    let mut workers: Vec<_> = (0..at_once).map(|_| Worker::start(url, journal)).collect();
    let mut dice = u64::from(std::process::id());
    for kill in 0..KILLS {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unlucky = usize::try_from(kill).unwrap() % at_once;
        workers[unlucky].die_after(1 + (dice >> 33) % 20).await;
        workers[unlucky] = Worker::start(url, journal);
    }
    for worker in workers {
        worker.finish().await;
    }
    let (space, queue) = open(url).await;
    let runtime = Runtime::start(space.clone()).await.unwrap();
    let journal = Journal(journal.to_owned());
    let runs = runtime.host(topology(), journal.clone()).unwrap();
    let lines = journal.lines();
    let mut newest: HashMap<(&str, &str), u32> = HashMap::new();
    for (run, node, attempt) in &lines {
        newest.insert((run, node), *attempt);
    }
    for message in 1..=MESSAGES {
        let id = format!("in-{message}");
        assert_eq!(runs.get(&id).await.unwrap().outcome().await.unwrap(), (message + 2) * 101 + 1, "{id}");
        let snapshot = runs.inspect(&id).await.unwrap().unwrap();
        assert_eq!(snapshot.status, RunStatus::Completed);
        for node in &snapshot.nodes {
            assert_eq!(
                newest[&(id.as_str(), node.name.as_str())],
                node.attempt,
                "{id}: the last that ran is the one that counts"
            );
        }
    }
    assert_eq!(lines.iter().collect::<HashSet<_>>().len(), lines.len(), "no attempt ran twice");
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
    // The message of a worker that died may come again after others have finished its run: then it is acknowledged, and no code
    // runs. The queue is empty when nothing has come for longer than its `ack_wait`.
    let supervisor = runs.supervise(Arc::clone(&queue)).spawn().await.unwrap();
    space.clock().timeout(Duration::from_secs(4), std::future::pending::<()>()).await;
    supervisor.drain().await;
    assert_eq!(journal.lines().len(), lines.len(), "nothing ran again");
    let mut pull = queue.pull().await.unwrap();
    let left = space.clock().timeout(Duration::from_secs(3), pull.next(NonZeroUsize::MIN)).await;
    assert!(left.is_none(), "{left:?}");
    runtime.drain().await.unwrap();
}

#[tokio::test]
async fn killed_processes_lose_nothing_and_repeat_nothing_that_completed() {
    let scratch = tempfile::tempdir().unwrap();
    let url = format!("file:{}", scratch.path().join("runs.redb").display());
    let journal = scratch.path().join("journal");
    let clock = anabranch::time::Clock::system();
    clock.timeout(PATIENCE, survives(&url, &journal, 1)).await.expect("in time");
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_on_a_server_lose_nothing_whichever_is_killed() {
    let server = anabranch::testing::server::NatsServer::start().await.unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let clock = anabranch::time::Clock::system();
    clock.timeout(PATIENCE, survives(&server.url(), &scratch.path().join("journal"), 2)).await.expect("in time");
}
