//! Cases of streams, and the way to run the cases of queues over them: what a stream gives is a queue like any other.

use super::{PATIENCE, assert_invalid_option, next_delivery};
use crate::{
    engine::{
        Backend, Difference, Engine, Message, Missing, Name, Queue, QueueOptions, Rejection, Space, Storage, Store, StoreError,
        Stream, StreamOptions,
    },
    time::{Clock, unique},
};
use async_trait::async_trait;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

/// An engine whose queues are streams of another one.
#[derive(Debug)]
struct OverStreams {
    engine: Engine,
}

#[async_trait]
impl Backend for OverStreams {
    async fn store(&self, space: &Name) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::clone(self.engine.space(space.as_str()).await?.store()))
    }

    async fn queue(&self, space: &Name, name: &Name, options: QueueOptions) -> Result<Arc<dyn Queue>, StoreError> {
        let QueueOptions { ack_wait, max_in_flight, dedupe_window, .. } = options;
        let wanted = StreamOptions::default().ack_wait(ack_wait).max_in_flight(max_in_flight).dedupe_window(dedupe_window);
        match self.engine.stream(format!("{name}-{space}"), wanted).await {
            Ok(stream) => Ok(stream.into()),
            // Where a stream says what differs, a queue says that something does.
            Err(StoreError::Rejected(Rejection::Drift { .. })) => Err(Rejection::InvalidOption("it differs").into()),
            Err(error) => Err(error),
        }
    }
}

/// Opens a space that no other case uses, whose queues are streams beside it.
pub async fn fresh_space_over_streams(engine: &Engine) -> Space {
    super::fresh_space(&Engine::of(Arc::new(OverStreams { engine: engine.clone() }), Clock::system())).await
}

/// A stream that is there with other options is not touched, and everything that differs is said at once.
pub async fn a_stream_that_is_configured_otherwise_is_left_alone(engine: &Engine) {
    let (name, minute) = (fresh_name(), Duration::from_secs(60));
    let (news, all) = (format!("{name}.new"), format!("{name}.>"));
    let options = || StreamOptions::default().subject(&*all).filter(&*news).max_age(minute).storage(Storage::Memory);
    let stream = engine.stream(&*name, options()).await.unwrap();
    assert_eq!(stream.differences(), []);
    stream.queue().publish(Message::new("kept")).await.unwrap();
    let other = StreamOptions::default().subject(&*name).filter(&*name).max_age(2 * minute).storage(Storage::File);
    let other = other.ack_wait(minute).max_in_flight(7).dedupe_window(minute / 2);
    let differences = drift(engine.stream(&*name, other.clone()).await);
    let said: Vec<_> = differences.iter().map(ToString::to_string).collect();
    let expected = [
        format!("subjects is {all}, not {name}"),
        "storage is memory, not file".to_owned(),
        "max_age is 60s, not 120s".to_owned(),
        "dedupe_window is 60s, not 30s".to_owned(),
        format!("filter is {news}, not {name}"),
        "ack_wait is 30s, not 60s".to_owned(),
        "max_in_flight is 10000, not 7".to_owned(),
    ];
    assert_eq!(said, expected);
    let accepted = engine.stream(&*name, other.publish(&*news).accept_drift()).await.unwrap();
    assert_eq!(accepted.differences(), differences);
    let again = engine.stream(&*name, options()).await.unwrap();
    assert_eq!(take(&again).await, "kept");
}

/// What is not asked for is not compared.
pub async fn what_is_left_out_matches_any_stream(engine: &Engine) {
    let name = fresh_name();
    let options = StreamOptions::default().ack_wait(Duration::from_secs(7)).max_in_flight(3).max_age(Duration::ZERO);
    engine.stream(&*name, options).await.unwrap();
    for opened in [StreamOptions::default(), StreamOptions::as_it_is()] {
        let stream = engine.stream(&*name, opened).await.unwrap();
        let found = stream.queue().options();
        assert_eq!((found.ack_wait, found.max_in_flight, stream.differences()), (Duration::from_secs(7), 3, &[][..]));
        assert_eq!(stream.queue().name().as_str(), name);
    }
}

/// Whoever only binds is told what is missing, and finds it missing again.
pub async fn nothing_is_created_that_was_not_to_be(engine: &Engine) {
    let name = fresh_name();
    for options in [StreamOptions::as_it_is(), StreamOptions::default().missing(Missing::CreateConsumer)] {
        for _ in 0..2 {
            missing(engine.stream(&*name, options.clone()).await, ("stream", &name));
        }
    }
    engine.stream(&*name, StreamOptions::default()).await.unwrap();
    for _ in 0..2 {
        missing(engine.stream(&*name, StreamOptions::as_it_is().consumer("nobody")).await, ("consumer", "nobody"));
    }
    for bad in [StreamOptions::default().subject("a..b"), StreamOptions::default().publish("elsewhere")] {
        let other = fresh_name();
        assert_invalid_option(engine.stream(&*other, bad).await);
        missing(engine.stream(&*other, StreamOptions::as_it_is()).await, ("stream", &other));
    }
}

