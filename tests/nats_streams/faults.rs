//! Consumers, streams and servers that go away under a worker, and streams that are full.

use super::kit::*;
use anabranch::{
    engine::{Engine, Message, Missing, Rejection, StoreError, StreamOptions},
    testing::server::NatsServer,
    time::{Clock, Instant, Timeline, Timestamp},
};
use async_nats::jetstream::stream;
use futures_util::{FutureExt as _, future::BoxFuture};
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_the_server_was_killed_and_its_consumer_deleted() {
    let mut server = NatsServer::start().await.unwrap();
    let ours = open(&server.url(), "work", StreamOptions::default().ack_wait(Duration::from_secs(2))).await;
    let mut pull = ours.queue().pull().await.unwrap();
    for payload in ["before", "after the restart", "after the deletion"] {
        match payload {
            "after the restart" => {
                server.kill();
                server.restart().await.unwrap();
            }
            "after the deletion" => {
                client(&server.url()).await.delete_consumer_from_stream("workConsumer", "work").await.unwrap();
            }
            _ => {}
        }
        let message = || Message::new(payload).id(payload);
        in_time("a publish", async { while ours.queue().publish(message()).await.is_err() {} }).await;
        let delivery = next(&mut *pull).await;
        assert_eq!(text(&delivery), payload, "what was settled does not come again");
        in_time("an acknowledgement", delivery.ack()).await.unwrap();
    }
    pull.close().await;
}

/// A consumer that starts anew at the beginning of a stream that keeps everything would give everything again.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_made_anew_starts_behind_what_was_settled() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    theirs(&js, &name).await;
    let options = || StreamOptions::default().consumer("ours").publish(format!("{name}.new"));
    let ours = open(&url, &name, options()).await;
    for payload in ["1", "2"] {
        ours.queue().publish(Message::new(payload)).await.unwrap();
        assert_eq!(take(&**ours.queue()).await, payload);
    }
    // Whoever opens it knows how far it is.
    let ours = open(&url, &name, options()).await;
    let mut pull = ours.queue().pull().await.unwrap();
    js.delete_consumer_from_stream("ours", &name).await.unwrap();
    ours.queue().publish(Message::new("3")).await.unwrap();
    let delivery = next(&mut *pull).await;
    assert_eq!((text(&delivery).as_str(), delivery.attempt()), ("3", 1));
    delivery.ack().await.unwrap();
    pull.close().await;
}

/// The machine's time, and as much more as a test says.
#[derive(Debug, Default)]
struct Moved(Mutex<Duration>);

