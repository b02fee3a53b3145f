//! The graph that the scenarios of runs are about: one that has a bit of everything.
//!
//! ```text
//! check -> size --large--> approve (waits for a signal) ---+
//!            |----small--> small --------------------------|
//!            |----once---> once (one attempt) -------------|
//!            `----poison-> poison (takes its host down) ---|
//!   `-> flaky (fails by chance) ---------------------------|-> ship
//!   `-> pick (saves progress) -----------------------------|
//!   `-> slow (has a timeout) ------------------------------+
//! ```
//!
//! What a run returns is a function of its order, whatever happened on the way. Each body tells the witness when it starts and when it ends.

use super::witness::Witness;
use anabranch::{
    Choice, Ctx, NodeError, NodeResult, RetryPolicy, Saved, Signal, Topology, arm,
    core::snapshot::RunStatus,
    testing::{Dice, sim::Host},
};
use serde::{Deserialize, Serialize};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::sync::Notify;

pub(crate) const NAME: &str = "order";
pub(crate) const GO: Signal<u64> = Signal::new("go");
/// What the signal says.
pub(crate) const SAYS: u64 = 5;
/// How many steps `pick` saves.
const STEPS: u64 = 3;
/// In how many crashes in a row the poison is one.
pub(crate) const POISON: u32 = 2;

/// What kind of run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Small,
    Waits,
    Once,
    Fails,
    Poison,
}

impl Kind {
    pub(crate) fn of(dice: &mut Dice) -> Self {
        match dice.roll(10) {
            0..=3 => Self::Small,
            4..=5 => Self::Waits,
            6..=7 => Self::Once,
            8 => Self::Fails,
            _ => Self::Poison,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u64,
    pub(crate) kind: Kind,
}

impl Order {
    pub(crate) fn id(self) -> String {
        format!("o-{}", self.number)
    }

    /// What its run returns when it completes.
    pub(crate) fn result(self) -> u64 {
        let arm = match self.kind {
            Kind::Waits => SAYS,
            Kind::Small => self.number + 7,
            Kind::Once => self.number + 11,
            Kind::Fails | Kind::Poison => 0,
        };
        (self.number + 1) + (self.number + 2) + STEPS + (self.number + 3) + arm
    }

    /// How its run may end when nobody cancels it.
    pub(crate) fn may_end(self, status: RunStatus) -> bool {
        match self.kind {
            Kind::Small | Kind::Waits => status == RunStatus::Completed,
            // Its one attempt may have died with its host.
            Kind::Once => matches!(status, RunStatus::Completed | RunStatus::Errored),
            Kind::Fails => status == RunStatus::Errored,
            Kind::Poison => status == RunStatus::Dead,
        }
    }
}

/// What the bodies of a host share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) host: Host,
    pub(crate) witness: Witness,
    /// Somebody tripped over the power cord.
    pub(crate) fall: Arc<Notify>,
}

impl App {
    pub(crate) fn new(host: &Host, witness: &Witness) -> Self {
        Self { host: host.clone(), witness: witness.clone(), fall: Arc::new(Notify::new()) }
    }

