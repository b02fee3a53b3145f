//! Who lives: what is believed of a worker, and of one's own silence.

use crate::{
    kit::{LEASE, Told, faulty_worker, time_passes},
    support::{Gate, gated, space, worker},
};
use anabranch::testing::faulty::{Fault, Op};

#[tokio::test(start_paused = true)]
async fn one_heartbeat_that_is_never_answered_does_not_end_the_others() {
    let space = space().await;
    let (owner, faulty) = faulty_worker(&space).await;
    let (other, gate) = (worker(&space).await, Gate::default());
    let run = owner.host(gated(), gate.clone()).unwrap().start("r", 1).await.unwrap();
    let there = other.host(gated(), gate.clone()).unwrap();
    gate.entered().await;
    faulty.once(Fault::Hang, |call| call.writes_below("worker."));
    time_passes(&space, 10 * LEASE).await;
    assert_eq!(there.recover().await.unwrap().owned_elsewhere, 1);
    gate.open();
    assert_eq!(run.outcome().await.unwrap(), 1);
    assert_eq!(run.snapshot().await.unwrap().epoch, 1);
}

#[tokio::test(start_paused = true)]
async fn beats_that_fail_now_and_then_cost_nothing() {
    let space = space().await;
    let (owner, faulty) = faulty_worker(&space).await;
    let (other, gate) = (worker(&space).await, Gate::default());
    let run = owner.host(gated(), gate.clone()).unwrap().start("r", 1).await.unwrap();
    other.host(gated(), gate.clone()).unwrap();
    let mut beats = 0;
    faulty.plan(move |call| {
        beats += u32::from(call.writes_below("worker."));
        (call.writes_below("worker.") && beats % 3 != 0).then_some(Fault::Unavailable)
    });
    time_passes(&space, 20 * LEASE).await;
    gate.open();
    assert_eq!(run.outcome().await.unwrap(), 1);
    assert_eq!(run.snapshot().await.unwrap().epoch, 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_own_watch_hangs_takes_nobody_for_dead() {
    let space = space().await;
    let (owner, gate) = (worker(&space).await, Gate::default());
    let run = owner.host(gated(), gate.clone()).unwrap().start("r", 1).await.unwrap();
    gate.entered().await;
    let (blind, faulty) = faulty_worker(&space).await;
    // Set before its watch starts: nothing has been polled yet.
    faulty.plan(|call| (call.op == Op::Watch).then_some(Fault::Hang));
    let there = blind.host(gated(), gate.clone()).unwrap();
    let told = Told::of(&space, "in").await;
    let _supervisor = there.supervise(told.queue()).run_id(|_| "r".into()).spawn().await.unwrap();
    told.publish(1).await;
    for _ in 0..10 {
        assert_eq!(there.recover().await.unwrap().owned_elsewhere, 1);
        time_passes(&space, LEASE * 3 / 2).await;
    }
    assert!(told.count("retry") > 3, "{:?}", told.said());
    gate.open();
    assert_eq!(run.outcome().await.unwrap(), 1);
    assert_eq!(run.snapshot().await.unwrap().epoch, 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_drained_is_gone_at_once() {
    let space = space().await;
    let (owner, other, gate) = (worker(&space).await, worker(&space).await, Gate::default());
    owner.host(gated(), gate.clone()).unwrap().start("r", 1).await.unwrap();
    let there = other.host(gated(), gate.clone()).unwrap();
    gate.entered().await;
    owner.drain().await.unwrap();
    let keys = space.store().keys(&anabranch::engine::Key::new("worker").unwrap().below()).await.unwrap();
    let workers: Vec<_> = futures_util::TryStreamExt::try_collect(keys).await.unwrap();
    assert_eq!(workers.len(), 1, "{workers:?}");
    there.get("r").await.unwrap().wait_for(|s| s.owner.as_ref().is_some_and(|o| o.worker == other.worker_id())).await.unwrap();
}
