//! Pipelines: sources, topics and what is told of both.

use super::kit::*;
use anabranch::{
    Codec, RetryPolicy,
    engine::{Message, StreamOptions},
    jobs::{
        Job, JobError, JobResult, JobsError, Kind, NodeResultExt, Pipeline, PipelineEvent, PipelineEvents, Route, Router,
        Stage, Topic, TopicOptions,
    },
};

async fn next(events: &mut PipelineEvents) -> PipelineEvent {
    in_time("an event", events.next()).await.expect("the pipeline is there")
}

async fn both(event: Job<Joined>) -> JobResult<Route> {
    if event.payload.name == "bob" {
        return Err("bob is banned").terminal();
    }
    Ok(Route::to(&WELCOME, &event.payload.name).and(&BADGE, &event.payload.name))
}

#[tokio::test(start_paused = true)]
async fn an_event_goes_through_a_pipeline_to_the_results_of_its_jobs() {
    let engine = engine().await;
    let space = space(&engine).await;
    let stream = engine.stream("JOINED", StreamOptions::default()).await.unwrap();
    let mut pipeline = Pipeline::builder(&space, "club")
        .pipe(&stream, Codec::protobuf(), both)
        .dequeue(WELCOME, async |job: Job<String>| -> JobResult<String> {
            job.progress(50).await?;
            Ok(format!("dear {}", job.payload))
        })
        .dequeue(BADGE, async |_: Job<String>| Ok(()));
    let mut all = pipeline.events();
    let mut welcome = pipeline.events().about("welcome").only(|event| event.kind() != Kind::Other);
    let mut streamed = pipeline.events().of(Kind::Streamed);
    let pipeline = pipeline.spawn().await.unwrap();
    stream.queue().publish(joined("ann", 0)).await.unwrap();

    let PipelineEvent::Streamed { event, jobs, .. } = next(&mut streamed).await else { panic!("nothing else was asked for") };
    assert_eq!((event.id.as_str(), event.queue.as_str(), jobs.len()), ("e-ann", "JOINED", 2));
    let mut kinds = Vec::new();
    while kinds.last() != Some(&Kind::JobCompleted) {
        let event = next(&mut welcome).await;
        assert!(event.is_about("welcome"));
        kinds.push(event.kind());
    }
    // Events of different workers need not be in order; those of one are.
    kinds.retain(|kind| *kind != Kind::Streamed);
    assert_eq!(kinds, [Kind::JobStarted, Kind::JobProgressed, Kind::JobCompleted]);
    assert_eq!(in_time("a result", pipeline.jobs("welcome").unwrap().outcome::<String>("e-ann/0")).await.unwrap(), "dear ann");
    in_time("a result", pipeline.jobs("badge").unwrap().outcome::<()>("e-ann/1")).await.unwrap();
    pipeline.drain().await;
    let mut completed = Vec::new();
    while let Some(event) = in_time("the end", all.next()).await {
        if let PipelineEvent::JobCompleted { job, .. } = event {
            completed.push((job.id, job.topic, job.queue));
        }
    }
    completed.sort();
    let expected = [("e-ann/0", "welcome", "club-welcome"), ("e-ann/1", "badge", "club-badge")];
    assert_eq!(completed, expected.map(|(id, topic, queue)| (id.to_owned(), topic.to_owned(), queue.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_told_with_its_stage_and_topic() {
    let space = space(&engine().await).await;
    let once = TopicOptions::default().retry(RetryPolicy::never());
    let mut pipeline = Pipeline::builder(&space, "club")
        .pipe("joined", Codec::protobuf(), both)
        .dequeue_with(
            WELCOME,
            once,
            |worker| worker.concurrency(many(1)),
            async |_: Job<String>| -> JobResult<()> { Err(JobError::retryable("no stamps")) },
        )
        .topic(&BADGE);
    let mut route = pipeline.events().errors().at(Stage::Route);
    let mut failed = pipeline.events().of(Kind::JobFailed);
    let mut job = pipeline.events().errors().at(Stage::Job).about("welcome");
    let pipeline = pipeline.spawn().await.unwrap();
    let source = queue(&space, "joined").await;
    source.publish(joined("bob", 0)).await.unwrap();
    let PipelineEvent::Error { about, error, .. } = next(&mut route).await else { panic!("an error") };
    assert_eq!((about.unwrap().id.as_str(), error.as_str()), ("e-bob", "bob is banned"));
    let PipelineEvent::Error { error, .. } = next(&mut route).await else { panic!("an error") };
    assert!(error.starts_with("given up: "), "{error}");
    source.publish(joined("ann", 0)).await.unwrap();
    let PipelineEvent::JobFailed { job: which, error, retry_in, .. } = next(&mut failed).await else { panic!("a failure") };
    assert_eq!((which.id.as_str(), error.as_str(), retry_in), ("e-ann/0", "no stamps", None));
    let PipelineEvent::Error { about, .. } = next(&mut job).await else { panic!("an error") };
    assert_eq!(about.unwrap().topic, "welcome");
    pipeline.drain().await;
    assert_eq!(letters(&space, "joined").await.len(), 1);
    assert_eq!(letters(&space, "club-welcome").await.len(), 1);
    assert_eq!(ids_in(&space, "club-badge").await, ["e-ann/1"], "somebody else works on it");
}

#[tokio::test(start_paused = true)]
async fn jobs_are_enqueued_beside_those_that_events_become() {
    let space = space(&engine().await).await;
    let pipeline = Pipeline::builder(&space, "club").dequeue(WELCOME, async |job: Job<String>| Ok(job.payload));
    assert_eq!(pipeline.queue_of("welcome"), "club-welcome");
    let pipeline = pipeline.spawn().await.unwrap();
    let submitted = pipeline.enqueue(&WELCOME, &"ann".to_owned()).await.unwrap();
    let jobs = pipeline.jobs("welcome").unwrap();
    assert_eq!(in_time("a result", jobs.outcome::<String>(&submitted.id)).await.unwrap(), "ann");
    assert!(!pipeline.enqueue_as("bob", &WELCOME, &"bob".to_owned()).await.unwrap().duplicate);
    assert!(pipeline.enqueue_as("bob", &WELCOME, &"bob".to_owned()).await.unwrap().duplicate);
    assert!(matches!(pipeline.enqueue(&BADGE, &"ann".to_owned()).await, Err(JobsError::Invalid(_))));
    assert!(pipeline.jobs("badge").is_none());
    pipeline.drain().await;
}

/// A router with options and queues of its own is a part of the pipeline like the others.
#[tokio::test(start_paused = true)]
async fn a_router_with_queues_of_its_own_joins_a_pipeline() {
    let space = space(&engine().await).await;
    let router = Router::builder(&space, "joined", Codec::protobuf(), both).topic(&BADGE, "elsewhere").concurrency(many(1));
    let mut pipeline = Pipeline::builder(&space, "club").router(router).topic(&WELCOME).topic(&BADGE);
    let mut streamed = pipeline.events().of(Kind::Streamed);
    let pipeline = pipeline.spawn().await.unwrap();
    queue(&space, "joined").await.publish(joined("ann", 0)).await.unwrap();
    next(&mut streamed).await;
    pipeline.drain().await;
    assert_eq!(ids_in(&space, "club-welcome").await, ["e-ann/0"]);
    assert_eq!(ids_in(&space, "elsewhere").await, ["e-ann/1"]);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_cannot_be_is_refused_and_starts_nothing() {
    let space = space(&engine().await).await;
    let nothing = async |_: Job<String>| Ok(());
    let twice = Pipeline::builder(&space, "club").dequeue(WELCOME, nothing).dequeue(WELCOME, nothing).spawn().await;
    assert!(matches!(twice, Err(JobsError::TopicTaken(topic)) if topic == "welcome"));
    let odd: Topic<String> = Topic::named("a b", Codec::json());
    let named = Pipeline::builder(&space, "club").dequeue(WELCOME, nothing).dequeue(odd, nothing).spawn().await;
    assert!(matches!(named, Err(JobsError::Store(_))), "{named:?}");
    queue(&space, "club-welcome").await.publish(Message::new("\"ann\"").id("left")).await.unwrap();
    assert_eq!(ids_in(&space, "club-welcome").await, ["left"], "nobody takes it");
}
