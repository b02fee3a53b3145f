//! A worker: a process that uses the library until it is told to come to an end, or dies.
//!
//! It says `finished` when it has ended what it had begun. It ends with its input, so it survives nobody who started it.

use crate::{
    history::History,
    options::Life,
    workload::{self, Failure, Site},
};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::process::ExitCode;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// How many workers there are.
pub(crate) const WORKERS: u32 = 3;

pub(crate) fn run(life: Life) -> ExitCode {
    // Also while it is stopped; where that cannot be had, the end of its input is what it dies of.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let lived = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(live(life)));
    match lived {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", workload::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn live(life: Life) -> Result<(), Failure> {
    let mut told = BufReader::new(tokio::io::stdin()).lines();
    let history = History::create(&life.history)?;
    let begun = async {
        let site = Site::open(&life.url, history, (life.worker, life.number), life.ahead, life.seed).await?;
        let (tasks, residents) = workload::begin(&site).await?;
        Ok::<_, Failure>((site, tasks, residents))
    };
    let (site, tasks, residents) = tokio::select! {
        biased;
        begun = begun => begun?,
        // Told to finish before it has begun anything; or nobody is there any more.
        told_early = told.next_line() => {
            if told_early?.is_some() {
                println!("finished");
                told.next_line().await?;
            }
            return Ok(());
        }
    };
    if told.next_line().await?.is_some() {
        site.over.cancel();
        tasks.wait().await;
        println!("finished");
        told.next_line().await?;
    }
    residents.drain().await;
    Ok(())
}
