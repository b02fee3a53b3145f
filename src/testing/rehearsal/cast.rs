//! The nodes of a topology as a rehearsal plays them: the bodies that they have, with faults around them.
//!
//! The topology is not changed: other code is put in front of its code, in each process anew, since a fault may kill the process. What
//! only a rehearsal makes impossible, tokio's timer and I/O, is told to whoever runs it, and not to the node's retry policy.

use super::{
    fault::{Fault, Faults, Point, What},
    witness::Witness,
};
use crate::{
    core::retry::StopReason,
    error::panic_text,
    testing::sim,
    time::Clock,
    topology::{
        Ctx, NodeError, NodeResult, Topology,
        definition::{Call, Code, Host, Outcome},
    },
};
use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, pending},
};
use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// What stands in front of the nodes of one process.
#[derive(Clone)]
pub(super) struct Cast {
    pub(super) faults: Arc<Faults>,
    pub(super) witness: Arc<Witness>,
    pub(super) process: sim::Host,
}

impl Cast {
    /// Puts faults around every node.
    pub(super) fn play<I, O, C: Send + Sync + 'static>(&self, topology: &Topology<I, O, C>) -> Topology<I, O, C> {
        topology.with_code(|node, code| {
            let (cast, node, code) = (self.clone(), node.to_owned(), Arc::clone(code));
            Arc::new(move |call: Call<C>| {
                let (cast, node, code) = (cast.clone(), node.clone(), Arc::clone(&code));
                async move {
                    let attempt = cast.attempt(&node, &code, call);
                    let panic = match AssertUnwindSafe(attempt).catch_unwind().await {
                        Ok(end) => return end,
                        Err(panic) => panic,
                    };
                    if let Some(missing) = missing(panic_text(&*panic)) {
                        cast.witness.complain(format!("the body of `{node}` {missing}"));
                    }
                    resume_unwind(panic)
                }
                .boxed()
            })
        })
    }

    async fn attempt<C: Send + Sync + 'static>(&self, node: &str, code: &Code<C>, call: Call<C>) -> NodeResult<Outcome> {
        let clock = call.ctx.clock().clone();
        let Some((place, fault)) = self.faults.find(node, call.ctx.attempt()) else { return code(call).await };
        let strike = Strike { cast: self.clone(), clock, place, fault };
        match strike.fault.point {
            Point::Before => {
                strike.now().await?;
                code(call).await
            }
            Point::After => {
                let end = code(call).await;
                strike.now().await?;
                end
            }
            Point::AfterSaves(times) => {
                let Call { ctx, inputs, saved } = call;
                let ctx: Ctx<C> = ctx.with_host(|inner| Arc::new(Counting { inner, strike, saves: AtomicU32::new(0), times }));
                code(Call { ctx, inputs, saved }).await
            }
        }
    }
}

/// What a body reached for that a simulated process does not have, if that is why it panicked.
fn missing(panic: &str) -> Option<&'static str> {
    if panic.contains("timers are disabled") {
        return Some("sleeps by tokio's time, which knows no virtual time: let it sleep by `ctx.clock()`");
    }
    panic
        .contains("IO is disabled")
        .then_some("does real I/O, which a rehearsal has none of: let it call a fake in its application state")
}

/// A fault, and what it takes to bring it about.
struct Strike {
    cast: Cast,
    clock: Clock,
    place: usize,
    fault: Fault,
}

impl Strike {
    async fn now(&self) -> NodeResult<()> {
        self.cast.faults.struck(self.place);
        match &self.fault.what {
            What::Error(message) => Err(NodeError::retryable(message.clone())),
            What::Terminal(message) => Err(NodeError::terminal(message.clone())),
            What::RetryAfter(message, delay) => Err(NodeError::retry_after(message.clone(), *delay)),
            What::Throttle(after) => Err(NodeError::throttled(*after)),
            What::Panic(message) => panic!("{message}"),
            What::Hang => pending().await,
            What::Delay(delay) => {
                self.clock.sleep(*delay).await;
                Ok(())
            }
            What::Crash(down) => self.cast.process.crash(*down).await,
        }
    }
}

/// What the runtime is to a body that is struck once it has saved often enough.
struct Counting {
    inner: Arc<dyn Host>,
    strike: Strike,
    saves: AtomicU32,
    times: u32,
}

impl Host for Counting {
    fn save(&self, state: Bytes) -> BoxFuture<'_, NodeResult<()>> {
        async move {
            self.inner.save(state).await?;
            if self.saves.fetch_add(1, Ordering::Relaxed) + 1 == self.times {
                self.strike.now().await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn stopped(&self) -> BoxFuture<'_, StopReason> {
        self.inner.stopped()
    }

    fn stop_reason(&self) -> Option<StopReason> {
        self.inner.stop_reason()
    }

    fn clock(&self) -> &Clock {
        self.inner.clock()
    }
}
