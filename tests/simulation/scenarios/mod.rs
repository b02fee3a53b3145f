//! The scenarios, one a file: what is set up, what goes wrong, and what has to hold all the same.

mod counter;
mod leaving;
mod runs;
mod schedules;

use anabranch::testing::sim::Simulation;

/// One scenario. It complains by a panic.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Simulation),
}

pub(crate) const SCENARIOS: &[Scenario] = &[counter::SCENARIO, runs::SCENARIO, runs::ALONE, schedules::SCENARIO];
