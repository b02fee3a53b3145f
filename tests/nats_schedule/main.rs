//! Schedules and delayed messages on a real nats-server, the one of `ANABRANCH_NATS_SERVER` or of the path.
#![cfg(feature = "nats")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../schedule/place.rs"]
mod place;
mod processes;
mod server;
#[path = "../schedule/suite.rs"]
mod suite;

use anabranch::{
    engine::{Engine, Space},
    testing::server::NatsServer,
    time::nonce,
};
use place::{Place, Road};

/// A name that no other test has.
fn fresh() -> String {
    format!("schedules-{:x}", nonce())
}

/// Opens a space with a connection of its own, as another process does.
async fn open(url: &str, name: &str) -> Space {
    Engine::open(url).await.unwrap().space(name).await.unwrap()
}

/// Three processes on one space of the server that the tests share.
async fn shared(road: Road) -> Place {
    let (url, name) = (NatsServer::shared().await.url(), fresh());
    let mut spaces = Vec::new();
    for _ in 0..3 {
        spaces.push(open(&url, &name).await);
    }
    Place::new(spaces, road)
}

// As much as the server can do: from 2.12 on timers and commits, one thing at a time before.
crate::schedule_suite!(at_once every_case_holds_on_a_server, crate::shared(crate::place::Road::Timers), tokio::test(flavor = "multi_thread"));
crate::schedule_suite!(at_once every_case_holds_without_timers_on_a_server, crate::shared(crate::place::Road::Index), tokio::test(flavor = "multi_thread"));
