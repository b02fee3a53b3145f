//! What a run of chaos is asked to do.

use crate::faults::Kind;
use clap::{Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};

/// Real faults on three real nats-servers while several processes use the library; checked when it is over.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
pub(crate) struct Options {
    /// How many minutes all of it takes, about; the last look may take a minute more
    #[arg(long, default_value_t = 5.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// Repeats the plan of faults of an earlier run
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// When servers write to their disks; without it both ways, one after the other
    #[arg(long)]
    pub(crate) sync: Option<Sync>,
    /// Only this fault; may be repeated
    #[arg(long = "fault")]
    pub(crate) faults: Vec<Kind>,
    /// Tells the faults and ends
    #[arg(long)]
    pub(crate) list: bool,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (2.0..=10_000.0).contains(&minutes) { Ok(minutes) } else { Err("from 2 to 10000".to_owned()) }
}

impl Options {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(60.0 * self.minutes)
    }

    /// Which ways to write are tried, in order.
    pub(crate) fn syncs(&self) -> Vec<Sync> {
        self.sync.map_or_else(|| vec![Sync::Always, Sync::Default], |sync| vec![sync])
    }

    /// Which faults happen.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        if self.faults.is_empty() { Kind::value_variants().to_vec() } else { self.faults.clone() }
    }
}

/// When a server brings what it acknowledges to its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sync {
    /// Before it acknowledges
    Always,
    /// Every two minutes, as servers do that nobody has told
    Default,
}

impl std::fmt::Display for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Always => "sync_interval: always",
            Self::Default => "the default sync_interval",
        })
    }
}

/// What a copy of this program does that it started itself.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Role {
    /// Uses the library; not for people
    #[command(hide = true)]
    Worker(Life),
}

/// One life of a worker, from its start to its end or its death.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Life {
    #[arg(long)]
    pub(crate) url: String,
    #[arg(long)]
    pub(crate) worker: u32,
    #[arg(long)]
    pub(crate) number: u32,
    /// By how many milliseconds its clock is ahead
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) ahead: i64,
    #[arg(long)]
    pub(crate) seed: u64,
    #[arg(long)]
    pub(crate) history: PathBuf,
}
