//! A schedule starts runs of a topology: the id of a firing is the id of its run.

use super::{
    place::{Road, seconds},
    roads::memory,
};
use anabranch::{
    Ctx, NodeResult, NodeResultExt as _, Payload as _, Topology,
    core::snapshot::RunStatus,
    engine::{Message, Name, Outgoing, QueueOptions},
    runtime::{Runs, Runtime},
    schedule::{Missed, Overlap, Schedule, Scheduler, Schedules, firing_id},
};
use futures_util::TryStreamExt as _;
use std::{num::NonZeroU32, sync::Arc, time::Duration};

/// `double -> add`, each of which takes as long as the application says.
fn topology() -> Topology<u64, u64, Duration> {
    let mut t = Topology::builder::<u64>("report").app::<Duration>();
    let input = t.input();
    let double = t.node("double", input, async |_, n: u64| Ok(n * 2));
    let add = t.node("add", double, async |ctx: Ctx<Duration>, n: u64| -> NodeResult<u64> {
        // Stands for work.
        tokio::select! {
            () = anabranch::testing::pass(*ctx.app()) => Ok(n + 1),
            _ = ctx.cancelled() => Err("cancelled").terminal(),
        }
    });
    t.build(add).unwrap()
}

fn every_second(input: u64) -> Schedule {
    let message = Message::new(input.encode().unwrap());
    Schedule::new("report", "@every 1s".parse().unwrap(), Outgoing { queue: Name::new("reports").unwrap(), message })
}

async fn all(runs: &Runs<u64, u64, Duration>) -> Vec<(String, RunStatus)> {
    let listed = runs.list().await.unwrap();
    let mut found: Vec<_> = listed.map_ok(|summary| (summary.id, summary.status)).try_collect().await.unwrap();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[tokio::test(start_paused = true)]
async fn a_schedule_starts_a_run_for_each_firing_under_its_id() {
    let place = memory(Road::Timers).await;
    let space = place.space();
    let runtime = Runtime::start(space.clone()).await.unwrap();
    let runs = runtime.host(topology(), Duration::ZERO).unwrap();
    let queue = space.queue("reports", QueueOptions::default()).await.unwrap();
    let schedules = Schedules::new(space).unwrap();
    let worker = place.scheduler(0).await;

    // This is all that it takes.
    schedules.create(&every_second(20)).await.unwrap();
    let _supervisor = runs.supervise(queue).run_id(firing_id).spawn().await.unwrap();

    place.passes(seconds(4)).await;
    schedules.pause("report").await.unwrap();
    place.passes(seconds(1)).await;
    let found = all(&runs).await;
    let wanted = [1, 2, 3, 4].map(|n| (format!("report@2026-11-25T12:00:0{n}Z"), RunStatus::Completed));
    assert_eq!(found, wanted);
    assert_eq!(runs.get(&found[0].0).await.unwrap().outcome().await.unwrap(), 41);
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_keeps_the_next_firing_away_without_saying_anything() {
    let place = memory(Road::Timers).await;
    let space = place.space();
    let runtime = Runtime::start(space.clone()).await.unwrap();
    let runs = runtime.host(topology(), Duration::from_millis(3500)).unwrap();
    let queue = space.queue("reports", QueueOptions::default()).await.unwrap();
    let running = Arc::new(runs.clone());
    let worker = Scheduler::builder(space).running("reports", running).spawn().await.unwrap();
    let schedules = Schedules::new(space).unwrap();
    schedules.create(&every_second(1).overlap(Overlap::Skip)).await.unwrap();
    let _supervisor = runs.supervise(queue).run_id(firing_id).spawn().await.unwrap();
    place.passes(seconds(9)).await;
    // The first is done at 12:00:04.5, the second at 12:00:08.5.
    let ids: Vec<_> = all(&runs).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [1, 5, 9].map(|n| format!("report@2026-11-25T12:00:0{n}Z")));
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_is_cancelled_when_the_next_firing_comes() {
    let place = memory(Road::Index).await;
    let space = place.space();
    let runtime = Runtime::start(space.clone()).await.unwrap();
    let runs = runtime.host(topology(), Duration::from_secs(3600)).unwrap();
    let queue = space.queue("reports", QueueOptions::default()).await.unwrap();
    let running = Arc::new(runs.clone());
    let worker = Scheduler::builder(space).running("reports", running).spawn().await.unwrap();
    let schedules = Schedules::new(space).unwrap();
    let all_of_them = Missed::All(NonZeroU32::MIN);
    schedules.create(&every_second(1).overlap(Overlap::Cancel).missed(all_of_them)).await.unwrap();
    let _supervisor = runs.supervise(queue).run_id(firing_id).spawn().await.unwrap();
    place.passes(Duration::from_millis(3300)).await;
    let found: Vec<_> = all(&runs).await.into_iter().map(|(_, status)| status).collect();
    assert_eq!(found, [RunStatus::Cancelled, RunStatus::Cancelled, RunStatus::Running]);
    worker.drain().await;
}
