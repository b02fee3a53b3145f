//! Nudges: "look at your snapshot", said to whoever owns a run.
//!
//! The truth is in the snapshot. A nudge that is lost only delays it until the owner's next write.

use super::{hosted::Hosted, message::Msg};
use crate::{
    engine::{Change, Expect, Key},
    time::Backoff,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::{sync::Arc, time::Duration};

/// How long a nudge is kept: it is heard at once or not at all.
const NUDGE_TTL: Duration = Duration::from_secs(60);

impl<C: Send + Sync + 'static> Hosted<C> {
    /// Tells the owner of a run, wherever it is, to look at its snapshot.
    pub(super) async fn nudge(&self, run: &str) {
        let options = self.store().capabilities().expiring(NUDGE_TTL);
        let key = self.nudges.join(&Key::token(run));
        if let Err(error) = self.store().put(&key, Bytes::new(), Expect::Anything, options).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a nudge was not sent");
        }
    }

    /// Hears nudges until the runtime stops.
    pub(super) fn listen(self: &Arc<Self>) {
        let (hosted, until) = (Arc::clone(self), self.shared.draining.clone());
        self.shared.tasks.spawn(async move {
            until.run_until_cancelled(hosted.hear_nudges()).await;
        });
    }

    async fn hear_nudges(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            match self.store().watch(&self.nudges.below()).await {
                Ok(mut changes) => {
                    backoff.reset();
                    while let Some(change) = changes.next().await {
                        let Change::Put(entry) = change else { continue };
                        let run = Key::untoken(entry.key.last_token());
                        if let Some(live) = run.and_then(|run| self.live(&run)) {
                            let _ = live.actor.cast(Msg::Nudged);
                        }
                    }
                }
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "nudges cannot be heard"),
            }
            self.clock().sleep(backoff.next_delay()).await;
        }
    }
}
