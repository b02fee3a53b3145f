//! Runs of a diamond: every body notes that it begins and ends, and whoever dies is taken over.

use super::{Failure, Site, chain};
use crate::history::{Act, Answer, Fact};
use anabranch::{
    Ctx, NodeResult, RetryPolicy, Topology,
    engine::StoreError,
    runtime::{RunError, Runs, Runtime, RuntimeOptions},
};
use std::{fmt, time::Duration};

const LEASE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) type Diamonds = Runs<u64, u64, Site>;

/// A worker of runs.
pub(crate) struct Host {
    runtime: Runtime,
    pub(crate) runs: Diamonds,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    pub(crate) async fn start(site: &Site) -> Result<Self, Failure> {
        let options = RuntimeOptions::default().lease(LEASE).sweep_interval(Duration::from_secs(1));
        loop {
            match Runtime::start_with(site.space.clone(), options.clone().drain_timeout(PATIENCE)).await {
                Ok(runtime) => {
                    let runs = runtime.host(diamond(), site.clone())?;
                    return Ok(Self { runtime, runs });
                }
                Err(RunError::Store(StoreError::Unavailable(_) | StoreError::Unknown(_))) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) async fn drain(self) {
        // What was not given back is taken over.
        let _ = self.runtime.drain().await;
    }
}

async fn step(ctx: &Ctx<Site>) {
    let site = ctx.app();
    let (run, node, attempt) = (ctx.run_id().to_owned(), ctx.node().to_owned(), ctx.attempt());
    site.history.note(Fact::Begins { run: run.clone(), node: node.clone(), attempt });
    let mut dice = site.dice(u64::from(attempt) ^ run.len() as u64);
    site.space.clock().sleep(Duration::from_millis(dice.roll(120))).await;
    site.history.note(Fact::Ends { run, node, attempt });
}

/// What a run returns that was started with this.
pub(crate) fn outcome(input: u64) -> u64 {
    let a = input + 1;
    (a * 2) + (a * 3)
}

/// `a`, then `b` and `c` side by side, then `d`. A body may be told to start as often as it takes: what is tried is that it is not
/// once it has completed.
fn diamond() -> Topology<u64, u64, Site> {
    // Without delays: they would be times of clocks that are minutes apart.
    let patient = || RetryPolicy::default().max_attempts(10_000).max_crashes(10_000).delays([]);
    let mut t = Topology::builder::<u64>("diamond").app::<Site>();
    let input = t.input();
    let a = t.node("a", input, async |ctx: Ctx<Site>, n: u64| -> NodeResult<u64> {
        step(&ctx).await;
        Ok(n + 1)
    });
    let b = t.node("b", a, async |ctx: Ctx<Site>, n: u64| -> NodeResult<u64> {
        step(&ctx).await;
        Ok(n * 2)
    });
    let c = t.node("c", a, async |ctx: Ctx<Site>, n: u64| -> NodeResult<u64> {
        step(&ctx).await;
        Ok(n * 3)
    });
    let d = t.node("d", (b, c), async |ctx: Ctx<Site>, (b, c): (u64, u64)| -> NodeResult<u64> {
        step(&ctx).await;
        Ok(b + c)
    });
    for node in [a, b, c, d] {
        t.options(node).retry(patient());
    }
    t.build(d).expect("a diamond is a graph")
}

/// Starts runs, each under an id of its own.
pub(super) async fn start(site: Site, runs: Diamonds) {
    let (mut dice, mut number) = (site.dice(50), 0);
    while !site.is_over() {
        let run = format!("r{}-{}-{number}", site.worker, site.life);
        let op = site.history.call(&run, Act::Start(number));
        let answer = match runs.start(&run, number).await {
            Ok(_) => Answer::Done,
            // It may have been stored by a write whose answer was lost.
            Err(RunError::Store(StoreError::Unknown(_) | StoreError::Unavailable(_)) | RunError::ShuttingDown) => Answer::Open,
            Err(error) => {
                site.odd(format!("{run}: {}", chain(&error)));
                Answer::Open
            }
        };
        site.history.back(op, answer);
        number += 1;
        site.pause(&mut dice, 800).await;
    }
}
