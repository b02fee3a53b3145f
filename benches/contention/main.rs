//! What it costs that many callers change few keys: every strategy side by side, in one run, on one server.
//!
//! ```text
//! cargo bench --bench contention
//! cargo bench --bench contention -- --writers 64 --processes 4 --keys 1 --url nats://localhost:4222
//! ```
//!
//! Each cell of the grid is measured by real processes, all strategies in turns and several times over, and ends with a look at the
//! keys: what they hold has to be what the callers were told. `benches/README.md` says how to read what comes out.
#![allow(clippy::cast_precision_loss, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod grid;
mod keys;
mod machine;
mod report;
mod strategies;
mod worker;

use anabranch::testing::server::ServerOptions;
use clap::{Parser, ValueEnum};
use grid::Shape;
use std::path::PathBuf;
use strategies::Strategy;

/// How many callers change one key at the same time, by which strategy, and what it costs.
#[derive(Debug, Clone, Parser)]
#[command(name = "contention", disable_version_flag = true)]
pub(crate) struct Options {
    /// How many callers there are in all; several numbers are several rows.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64])]
    writers: Vec<usize>,
    /// How many processes they are spread over; several numbers are several grids.
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    processes: Vec<usize>,
    /// How many keys there are.
    #[arg(long, default_value_t = 1)]
    keys: usize,
    /// How the keys are chosen, where there are several.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// The exponent of the zipf distribution.
    #[arg(long, default_value_t = 1.1)]
    exponent: f64,
    /// The server, such as `nats://localhost:4222`; without one a server is started for the run.
    #[arg(long)]
    url: Option<String>,
    /// Whether the server that is started syncs each write to the disk (`sync_interval: always`).
    #[arg(long)]
    sync_always: bool,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How often everything is measured; the median is told.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The strategies; all unless some are named.
    #[arg(long, value_enum, value_delimiter = ',')]
    strategies: Vec<Strategy>,
    /// Where the table goes as JSON.
    #[arg(long, default_value = "target/contention.json")]
    json: PathBuf,
    /// Where the plot goes as SVG.
    #[arg(long, default_value = "target/contention.svg")]
    svg: PathBuf,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    /// Makes this process one of those that write: what it has to do, as JSON.
    #[arg(long, hide = true)]
    worker: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Distribution {
    /// Every key as often as any other.
    Uniform,
    /// The first ones much more often than the last ones.
    Zipf,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(task) = &options.worker {
        runtime.block_on(worker::work(&serde_json::from_str(task).unwrap()));
        return;
    }
    runtime.block_on(measure(options));
}

async fn measure(options: Options) {
    let mut started = ServerOptions::default();
    if options.sync_always {
        started = started.sync_always();
    }
    let server = match &options.url {
        Some(_) => None,
        None => Some(started.start().await.expect("ANABRANCH_NATS_SERVER or --url names a server")),
    };
    let url = options.url.clone().unwrap_or_else(|| server.as_ref().unwrap().url());
    let strategies =
        if options.strategies.is_empty() { Strategy::value_variants().to_vec() } else { options.strategies.clone() };
    let mut shapes = Vec::new();
    for processes in &options.processes {
        for writers in &options.writers {
            assert!(*processes > 0 && writers >= processes, "there are fewer writers ({writers}) than processes ({processes})");
            shapes.push(Shape { processes: *processes, writers: *writers });
        }
    }
    let rows = grid::measure(&options, &url, &strategies, &shapes).await;
    report::table(&options, &rows);
    report::json(&options, &url, &rows);
    report::plot(&options, &rows);
    assert!(rows.iter().all(|row| row.lost_updates == 0), "updates were lost or doubled: see the table");
}
