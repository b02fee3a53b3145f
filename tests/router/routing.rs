//! What an event becomes: jobs in the queues of their topics, or none.

use super::kit::*;
use anabranch::{
    Codec,
    engine::{Message, StreamOptions},
    jobs::{Job, JobResult, Route, Router, Topic, What},
};

#[tokio::test(start_paused = true)]
async fn an_event_becomes_jobs_in_the_queues_of_their_topics() {
    let space = space(&engine().await).await;
    let router = Router::builder(&space, "events", Codec::protobuf(), by_number);
    let router = router.topic(&WELCOME, "letters").topic(&BADGE, "prints").spawn().await.unwrap();
    let mut events = router.events();
    queue(&space, "events").await.publish(joined("ann", 3)).await.unwrap();
    let told = until(&mut events, |what| matches!(what, What::Routed { .. })).await;
    let What::Routed { jobs } = told.what else { unreachable!() };
    let jobs: Vec<_> = jobs.iter().map(|job| (job.id.as_str(), job.topic.as_str(), job.queue.as_str())).collect();
    let expected = [("e-ann/0", "welcome", "letters"), ("e-ann/1", "badge", "prints"), ("e-ann/2", "badge", "prints")];
    assert_eq!(jobs, expected);
    assert_eq!(told.job.unwrap().id, "e-ann");
    router.drain().await;
    assert_eq!(ids_in(&space, "letters").await, ["e-ann/0"]);
    assert_eq!(ids_in(&space, "prints").await, ["e-ann/1", "e-ann/2"]);
    assert_eq!(ids_in(&space, "events").await, [""; 0], "it is acknowledged");
}

#[tokio::test(start_paused = true)]
async fn an_event_without_jobs_is_acknowledged_and_leaves_nothing() {
    let space = space(&engine().await).await;
    let router = Router::builder(&space, "events", Codec::protobuf(), by_number).spawn().await.unwrap();
    let mut events = router.events();
    queue(&space, "events").await.publish(joined("ann", 0)).await.unwrap();
    assert_eq!(routed(&mut events).await, [""; 0]);
    until(&mut events, |what| matches!(what, What::Completed { .. })).await;
    router.drain().await;
    assert_eq!(ids_in(&space, "events").await, [""; 0]);
    assert!(marks(&space).await.is_empty());
}

/// Events of a stream that others publish on; one without an id is known by its place in the stream.
#[tokio::test(start_paused = true)]
async fn the_events_of_a_stream_are_routed_with_their_subject_and_place() {
    let engine = engine().await;
    let space = space(&engine).await;
    let options = StreamOptions::default().subject("club.*").publish("club.joined");
    let stream = engine.stream("CLUB", options).await.unwrap();
    let code = async |event: Job<String>| -> JobResult<Route> {
        Ok(Route::to(&WELCOME, &format!("{} on {}", event.payload, event.subject().unwrap_or_default())))
    };
    let router = Router::builder(&space, &stream, Codec::json(), code).topic(&WELCOME, "letters").spawn().await.unwrap();
    let mut events = router.events();
    stream.queue().publish(Message::new("\"ann\"")).await.unwrap();
    assert_eq!(routed(&mut events).await, ["CLUB-1/0"]);
    router.drain().await;
    let mut pull = queue(&space, "letters").await.pull().await.unwrap();
    let letter = in_time("the job", pull.next(many(1))).await.unwrap().remove(0);
    assert_eq!(letter.message().payload, "\"ann on club.joined\"");
    assert_eq!(letter.message().headers.get("Job-Topic"), Some("welcome"));
    letter.ack().await.unwrap();
    assert_eq!(marks(&space).await, ["routed.CLUB.CLUB-1"]);
}

/// An event may be a job itself, of a topic of its own.
#[tokio::test(start_paused = true)]
async fn a_job_can_become_further_jobs() {
    let space = space(&engine().await).await;
    let invited: Topic<Vec<String>> = Topic::named("invited", Codec::json());
    let code = async |event: Job<Vec<String>>| -> JobResult<Route> {
        Ok(event.payload.iter().fold(Route::none(), |route, name| route.and(&WELCOME, name)))
    };
    let router = Router::builder(&space, "events", invited.clone(), code).topic(&WELCOME, "letters");
    let router = router.spawn().await.unwrap();
    let mut events = router.events();
    let message = invited.message(&vec!["ann".to_owned(), "bob".to_owned()]).unwrap().id("all");
    queue(&space, "events").await.publish(message).await.unwrap();
    assert_eq!(routed(&mut events).await, ["all/0", "all/1"]);
    router.drain().await;
}

/// A routing function that is slow holds up nobody, and no more events are taken than may be routed at once.
#[tokio::test(start_paused = true)]
async fn no_more_events_are_taken_than_are_routed_at_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let space = space(&engine().await).await;
    let code = async |event: Job<Joined>| -> JobResult<Route> {
        MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        time_passes(event.clock(), SECOND).await;
        NOW.fetch_sub(1, Ordering::SeqCst);
        by_number(event).await
    };
    let router = Router::builder(&space, "events", Codec::protobuf(), code).concurrency(many(3));
    let router = router.topic(&WELCOME, "letters").spawn().await.unwrap();
    let mut events = router.events();
    let source = queue(&space, "events").await;
    for n in 0..12 {
        source.publish(joined(&n.to_string(), 1)).await.unwrap();
    }
    let begun = space.clock().now();
    for _ in 0..12 {
        routed(&mut events).await;
        assert!(router.in_hand() <= 3);
    }
    let took = space.clock().now().since(begun);
    assert!(took >= 4 * SECOND && took < 5 * SECOND, "{took:?}");
    assert_eq!(MOST.load(Ordering::SeqCst), 3);
    router.drain().await;
}
