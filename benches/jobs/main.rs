//! Jobs a second, how soon a job begins, and what a hundred thousand delayed messages cost, beside the floors of the same engine.
//!
//! `throughput`: a queue is filled beforehand with messages of 256 bytes, and whoever measures has each of them handled by nothing and
//! acknowledged, and waits for the queue's answer. `library` is a [`Worker`], `engine` the same loop by hand on our queue, and
//! `client` the NATS client alone on a work queue of a stream of its own, which is the floor: pull as many as are wanted, confirm each.
//! `latency`: so many callers, each of whom submits a job, and the next one when its handler has begun; the time is from before the
//! submission. `delayed`: messages for one later moment are scheduled, and arrive.
//!
//! How to read it: the ratio of the medians is what counts, and compares within one call only, since all take turns in one process. The
//! server shares the machine with everybody; the processor time is this process's alone.
//!
//! `ANABRANCH_URL=nats://localhost:4222 cargo bench --bench jobs -- throughput 20000 500`: what is measured, of how many jobs a round,
//! how many at the same time. Without a URL a server is started for the run (and without one, the engine is in memory); without
//! arguments everything is measured.
#![allow(clippy::cast_precision_loss, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[cfg(feature = "nats")]
mod client;
mod delayed;
mod latency;
#[path = "../contention/machine.rs"]
#[allow(dead_code, reason = "only the processor time is asked for")]
mod machine;
mod throughput;

use anabranch::{
    engine::{Engine, Space},
    time::nonce,
};
use std::{str::FromStr, time::Duration};

const ROUNDS: usize = 5;
/// What a job holds.
const PAYLOAD: usize = 256;

/// What a side is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Library,
    Engine,
    #[cfg_attr(not(feature = "nats"), allow(dead_code))]
    Client,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Engine => "engine by hand",
            Self::Client => "client alone",
        }
    }

    fn all(url: &str) -> &'static [Self] {
        let nats = cfg!(feature = "nats") && url.starts_with("nats");
        if nats { &[Self::Library, Self::Engine, Self::Client] } else { &[Self::Library, Self::Engine] }
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A time for people.
fn shown(time: Duration) -> String {
    if time < Duration::from_millis(10) { format!("{} us", time.as_micros()) } else { format!("{} ms", time.as_millis()) }
}

/// Opens a space that nobody has used.
async fn fresh(url: &str) -> Space {
    Engine::open(url).await.unwrap().space(format!("bench-{:x}", nonce())).await.unwrap()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let only = arguments.first().map(String::as_str);
    let number = |at: usize, default| arguments.get(at).map_or(default, |a| usize::from_str(a).unwrap());
    let given = std::env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty());
    #[cfg(feature = "nats")]
    let server = match &given {
        None => Some(anabranch::testing::server::NatsServer::start().await.unwrap()),
        Some(_) => None,
    };
    #[cfg(feature = "nats")]
    let url = given.unwrap_or_else(|| server.as_ref().unwrap().url());
    #[cfg(not(feature = "nats"))]
    let url = given.unwrap_or("memory:".into());

    println!("{}", fresh(&url).await.store().capabilities().engine);
    if only.is_none_or(|only| only == "throughput") {
        throughput::measure(&url, number(1, 20_000), number(2, 500)).await;
    }
    if only.is_none_or(|only| only == "latency") {
        latency::measure(&url, number(1, 10_000)).await;
    }
    if only.is_none_or(|only| only == "delayed") {
        delayed::measure(&url, number(1, 100_000)).await;
    }
}
