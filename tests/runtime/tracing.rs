//! The trace of a message, where nobody exports spans.

use crate::support::{Journal, diamond, space, worker};
use anabranch::engine::{Message, QueueOptions};

#[tokio::test(start_paused = true)]
async fn without_an_exporter_a_messages_trace_is_kept_as_it_came() {
    let space = space().await;
    let queue = space.queue("work", QueueOptions::default()).await.unwrap();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let message = Message::new("7").header("traceparent", traceparent).header("tracestate", "vendor=1");
    queue.publish(message).await.unwrap();
    let runtime = worker(&space).await;
    let runs = runtime.host(diamond(), Journal::default()).unwrap();
    let supervisor = runs.supervise(queue).spawn().await.unwrap();
    let run = loop {
        match runs.get("work-1").await {
            Ok(run) => break run,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    run.outcome().await.unwrap();
    supervisor.drain().await;
    let trace = run.snapshot().await.unwrap().trace.clone().unwrap();
    assert_eq!((trace.parent.as_str(), trace.state.as_str()), (traceparent, "vendor=1"));
}
