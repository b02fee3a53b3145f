//! Real processes that work on one queue. A child is this very test binary, started again: it says what it does on its output.

use crate::kit::{NUMBER, fresh, in_time, many, open, options, passes, submit};
use anabranch::{
    cell::{Cells, Event},
    core::jobs::{Record, State},
    engine::{Key, Space},
    jobs::{Job, JobResult, Jobs, TopicOptions, What, Worker},
    testing::{Dice, server::NatsServer},
    time::nonce,
};
use futures_util::StreamExt as _;
use std::{
    collections::{HashMap, HashSet},
    env,
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::task::TaskTracker;

/// Set in a child, to the server's URL, the name of the space, the seconds of `ack_wait`, and how long a job takes in milliseconds.
const CHILD: &str = "ANABRANCH_JOBS_CHILD";
const SEED: &str = "ANABRANCH_SEED";
const MANY: u64 = 10_000;
const KILLS: u64 = 8;

fn place() -> Option<(String, String, u64, Duration)> {
    let place = env::var(CHILD).ok()?;
    let words: Vec<_> = place.split(' ').collect();
    let [url, name, ack_wait, work] = words[..] else { panic!("{place}") };
    Some((url.into(), name.into(), ack_wait.parse().unwrap(), Duration::from_millis(work.parse().unwrap())))
}

/// What a child does until it is told to end; by itself it is no test, and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child() {
    let Some((url, name, ack_wait, work)) = place() else { return };
    let space = open(&url, &name).await;
    let mut builder = Worker::builder(&space, ("q", options(ack_wait)))
        .concurrency(many(64))
        .drain_timeout(Duration::from_millis(500))
        .topic_with(NUMBER, TopicOptions::default().keep_results(), move |job: Job<u64>| async move {
            println!("begun {} {}", job.id(), job.attempt());
            passes(work).await;
            Ok((job.payload * 2, nonce()))
        });
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let tells = async {
        while let Some(event) = events.next().await {
            match (event.what, event.job) {
                (What::Completed { .. }, Some(job)) => println!("completed {}", job.id),
                (What::Missed(missed), _) => panic!("{missed} events are missed"),
                (What::Drained, _) => break,
                _ => {}
            }
        }
    };
    let ends = async {
        signal(SignalKind::terminate()).unwrap().recv().await;
        worker.drain().await;
    };
    tokio::join!(tells, ends);
    println!("drained");
}

/// What a process has said, and whether it will say more.
#[derive(Default, Clone)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

struct Process {
    child: Child,
    said: watch::Receiver<Said>,
}

impl Process {
    fn start(url: &str, name: &str, ack_wait: u64, work: u64) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "processes::child", "--nocapture"]);
        command.env(CHILD, format!("{url} {name} {ack_wait} {work}")).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (says, said) = watch::channel(Said::default());
        // Read at any time: who is not listened to would stand still.
        TaskTracker::new().spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                says.send_modify(|said| said.lines.push(line));
            }
            says.send_modify(|said| said.ended = true);
        });
        Self { child, said }
    }

    /// Waits until it has said `wanted` so often, or has ended.
    async fn until(&mut self, wanted: &str, times: usize) {
        let enough = |said: &Said| said.ended || said.lines.iter().filter(|line| line.starts_with(wanted)).count() >= times;
        in_time(wanted, self.said.wait_for(enough)).await.unwrap();
    }

    /// Waits until it has ended, and returns all that it has said.
    async fn all(mut self) -> Vec<String> {
        in_time("the end", self.said.wait_for(|said| said.ended)).await.unwrap();
        in_time("the end", self.child.wait()).await.unwrap();
        self.said.borrow().lines.clone()
    }

    /// Asks it to end, and returns all that it has said when it has.
    async fn terminate(self) -> Vec<String> {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let said = self.all().await;
        assert_eq!(said.iter().filter(|line| *line == "drained").count(), 1, "{:?}", said.last());
        said
    }
}

fn records(space: &Space) -> Cells<Record> {
    let codec = anabranch::Codec::new(
        "record of a test",
        |record: &Record| Ok(record.encode()),
        |bytes| Record::decode(bytes).map_err(anabranch::CodecError::new::<Record>),
    );
    Cells::below(space, &Key::new("job.q").unwrap(), codec)
}

