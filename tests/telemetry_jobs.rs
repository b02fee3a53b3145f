//! One trace from whoever submits a job, through its message, to the spans of its attempts and to its letter.
#![allow(clippy::unwrap_used)]

use anabranch::{
    Codec, RetryPolicy,
    engine::{Engine, QueueOptions},
    jobs::{Job, JobError, JobResult, Jobs, JobsError, Topic, TopicOptions, Worker},
    time::{Clock, Timestamp},
};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use std::num::NonZeroUsize;
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

const NUMBER: Topic<u64> = Topic::new("number", Codec::json());

#[tokio::test(start_paused = true)]
async fn a_job_continues_the_trace_of_whoever_submitted_it_in_each_attempt_and_in_its_letter() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();

    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    let space = Engine::open_with("memory:", clock).await.unwrap().space("test").await.unwrap();
    let jobs = Jobs::open(&space, "q").await.unwrap();
    let span = tracing::info_span!("checkout");
    let id = jobs.submit(&NUMBER, &7).instrument(span.clone()).await.unwrap().id;
    drop(span);
    let twice = TopicOptions::default().retry(RetryPolicy::default().max_attempts(2));
    let fails = async |_: Job<u64>| -> JobResult<()> { Err(JobError::retryable("no")) };
    let worker = Worker::builder(&space, "q").topic_with(NUMBER, twice, fails).spawn().await.unwrap();
    assert!(matches!(jobs.outcome::<()>(&id).await, Err(JobsError::Dead { .. })));
    worker.drain().await;
    let dead = space.queue("q-dead", QueueOptions::default()).await.unwrap();
    let letter = dead.pull().await.unwrap().next(NonZeroUsize::MIN).await.unwrap().remove(0);

    provider.force_flush().unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    let checkout = spans.iter().find(|s| s.name == "checkout").unwrap();
    let trace = checkout.span_context.trace_id();
    let attempts: Vec<_> = spans.iter().filter(|s| s.name == "anabranch.job").collect();
    assert_eq!(attempts.len(), 2);
    for attempt in attempts {
        assert_eq!(attempt.span_context.trace_id(), trace);
        assert_eq!(attempt.parent_span_id, checkout.span_context.span_id());
    }
    let kept = letter.message().headers.get("traceparent").unwrap();
    assert_eq!(kept[3..35], trace.to_string());
}