/// Each message has its own subject, also at a later delivery, and none of the engine's headers.
pub async fn a_delivery_tells_the_subject_it_was_published_on(engine: &Engine) {
    let name = fresh_name();
    let options = |kind: &str| StreamOptions::default().subject(format!("{name}.*")).publish(format!("{name}.{kind}"));
    let mut pull = engine.stream(&*name, options("a")).await.unwrap().queue().pull().await.unwrap();
    for kind in ["a", "b"] {
        let stream = engine.stream(&*name, options(kind)).await.unwrap();
        stream.queue().publish(Message::new(kind).id(kind).header("Kind", kind)).await.unwrap();
        for retried in [true, false] {
            let delivery = one(&mut *pull).await;
            assert_eq!(delivery.subject(), Some(&*format!("{name}.{kind}")));
            assert_eq!(delivery.message(), &Message::new(kind).id(kind).header("Kind", kind));
            if retried { delivery.retry(Duration::ZERO).await.unwrap() } else { delivery.ack().await.unwrap() }
        }
    }
    pull.close().await;
    let read = engine.stream(&*name, StreamOptions::default()).await.unwrap();
    assert_invalid_option(read.queue().publish(Message::new("nowhere")).await);
    let space = super::fresh_space(engine).await;
    let queue = space.queue("queue", QueueOptions::default()).await.unwrap();
    queue.publish(Message::new("1")).await.unwrap();
    let mut pull = queue.pull().await.unwrap();
    let delivery = next_delivery(&space, &mut *pull).await;
    assert_eq!(delivery.subject(), None, "a space's subjects are its own business");
    delivery.ack().await.unwrap();
}

/// What is older than the stream allows is gone, and what is younger is not.
pub async fn a_message_that_is_too_old_is_not_delivered(engine: &Engine) {
    let short = StreamOptions::default().max_age(Duration::from_secs(1));
    let stream = engine.stream(fresh_name(), short).await.unwrap();
    // A message that is handed back with a delay tells the time.
    let timer = engine.stream(fresh_name(), StreamOptions::default()).await.unwrap();
    timer.queue().publish(Message::new("timer")).await.unwrap();
    let mut pull = timer.queue().pull().await.unwrap();
    stream.queue().publish(Message::new("old")).await.unwrap();
    one(&mut *pull).await.retry(Duration::from_millis(1500)).await.unwrap();
    one(&mut *pull).await.ack().await.unwrap();
    stream.queue().publish(Message::new("young")).await.unwrap();
    assert_eq!(take(&stream).await, "young");
}

/// No commit reaches a stream, and it keeps no keys.
pub async fn a_stream_says_what_it_lacks(engine: &Engine) {
    let stream = engine.stream(fresh_name(), StreamOptions::default()).await.unwrap();
    let (can, space) = (stream.capabilities(), super::fresh_space(engine).await);
    assert!(!can.atomic_commit && !can.checks && !can.timers && !can.queues && !can.counters && !can.ttl);
    assert_eq!((can.durable, &can.engine), (space.store().capabilities().durable, &space.store().capabilities().engine));
    let bad = engine.stream("a.b", StreamOptions::default()).await;
    assert!(matches!(bad, Err(StoreError::Rejected(Rejection::Name(_)))), "{bad:?}");
}

/// A message of a work queue is for one consumer.
pub async fn a_second_consumer_of_a_work_queue_is_refused(engine: &Engine) {
    let name = fresh_name();
    engine.stream(&*name, StreamOptions::default().consumer("first")).await.unwrap();
    let second = engine.stream(&*name, StreamOptions::default().consumer("second")).await;
    assert!(matches!(second, Err(StoreError::Rejected(Rejection::Refused(_)))), "{second:?}");
    engine.stream(&*name, StreamOptions::as_it_is().consumer("first")).await.unwrap();
}

fn fresh_name() -> String {
    format!("stream-{}", unique(&Clock::system()))
}

async fn one(pull: &mut dyn crate::engine::Pull) -> crate::engine::Delivery {
    let taken = Clock::system().timeout(PATIENCE, pull.next(NonZeroUsize::MIN)).await.expect("a message comes in time");
    taken.unwrap().remove(0)
}

/// Takes and acknowledges one message.
async fn take(stream: &Stream) -> String {
    let mut pull = stream.queue().pull().await.unwrap();
    let delivery = one(&mut *pull).await;
    let payload = String::from_utf8(delivery.message().payload.to_vec()).unwrap();
    delivery.ack().await.unwrap();
    pull.close().await;
    payload
}

#[track_caller]
fn drift(opened: Result<Stream, StoreError>) -> Vec<Difference> {
    match opened {
        Err(StoreError::Rejected(Rejection::Drift { what: "stream", differences, .. })) => differences,
        other => panic!("it differs, but: {other:?}"),
    }
}

#[track_caller]
fn missing(opened: Result<Stream, StoreError>, wanted: (&str, &str)) {
    match opened {
        Err(StoreError::Rejected(Rejection::Missing { what, name })) => assert_eq!((what, &*name), wanted),
        other => panic!("it is missing, but: {other:?}"),
    }
}
