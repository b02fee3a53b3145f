//! Runs in one process with an engine of its own, whose host is killed and loses power at any point.

use super::{App, Found, Inbox, Plan, SECOND, Scenario, World, open, options, serve};
use anabranch::{
    engine::{Queue, Space},
    error::BoxError,
    testing::{
        Dice,
        sim::{Host, Simulation, Trouble},
    },
};
use futures_util::future::join_all;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::task::TaskTracker;

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "runs-alone", about: "runs on an engine in the process go on after every crash and loss of power", run };

const ONE: &str = "one";
const TROUBLE: u32 = 20;
const LIMIT: u32 = 60;

/// Where the last life of the host leaves what it found.
type Audit = Arc<Mutex<Option<Option<Found>>>>;

fn run(sim: &mut Simulation) {
    let mut dice = Dice::new(sim.seed() ^ 0x0005_A105);
    let world = World { plans: Arc::new(Plan::all(&mut dice)), ..World::default() };
    let audit = Audit::default();
    let (there, found) = (world.clone(), Arc::clone(&audit));
    sim.host(ONE, move |host| {
        let (world, audit) = (there.clone(), Arc::clone(&found));
        async move {
            if audit.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                return live(host, world).await;
            }
            let found = Found::look(&host, &host.embedded()?.space("shop").await?).await?;
            *audit.lock().unwrap_or_else(PoisonError::into_inner) = Some(Some(found));
            Ok(())
        }
    });
    let kinds = [
        Trouble::crash(3 * SECOND).lasting(SECOND / 2),
        Trouble::power_loss(3 * SECOND).lasting(SECOND / 2),
        Trouble::pause(5 * SECOND).lasting(2 * SECOND),
    ];
    for kind in kinds {
        if dice.roll(4) > 0 {
            sim.trouble(kind.of([ONE]));
        }
    }
    world.runs_on(sim, TROUBLE, || false);
    sim.calm();
    world.runs_on(sim, LIMIT, || world.is_quiet());
    world.witness.judge();
    world.results();
    sim.run_for(Duration::from_secs(45));
    // Whoever opens it next finds the queues in order.
    sim.lose_power(ONE, true);
    *audit.lock().unwrap_or_else(PoisonError::into_inner) = Some(None);
    sim.start(ONE);
    assert!(sim.run_until(60 * SECOND, |sim| !sim.is_up(ONE)), "the last life does not end");
    let found = audit.lock().unwrap_or_else(PoisonError::into_inner).take().flatten();
    world.letters(found.expect("the last life left what it found"));
    // Most orders may end before much of them has begun.
    assert!(world.witness.starts() > 5, "only {} bodies started", world.witness.starts());
}

/// One life: opens what the one before left, and goes on.
async fn live(host: Host, world: World) -> Result<(), BoxError> {
    world.witness.boots(&host);
    let space: Space = host.embedded()?.space("shop").await?;
    let (witness, watched, eyes) = (world.witness.clone(), space.clone(), host.clone());
    let tasks = TaskTracker::new();
    tasks.spawn(async move { witness.watch(&eyes, &watched).await });
    let app = App::new(&host, &world.witness);
    let runs = open(&space, &app).await?;
    let queue: Arc<dyn Queue> = space.queue("orders", options()).await?;
    let inbox = Inbox::over(Arc::clone(&queue), &host, &world.witness);
    let _supervisor = runs.supervise(inbox).run_id(anabranch::schedule::firing_id).spawn().await?;
    let recovered = runs.recover().await?;
    host.say(format!("{recovered:?}"));
    let served = world.plans.iter().map(|plan| serve(&host, &world, &runs, &queue, *plan));
    tokio::select! {
        biased;
        () = app.fall.notified() => host.say("falls"),
        _ = join_all(served) => std::future::pending().await,
    }
    world.leaving.leave(&host);
    Ok(())
}
