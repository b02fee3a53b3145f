//! Looks after something every so often while there is any of it, and sleeps otherwise.
//!
//! It does not know what it is.

use crate::time::Clock;
use std::time::Duration;
use tokio::sync::Notify;

/// Looks once in so much time from when `begun` tells that there is something until `look` tells that there is nothing left, again and
/// again.
pub(super) async fn make_rounds(clock: &Clock, pause: Duration, begun: &Notify, mut look: impl FnMut() -> bool) {
    loop {
        begun.notified().await;
        loop {
            clock.sleep(pause).await;
            if !look() {
                break;
            }
        }
    }
}
