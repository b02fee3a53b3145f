//! Taking jobs from one queue, as there is room for them.
//!
//! It promises that nothing which comes after the stop, or during a pause, is begun: it is handed back at once, and has used no
//! attempt up. A queue that cannot be reached is tried again, for ever; a consumer that somebody deleted is made anew by the engine.

use super::{
    attempt::{Floor, Lane},
    events::What,
    slots::Slots,
};
use crate::{
    engine::{Delivery, Pull, StoreError},
    error::chain,
    jobs::control::Pause,
    newest,
    time::Backoff,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// The task that takes jobs from one queue.
pub(super) struct Intake {
    pub(super) floor: Arc<Floor>,
    pub(super) lane: Arc<Lane>,
    pub(super) slots: Arc<Slots>,
}

impl Intake {
    /// Takes jobs until the worker stops.
    pub(super) async fn run(self, mut pull: Box<dyn Pull>) {
        let clock = self.floor.space.clock().clone();
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut pause = self.lane.control.pause();
        loop {
            if self.waits_out(&mut pause).await {
                break;
            }
            let taken = tokio::select! {
                biased;
                () = self.floor.stop.cancelled() => break,
                // Nothing that arrives from now on is begun.
                _ = pause.changed() => continue,
                taken = self.next(&mut pull) => taken,
            };
            match taken {
                Ok(deliveries) => {
                    backoff.reset();
                    for delivery in deliveries {
                        self.floor.take(&self.lane, delivery, self.slots.take(self.lane.number));
                    }
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "jobs cannot be taken");
                    self.floor.bus.say(What::PullFailed { error: chain(&error) });
                    let delay = backoff.next_delay();
                    self.floor.stop.run_until_cancelled(clock.sleep(delay)).await;
                }
            }
        }
        for delivery in pull.finish().await {
            self.hand_back(delivery);
        }
    }

    /// Waits until the queue is not paused; true when the worker stops.
    async fn waits_out(&self, pause: &mut newest::Receiver<Pause>) -> bool {
        let clock = self.floor.space.clock();
        let mut told = false;
        loop {
            let until: Pause = *pause.borrow_and_update();
            let Some(left) = until.left(clock.now()) else { break };
            if !std::mem::replace(&mut told, true) {
                self.floor.bus.say(What::Paused);
            }
            tokio::select! {
                biased;
                () = self.floor.stop.cancelled() => return true,
                _ = pause.changed() => {}
                _ = clock.timeout(left, std::future::pending::<()>()) => {}
            }
        }
        if told {
            self.floor.bus.say(What::Resumed);
        }
        self.floor.stop.is_cancelled()
    }

    /// Waits for room, then for messages, and takes no more than there is room for.
    async fn next(&self, pull: &mut Box<dyn Pull>) -> Result<Vec<Delivery>, StoreError> {
        pull.next(self.slots.room(self.lane.number).await).await
    }

    /// Hands a delivery back that is not begun.
    fn hand_back(&self, delivery: Delivery) {
        // A turn that never comes: without a slot nothing is begun.
        let (_, never) = oneshot::channel();
        self.floor.take(&self.lane, delivery, Err(never));
    }
}
