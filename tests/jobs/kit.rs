//! What the tests share: a space under virtual time, a topic of numbers, a journal of what ran, and waits for events.

use anabranch::{
    Codec,
    engine::{Delivery, Engine, Message, Queue, QueueOptions, Space},
    jobs::{Event, Events, Jobs, Topic, What, Worker, WorkerBuilder},
    time::{Clock, Timestamp},
};
use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

pub const SECOND: Duration = Duration::from_secs(1);
pub const ACK_WAIT: Duration = Duration::from_secs(30);
pub const NUMBER: Topic<u64> = Topic::new("number", Codec::json());

pub async fn space() -> Space {
    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    Engine::open_with("memory:", clock).await.unwrap().space("test").await.unwrap()
}

pub async fn jobs(space: &Space) -> Jobs {
    Jobs::open(space, "q").await.unwrap()
}

pub fn worker(space: &Space) -> WorkerBuilder {
    Worker::builder(space, "q")
}

pub fn many(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

pub fn some(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// Waits until something of this kind happens, and returns it.
pub async fn until(events: &mut Events, wanted: impl Fn(&What) -> bool) -> Event {
    loop {
        let event = events.next().await.expect("the worker is there");
        if wanted(&event.what) {
            return event;
        }
    }
}

/// What ran, in order, and a way to wait for it.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<watch::Sender<Vec<String>>>);

impl Journal {
    pub fn note(&self, what: impl Into<String>) {
        self.0.send_modify(|all| all.push(what.into()));
    }

    pub fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    pub async fn until(&self, count: usize) -> Vec<String> {
        self.0.subscribe().wait_for(|all| all.len() >= count).await.unwrap().clone()
    }
}

/// Holds handlers until it is opened.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn pass(&self) {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

/// Lets time pass in which nothing is waited for: for what must not happen meanwhile.
pub async fn time_passes(space: &Space, time: Duration) {
    assert!(space.clock().timeout(time, std::future::pending::<()>()).await.is_none());
}

pub async fn queue(space: &Space, name: &str) -> Arc<dyn Queue> {
    space.queue(name, QueueOptions::default()).await.unwrap()
}

/// Everything that comes from a queue within `time`, acknowledged.
pub async fn left_in(space: &Space, name: &str, time: Duration) -> Vec<Message> {
    let mut pull = queue(space, name).await.pull().await.unwrap();
    let mut left = Vec::new();
    let all = async {
        loop {
            for delivery in pull.next(many(100)).await.unwrap() {
                left.push(delivery.message().clone());
                delivery.ack().await.unwrap();
            }
        }
    };
    let _: Option<()> = space.clock().timeout(time, all).await;
    left
}

/// What comes from a queue within less than `ACK_WAIT`.
pub async fn take_from(space: &Space, name: &str, time: Duration) -> Vec<Delivery> {
    let mut pull = queue(space, name).await.pull().await.unwrap();
    let mut taken = Vec::new();
    let all = async {
        loop {
            taken.extend(pull.next(many(100)).await.unwrap());
        }
    };
    let _: Option<()> = space.clock().timeout(time, all).await;
    taken
}
