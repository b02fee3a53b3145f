//! A file that cannot grow any more, as on a full disk: what was acknowledged stays, and all goes on when there is room.
//!
//! A child is this very test binary, started again under a limit of the size of its files, which the system enforces as it
//! does the end of a disk. It writes until it is refused, and says on its output what it was told.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(unix)]

use anabranch::{
    Ctx, Topology,
    core::snapshot::RunStatus,
    engine::{Engine, Expect, Key, PutOptions, Revision, Space, StoreError},
    runtime::Runtime,
    time::Clock,
};
use std::{
    error::Error,
    io::{self, Write as _},
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// Names the file that the child fills.
const FILE: &str = "ANABRANCH_FULL_FILE";
/// The most bytes of a file of the child, in the 512-byte blocks that `ulimit` counts.
const BLOCKS: u64 = (16 << 20) / 512;
const RUN: &str = "r1";
const OUTPUT: usize = 1 << 20;

async fn open(path: &Path) -> Space {
    Engine::open(&format!("file:{}", path.display())).await.unwrap().space("full").await.unwrap()
}

/// What a body waits for.
#[derive(Clone, Default)]
struct Gate {
    entered: Arc<Notify>,
    open: watch::Sender<bool>,
}

/// Returns something large when the gate is open.
fn held() -> Topology<(), String, Gate> {
    let mut t = Topology::builder::<()>("held").app::<Gate>();
    let input = t.input();
    let held = t.node("held", input, async |ctx: Ctx<Gate>, ()| {
        ctx.app().entered.notify_one();
        ctx.app().open.subscribe().wait_for(|open| *open).await.unwrap();
        Ok("x".repeat(OUTPUT))
    });
    t.build(held).unwrap()
}

async fn put(space: &Space, n: usize, size: usize) -> Result<Revision, StoreError> {
    let key = Key::new(format!("k.{n}")).unwrap();
    space.store().put(&key, "x".repeat(size).into(), Expect::Absent, PutOptions::default()).await
}

/// Says on one line what happened; the line is out before the next thing is done.
fn say(what: impl std::fmt::Display) {
    let mut out = io::stdout().lock();
    writeln!(out, "said {what}").unwrap();
    out.flush().unwrap();
}

/// What an error says, on one line, with its cause.
fn told(error: &StoreError) -> String {
    assert!(matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_)), "{error:?}");
    format!("{error}: {}", error.source().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of `a_full_disk_is_an_error_that_loses_nothing_and_passes`"]
async fn fill_the_file() {
    let Ok(path) = std::env::var(FILE) else { return };
    let space = open(Path::new(&path)).await;
    let gate = Gate::default();
    let runtime = Runtime::start(space.clone()).await.unwrap();
    let runs = runtime.host(held(), gate.clone()).unwrap();
    let run = runs.start(RUN, ()).await.unwrap();
    gate.entered.notified().await;
    for n in 0..1000 {
        match put(&space, n, 128 << 10).await {
            Ok(_) => say(format_args!("stored {n}")),
            Err(error) => {
                say(format_args!("refused: {}", told(&error)));
                break;
            }
        }
    }
    gate.open.send_replace(true);
    let early = Clock::system().timeout(Duration::from_secs(1), run.outcome()).await;
    say(format_args!("outcome {}", if early.is_some() { "there" } else { "open" }));
    match put(&space, usize::MAX, 1).await {
        Ok(_) => say("then stored"),
        Err(error) => say(format_args!("then refused: {}", told(&error))),
    }
    // As whoever is out of room dies: with the run under way.
    std::process::exit(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_an_error_that_loses_nothing_and_passes() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("runs.redb");
    // Without the trap the system would kill the child at the limit.
    let limited = format!("trap '' XFSZ; ulimit -f {BLOCKS}; exec \"$0\" --exact fill_the_file --ignored --nocapture");
    let child =
        Command::new("sh").arg("-c").arg(limited).arg(std::env::current_exe().unwrap()).env(FILE, &path).output().unwrap();
    let out = String::from_utf8_lossy(&child.stdout).into_owned();
    let said: Vec<_> = out.lines().filter_map(|line| line.split_once("said ")).map(|(_, what)| what).collect();
    let stored = said.iter().filter(|what| what.starts_with("stored")).count();
    assert!(stored > 8, "{out}");
    // The first who met the end of the disk is told what the system said; whoever comes then is told so, since what may be
    // missing is not built upon until the file is opened again.
    assert!(said[stored].starts_with("refused: the ") && said[stored].contains("I/O error"), "{out}");
    assert_eq!(said[stored + 1], "outcome open");
    assert!(said[stored + 2].starts_with("then refused: the store is unavailable: Previous I/O error"), "{out}");

    // Here the file may grow.
    let space = open(&path).await;
    for n in 0..stored {
        let key = Key::new(format!("k.{n}")).unwrap();
        assert_eq!(space.store().get(&key).await.unwrap().unwrap().value.len(), 128 << 10, "{n} was acknowledged");
    }
    put(&space, usize::MAX, 1).await.unwrap();
    let gate = Gate::default();
    gate.open.send_replace(true);
    let runs = Runtime::start(space).await.unwrap().host(held(), gate).unwrap();
    runs.recover().await.unwrap();
    assert_eq!(runs.get(RUN).await.unwrap().outcome().await.unwrap().len(), OUTPUT);
    assert_eq!(runs.inspect(RUN).await.unwrap().unwrap().status, RunStatus::Completed);
}
