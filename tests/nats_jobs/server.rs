//! A server that does what nobody wants: a consumer that goes away, no room, a restart.

use crate::kit::{NUMBER, fresh, in_time, many, open, options, passes, submit};
use anabranch::{
    engine::StoreError,
    jobs::{Job, JobResult, Jobs, JobsError, Topic, TopicOptions, Worker},
    testing::server::{NatsServer, ServerOptions},
};
use async_nats::jetstream;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

fn kept() -> TopicOptions<u64> {
    TopicOptions::default().keep_results()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_deleted_under_its_worker_is_made_anew_and_every_job_has_its_result() {
    let (url, name) = (NatsServer::shared().await.url(), fresh());
    let space = open(&url, &name).await;
    let jobs = Jobs::open_with(&space, "q", options(2)).await.unwrap();
    let ran = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&ran);
    let worker = Worker::builder(&space, ("q", options(2)))
        .concurrency(many(8))
        .topic_with(NUMBER, kept(), move |job: Job<u64>| {
            counts.fetch_add(1, Ordering::SeqCst);
            async move {
                passes(Duration::from_millis(5)).await;
                Ok(job.payload)
            }
        })
        .spawn()
        .await
        .unwrap();
    submit(&jobs, 500).await;
    let stream = jetstream::new(async_nats::connect(&url).await.unwrap()).get_stream(format!("KV_{name}")).await.unwrap();
    in_time("a result", jobs.outcome::<u64>("job-20")).await.unwrap();
    assert!(ran.load(Ordering::SeqCst) < 500, "in the middle");
    stream.delete_consumer("queue-q").await.unwrap();
    for n in 0..500 {
        assert_eq!(in_time("a result", jobs.outcome::<u64>(&format!("job-{n}"))).await.unwrap(), n);
    }
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_costs_no_job() {
    let mut server = NatsServer::start().await.unwrap();
    let space = open(&server.url(), "again").await;
    let jobs = Jobs::open_with(&space, "q", options(2)).await.unwrap();
    let worker = Worker::builder(&space, ("q", options(2)))
        .concurrency(many(8))
        .topic_with(NUMBER, kept(), |job: Job<u64>| async move {
            passes(Duration::from_millis(5)).await;
            Ok(job.payload)
        })
        .spawn()
        .await
        .unwrap();
    submit(&jobs, 500).await;
    in_time("a result", jobs.outcome::<u64>("job-20")).await.unwrap();
    server.kill();
    passes(Duration::from_millis(300)).await;
    server.restart().await.unwrap();
    for n in 0..500 {
        let outcome = async {
            loop {
                match jobs.outcome::<u64>(&format!("job-{n}")).await {
                    Ok(result) => break result,
                    Err(JobsError::Record(_)) => passes(Duration::from_millis(20)).await,
                    Err(error) => panic!("{error:?}"),
                }
            }
        };
        assert_eq!(in_time("a result", outcome).await, n);
    }
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_jobs_by_a_typed_error_and_those_that_are_there_have_results_when_there_is_room() {
    const LARGE: Topic<String> = Topic::new("large", anabranch::Codec::json());
    let server = ServerOptions::default().max_file_store(8 << 20).start().await.unwrap();
    let space = open(&server.url(), "full").await;
    let jobs = Jobs::open_with(&space, "q", options(2)).await.unwrap();
    for n in 0..20 {
        jobs.submit_as(format!("job-{n}"), &NUMBER, &n).await.unwrap();
    }
    let js = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let filler = jetstream::stream::Config { name: "filler".into(), subjects: vec!["filler".into()], ..Default::default() };
    js.create_stream(filler).await.unwrap();
    let large = "x".repeat(64 << 10);
    let full = async {
        loop {
            let sent = js.publish("filler", large.clone().into()).await.unwrap().await;
            if sent.is_err() {
                break;
            }
        }
    };
    in_time("filling", full).await;
    let refused = in_time("a refusal", jobs.submit(&LARGE, &large)).await;
    assert!(matches!(refused, Err(JobsError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    let attempts = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&attempts);
    let kept = TopicOptions::default().keep_results();
    let worker = Worker::builder(&space, ("q", options(2)))
        .topic_with(NUMBER, kept, move |job: Job<u64>| {
            counts.fetch_add(1, Ordering::SeqCst);
            // Its result has no room either.
            async move { Ok((job.payload, "x".repeat(8 << 10))) }
        })
        .topic(LARGE, async |_: Job<String>| -> JobResult<()> { Ok(()) })
        .spawn()
        .await
        .unwrap();
    // Longer than the queue waits: what runs is kept alive while its result has no room.
    passes(Duration::from_secs(5)).await;
    js.delete_stream("filler").await.unwrap();
    for n in 0..20 {
        let (result, _) = in_time("a result", jobs.outcome::<(u64, String)>(&format!("job-{n}"))).await.unwrap();
        assert_eq!(result, n);
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 20, "none ran twice");
    worker.drain().await;
}
