//! What the program is asked to do.

use clap::Parser;

/// Tries scenarios of the library in a deterministic simulation.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
pub(crate) struct Command {
    /// How many seeds are tried, shared out among the scenarios.
    #[arg(long, default_value_t = 2000)]
    pub(crate) seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) from: u64,
    /// One seed, whose story is told.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Only this scenario; may be given several times.
    #[arg(long)]
    scenario: Vec<String>,
    /// Threads, each of which runs one simulation at a time; as many as there are cores otherwise.
    #[arg(long)]
    threads: Option<usize>,
    /// How many seeds of a scenario may fail before the others are left out.
    #[arg(long, default_value_t = 1)]
    pub(crate) failures: usize,
    /// Lists the scenarios.
    #[arg(long)]
    pub(crate) list: bool,
    /// Only scenarios whose names contain one of these: what `cargo test NAME` passes.
    #[arg(hide = true)]
    names: Vec<String>,
    /// What `cargo test -- --nocapture` passes; nothing is captured anyway.
    #[arg(long, hide = true)]
    nocapture: bool,
    /// What `cargo test -- --ignored` passes; nothing is ignored here.
    #[arg(long, hide = true)]
    ignored: bool,
}

impl Command {
    pub(crate) fn chooses(&self, name: &str) -> bool {
        let chosen = self.scenario.is_empty() || self.scenario.iter().any(|chosen| chosen == name);
        chosen && (self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str())))
    }

    /// Tells whether `cargo test` was asked for tests that are elsewhere.
    pub(crate) fn is_for_others(&self, chosen: usize) -> bool {
        self.ignored || (chosen == 0 && !self.names.is_empty())
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
    }
}
