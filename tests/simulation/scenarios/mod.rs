//! The scenarios, one a file: what is set up, what goes wrong, and what has to hold all the same.

mod counter;
mod election;
mod jobs;
mod leaving;
mod limiter;
mod lock;
mod register;
mod runs;
mod rw_lock;
mod schedules;
mod semaphore;
mod wait_group;

use anabranch::testing::sim::Simulation;

/// One scenario. It complains by a panic.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Simulation),
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    counter::SCENARIO,
    election::SCENARIO,
    jobs::SCENARIO,
    limiter::SCENARIO,
    lock::SCENARIO,
    register::SCENARIO,
    runs::SCENARIO,
    runs::ALONE,
    rw_lock::SCENARIO,
    schedules::SCENARIO,
    semaphore::SCENARIO,
    wait_group::SCENARIO,
];
