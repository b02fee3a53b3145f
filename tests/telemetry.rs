//! One trace from a message's headers, through the snapshot, to the spans of whoever resumes the run.
#![allow(clippy::unwrap_used)]

use anabranch::{
    Ctx, Topology,
    engine::{Engine, Message, QueueOptions, Space},
    runtime::{Runtime, RuntimeOptions},
    time::{Clock, Timestamp},
};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use tracing_subscriber::layer::SubscriberExt as _;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[derive(Clone, Default)]
struct App {
    entered: Arc<Notify>,
    open: tokio::sync::watch::Sender<bool>,
}

fn topology() -> Topology<u64, u64, App> {
    let mut t = Topology::builder::<u64>("traced").app::<App>();
    let input = t.input();
    let held = t.node("held", input, async |ctx: Ctx<App>, v: u64| {
        ctx.app().entered.notify_one();
        ctx.app().open.subscribe().wait_for(|open| *open).await.unwrap();
        Ok(v)
    });
    t.build(held).unwrap()
}

async fn worker(space: &Space) -> Runtime {
    Runtime::start_with(space.clone(), RuntimeOptions::default().lease(Duration::from_secs(2))).await.unwrap()
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> Vec<&'a SpanData> {
    spans.iter().filter(|s| s.name == name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_a_message_started_continues_its_trace_after_a_crash() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    // For the whole process: what a thread without a subscriber sees first is switched off for all.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();

    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    let space = Engine::open_with("memory:", clock).await.unwrap().space("test").await.unwrap();
    let queue = space.queue("work", QueueOptions::default()).await.unwrap();
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    queue.publish(Message::new("7").header("traceparent", &traceparent)).await.unwrap();

    let (first, app) = (worker(&space).await, App::default());
    let runs = first.host(topology(), app.clone()).unwrap();
    let supervisor = runs.supervise(queue).spawn().await.unwrap();
    app.entered.notified().await;
    let stored = runs.inspect("work-1").await.unwrap().unwrap().trace.unwrap();
    assert_eq!(&stored.parent[3..35], TRACE, "the snapshot keeps the trace");
    first.crash();
    drop(supervisor);

    let second = worker(&space).await;
    let runs = second.host(topology(), app.clone()).unwrap();
    app.open.send_replace(true);
    let run = runs.get("work-1").await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), 7);
    second.drain().await.unwrap();

    drop(runs);
    provider.force_flush().unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    let (run_spans, nodes) = (named(&spans, "anabranch.run"), named(&spans, "anabranch.node"));
    assert_eq!(run_spans.len(), 2, "one in each process: {:?}", spans.iter().map(|s| &s.name).collect::<Vec<_>>());
    assert_eq!(nodes.len(), 2, "one for each attempt");
    for span in run_spans.iter().chain(&nodes) {
        assert_eq!(span.span_context.trace_id().to_string(), TRACE, "{}", span.name);
    }
    let resumed = nodes.iter().find(|n| n.attributes.iter().any(|a| a.key.as_str() == "attempt" && a.value.as_str() == "2"));
    let parent = resumed.unwrap().parent_span_id;
    assert!(run_spans.iter().any(|r| r.span_context.span_id() == parent), "a node's parent is its run");
}
