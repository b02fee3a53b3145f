//! What a limiter tells those who trace.

use crate::rate_limiter::{millis, process, quota, space};
use anabranch::{
    coordination::{Outage, RateLimiter},
    testing::faulty::{Fault, FaultyStore},
};
use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Writes down the events of limiters.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.name().starts_with("anabranch.limiter.") {
            let mut line = Line(format!("{} {}", metadata.level(), metadata.name()));
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }
    }
}

struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        if field.name() != "message" {
            write!(self.0, " {}={value:?}", field.name()).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn waits_and_outages_are_told_to_whoever_traces() {
    let ear = Ear::default();
    let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(ear.clone()));
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", quota()).unwrap();
    let limiter = limiter.deadline(millis(100)).on_outage(Outage::FailOpen).key("seven").unwrap();
    limiter.until_ready_n(3).await.unwrap();
    limiter.until_ready_n(2).await.unwrap();
    for _ in 0..2 {
        store.plan(|_| Some(Fault::Unavailable));
        limiter.check_one().await.unwrap();
        limiter.check_one().await.unwrap();
        store.behave();
        limiter.check_one().await.unwrap();
    }
    let warning = "WARN anabranch.limiter.failed_open limiter=\"smtp/seven\" error=";
    let heard = ear.0.lock().unwrap();
    let expected =
        ["DEBUG anabranch.limiter.wait limiter=\"smtp/seven\" cells=2 wait_us=200000", warning, "DEBUG", warning, "DEBUG"];
    assert_eq!(heard.len(), expected.len(), "{heard:?}");
    for (heard, expected) in heard.iter().zip(expected) {
        assert!(heard.starts_with(expected), "{heard}");
    }
}
