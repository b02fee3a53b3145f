//! Several queues with weights: each gets its share, and none is starved.

use crate::kit::{ACK_WAIT, Journal, NUMBER, SECOND, left_in, many, queue, some, space, worker};
use anabranch::{jobs::Job, testing::pass};

#[tokio::test(start_paused = true)]
async fn a_heavy_lane_gets_its_share_and_a_light_one_is_not_starved() {
    let (space, journal) = (space().await, Journal::default());
    let (high, low) = (queue(&space, "high").await, queue(&space, "low").await);
    for n in 0..200 {
        high.publish(NUMBER.message(&n).unwrap()).await.unwrap();
        low.publish(NUMBER.message(&n).unwrap()).await.unwrap();
    }
    let ran = journal.clone();
    let worker = anabranch::jobs::Worker::builder(&space, "high")
        .weight(some(4))
        .lane("low", some(1))
        .concurrency(many(10))
        .topic(NUMBER, move |job: Job<u64>| {
            let ran = ran.clone();
            async move {
                ran.note(job.queue());
                pass(SECOND).await;
                Ok(())
            }
        })
        .spawn()
        .await
        .unwrap();
    let ran = journal.until(150).await;
    // After the first ten, which found everything free.
    let low_of = |ran: &[String]| ran.iter().filter(|queue| *queue == "low").count();
    let share = low_of(&ran[20..140]);
    assert!((18..=36).contains(&share), "{share} of 120 are of the light lane, 24 is its share");
    let starved = ran[20..140].chunks(20).filter(|some| low_of(some) == 0).count();
    assert_eq!(starved, 0, "{ran:?}");
    journal.until(400).await;
    worker.drain().await;
    assert_eq!(journal.all().len(), 400, "each once");
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_alone_has_all_slots_and_what_waits_in_hand_is_back_at_once_after_a_drain() {
    let (space, journal) = (space().await, Journal::default());
    let low = queue(&space, "low").await;
    for n in 0..30 {
        low.publish(NUMBER.message(&n).unwrap()).await.unwrap();
    }
    let ran = journal.clone();
    let worker = worker(&space)
        .weight(some(9))
        .lane("low", some(1))
        .concurrency(many(10))
        .drain_timeout(SECOND)
        .topic(NUMBER, move |job: Job<u64>| {
            ran.note(job.id());
            std::future::pending::<anabranch::jobs::JobResult<()>>()
        })
        .spawn()
        .await
        .unwrap();
    journal.until(10).await;
    crate::kit::time_passes(&space, ACK_WAIT).await;
    assert!(worker.in_hand() > 10 && journal.all().len() == 10);
    worker.drain().await;
    assert_eq!(left_in(&space, "low", SECOND).await.len(), 30);
}
