//! The behaviour of schedules on the embedded engine, in virtual time, on each road.

use super::place::{Place, Road};
use anabranch::{
    engine::Engine,
    time::{Clock, Timestamp},
};

/// Three processes on one space in memory.
pub(crate) async fn memory(road: Road) -> Place {
    let clock = Clock::following_tokio(Timestamp::parse_rfc3339("2026-11-25T12:00:00.3Z").unwrap());
    let space = Engine::open_with("memory:", clock).await.unwrap().space("schedules").await.unwrap();
    Place::new(vec![space.clone(), space.clone(), space], road)
}

crate::schedule_suite!(each timers, crate::roads::memory(crate::place::Road::Timers), tokio::test(start_paused = true));
crate::schedule_suite!(each index, crate::roads::memory(crate::place::Road::Index), tokio::test(start_paused = true));
crate::schedule_suite!(each bare, crate::roads::memory(crate::place::Road::Bare), tokio::test(start_paused = true));