impl Moved {
    fn by(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

impl Timeline for Moved {
    fn now(&self) -> Timestamp {
        Clock::system().now() + self.by()
    }

    fn instant(&self) -> Instant {
        Clock::system().instant() + self.by()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // What the engine waits for takes the machine's time.
        async move {
            let _ = Clock::system().timeout(duration, std::future::pending::<()>()).await;
        }
        .boxed()
    }
}

/// Whoever asks for messages looks how far everything is settled, unless it did so in the ten seconds before.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_settled_ten_seconds_before_a_message_was_asked_for_does_not_come_again() {
    let url = NatsServer::shared().await.url();
    let (js, name, time) = (client(&url).await, fresh(), Arc::new(Moved::default()));
    theirs(&js, &name).await;
    let options = StreamOptions::default().consumer("ours").publish(format!("{name}.new"));
    let engine = Engine::open_with(&url, Clock::of(Arc::<Moved>::clone(&time))).await.unwrap();
    let ours = engine.stream(&*name, options).await.unwrap();
    for payload in ["1", "2", "3"] {
        ours.queue().publish(Message::new(payload)).await.unwrap();
    }
    let mut pull = ours.queue().pull().await.unwrap();
    for payload in ["1", "2"] {
        let delivery = next(&mut *pull).await;
        assert_eq!(text(&delivery), payload);
        delivery.ack().await.unwrap();
    }
    *time.0.lock().unwrap() += Duration::from_secs(10);
    let held = next(&mut *pull).await;
    assert_eq!(text(&held), "3");
    js.delete_consumer_from_stream("ours", &name).await.unwrap();
    let again = next(&mut *pull).await;
    assert_eq!((text(&again).as_str(), again.attempt()), ("3", 1));
    again.ack().await.unwrap();
    pull.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_was_only_bound_is_missed_and_found_again() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    open(&url, &name, StreamOptions::default()).await;
    let ours = open(&url, &name, StreamOptions::as_it_is()).await;
    let consumer = format!("{name}Consumer");
    let mut pull = ours.queue().pull().await.unwrap();
    let waiting = async {
        // It waits by the time that the consumer goes.
        assert!(Clock::system().timeout(Duration::from_millis(300), pull.next(NonZeroUsize::MIN)).await.is_none());
        js.delete_consumer_from_stream(&consumer, &name).await.unwrap();
        pull.next(NonZeroUsize::MIN).await
    };
    match in_time("the error", waiting).await {
        Err(StoreError::Rejected(Rejection::Missing { what: "consumer", name })) => assert_eq!(name, consumer),
        other => panic!("the consumer is missing, but: {other:?}"),
    }
    assert_eq!(js.get_stream(&name).await.unwrap().cached_info().state.consumer_count, 0, "none was made");
    ours.queue().publish(Message::new("kept")).await.unwrap();
    open(&url, &name, StreamOptions::default()).await;
    assert_eq!(text(&next(&mut *pull).await), "kept");
    pull.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_deleted_is_missed_and_not_made_anew() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let ours = open(&url, &name, StreamOptions::default().missing(Missing::Create)).await;
    let mut pull = ours.queue().pull().await.unwrap();
    js.delete_stream(&name).await.unwrap();
    match in_time("the error", pull.next(NonZeroUsize::MIN)).await {
        Err(StoreError::Rejected(Rejection::Missing { what: "stream", name: found })) => assert_eq!(found, name),
        other => panic!("the stream is missing, but: {other:?}"),
    }
    assert!(js.get_stream(&name).await.is_err());
}

/// Full is full on a stream of ours and on one of another client: nothing that was taken in is dropped for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_takes_nothing_until_there_is_room() {
    let url = NatsServer::shared().await.url();
    let (js, ours, theirs) = (client(&url).await, fresh(), fresh());
    let config = stream::Config {
        name: theirs.clone(),
        subjects: vec![theirs.clone()],
        retention: stream::RetentionPolicy::WorkQueue,
        max_messages: 2,
        discard: stream::DiscardPolicy::New,
        ..Default::default()
    };
    js.create_stream(config).await.unwrap();
    for name in [ours, theirs] {
        let stream = open(&format!("{url}?timeout=600s"), &name, StreamOptions::default().max_messages(2)).await;
        let publish = |payload: &'static str| stream.queue().publish(Message::new(payload).id(payload));
        publish("1").await.unwrap();
        publish("2").await.unwrap();
        // At once, and not after the ten minutes that an operation may try here.
        let full = in_time("the refusal", publish("3")).await;
        let Err(StoreError::Unavailable(why)) = full else { panic!("it is full, but: {full:?}") };
        assert!(why.to_string().contains("maximum messages exceeded"), "{why}");
        assert_eq!(take(&**stream.queue()).await, "1");
        assert!(!publish("3").await.unwrap().duplicate);
        assert_eq!([take(&**stream.queue()).await, take(&**stream.queue()).await], ["2", "3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lost_answer_of_a_publish_is_found_by_its_id() {
    let server = NatsServer::start().await.unwrap();
    let ours = open(&format!("{}?timeout=8s", server.url()), "work", StreamOptions::default()).await;
    let silence = server.fall_silent(Duration::from_millis(2300)).unwrap();
    let (published, silence) =
        in_time("the publish", async { tokio::join!(ours.queue().publish(Message::new("once")), silence) }).await;
    silence.unwrap();
    assert!(!published.unwrap().duplicate);
    let stream = client(&server.url()).await.get_stream("work").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 1);
    assert_eq!(take(&**ours.queue()).await, "once");
}
