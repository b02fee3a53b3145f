//! Messages that are scheduled for one later moment, and how soon they have all arrived.
//!
//! The floor of scheduling is a plain write of a key for each, the floor of arriving the queue alone: as many messages published and
//! pulled. Each message has to arrive once, or the bench fails.

use crate::{fresh, machine::own_cpu, shown};
use anabranch::{
    engine::{Expect, Key, Message, Name, Outgoing, Pull, PutOptions, QueueOptions, Space},
    schedule::{Delayed, Placed, Scheduler},
    time::{Clock, Instant},
};
use std::{collections::HashSet, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How many are scheduled at the same time.
const AT_ONCE: usize = 256;

/// Measures a tenth of the number and the number, so that a cost that grows faster than the work shows.
pub(crate) async fn measure(url: &str, messages: usize) {
    println!("delayed: scheduled for one moment, {AT_ONCE} at the same time");
    for messages in [messages / 10, messages] {
        let space = fresh(url).await;
        let floor = writes(&space, messages).await;
        let space = fresh(url).await;
        let (placing, cpu, arriving) = library(&space, messages).await;
        let space = fresh(url).await;
        let plain = plain(&space, messages).await;
        let rate = |took: Duration| messages as f64 / took.as_secs_f64();
        println!(
            "  {messages:>7}: {:>6.0} scheduled/s ({:.2} of plain writes, {cpu:.0} us of processor each), all there {} after they were due: \
             {:>6.0}/s ({:.2} of publishing and pulling them)",
            rate(placing),
            floor.as_secs_f64() / placing.as_secs_f64(),
            shown(arriving),
            rate(arriving),
            plain.as_secs_f64() / arriving.as_secs_f64(),
        );
    }
}

/// Does something for each number, so many at the same time.
async fn each<F, Fut>(count: usize, act: F) -> Duration
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let started = Clock::system().instant();
    let mut tasks = JoinSet::new();
    for n in 0..count {
        tasks.spawn(act(n));
        if tasks.len() >= AT_ONCE {
            tasks.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    started.elapsed()
}

fn letter(n: usize) -> Message {
    Message::new(n.to_string())
}

async fn writes(space: &Space, count: usize) -> Duration {
    each(count, |n| {
        let (space, key) = (space.clone(), Key::new(format!("plain.{n}")).unwrap());
        async move {
            space.store().put(&key, vec![b'x'; 64].into(), Expect::Absent, PutOptions::default()).await.unwrap();
        }
    })
    .await
}

/// Takes so many messages, each of them once.
async fn taken(mut pull: Box<dyn Pull>, count: usize) -> Instant {
    let (mut seen, mut acks) = (HashSet::new(), JoinSet::new());
    while seen.len() < count {
        for delivery in pull.next(NonZeroUsize::new(500).unwrap()).await.unwrap() {
            assert!(seen.insert(delivery.message().payload.clone()), "a message arrived twice");
            acks.spawn(async move { delivery.ack().await.unwrap() });
        }
        while acks.len() >= 500 {
            acks.join_next().await.unwrap().unwrap();
        }
    }
    while acks.join_next().await.is_some() {}
    let end = Clock::system().instant();
    pull.close().await;
    end
}

async fn library(space: &Space, count: usize) -> (Duration, f64, Duration) {
    let delayed = Delayed::new(space).unwrap();
    let pull = space.queue("mails", QueueOptions::default()).await.unwrap().pull().await.unwrap();
    // Later than scheduling them takes, on any machine that is worth measuring on.
    let wait = Duration::from_millis(2000 + count as u64 / 2);
    let (clock, due) = (Clock::system(), Clock::system().now() + wait);
    let moment = clock.instant() + wait;
    let cpu = own_cpu();
    let placing = each(count, |n| {
        let delayed = delayed.clone();
        async move {
            let mail = Outgoing { queue: Name::new("mails").unwrap(), message: letter(n) };
            let placed = delayed.at(&format!("mail {n}"), due, &mail).await.unwrap();
            assert_eq!(placed, Placed::Scheduled { at: due });
        }
    })
    .await;
    let cpu = (own_cpu() - cpu) * 1e6 / count as f64;
    assert!(clock.instant() < moment, "scheduling took until they were due: nothing can be said of their arrival");
    let scheduler = Scheduler::builder(space).spawn().await.unwrap();
    let end = taken(pull, count).await;
    scheduler.drain().await;
    (placing, cpu, end.saturating_duration_since(moment))
}

async fn plain(space: &Space, count: usize) -> Duration {
    let queue = space.queue("mails", QueueOptions::default()).await.unwrap();
    let pull = queue.pull().await.unwrap();
    let started = Clock::system().instant();
    let mut all = JoinSet::new();
    all.spawn(taken(pull, count));
    each(count, |n| {
        let queue = Arc::clone(&queue);
        async move {
            let _ = queue.publish(letter(n)).await.unwrap();
        }
    })
    .await;
    all.join_next().await.unwrap().unwrap().saturating_duration_since(started)
}
