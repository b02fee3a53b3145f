//! Real faults on real servers: three nats-servers, several processes that use the library, and whatever goes wrong between and within
//! them for some minutes. When it is over, what the processes noted is checked against what `docs/semantics.md` promises.
//!
//! `./scripts/chaos` runs it; `docs/testing.md` says how to read what it says. It is a program of its own and not one of the tests,
//! since it takes minutes, and starts itself again as its workers.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever started it")]
#![allow(missing_docs, reason = "a program has no interface to document")]

mod audit;
mod cluster;
mod disk;
mod episode;
mod examples;
mod faults;
mod history;
mod links;
mod monitor;
mod nemesis;
mod options;
mod power;
mod process;
mod report;
mod verdict;
mod worker;
mod workload;

use crate::{
    cluster::NODES,
    faults::Kind,
    options::{Options, Role, Sync},
    power::Loss,
    report::say,
    workload::{Failure, chain},
};
use anabranch::time::{Clock, nonce};
use clap::{Parser as _, ValueEnum as _};
use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// Set where this process has a mount namespace of its own.
const APART: &str = "ANABRANCH_CHAOS_APART";
/// How long it takes to look at everything when an episode's faults are over, and to try losses of power its way.
const SETTLES: Duration = Duration::from_secs(30);
const POWER: Duration = Duration::from_secs(35);
/// Shorter than this is not worth the rest.
const LEAST: Duration = Duration::from_secs(15);
/// How much longer than asked for everything may take, before that is a failure of its own.
const LATEST: Duration = Duration::from_secs(300);
/// In this much time every kind of fault has to happen.
const ENOUGH: Duration = Duration::from_secs(290);

fn main() -> ExitCode {
    let options = Options::parse();
    match options.role.clone() {
        Some(Role::Worker(life)) => return worker::run(life),
        None if options.list => {
            for kind in Kind::value_variants() {
                let value = kind.to_possible_value();
                let help = value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default();
                println!("{:<16} {help}", kind.name());
            }
            return ExitCode::SUCCESS;
        }
        None => {}
    }
    set_apart();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // Whatever it was that ended it: what it has started is dropped here, and dies.
    runtime.block_on(async {
        let stopped = async {
            let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return std::future::pending().await;
            };
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        tokio::select! {
            biased;
            () = stopped => {
                say("stopped");
                ExitCode::FAILURE
            }
            code = all(&options) => code,
        }
    })
}

/// Starts this program again in a mount namespace of its own, where that can be had: what it mounts goes away with it, however it ends.
fn set_apart() {
    if env::var_os(APART).is_some()
        || !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success())
    {
        return;
    }
    let Ok(own) = env::current_exe() else { return };
    let mut apart = Command::new("unshare");
    apart.args(["-m", "--propagation", "private"]).arg(own).args(env::args_os().skip(1)).env(APART, "1");
    // It returns only if it failed, and then this process goes on as it is.
    let _ = apart.exec();
}

async fn all(options: &Options) -> ExitCode {
    let seed = options.seed.unwrap_or_else(|| nonce() >> 32);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos").join(seed.to_string());
    let in_time = Clock::system().timeout(options.time() + LATEST, tried(options, seed, &folder)).await;
    match in_time.unwrap_or_else(|| Err(format!("it has not ended {LATEST:?} after its time").into())) {
        Ok(true) => {
            say(&format!("everything held; seed {seed}"));
            let _ = fs::remove_dir_all(&folder);
            ExitCode::SUCCESS
        }
        Ok(false) => {
            say(&format!("FAILED; seed {seed}; histories and logs are in {}", folder.display()));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("FAILED: {}; seed {seed}; histories and logs are in {}", chain(&*error), folder.display()));
            ExitCode::FAILURE
        }
    }
}

/// Tries everything that was asked for, and tells whether all of it held.
async fn tried(options: &Options, seed: u64, folder: &Path) -> Result<bool, Failure> {
    let (syncs, kinds) = (options.syncs(), options.kinds());
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    let (mut held, mut works) = (true, BTreeMap::new());
    let mut faults: BTreeMap<String, u64> = kinds.iter().map(|kind| (kind.name(), 0)).collect();
    let mut decks = faults::decks(seed, &kinds);
    let count = u32::try_from(syncs.len())?;
    let each = (options.time() / count).saturating_sub(SETTLES + POWER).max(LEAST);
    say(&format!("seed {seed}; {} kinds of faults; {} s of them for each of: {syncs:?}", kinds.len(), each.as_secs()));
    for sync in syncs.iter().copied() {
        let place = folder.join(format!("{sync:?}").to_lowercase());
        fs::create_dir_all(&place)?;
        say(&format!("three nodes with {sync}"));
        let came = episode::run(sync, &mut decks, seed, each, &place).await?;
        came.violations.iter().for_each(|violation| say(&format!("VIOLATION with {sync}\n{violation}\n")));
        held &= came.violations.is_empty();
        came.faults.into_iter().for_each(|(kind, count)| *faults.entry(kind).or_insert(0) += count);
        came.works.into_iter().for_each(|(work, count)| *works.entry(work).or_insert(0) += count);
    }
    for sync in syncs {
        held &= loses_power(sync, folder).await?;
    }
    let list = |counts: &BTreeMap<String, u64>| {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    };
    say(&format!("faults: {}", list(&faults)));
    say(&format!("work: {}", list(&works)));
    for (name, _) in faults.iter().chain(&works).filter(|(_, count)| **count == 0) {
        // What there was no time for, or no way.
        let excused = faults.contains_key(name) && (options.time() < ENOUGH || *name == Kind::PowerLoss.name());
        let so = if excused { "" } else { ", so this run says too little" };
        say(&format!("`{name}` never happened{so}"));
        held &= excused;
    }
    Ok(held)
}

/// Tries what losses of power cost, of one node and of all.
async fn loses_power(sync: Sync, folder: &Path) -> Result<bool, Failure> {
    let folder: PathBuf = folder.join("power");
    fs::create_dir_all(&folder)?;
    let mut held = true;
    for nodes in [1, NODES] {
        let Some(Loss { acknowledged, missing }) = power::measure(sync, nodes, &folder).await? else { break };
        let whose = if nodes == 1 { "one node".to_owned() } else { format!("all {nodes} nodes at once") };
        let gone = missing.map_or_else(|| "and nobody can say how many".to_owned(), |missing| missing.to_string());
        say(&format!("power loss of {whose} with {sync}: {acknowledged} writes were acknowledged, {gone} of them are gone"));
        held &= sync == Sync::Default || missing == Some(0);
    }
    Ok(held)
}
