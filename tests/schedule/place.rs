//! Where the behaviour of schedules is tried: some processes on one space, on one of the roads.

use anabranch::{
    engine::{Message, Name, Outgoing, Pull, QueueOptions, Space},
    schedule::{Schedule, Scheduler},
    testing::LesserStore,
    time::{Clock, Timestamp},
};
use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};

/// How it is found out what is due, and how it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each test target tries some of them")]
pub(crate) enum Road {
    /// Timers and commits.
    Timers,
    /// Commits, and a leader that polls.
    Index,
    /// A leader that polls, and one thing at a time.
    Bare,
}

/// Some processes on one space.
pub(crate) struct Place {
    pub(crate) spaces: Vec<Space>,
    road: Road,
}

impl Place {
    pub(crate) fn new(spaces: Vec<Space>, road: Road) -> Self {
        let on = |space: Space| match road {
            Road::Timers => space,
            Road::Index => space.clone().with_store(LesserStore::without_timers(&space)),
            Road::Bare => space.clone().with_store(LesserStore::without_commits(&space)),
        };
        Self { spaces: spaces.into_iter().map(on).collect(), road }
    }

    pub(crate) fn space(&self) -> &Space {
        &self.spaces[0]
    }

    pub(crate) fn clock(&self) -> &Clock {
        self.space().clock()
    }

    /// Starts a scheduler in one of the processes.
    pub(crate) async fn scheduler(&self, process: usize) -> Scheduler {
        Scheduler::builder(&self.spaces[process]).lease(Duration::from_secs(1)).spawn().await.unwrap()
    }

    pub(crate) async fn inbox(&self) -> Inbox {
        // Where a firing is one commit nothing depends on the queue's dropping what comes twice. A server does that all the same.
        let window = if self.road == Road::Bare { QueueOptions::default().dedupe_window } else { seconds(1) / 10 };
        let options = QueueOptions::default().dedupe_window(window);
        let queue = self.space().queue("target", options).await.unwrap();
        Inbox { pull: queue.pull().await.unwrap(), clock: self.clock().clone() }
    }

    /// Lets time pass in which nothing is waited for: for what must not happen meanwhile.
    pub(crate) async fn passes(&self, time: Duration) {
        assert!(self.clock().timeout(time, std::future::pending::<()>()).await.is_none());
    }
}

/// A message to the queue that the tests look into.
pub(crate) fn to_target(payload: &str) -> Outgoing {
    Outgoing { queue: Name::new("target").unwrap(), message: Message::new(payload.to_owned()) }
}

pub(crate) fn schedule(rule: &str) -> Schedule {
    Schedule::new("s", rule.parse().unwrap(), to_target("tick"))
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What arrived, in the order in which it did.
pub(crate) struct Inbox {
    pull: Box<dyn Pull>,
    clock: Clock,
}

impl Inbox {
    /// Waits for so many messages, for three minutes at most.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Message> {
        let until = self.clock.instant() + seconds(180);
        let mut found = Vec::new();
        while found.len() < count {
            let left = until.saturating_duration_since(self.clock.instant());
            let most = NonZeroUsize::new(count - found.len()).unwrap().min(NonZeroUsize::new(256).unwrap());
            let Some(some) = self.clock.timeout(left, self.pull.next(most)).await else {
                panic!("{} of {count} arrived: {:?}", found.len(), ids(&found))
            };
            for delivery in some.unwrap() {
                found.push(delivery.message().clone());
                delivery.ack().await.unwrap();
            }
        }
        found
    }

    /// Waits for messages while the server is away and comes back, for a minute at most.
    #[allow(dead_code, reason = "in memory there is no server")]
    pub(crate) async fn take_through_outages(&mut self) -> Vec<Message> {
        let until = self.clock.instant() + seconds(60);
        loop {
            let left = until.saturating_duration_since(self.clock.instant());
            let Some(some) = self.clock.timeout(left, self.pull.next(NonZeroUsize::MIN)).await else {
                panic!("nothing arrives")
            };
            let mut found = Vec::new();
            for delivery in some.unwrap_or_default() {
                let message = delivery.message().clone();
                if delivery.ack().await.is_ok() {
                    found.push(message);
                }
            }
            if !found.is_empty() {
                return found;
            }
            self.clock.timeout(seconds(1) / 10, std::future::pending::<()>()).await;
        }
    }

    /// Returns what arrives within a time.
    pub(crate) async fn within(&mut self, time: Duration) -> Vec<Message> {
        let until = self.clock.instant() + time;
        let mut found = Vec::new();
        loop {
            let left = until.saturating_duration_since(self.clock.instant());
            let Some(some) = self.clock.timeout(left, self.pull.next(NonZeroUsize::MIN)).await else { return found };
            for delivery in some.unwrap() {
                found.push(delivery.message().clone());
                delivery.ack().await.unwrap();
            }
        }
    }
}

pub(crate) fn ids(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.id.clone().unwrap_or_default()).collect()
}

/// Checks that these are the firings of an interval of one second, each once, without a gap, and returns the first.
#[track_caller]
pub(crate) fn every_second_once(messages: &[Message]) -> Timestamp {
    let mut times = BTreeMap::new();
    for message in messages {
        let time = Timestamp::parse_rfc3339(message.headers.get("Schedule-Time").unwrap()).unwrap();
        assert_eq!(message.id.as_deref(), Some(&*format!("s@{time}")));
        assert_eq!(message.headers.get("Schedule-Name"), Some("s"));
        *times.entry(time).or_insert(0) += 1;
    }
    let (first, last) = (*times.keys().next().unwrap(), *times.keys().next_back().unwrap());
    let wanted: BTreeMap<_, _> = (0..=last.since(first).as_secs()).map(|n| (first + seconds(n), 1)).collect();
    assert_eq!(times, wanted);
    first
}
