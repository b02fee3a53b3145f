//! What the tests share: spaces of their own, as several processes see them, and waits that end.

use anabranch::{
    Codec,
    engine::{Engine, QueueOptions, Space},
    jobs::{Jobs, Topic},
    time::{Clock, nonce},
};
use std::{num::NonZeroUsize, time::Duration};

pub const NUMBER: Topic<u64> = Topic::new("number", Codec::json());

pub fn fresh() -> String {
    format!("jobs-{:x}", nonce())
}

/// Opens a space with a connection of its own, as another process does.
pub async fn open(url: &str, name: &str) -> Space {
    Engine::open(&format!("{url}?timeout=10s")).await.unwrap().space(name).await.unwrap()
}

pub fn options(ack_wait: u64) -> QueueOptions {
    QueueOptions::default().ack_wait(Duration::from_secs(ack_wait))
}

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(100), future).await else { panic!("{what} takes too long") };
    done
}

pub fn many(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// Submits `count` jobs, `job-0` and so on.
pub async fn submit(jobs: &Jobs, count: u64) {
    use futures_util::{StreamExt as _, stream};
    let all = stream::iter(0..count).map(|n| async move { jobs.submit_as(format!("job-{n}"), &NUMBER, &n).await });
    all.buffer_unordered(256).for_each(async |submitted| drop(submitted.unwrap())).await;
}

/// Lets time pass, as work does.
pub async fn passes(time: Duration) {
    let _: Option<()> = Clock::system().timeout(time, std::future::pending()).await;
}