    async fn work(&self, millis: u64) {
        self.host.clock().sleep(Duration::from_millis(20 + self.host.roll(millis))).await;
    }
}

/// Tells of a body while it runs.
async fn told<T>(ctx: &Ctx<App>, body: impl Future<Output = NodeResult<T>>) -> NodeResult<T> {
    let App { host, witness, .. } = ctx.app();
    witness.started(host, ctx.run_id(), ctx.node(), ctx.attempt());
    let outcome = body.await;
    witness.ended(host, ctx.run_id(), ctx.node(), ctx.attempt(), outcome.is_ok());
    outcome
}

async fn check(ctx: Ctx<App>, order: Order) -> NodeResult<Order> {
    told(&ctx, async {
        ctx.app().work(100).await;
        if order.kind == Kind::Fails { Err(NodeError::terminal("not to be had")) } else { Ok(order) }
    })
    .await
}

async fn flaky(ctx: Ctx<App>, order: Order) -> NodeResult<u64> {
    told(&ctx, async {
        let app = ctx.app();
        app.work(300).await;
        match app.host.roll(8) {
            0 | 1 => Err(NodeError::retryable("unlucky")),
            2 => Err(NodeError::throttled(Duration::from_millis(100))),
            _ => Ok(order.number + 1),
        }
    })
    .await
}

/// Takes some of its time before it listens, if it does.
async fn slow(ctx: Ctx<App>, order: Order) -> NodeResult<u64> {
    told(&ctx, async {
        let app = ctx.app();
        match app.host.roll(5) {
            0 => pending().await,
            1 => {
                let time = Duration::from_millis(500);
                match app.host.clock().timeout(time, ctx.cancelled()).await {
                    Some(reason) => Err(NodeError::retryable(reason.to_string())),
                    None => Ok(order.number + 2),
                }
            }
            _ => {
                app.work(200).await;
                Ok(order.number + 2)
            }
        }
    })
    .await
}

async fn pick(ctx: Ctx<App>, mut saved: Saved<u64>, _: Order) -> NodeResult<u64> {
    told(&ctx, async {
        let App { witness, .. } = ctx.app();
        let begin = saved.last().copied().unwrap_or(0);
        witness.resumes(ctx.run_id(), ctx.attempt(), begin);
        for step in begin + 1..=STEPS {
            ctx.app().work(100).await;
            saved.save(step).await?;
            witness.saved(ctx.run_id(), ctx.attempt(), step);
        }
        Ok(STEPS)
    })
    .await
}

async fn poison(ctx: Ctx<App>, (): ()) -> NodeResult<u64> {
    told(&ctx, async {
        ctx.app().work(100).await;
        ctx.app().fall.notify_one();
        pending().await
    })
    .await
}

type Parts = (u64, u64, u64, Option<u64>, Option<u64>, Option<u64>, Option<u64>);

pub(crate) fn topology() -> Topology<Order, u64, App> {
    // No more than chance will ever need: what fails otherwise fails for a reason.
    let patient = || RetryPolicy::default().max_attempts(1000).max_crashes(1000).fixed(Duration::from_millis(100));
    let mut t = Topology::builder::<Order>(NAME).app::<App>();
    let order = t.input();
    let checked = t.node("check", order, check);
    let (large, small, once, toxic) = t.branch(
        "size",
        checked,
        (arm("large"), arm("small"), arm("once"), arm("poison")),
        async |ctx: Ctx<App>, (large, small, once, toxic), order: Order| {
            told(&ctx, async {
                Ok(match order.kind {
                    Kind::Waits => large.take(()),
                    Kind::Small => small.take(order.number),
                    Kind::Once => once.take(order.number),
                    Kind::Poison => toxic.take(()),
                    Kind::Fails => Choice::none(),
                })
            })
            .await
        },
    );
    let approved = t.wait_for("approve", large, GO);
    let small = t.node("small", small, async |ctx: Ctx<App>, number: u64| told(&ctx, async { Ok(number + 7) }).await);
    let once = t.node("once", once, async |ctx: Ctx<App>, number: u64| {
        told(&ctx, async {
            ctx.app().work(500).await;
            Ok(number + 11)
        })
        .await
    });
    let toxic = t.node("poison", toxic, poison);
    let flaky = t.node("flaky", checked, flaky);
    let slow = t.node("slow", checked, slow);
    let pick = t.resumable("pick", checked, pick);
    let parts = (flaky, slow, pick, approved.optional(), small.optional(), once.optional(), toxic.optional());
    let ship = t.node("ship", parts, async |ctx: Ctx<App>, (flaky, slow, pick, approved, small, once, toxic): Parts| {
        told(&ctx, async {
            ctx.app().work(100).await;
            let arms = [approved, small, once, toxic];
            // The number comes by both ways.
            Ok(flaky + slow + pick + (slow + 1) + arms.into_iter().flatten().sum::<u64>())
        })
        .await
    });
    t.options(checked).retry(patient());
    t.options(flaky).retry(patient());
    t.options(slow).retry(patient()).timeout(Duration::from_secs(2));
    t.options(pick).retry(patient());
    t.options(small).retry(patient());
    t.options(once).retry(RetryPolicy::never());
    t.options(toxic).retry(patient().max_crashes(POISON));
    t.options(ship).retry(patient());
    t.build(ship).expect("a graph without faults")
}
