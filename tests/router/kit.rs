//! What the tests share: a club that people join, an engine under virtual time, and waits with an end.

use anabranch::{
    Codec,
    engine::{Engine, Message, Queue, QueueOptions, Space},
    jobs::{Event, Events, Job, JobResult, Jobs, Letter, Route, Topic, What},
    time::{Clock, Timestamp},
};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

pub const SECOND: Duration = Duration::from_secs(1);
pub const WELCOME: Topic<String> = Topic::new("welcome", Codec::json());
pub const BADGE: Topic<String> = Topic::new("badge", Codec::json());

/// Somebody joined; as another service writes it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Joined {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub jobs: u32,
}

/// The message of an event that becomes so many jobs.
pub fn joined(name: &str, jobs: u32) -> Message {
    use prost::Message as _;
    Message::new(Joined { name: name.to_owned(), jobs }.encode_to_vec()).id(format!("e-{name}"))
}

/// Routes an event to as many jobs as it says: a welcome first, and badges.
pub async fn by_number(event: Job<Joined>) -> JobResult<Route> {
    let Joined { name, jobs } = &event.payload;
    let topics = std::iter::once(WELCOME).chain(std::iter::repeat(BADGE));
    Ok(topics.take(*jobs as usize).fold(Route::none(), |route, topic| route.and(&topic, name)))
}

pub async fn engine() -> Engine {
    Engine::open_with("memory:", Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000))).await.unwrap()
}

pub async fn space(engine: &Engine) -> Space {
    engine.space("club").await.unwrap()
}

/// A queue that forgets ids at once, so that nothing but a mark keeps a job from being there twice.
pub const FORGETFUL: &str = "forgetful";

pub async fn queue(space: &Space, name: &str) -> Arc<dyn Queue> {
    let options = QueueOptions::default();
    let options = if name == FORGETFUL { options.dedupe_window(Duration::from_millis(1)) } else { options };
    space.queue(name, options).await.unwrap()
}

pub fn many(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// Fails a wait that would last for ever; on a clock that follows tokio's this costs nothing.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let clock = Clock::following_tokio(Timestamp::from_millis(0));
    let Some(done) = clock.timeout(Duration::from_secs(3600), future).await else { panic!("{what} takes too long") };
    done
}

/// Lets time pass in which nothing is waited for: for work, and for what must not happen meanwhile.
pub async fn time_passes(clock: &Clock, time: Duration) {
    assert!(clock.timeout(time, std::future::pending::<()>()).await.is_none());
}

/// Waits until something of this kind happens, and returns it.
pub async fn until(events: &mut Events, wanted: impl Fn(&What) -> bool) -> Event {
    let found = async {
        loop {
            let event = events.next().await.expect("the router is there");
            if wanted(&event.what) {
                return event;
            }
        }
    };
    in_time("an event", found).await
}

/// Waits until an event was routed, and returns the ids of its jobs.
pub async fn routed(events: &mut Events) -> Vec<String> {
    let event = until(events, |what| matches!(what, What::Routed { .. })).await;
    let What::Routed { jobs } = event.what else { unreachable!() };
    jobs.into_iter().map(|job| job.id).collect()
}

/// The ids of everything that is in a queue: what comes within a minute, and is acknowledged.
pub async fn ids_in(space: &Space, name: &str) -> Vec<String> {
    let mut pull = queue(space, name).await.pull().await.unwrap();
    let mut ids = Vec::new();
    let all = async {
        loop {
            for delivery in pull.next(many(100)).await.unwrap() {
                ids.push(delivery.message().id.clone().unwrap());
                delivery.ack().await.unwrap();
            }
        }
    };
    let _: Option<()> = space.clock().timeout(60 * SECOND, all).await;
    ids
}

pub async fn letters(space: &Space, source: impl Into<anabranch::jobs::Source>) -> Vec<Letter> {
    Jobs::open(space, source).await.unwrap().dead_letters().await.unwrap().list(100).await.unwrap()
}

/// The marks of the events that were routed.
pub async fn marks(space: &Space) -> Vec<String> {
    use anabranch::engine::{Key, Scope};
    use futures_util::StreamExt as _;
    let scope = Scope::Below(Key::new("routed").unwrap());
    let mut keys: Vec<_> = space.store().keys(&scope).await.unwrap().map(|info| info.unwrap().key.to_string()).collect().await;
    keys.sort();
    keys
}