/// Watches the results of all jobs until there are `count`, and fails when one of them changes.
async fn results(space: &Space, count: u64) -> HashMap<String, (u64, u64)> {
    let mut events = records(space).watch().await.unwrap();
    let mut results = HashMap::new();
    while (results.len() as u64) < count {
        let event = in_time("a result", events.next()).await.unwrap();
        let (Event::Initial(stored) | Event::Put(stored)) = event else { continue };
        let State::Completed { result: Some(result) } = stored.value.state else { continue };
        let result: (u64, u64) = serde_json::from_slice(&result).unwrap();
        let before = results.insert(stored.key.last_token().to_owned(), result);
        assert!(before.is_none_or(|before| before == result), "{}: a second result", stored.key);
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_killed_leave_exactly_one_result_of_each_of_ten_thousand_jobs() {
    let seed = env::var(SEED).map_or_else(|_| nonce(), |seed| seed.parse().unwrap());
    eprintln!("repeat this with {SEED}={seed}");
    let mut dice = Dice::new(seed);
    let (url, name) = (NatsServer::shared().await.url(), fresh());
    let space = open(&url, &name).await;
    let jobs = Jobs::open_with(&space, "q", options(4)).await.unwrap();
    let watched = space.clone();
    let watching = TaskTracker::new().spawn(async move { results(&watched, MANY).await });
    submit(&jobs, MANY).await;
    let mut workers: Vec<_> = (0..3).map(|_| Process::start(&url, &name, 4, 1)).collect();
    let mut said = Vec::new();
    for _ in 0..KILLS {
        let unlucky = usize::try_from(dice.roll(3)).unwrap();
        workers[unlucky].until("completed", 100 + usize::try_from(dice.roll(MANY / KILLS / 4)).unwrap()).await;
        assert!(!watching.is_finished(), "killed in the middle");
        let mut killed = std::mem::replace(&mut workers[unlucky], Process::start(&url, &name, 4, 1));
        killed.child.start_kill().unwrap();
        said.extend(killed.all().await);
    }
    let results = in_time("all results", watching).await.unwrap();
    for worker in workers {
        said.extend(worker.terminate().await);
    }
    let mut once = HashSet::new();
    for line in said.iter().filter_map(|line| line.strip_prefix("completed ")) {
        assert!(once.insert(line.to_owned()), "{line} was completed twice");
    }
    let again = said.iter().filter(|line| line.starts_with("begun") && !line.ends_with(" 1")).count();
    assert!(again > 0, "nobody was killed in the middle");
    for n in 0..MANY {
        let id = format!("job-{n}");
        assert_eq!(results[&id].0, 2 * n);
    }
    // Whatever comes again finds its job ended.
    assert_eq!(self::results(&space, MANY).await, results, "and none of them has changed");
}

/// Nothing that finished is delivered again, and nothing that was taken waits for its `ack_wait`, which is longer than this test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_end_finishes_or_hands_back_whatever_it_has() {
    const COUNT: u64 = 600;
    let (url, name) = (NatsServer::shared().await.url(), fresh());
    let space = open(&url, &name).await;
    let jobs = Jobs::open_with(&space, "q", options(600)).await.unwrap();
    submit(&jobs, COUNT).await;
    let mut first = Process::start(&url, &name, 600, 40);
    first.until("completed", 150).await;
    let said = first.terminate().await;
    let of = |said: &[String], what: &str| -> Vec<String> {
        said.iter().filter_map(|line| line.strip_prefix(what)).map(ToOwned::to_owned).collect()
    };
    let done = of(&said, "completed ");
    assert!(done.len() < 600, "it was asked in the middle");
    let asked = space.clock().instant();
    let mut second = Process::start(&url, &name, 600, 1);
    let rest = COUNT - done.len() as u64;
    second.until("completed", usize::try_from(rest).unwrap()).await;
    let took = space.clock().instant() - asked;
    assert!(took < Duration::from_secs(60), "nothing waits for its ack_wait: {took:?}");
    let more = second.terminate().await;
    let begun = of(&more, "begun ");
    assert_eq!(begun.len() as u64, rest, "each once");
    assert!(begun.iter().all(|line| line.ends_with(" 1")), "no attempt was used up: {begun:?}");
    let done: HashSet<_> = done.into_iter().collect();
    let again: Vec<_> = begun.iter().filter(|line| done.contains(line.split(' ').next().unwrap())).collect();
    assert!(again.is_empty(), "finished, and delivered again: {again:?}");
}

/// What runs when the drain's time is over is handed back, and the next worker has it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_could_not_finish_is_with_the_next_one_at_once() {
    let (url, name) = (NatsServer::shared().await.url(), fresh());
    let space = open(&url, &name).await;
    let jobs = Jobs::open_with(&space, "q", options(600)).await.unwrap();
    submit(&jobs, 100).await;
    let mut first = Process::start(&url, &name, 600, 1_000_000);
    first.until("begun", 64).await;
    first.terminate().await;
    let quick = async |job: Job<u64>| -> JobResult<u32> { Ok(job.attempt()) };
    let builder = Worker::builder(&space, ("q", options(600))).concurrency(many(64));
    let worker = builder.topic_with(NUMBER, TopicOptions::default().keep_results(), quick).spawn().await.unwrap();
    for n in 0..100 {
        let attempt = in_time("a result", jobs.outcome::<u32>(&format!("job-{n}"))).await.unwrap();
        assert_eq!(attempt, 1, "job-{n}: a drain uses no attempt up");
    }
    worker.drain().await;
}
