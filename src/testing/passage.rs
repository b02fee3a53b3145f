//! Virtual time that passes: for tests whose subject takes a while.
//!
//! It promises that nobody really waits: outside of tokio's paused clock it panics, so it cannot become a sleep that a test
//! hopes is long enough.

use crate::time::Clock;
use std::time::Duration;

/// Lets `duration` of virtual time pass, with everything that is due in it.
///
/// # Panics
///
/// When tokio's clock is not paused: `#[tokio::test(start_paused = true)]`.
pub async fn pass(duration: Duration) {
    // Panics unless the clock is paused, which nothing else tells.
    tokio::time::advance(Duration::ZERO).await;
    Clock::system().sleep(duration).await;
}
