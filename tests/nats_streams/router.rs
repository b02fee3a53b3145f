//! Routers on a real server: events of another client become jobs once, whichever dies on the way.

use super::kit::*;
use anabranch::{
    Codec,
    engine::{Engine, Message, Missing, Queue, QueueOptions, Space, StreamOptions},
    jobs::{Job, JobResult, Jobs, Kind, Pipeline, PipelineEvent, Route, Router, Topic, What},
    testing::server::NatsServer,
};
use async_nats::HeaderMap;
use futures_util::future::join_all;
use prost::Message as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

const WELCOME: Topic<String> = Topic::new("welcome", Codec::json());
const BADGE: Topic<String> = Topic::new("badge", Codec::json());

#[derive(Clone, PartialEq, prost::Message)]
struct Joined {
    #[prost(string, tag = "1")]
    name: String,
}

fn joined(name: &str) -> Vec<u8> {
    Joined { name: name.to_owned() }.encode_to_vec()
}

async fn both(event: Job<Joined>) -> JobResult<Route> {
    Ok(Route::to(&WELCOME, &event.payload.name).and(&BADGE, &event.payload.name))
}

async fn queue(space: &Space, name: &str) -> Arc<dyn Queue> {
    space.queue(name, QueueOptions::default()).await.unwrap()
}

/// Protobuf in a stream of another client, its consumer ours, results and events in one place.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_another_client_go_through_a_pipeline() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let stream = theirs(&js, &name).await;
    let engine = Engine::open(&url).await.unwrap();
    let space = engine.space(format!("club-{name}")).await.unwrap();
    let options = StreamOptions::default().filter(format!("{name}.joined")).consumer("club").missing(Missing::CreateConsumer);
    let source = engine.stream(&*name, options).await.unwrap();
    let mut pipeline = Pipeline::builder(&space, "club")
        .pipe(&source, Codec::protobuf(), both)
        .dequeue(WELCOME, async |job: Job<String>| Ok(format!("dear {}", job.payload)))
        .dequeue(BADGE, async |_: Job<String>| Ok(()));
    let mut errors = pipeline.events().errors();
    let mut streamed = pipeline.events().of(Kind::Streamed);
    let pipeline = pipeline.spawn().await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "ann");
    let sent = js.publish_with_headers(format!("{name}.joined"), headers, joined("ann").into()).await.unwrap();
    sent.await.unwrap();
    js.publish(format!("{name}.left"), "filtered out".into()).await.unwrap().await.unwrap();
    js.publish(format!("{name}.joined"), "no event".into()).await.unwrap().await.unwrap();

    let Some(PipelineEvent::Streamed { event, jobs, .. }) = in_time("an event", streamed.next()).await else { panic!("none") };
    assert_eq!((event.id.as_str(), event.queue.as_str(), jobs.len()), ("ann", name.as_str(), 2));
    let letter = in_time("a result", pipeline.jobs("welcome").unwrap().outcome::<String>("ann/0")).await.unwrap();
    assert_eq!(letter, "dear ann");
    in_time("a result", pipeline.jobs("badge").unwrap().outcome::<()>("ann/1")).await.unwrap();
    let Some(PipelineEvent::Error { about, .. }) = in_time("an error", errors.next()).await else { panic!("none") };
    assert_eq!(about.unwrap().id, format!("{name}-3"), "without an id it is known by its place");
    pipeline.drain().await;
    let dead = Jobs::open(&space, &source).await.unwrap().dead_letters().await.unwrap();
    let letters = in_time("the letters", dead.list(9)).await.unwrap();
    assert_eq!((letters.len(), letters[0].payload.as_ref()), (1, b"no event".as_slice()));
    let consumer = stream.consumer_info("club").await.unwrap();
    assert_eq!((consumer.num_ack_pending, consumer.num_pending), (0, 0), "everything is settled");
}

