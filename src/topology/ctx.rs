//! What a running node can see of its run.
//!
//! The context is cheap to clone and may outlive the attempt; after that it only tells what it was told. How an attempt is
//! stopped, and by whom, is known to the host behind it.

use super::definition::Host;
use crate::{core::retry::StopReason, time::Clock};
use std::{fmt, sync::Arc};

/// What a node can see of its run.
pub struct Ctx<C = ()> {
    app: Arc<C>,
    topology: Arc<str>,
    run: Arc<str>,
    node: Arc<str>,
    attempt: u32,
    host: Arc<dyn Host>,
}

impl<C> Ctx<C> {
    pub(crate) fn new(
        app: Arc<C>,
        topology: Arc<str>,
        run: Arc<str>,
        node: Arc<str>,
        attempt: u32,
        host: Arc<dyn Host>,
    ) -> Self {
        Self { app, topology, run, node, attempt, host }
    }

    /// Returns the application state that all nodes share.
    #[must_use]
    pub fn app(&self) -> &C {
        &self.app
    }

    /// Returns the id of the run.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.run
    }

    /// Returns the name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns which attempt this is, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the clock that the runtime goes by. A body that sleeps and asks the time here, and nowhere else, can be tested in
    /// virtual time: days in milliseconds.
    ///
    /// ```
    /// use anabranch::{Ctx, NodeResult};
    /// use std::time::Duration;
    ///
    /// async fn poll(ctx: Ctx, url: String) -> NodeResult<String> {
    ///     ctx.clock().sleep(Duration::from_secs(60)).await;
    ///     Ok(format!("{url} at {}", ctx.clock().now()))
    /// }
    /// ```
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.host.clock()
    }

    /// Returns a key that all attempts of this node in this run share, and no other node, run or topology: pass it to whatever
    /// the node calls, so that a repeated attempt does not repeat its effect.
    ///
    /// It reads `topology/run/node`; a `/` in the first two is escaped, so that two triples never share a key.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let escaped = |text: &str| text.replace('%', "%25").replace('/', "%2F");
        format!("{}/{}/{}", escaped(&self.topology), escaped(&self.run), self.node)
    }

    /// Waits until this attempt is asked to stop, and tells why; for ever when it never is.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: once the attempt is asked to stop, every call returns at once with the same reason.
    pub async fn cancelled(&self) -> StopReason {
        self.host.stopped().await
    }

    /// Tells why this attempt is asked to stop, or `None` while it is not.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.host.stop_reason()
    }

    pub(super) fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// Puts something between the attempt and what the runtime does for it.
    #[cfg(feature = "testing")]
    pub(crate) fn with_host(self, put: impl FnOnce(Arc<dyn Host>) -> Arc<dyn Host>) -> Self {
        let host = put(Arc::clone(&self.host));
        Self { host, ..self }
    }

    /// Hides the application state from a node that was declared before there was one.
    pub(super) fn without_app(self) -> Ctx {
        Ctx {
            app: Arc::new(()),
            topology: self.topology,
            run: self.run,
            node: self.node,
            attempt: self.attempt,
            host: self.host,
        }
    }
}

impl<C> Clone for Ctx<C> {
    fn clone(&self) -> Self {
        Self {
            app: Arc::clone(&self.app),
            topology: Arc::clone(&self.topology),
            run: Arc::clone(&self.run),
            node: Arc::clone(&self.node),
            attempt: self.attempt,
            host: Arc::clone(&self.host),
        }
    }
}

impl<C> fmt::Debug for Ctx<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Ctx");
        debug.field("run", &self.run).field("node", &self.node).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}
