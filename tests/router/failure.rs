//! What becomes of an event that cannot be routed: tried again, or a dead letter with everything that is needed to route it later.

use super::kit::*;
use anabranch::{
    Codec, CodecError, RetryPolicy,
    engine::{Message, Space, StreamOptions},
    jobs::{
        Event, Events, Job, JobError, JobResult, Jobs, JobsError, NodeResultExt, Route, Router, RouterBuilder, Topic,
        TopicOptions, What,
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

fn router(space: &Space) -> RouterBuilder {
    Router::builder(space, "events", Codec::protobuf(), by_number).topic(&WELCOME, "letters").topic(&BADGE, "letters")
}

/// Publishes an event, and waits until it is given up.
async fn given_up(space: &Space, events: &mut Events, message: Message) -> Event {
    queue(space, "events").await.publish(message).await.unwrap();
    until(events, |what| matches!(what, What::DeadLettered { .. })).await
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_decoded_is_a_dead_letter_with_its_bytes() {
    let space = space(&engine().await).await;
    let router = router(&space).spawn().await.unwrap();
    let mut events = router.events();
    let message = Message::new(vec![0xff, 0xff]).id("odd").header("traceparent", "00-1-2-03");
    given_up(&space, &mut events, message).await;
    queue(&space, "events").await.publish(joined("ann", 1)).await.unwrap();
    assert_eq!(routed(&mut events).await, ["e-ann/0"], "the others go on");
    router.drain().await;
    let letters = letters(&space, "events").await;
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.id.as_str(), letter.payload.as_ref(), letter.attempts), ("odd", &[0xff, 0xff][..], 1));
    assert!(letter.headers.contains(&("traceparent".to_owned(), "00-1-2-03".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_routing_function_that_fails_for_good_makes_its_event_a_dead_letter() {
    let space = space(&engine().await).await;
    let code = async |event: Job<Joined>| -> JobResult<Route> {
        if event.payload.name == "bob" { Err("bob is banned").terminal() } else { by_number(event).await }
    };
    let router = Router::builder(&space, "events", Codec::protobuf(), code).topic(&WELCOME, "letters").spawn().await.unwrap();
    let mut events = router.events();
    given_up(&space, &mut events, joined("bob", 1)).await;
    router.drain().await;
    let letters = letters(&space, "events").await;
    assert!(letters[0].reason.contains("bob is banned") && letters[0].attempts == 1, "{letters:?}");
    assert!(marks(&space).await.is_empty());
    assert_eq!(ids_in(&space, "letters").await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_routing_function_that_fails_is_tried_again_as_the_policy_says() {
    let space = space(&engine().await).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let code = move |event: Job<Joined>| {
        let last = counted.fetch_add(1, Ordering::SeqCst) == 2;
        async move { if last { by_number(event).await } else { Err(JobError::retryable("the registry is away")) } }
    };
    let options = TopicOptions::default().retry(RetryPolicy::default().max_attempts(3).jitter(0).fixed(60 * SECOND));
    let router = Router::builder_with(&space, "events", Codec::protobuf(), options, code);
    let router = router.topic(&WELCOME, "letters").spawn().await.unwrap();
    let (mut events, begun) = (router.events(), space.clock().now());
    queue(&space, "events").await.publish(joined("ann", 1)).await.unwrap();
    assert_eq!(routed(&mut events).await, ["e-ann/0"]);
    assert_eq!((tries.load(Ordering::SeqCst), space.clock().now().since(begun).as_secs()), (3, 120));
    router.drain().await;
    assert!(letters(&space, "events").await.is_empty());
}

/// A panic is a failed attempt, and takes nothing else down.
#[tokio::test(start_paused = true)]
async fn a_routing_function_that_panics_uses_its_attempts_up() {
    let space = space(&engine().await).await;
    let code = async |event: Job<Joined>| -> JobResult<Route> {
        assert!(event.payload.name != "bob", "bob again");
        by_number(event).await
    };
    let options = TopicOptions::default().retry(RetryPolicy::default().max_attempts(2).fixed(SECOND));
    let router = Router::builder_with(&space, "events", Codec::protobuf(), options, code);
    let router = router.topic(&WELCOME, "letters").spawn().await.unwrap();
    let mut events = router.events();
    given_up(&space, &mut events, joined("bob", 1)).await;
    queue(&space, "events").await.publish(joined("ann", 1)).await.unwrap();
    assert_eq!(routed(&mut events).await, ["e-ann/0"]);
    router.drain().await;
    let letters = letters(&space, "events").await;
    assert!(letters[0].attempts == 2 && letters[0].failures[0].message.contains("bob again"), "{letters:?}");
}

/// One job that cannot be sent keeps the others of its event back; put back, the event becomes all of them.
#[tokio::test(start_paused = true)]
async fn an_event_of_an_unknown_topic_is_routed_once_it_is_put_back_and_the_topic_is_known() {
    let engine = engine().await;
    let space = space(&engine).await;
    let stream = engine.stream("CLUB", StreamOptions::default()).await.unwrap();
    let code = by_number;
    let narrow = Router::builder(&space, &stream, Codec::protobuf(), code).topic(&WELCOME, "letters").spawn().await.unwrap();
    let mut events = narrow.events();
    stream.queue().publish(joined("ann", 2)).await.unwrap();
    until(&mut events, |what| matches!(what, What::DeadLettered { .. })).await;
    narrow.drain().await;
    let reason = letters(&space, &stream).await.remove(0).reason;
    assert!(reason.contains("knows no queue for the topic `badge`"), "{reason}");
    assert_eq!(ids_in(&space, "letters").await, [""; 0]);

    let wide = Router::builder(&space, &stream, Codec::protobuf(), code).topic(&WELCOME, "letters").topic(&BADGE, "letters");
    let wide = wide.spawn().await.unwrap();
    let mut events = wide.events();
    // It goes back into the stream that it came from, which no commit reaches.
    let dead = Jobs::open(&space, &stream).await.unwrap().dead_letters().await.unwrap();
    assert!(dead.redrive("e-ann").await.unwrap());
    assert_eq!(routed(&mut events).await, ["e-ann/0", "e-ann/1"]);
    wide.drain().await;
    assert_eq!(ids_in(&space, "letters").await, ["e-ann/0", "e-ann/1"]);
    assert!(letters(&space, &stream).await.is_empty());
}

/// All jobs of an event leave together or not at all, so there is an end to how many there are.
#[tokio::test(start_paused = true)]
async fn more_jobs_than_a_commit_takes_make_their_event_a_dead_letter() {
    let space = space(&engine().await).await;
    let limit = u32::try_from(space.store().capabilities().max_commit).unwrap() - 1;
    let router = router(&space).spawn().await.unwrap();
    let mut events = router.events();
    given_up(&space, &mut events, joined("crowd", limit + 1)).await;
    queue(&space, "events").await.publish(joined("fewer", limit)).await.unwrap();
    assert_eq!(routed(&mut events).await.len(), limit as usize);
    router.drain().await;
    let letters = letters(&space, "events").await;
    let expected = format!("{} jobs are more than the {limit} that one commit takes", limit + 1);
    assert!(letters[0].reason.contains(&expected), "{}", letters[0].reason);
    assert_eq!(ids_in(&space, "letters").await.len(), limit as usize);
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_cannot_be_written_makes_its_event_a_dead_letter() {
    const ODD: Topic<String> =
        Topic::new("odd", Codec::new("odd", |_| Err(CodecError::new::<String>("never")), |_| Ok(String::new())));
    let space = space(&engine().await).await;
    let code = async |event: Job<Joined>| -> JobResult<Route> {
        Ok(Route::to(&WELCOME, &event.payload.name).and(&ODD, &event.payload.name))
    };
    let router = Router::builder(&space, "events", Codec::protobuf(), code).topic(&WELCOME, "letters").topic(&ODD, "letters");
    let router = router.spawn().await.unwrap();
    let mut events = router.events();
    given_up(&space, &mut events, joined("ann", 1)).await;
    router.drain().await;
    let letters = letters(&space, "events").await;
    assert!(letters[0].reason.contains("job 1 (`odd`) cannot be written"), "{}", letters[0].reason);
    assert_eq!(ids_in(&space, "letters").await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_router_whose_options_cannot_be_is_refused() {
    let engine = engine().await;
    let space = space(&engine).await;
    let stream = engine.stream("CLUB", StreamOptions::default()).await.unwrap();
    let to_a_stream = router(&space).topic(&WELCOME, &stream).spawn().await;
    assert!(matches!(to_a_stream, Err(JobsError::Invalid(_))), "{to_a_stream:?}");
    let forgetful = router(&space).remember_for(SECOND / 2).spawn().await;
    assert!(matches!(forgetful, Err(JobsError::Invalid(_))), "{forgetful:?}");
    let nowhere = router(&space).topic(&WELCOME, "a.b").spawn().await;
    assert!(matches!(nowhere, Err(JobsError::Store(_))), "{nowhere:?}");
}
