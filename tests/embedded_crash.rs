//! What a file holds after its process was killed, and after its storage lost what was not synced.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use anabranch::{
    engine::{
        Commit, Engine, Expect, Key, Message, Name, OpenError, PutOptions, QueueOptions, Scope, Space, StoreError,
        embedded::Embedded,
    },
    time::Clock,
};
use futures_util::{StreamExt as _, future::join_all};
use redb::StorageBackend;
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    io::{self, BufRead as _, BufReader, Write as _},
    num::NonZeroUsize,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

/// Names the file that the child process writes to.
const FILE: &str = "ANABRANCH_CRASH_FILE";
const PATIENCE: Duration = Duration::from_secs(30);

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

async fn open(path: &Path) -> Result<Space, OpenError> {
    Ok(Engine::open(&format!("file:{}", path.display())).await?.space("crash").await?)
}

/// Says on one line what was acknowledged; the line is out before the next thing is done.
fn acknowledged(what: impl std::fmt::Display) {
    let mut out = io::stdout().lock();
    writeln!(out, "acknowledged {what}").unwrap();
    out.flush().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of `a_killed_process_loses_nothing_that_was_acknowledged`"]
async fn write_until_killed() {
    let Ok(path) = std::env::var(FILE) else { return };
    let space = &open(Path::new(&path)).await.unwrap();
    let queue = space.queue("jobs", QueueOptions::default()).await.unwrap();
    let write = join_all((0..3).map(|worker| async move {
        for n in 0_u64.. {
            let name = format!("k.{worker}.{n}");
            let at = key(&name);
            let revision = space.store().put(&at, name.clone().into(), Expect::Absent, PutOptions::default()).await.unwrap();
            acknowledged(format_args!("put {name} {revision}"));
        }
    }));
    let send = async {
        loop {
            acknowledged(format_args!("sent {}", queue.publish(Message::new("job")).await.unwrap().sequence));
        }
    };
    let work = async {
        let mut pull = queue.pull().await.unwrap();
        loop {
            let delivery = pull.next(NonZeroUsize::MIN).await.unwrap().pop().unwrap();
            let sequence = delivery.sequence();
            acknowledged(format_args!("delivered {sequence} {}", delivery.attempt()));
            if sequence % 2 == 0 {
                delivery.ack().await.unwrap();
                acknowledged(format_args!("done {sequence}"));
            }
        }
    };
    tokio::join!(write, send, work);
}

/// What a child said before it died.
#[derive(Default)]
struct Told {
    put: BTreeMap<String, u64>,
    sent: BTreeSet<u64>,
    delivered: BTreeMap<u64, u32>,
    done: BTreeSet<u64>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let Some((_, what)) = line.split_once("acknowledged ") else { return };
        let number = |text: &str| text.parse::<u64>().unwrap();
        match what.split(' ').collect::<Vec<_>>()[..] {
            ["put", name, revision] => self.put.extend([(name.to_owned(), number(revision))]),
            ["sent", sequence] => self.sent.extend([number(sequence)]),
            ["delivered", sequence, attempt] => self.delivered.extend([(number(sequence), attempt.parse().unwrap())]),
            ["done", sequence] => self.done.extend([number(sequence)]),
            _ => panic!("{line}"),
        }
    }
}

/// Starts a child on the file, kills it once it said `lines`, and returns all it said.
fn run_and_kill(path: &Path, lines: usize) -> Told {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "write_until_killed", "--ignored", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut told = Told::default();
    let mut line = String::new();
    for heard in 1.. {
        line.clear();
        // A line that the kill cut short was not said.
        if out.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        told.hear(line.trim_end());
        if heard == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    for lines in [50, 173, 400] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("anabranch.redb");
        let told = run_and_kill(&path, lines);
        let space = open(&path).await.unwrap();
        for (name, revision) in &told.put {
            let entry = space.store().get(&key(name)).await.unwrap().unwrap_or_else(|| panic!("{name} is lost"));
            assert_eq!((entry.revision.get(), &*entry.value), (*revision, name.as_bytes()));
        }
        let newest = told.put.values().max().copied().unwrap_or(0);
        let next = space.store().put(&key("next"), "1".into(), Expect::Absent, PutOptions::default()).await.unwrap();
        assert!(next.get() > newest, "a revision is used again");

        // The worker died with its process, so what it had comes again at once, and not after `ack_wait`.
        let queue = space.queue("jobs", QueueOptions::default()).await.unwrap();
        let mut pull = queue.pull().await.unwrap();
        let mut missing: BTreeSet<_> = told.sent.difference(&told.done).copied().collect();
        let drain = async {
            while !missing.is_empty() {
                for delivery in pull.next(NonZeroUsize::new(100).unwrap()).await.unwrap() {
                    let (sequence, attempt) = (delivery.sequence(), delivery.attempt());
                    assert!(!told.done.contains(&sequence), "{sequence} was done");
                    match told.delivered.get(&sequence) {
                        Some(before) => assert_eq!(attempt, before + 1, "a delivery of {sequence} was not counted"),
                        // The last delivery may have been stored and not been said.
                        None => assert!(attempt <= 2),
                    }
                    // One that was sent and not said is extra, and fine.
                    missing.remove(&sequence);
                }
            }
        };
        // Acknowledged in the moment of the kill, and not said: gone, and fine.
        let drained = space.clock().timeout(PATIENCE / 10, drain).await.is_some();
        assert!(drained || missing.len() == 1, "{missing:?} are lost");
    }
}

