//! Forgets what a store knows of keys that nobody uses any more, so that their memory is given back while the store is open.
//!
//! It runs for as long as there is something to forget, and sleeps otherwise. It does not know what is remembered, nor what for:
//! whoever comes back to a key reads it, and knows it again.

use super::{ids::Rings, rounds::make_rounds};
use crate::time::Clock;
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::AbortHandle};

/// How long a key is remembered at least, where operations are not longer than usual; at most twice as long.
const IDLE: Duration = Duration::from_secs(60);

/// A task that ends with its store.
#[derive(Debug)]
pub(super) struct Forgetful(AbortHandle);

impl Forgetful {
    /// Starts it, on the runtime that this is called on. A key is remembered for longer than an operation takes, which is at most
    /// `timeout`: so none misses what it has seen itself.
    pub(super) fn of(rings: &Arc<Rings>, clock: &Clock, timeout: Duration) -> Self {
        let (rings, clock, idle) = (Arc::clone(rings), clock.clone(), IDLE.max(4 * timeout));
        let task = Handle::current().spawn(async move { make_rounds(&clock, idle, &rings.begun, || rings.forget()).await });
        Self(task.abort_handle())
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::nats::ids::Ring;

    /// Sixteen thousand of them were remembered until the store was closed.
    #[tokio::test(start_paused = true)]
    async fn keys_that_are_idle_are_forgotten_and_others_are_not() {
        let (rings, clock) = (Arc::<Rings>::default(), Clock::system());
        let forgetful = Forgetful::of(&rings, &clock, Duration::from_secs(5));
        for round in 0..2 {
            for key in 0..1000 {
                rings.remember(&format!("idle-{key}"), 1 + key, Ring::default(), None);
            }
            for look in 0..4 {
                rings.remember("busy", 2000 + 10 * round + look, Ring::default(), None);
                // Between two looks.
                clock.sleep(IDLE + Duration::from_secs(1)).await;
            }
            assert_eq!((rings.newest("idle-0"), rings.newest("idle-999")), (0, 0));
            assert_eq!(rings.newest("busy"), 2003 + 10 * round);
            clock.sleep(3 * IDLE).await;
            assert_eq!(rings.newest("busy"), 0);
            assert_eq!(rings.seen(), 2003 + 10 * round, "what no read may go behind stays known");
        }
        drop(forgetful);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&rings), 1, "it ends with its store");
    }
}
