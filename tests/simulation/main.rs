//! Scenarios of the whole library, each tried with many seeds. A program, since it is asked in more ways than a test:
//!
//! ```sh
//! cargo test --test simulation                          # every scenario, 2,000 seeds in all
//! ./scripts/simulate --seeds 100000                     # more of them, optimized
//! ./scripts/simulate --scenario runs --seed 17          # one seed, with its story
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]

mod command;
mod holds;
mod labour;
mod meeting;
mod scenarios;
mod stage;

use anabranch::{
    testing::sim::{Explored, explore},
    time::Clock,
};
use clap::Parser as _;
use command::Command;
use scenarios::{SCENARIOS, Scenario};
use std::process::ExitCode;

/// How many seeds of each scenario are run again, to see that a seed is one execution.
const TWICE: u64 = 10;

fn main() -> ExitCode {
    let command = Command::parse();
    // A scenario complains by a panic, and each is told with its seed; some bodies panic on purpose.
    std::panic::set_hook(Box::new(|_| {}));
    let chosen: Vec<_> = SCENARIOS.iter().filter(|scenario| command.chooses(scenario.name)).collect();
    if command.is_for_others(chosen.len()) {
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        eprintln!("there is no such scenario; --list tells which there are");
        return ExitCode::from(2);
    }
    if command.list {
        for scenario in &chosen {
            println!("{:<16} {}", scenario.name, scenario.about);
        }
        return ExitCode::SUCCESS;
    }
    let held = match command.seed {
        Some(seed) => chosen.iter().map(|scenario| tell(scenario, seed)).fold(true, |all, held| all & held),
        None => chosen.iter().map(|scenario| try_many(scenario, &command, chosen.len())).fold(true, |all, held| all & held),
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a scenario with its share of the seeds, and the first of them twice.
fn try_many(scenario: &Scenario, command: &Command, scenarios: usize) -> bool {
    let share = command.seeds.div_ceil(u64::try_from(scenarios).unwrap_or(1));
    let clock = Clock::system();
    let begun = clock.instant();
    let explore = |count: u64| explore(command.from..command.from + count, command.threads(), command.failures, scenario.run);
    let found = explore(share);
    let Explored { seeds, time, events, failures, .. } = &found;
    let (hours, failed, took) = (time.as_secs() / 3600, failures.len(), clock.instant().duration_since(begun));
    let name = scenario.name;
    println!("{name:<16} {seeds:>6} seeds  {hours:>6} h of virtual time  {events:>11} events  {failed} failed  {took:.1?}");
    for failure in failures {
        println!("\n{name} {failure}\nagain: ./scripts/simulate --scenario {name} --seed {}", failure.seed);
    }
    let again = share.min(TWICE);
    let same = !failures.is_empty() || explore(again).fingerprint == explore(again).fingerprint;
    if !same {
        println!("{name}: two executions of the seeds from {} differ, so no seed can be relied on", command.from);
    }
    failures.is_empty() && *seeds == share && same
}

/// Runs a scenario with one seed, twice, and tells its story from the beginning.
fn tell(scenario: &Scenario, seed: u64) -> bool {
    let once = |told: bool| {
        explore(seed..seed + 1, 1, 1, |sim| {
            sim.keep_story(usize::MAX);
            (scenario.run)(sim);
            if told {
                println!("{sim}");
            }
        })
    };
    let (found, again) = (once(true), once(false));
    for failure in &found.failures {
        println!("{} {failure}", scenario.name);
    }
    println!("{}: seed {seed}, {} events, {:?} of virtual time", scenario.name, found.events, found.time);
    if found.fingerprint != again.fingerprint {
        println!("a second execution differed");
    }
    found.failures.is_empty() && found.fingerprint == again.fingerprint
}