/// A storage that knows what was synced, and fails for good at a chosen moment.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// What reads see.
    live: Vec<u8>,
    /// What the last sync made durable.
    durable: Vec<u8>,
    /// What was asked for since then.
    unsynced: Vec<Step>,
    /// How many more steps succeed.
    steps_left: usize,
    syncs: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Resize(usize),
    Write(usize, Vec<u8>),
}

impl Step {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Resize(length) => image.resize(*length, 0),
            Self::Write(at, data) => {
                image.resize(image.len().max(at + data.len()), 0);
                image[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

impl Platter {
    fn step(&mut self) -> io::Result<()> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or_else(|| io::Error::other("the power is gone"))?;
        Ok(())
    }

    fn perform(&mut self, step: Step) -> io::Result<()> {
        // The step in which the power goes may still reach the disk, in part.
        self.unsynced.push(step.clone());
        self.step()?;
        step.apply(&mut self.live);
        Ok(())
    }
}

impl Disk {
    fn holding(image: Vec<u8>, steps_left: usize) -> Self {
        let platter = Platter { live: image.clone(), durable: image, unsynced: Vec::new(), steps_left, syncs: 0 };
        Self(Arc::new(Mutex::new(platter)))
    }

    /// What is found after the crash: all that was synced, and of the rest some steps, some of them in part.
    fn after_crash(&self, random: &mut u64) -> Vec<u8> {
        let platter = self.0.lock().unwrap();
        let mut image = platter.durable.clone();
        for step in &platter.unsynced {
            match (below(random, 4), step) {
                (0 | 1, step) => step.apply(&mut image),
                (2, Step::Write(at, data)) => {
                    let torn = below(random, data.len() + 1);
                    Step::Write(*at, data[..torn].to_vec()).apply(&mut image);
                }
                _ => {}
            }
        }
        image
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (platter, at) = (self.0.lock().unwrap(), usize::try_from(offset).unwrap());
        out.copy_from_slice(platter.live.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().perform(Step::Resize(usize::try_from(length).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.step()?;
        let platter = &mut *platter;
        platter.durable.clone_from(&platter.live);
        platter.unsynced.clear();
        platter.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().perform(Step::Write(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}

/// Marsaglia's xorshift: the same crashes for ever.
fn below(random: &mut u64, end: usize) -> usize {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    usize::try_from(*random % end as u64).unwrap()
}

async fn on(disk: Disk) -> Space {
    let engine = Engine::of(Arc::new(Embedded::with_backend(disk, Clock::system()).unwrap()), Clock::system());
    engine.space("crash").await.unwrap()
}

/// Commits two keys and a message at a time, until the disk fails; returns what was acknowledged.
async fn commit_until_failure(space: &Space, generation: usize) -> Vec<String> {
    let workers = (0..4).map(|worker| async move {
        let mut done = Vec::new();
        for n in 0.. {
            let name = format!("{generation}-{worker}-{n}");
            let pair = Commit::new()
                .put(key("left").join(&name), name.clone().into(), Expect::Absent, PutOptions::default())
                .put(key("right").join(&name), name.clone().into(), Expect::Absent, PutOptions::default())
                .send(Name::new("jobs").unwrap(), Message::new(name.clone()));
            match space.store().commit(pair).await {
                Ok(_) => done.push(name),
                Err(StoreError::Unknown(_) | StoreError::Unavailable(_)) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        let late = space.store().put(&key("late"), "1".into(), Expect::Anything, PutOptions::default()).await;
        assert!(late.is_err(), "success was reported after the disk failed");
        done
    });
    join_all(workers).await.into_iter().flatten().collect()
}

async fn names_below(space: &Space, side: &str) -> BTreeSet<String> {
    let keys = space.store().keys(&key(side).below()).await.unwrap();
    keys.map(|info| info.unwrap().key.last_token().to_owned()).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_disk_keeps_what_was_acknowledged_and_halves_nothing() {
    let mut survived = 0;
    for seed in 1..=16_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut image = {
            let disk = Disk::holding(Vec::new(), usize::MAX);
            drop(on(disk.clone()).await);
            disk.after_crash(&mut random)
        };
        let mut acknowledged = BTreeSet::new();
        // Three crashes in a row, each on what the one before left.
        for generation in 0..3 {
            let disk = Disk::holding(image, usize::MAX);
            let space = on(disk.clone()).await;
            disk.0.lock().unwrap().steps_left = 20 + below(&mut random, 300);
            acknowledged.extend(commit_until_failure(&space, generation).await);
            image = disk.after_crash(&mut random);

            let space = on(Disk::holding(image.clone(), usize::MAX)).await;
            let (left, right) = (names_below(&space, "left").await, names_below(&space, "right").await);
            assert_eq!(left, right, "seed {seed}: a commit is there by half");
            let lost: Vec<_> = acknowledged.difference(&left).collect();
            assert!(lost.is_empty(), "seed {seed}: {lost:?} are lost");
            assert_eq!(messages(&space, left.len()).await, left, "seed {seed}: messages are not those of the commits");
        }
        survived += acknowledged.len();
    }
    assert!(survived > 100, "the disk failed before anything was acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_come_together_share_a_sync() {
    const WRITERS: usize = 200;
    let disk = Disk::holding(Vec::new(), usize::MAX);
    let space = on(disk.clone()).await;
    let before = disk.0.lock().unwrap().syncs;
    let first = space.store().put(&key("taken"), "1".into(), Expect::Absent, PutOptions::default()).await.unwrap();
    let results = join_all((0..WRITERS).map(|n| {
        let space = &space;
        async move {
            // One in four conflicts, which is nobody else's business.
            let name = if n % 4 == 0 { key("taken") } else { key(&format!("k{n}")) };
            space.store().put(&name, "1".into(), Expect::Absent, PutOptions::default()).await
        }
    }))
    .await;
    for (n, result) in results.into_iter().enumerate() {
        match result {
            Ok(revision) => assert!(n % 4 != 0 && revision > first),
            Err(StoreError::Conflict) => assert_eq!(n % 4, 0),
            Err(error) => panic!("{error:?}"),
        }
    }
    let syncs = disk.0.lock().unwrap().syncs - before;
    assert!(syncs < WRITERS / 4, "{syncs} syncs for {WRITERS} writers");
}

/// Takes as many messages as there should be, and shows that there is no other.
async fn messages(space: &Space, expected: usize) -> BTreeSet<String> {
    let queue = space.queue("jobs", QueueOptions::default()).await.unwrap();
    let mut pull = queue.pull().await.unwrap();
    queue.publish(Message::new("last")).await.unwrap();
    let mut found = BTreeSet::new();
    loop {
        let taken = space.clock().timeout(PATIENCE, pull.next(NonZeroUsize::new(64).unwrap())).await.unwrap().unwrap();
        for delivery in taken {
            if delivery.message().payload == "last" {
                assert_eq!(found.len(), expected);
                return found;
            }
            assert!(found.insert(String::from_utf8(delivery.message().payload.to_vec()).unwrap()));
        }
    }
}

#[tokio::test]
async fn a_file_that_is_open_elsewhere_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("anabranch.redb");
    let first = open(&path).await.unwrap();
    let refused = open(&path).await.unwrap_err();
    let OpenError::Store(StoreError::Unavailable(problem)) = &refused else { panic!("{refused:?}") };
    assert!(problem.to_string().contains("one process can have"), "{problem}");
    assert!(refused.source().is_some());
    drop(first);
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_file_in_a_missing_directory_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let refused = open(&directory.path().join("missing").join("anabranch.redb")).await.unwrap_err();
    let OpenError::Store(StoreError::Unavailable(problem)) = &refused else { panic!("{refused:?}") };
    assert!(problem.to_string().contains("does not exist"), "{problem}");
}

#[tokio::test]
async fn a_file_that_is_something_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    std::fs::write(&path, "not a database").unwrap();
    assert!(open(&path).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a database");
}

#[tokio::test]
async fn everything_is_there_when_a_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("anabranch.redb");
    let written = {
        let space = open(&path).await.unwrap();
        let queue = space.queue("jobs", QueueOptions::default()).await.unwrap();
        queue.publish(Message::new("job")).await.unwrap();
        let delivery = queue.pull().await.unwrap().next(NonZeroUsize::MIN).await.unwrap().pop().unwrap();
        assert_eq!(delivery.attempt(), 1);
        space.store().put(&key("k"), "v".into(), Expect::Absent, PutOptions::default().label("l")).await.unwrap()
    };
    let space = open(&path).await.unwrap();
    let entry = space.store().get(&key("k")).await.unwrap().unwrap();
    assert_eq!((entry.revision, &*entry.value, entry.label.as_deref()), (written, &b"v"[..], Some("l")));
    assert_eq!(space.store().keys(&Scope::All).await.unwrap().count().await, 1);
    let other = QueueOptions::default().max_in_flight(7);
    assert!(matches!(space.queue("jobs", other).await, Err(StoreError::Rejected(_))));
    let queue = space.queue("jobs", QueueOptions::default()).await.unwrap();
    let again = queue.pull().await.unwrap().next(NonZeroUsize::MIN).await.unwrap().pop().unwrap();
    assert_eq!(again.attempt(), 2);
    again.ack().await.unwrap();
}
