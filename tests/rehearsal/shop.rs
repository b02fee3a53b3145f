//! An application that embeds the library: orders that are reserved, charged, perhaps approved, and shipped parcel by parcel.

use anabranch::{BuildError, Choice, Ctx, NodeResult, NodeResultExt as _, RetryPolicy, Saved, Signal, Topology, arm};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) items: Vec<String>,
    pub(crate) cents: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Approval {
    pub(crate) by: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) parcels: usize,
    pub(crate) cents: u64,
    pub(crate) approved_by: Option<String>,
}

pub(crate) const APPROVAL: Signal<Approval> = Signal::new("approval");

/// What pays: a service outside, or what stands for it.
pub(crate) trait Bank: Send + Sync {
    /// Pays once for each key.
    fn pay(&self, key: &str, cents: u64) -> Result<(), String>;
}

/// What all nodes share.
pub(crate) struct Shop {
    pub(crate) bank: Box<dyn Bank>,
}

pub(crate) fn fulfilment() -> Result<Topology<Order, Receipt, Shop>, BuildError> {
    let mut t = Topology::builder::<Order>("fulfilment").app::<Shop>();
    let order = t.input();
    let reserved = t.node("reserve", order, reserve);
    let paid = t.node("charge", (order, reserved), charge);
    let patient =
        RetryPolicy::default().max_attempts(3).exponential(Duration::from_secs(10), 2, Duration::from_secs(60)).jitter(0);
    t.options(paid).timeout(Duration::from_secs(30)).retry(patient);
    let (large, _small) = t.branch("size", order, (arm("large"), arm("small")), async |_, (large, small), order: Order| {
        Ok(if order.cents > 100_000 { large.take(()) } else { small.take(()) }) as NodeResult<Choice>
    });
    let approval = t.wait_for("approve", large, APPROVAL);
    let receipt = t.resumable("ship", (order, paid, approval.optional()), ship);
    t.build(receipt)
}

/// Takes a second an item.
async fn reserve(ctx: Ctx<Shop>, order: Order) -> NodeResult<usize> {
    for _ in &order.items {
        ctx.clock().sleep(Duration::from_secs(1)).await;
    }
    Ok(order.items.len())
}

async fn charge(ctx: Ctx<Shop>, (order, _): (Order, usize)) -> NodeResult<u64> {
    ctx.app().bank.pay(&ctx.idempotency_key(), order.cents).retryable()?;
    Ok(order.cents)
}

/// Hands over one parcel after the other, a minute each.
async fn ship(
    ctx: Ctx<Shop>,
    mut parcels: Saved<usize>,
    (order, cents, approval): (Order, u64, Option<Approval>),
) -> NodeResult<Receipt> {
    let done = parcels.last().copied().unwrap_or(0);
    for parcel in done..order.items.len() {
        ctx.clock().sleep(Duration::from_secs(60)).await;
        parcels.save(parcel + 1).await?;
    }
    Ok(Receipt { parcels: order.items.len(), cents, approved_by: approval.map(|approval| approval.by) })
}