/// A publisher may send the header of an id with nothing in it, which the server takes for none.
#[tokio::test(flavor = "multi_thread")]
async fn events_whose_publisher_left_their_id_empty_are_each_routed() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    theirs(&js, &name).await;
    let engine = Engine::open(&url).await.unwrap();
    let space = engine.space(format!("club-{name}")).await.unwrap();
    let options = StreamOptions::default().filter(format!("{name}.joined")).consumer("club").missing(Missing::CreateConsumer);
    let source = engine.stream(&*name, options).await.unwrap();
    for who in ["ann", "bob"] {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "");
        let sent = js.publish_with_headers(format!("{name}.joined"), headers, joined(who).into()).await.unwrap();
        assert!(!sent.await.unwrap().duplicate, "the server does not take the two for one");
    }
    let mut router = Router::builder(&space, &source, Codec::protobuf(), both).topic(&WELCOME, "jobs").topic(&BADGE, "jobs");
    let mut events = router.events();
    let router = router.spawn().await.unwrap();
    let mut named = BTreeSet::new();
    while named.len() < 4 {
        let event = in_time("an event", events.next()).await.unwrap();
        assert!(!matches!(event.what, What::Superseded), "{event:?}");
        if let What::Routed { jobs } = event.what {
            named.extend(jobs.into_iter().map(|job| job.id));
        }
    }
    assert_eq!(named, ["1/0", "1/1", "2/0", "2/1"].map(|job| format!("{name}-{job}")).into());
    router.drain().await;
}

/// Two routers, a server that is killed twice, and a consumer that is deleted: each job is there once.
#[tokio::test(flavor = "multi_thread")]
async fn every_job_is_there_once_although_the_server_is_killed_and_the_consumer_deleted() {
    const EVENTS: usize = 200;
    let mut server = NatsServer::start().await.unwrap();
    let url = format!("{}?timeout=5s", server.url());
    let engine = Engine::open(&url).await.unwrap();
    let space = engine.space("club").await.unwrap();
    let options = StreamOptions::default().ack_wait(Duration::from_secs(2));
    let source = engine.stream("events", options).await.unwrap();
    if !space.store().capabilities().atomic_commit {
        return;
    }
    let code = async |event: Job<Joined>| -> JobResult<Route> {
        // Some fail the first time, and come again.
        if event.attempt() == 1 && event.payload.name.ends_with('7') {
            return Err(anabranch::jobs::JobError::retryable("not now"));
        }
        both(event).await
    };
    let router = || Router::builder(&space, &source, Codec::protobuf(), code).topic(&WELCOME, "jobs").topic(&BADGE, "jobs");
    let (first, second) = (router().spawn().await.unwrap(), router().spawn().await.unwrap());
    let publish = async {
        for n in 0..EVENTS {
            let message = || Message::new(joined(&n.to_string())).id(n.to_string());
            in_time("a publish", async { while source.queue().publish(message()).await.is_err() {} }).await;
        }
    };
    let jobs = queue(&space, "jobs").await;
    let progress = tokio::sync::watch::channel(0).0;
    let collect = async {
        let mut seen: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let mut pull = jobs.pull().await.unwrap();
        while seen.len() < 2 * EVENTS {
            let Ok(taken) = in_time("jobs", pull.next(NonZeroUsize::new(50).unwrap())).await else { continue };
            for delivery in &taken {
                // By its place in the queue: a message that comes again after a kill is the same job.
                seen.entry(delivery.message().id.clone().unwrap()).or_default().insert(delivery.sequence());
            }
            // A server that was killed answers nothing about what it has forgotten to have delivered.
            join_all(taken.into_iter().map(anabranch::engine::Delivery::ack)).await;
            progress.send_replace(seen.len());
        }
        pull.close().await;
        seen
    };
    let trouble = async {
        let mut progress = progress.subscribe();
        for (at, kill) in [(EVENTS / 4, true), (EVENTS / 2, false), (EVENTS, true)] {
            progress.wait_for(|seen| *seen >= at).await.unwrap();
            if kill {
                server.kill();
                server.restart().await.unwrap();
            } else {
                client(&server.url()).await.delete_consumer_from_stream("eventsConsumer", "events").await.unwrap();
            }
        }
    };
    let everything = Box::pin(async {
        tokio::join!(collect, async {
            tokio::join!(publish, trouble);
        })
    });
    let (seen, ()) = in_time("all jobs", everything).await;
    in_time("the drains", async { tokio::join!(first.drain(), second.drain()) }).await;
    // What is left of the events finds its marks.
    assert!(
        seen.values().all(|places| places.len() == 1),
        "{:?}",
        seen.iter().filter(|(_, p)| p.len() > 1).collect::<Vec<_>>()
    );
    let mut pull = jobs.pull().await.unwrap();
    let more = space.clock().timeout(Duration::from_secs(3), async {
        loop {
            for delivery in pull.next(NonZeroUsize::new(50).unwrap()).await.unwrap() {
                let id = delivery.message().id.clone().unwrap();
                assert!(seen[&id].contains(&delivery.sequence()), "{id} is there twice");
                let _ = delivery.ack().await;
            }
        }
    });
    let _: Option<()> = more.await;
}
