//! Every strategy in every shape, in turns: starts the processes, adds up what they measured, and looks for lost updates.

use crate::{
    Options, machine,
    strategies::{self, Strategy},
    worker::{Measured, Task, histogram},
};
use anabranch::time::nonce;
use hdrhistogram::Histogram;
use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdout, Command, Stdio},
};

/// How many callers in how many processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Shape {
    pub(crate) processes: usize,
    pub(crate) writers: usize,
}

/// One strategy in one shape.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) strategy: Strategy,
    pub(crate) shape: Shape,
    /// Increments a second: the median of the rounds, and their range.
    pub(crate) per_second: f64,
    pub(crate) slowest: f64,
    pub(crate) fastest: f64,
    /// Writes that were tried, and that were refused, for each increment.
    pub(crate) attempts: f64,
    pub(crate) conflicts: f64,
    /// Microseconds.
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) gave_up: u64,
    pub(crate) unknown: u64,
    /// Microseconds of processor time for each increment: of the callers' processes, and of everything on this machine.
    pub(crate) own_cpu: f64,
    pub(crate) all_cpu: f64,
    /// Bytes that this machine sent for each increment, headers of all layers included.
    pub(crate) bytes: f64,
    /// How far what is stored is from what the callers were told.
    pub(crate) lost_updates: u64,
}

/// What one round came to.
struct Round {
    measured: Measured,
    latencies: Histogram<u64>,
    per_second: f64,
    all_cpu: f64,
    bytes: f64,
    lost_updates: u64,
}

pub(crate) async fn measure(options: &Options, url: &str, strategies: &[Strategy], shapes: &[Shape]) -> Vec<Row> {
    let mut rows = Vec::new();
    for shape in shapes {
        // In turns, so that whatever else the machine does meets all of them.
        let mut rounds: Vec<Vec<Round>> = strategies.iter().map(|_| Vec::new()).collect();
        for round in 0..options.rounds {
            for (strategy, rounds) in strategies.iter().zip(&mut rounds) {
                rounds.push(measure_once(options, url, *strategy, *shape, round as u64).await);
            }
        }
        for (strategy, rounds) in strategies.iter().zip(rounds) {
            rows.push(sum_up(*strategy, *shape, rounds));
        }
    }
    rows
}

async fn measure_once(options: &Options, url: &str, strategy: Strategy, shape: Shape, round: u64) -> Round {
    let place = format!("contention-{:016x}", nonce());
    strategies::prepare(strategy, url, &place).await;
    let mut processes: Vec<_> = (0..shape.processes)
        .map(|process| {
            let of_it = shape.writers / shape.processes + usize::from(process < shape.writers % shape.processes);
            start(&Task {
                strategy,
                url: url.to_owned(),
                place: place.clone(),
                writers: of_it,
                keys: options.keys,
                distribution: options.distribution,
                exponent: options.exponent,
                seconds: options.seconds,
                seed: round * 1_000_003 + process as u64 * 1009,
            })
        })
        .collect();
    for (_, said) in &mut processes {
        assert_eq!(line(said), "ready");
    }
    let (cpu, bytes) = (machine::all_cpu(), machine::sent_bytes());
    for (process, _) in &mut processes {
        process.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    let (mut all, mut latencies) = (Measured::default(), histogram());
    for (process, said) in &mut processes {
        let measured: Measured = serde_json::from_str(&line(said)).unwrap();
        for (value, count) in &measured.latencies {
            latencies.record_n(*value, *count).unwrap();
        }
        all.done += measured.done;
        all.gave_up += measured.gave_up;
        all.unknown += measured.unknown;
        all.attempts += measured.attempts;
        all.conflicts += measured.conflicts;
        all.cpu += measured.cpu;
        all.seconds = all.seconds.max(measured.seconds);
        assert!(process.wait().unwrap().success());
    }
    let (all_cpu, bytes) = (machine::all_cpu() - cpu, machine::sent_bytes() - bytes);
    let stored = strategies::finish(strategy, url, &place, options.keys).await;
    // Those that nobody was told about may be there or not.
    let lost_updates = all.done.saturating_sub(stored) + stored.saturating_sub(all.done + all.unknown);
    Round { per_second: all.done as f64 / all.seconds, measured: all, latencies, all_cpu, bytes, lost_updates }
}

fn start(task: &Task) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--worker", &serde_json::to_string(task).unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    (child, said)
}

fn line(said: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "a process ended before it had said what it measured");
    line.trim_end().to_owned()
}

fn sum_up(strategy: Strategy, shape: Shape, rounds: Vec<Round>) -> Row {
    let mut speeds: Vec<_> = rounds.iter().map(|round| round.per_second).collect();
    speeds.sort_by(f64::total_cmp);
    let mut latencies = histogram();
    let mut all = Measured::default();
    let (mut all_cpu, mut bytes, mut lost_updates) = (0.0, 0.0, 0);
    for round in rounds {
        latencies.add(round.latencies).unwrap();
        all.done += round.measured.done;
        all.gave_up += round.measured.gave_up;
        all.unknown += round.measured.unknown;
        all.attempts += round.measured.attempts;
        all.conflicts += round.measured.conflicts;
        all.cpu += round.measured.cpu;
        all_cpu += round.all_cpu;
        bytes += round.bytes;
        lost_updates += round.lost_updates;
    }
    let done = all.done.max(1) as f64;
    Row {
        strategy,
        shape,
        per_second: speeds[speeds.len() / 2],
        slowest: speeds[0],
        fastest: speeds[speeds.len() - 1],
        attempts: all.attempts as f64 / done,
        conflicts: all.conflicts as f64 / done,
        p50: latencies.value_at_quantile(0.5),
        p90: latencies.value_at_quantile(0.9),
        p99: latencies.value_at_quantile(0.99),
        p999: latencies.value_at_quantile(0.999),
        gave_up: all.gave_up,
        unknown: all.unknown,
        own_cpu: all.cpu / done * 1e6,
        all_cpu: all_cpu / done * 1e6,
        bytes: bytes / done,
        lost_updates,
    }
}
