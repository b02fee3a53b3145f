//! A run for each message of a queue, and a dead letter for each message that is given up.
//!
//! ```text
//! cargo run --example message_driven
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example message_driven
//! ```
//!
//! Five messages are published: three orders, one that no attempt can fulfil, and one that is no order at all. A message is
//! acknowledged only after its run's outcome is stored, so a crash anywhere costs neither a message nor a run.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    Ctx, NodeResult, NodeResultExt as _, Topology,
    engine::{Engine, Message, QueueOptions},
    runtime::{DeadLetter, Runtime},
};
use serde::{Deserialize, Serialize};
use std::{env, error::Error, num::NonZeroUsize, sync::Arc};
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize)]
struct Order {
    customer: String,
    cents: u64,
}

/// What the nodes share: where they tell that an order is on its way.
type Shipped = mpsc::UnboundedSender<String>;

async fn charge(_: Ctx<Shipped>, order: Order) -> NodeResult<u64> {
    if order.cents == 0 {
        return Err("there is nothing to charge").terminal(); // other errors are tried again
    }
    Ok(order.cents)
}

async fn ship(ctx: Ctx<Shipped>, (order, cents): (Order, u64)) -> NodeResult<()> {
    ctx.app().send(format!("{}: {} paid {cents}", ctx.run_id(), order.customer))?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut t = Topology::builder::<Order>("fulfilment").app::<Shipped>();
    let order = t.input();
    let paid = t.node("charge", order, charge);
    let done = t.node("ship", (order, paid), ship);
    let topology = t.build(done)?;

    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("message-driven").await?;
    let orders = space.queue("orders", QueueOptions::default()).await?;
    let dead = space.queue("orders-dead", QueueOptions::default()).await?;

    let (shipped, mut shipments) = mpsc::unbounded_channel();
    let runtime = Runtime::start(space).await?;
    let runs = runtime.host(topology, shipped)?;
    let eight = NonZeroUsize::new(8).ok_or("8 is not 0")?;
    let supervisor = runs.supervise(Arc::clone(&orders)).concurrency(eight).spawn().await?;

    for (customer, cents) in [("ann", 1_999), ("bob", 500), ("cleo", 0), ("dan", 12_000)] {
        let order = Order { customer: customer.into(), cents };
        orders.publish(Message::new(serde_json::to_vec(&order)?)).await?;
    }
    orders.publish(Message::new("eight lamps, please")).await?;

    for _ in 0..3 {
        println!("shipped      {}", shipments.recv().await.ok_or("the nodes are gone")?);
    }
    let mut letters = dead.pull().await?;
    for _ in 0..2 {
        for delivery in letters.next(NonZeroUsize::MIN).await? {
            let letter = DeadLetter::decode(delivery.message().payload.clone())?;
            let node = letter.failures.first().map_or("no node".to_owned(), |f| format!("`{}`: {}", f.node, f.message));
            println!("dead letter  {}: {} ({node})", String::from_utf8_lossy(&letter.payload), letter.reason);
            delivery.ack().await?;
        }
    }
    letters.close().await;

    supervisor.drain().await; // takes no more messages, and settles those that it has
    runtime.drain().await?; // lets go of what is left, so that others take it up at once
    println!("drained");
    Ok(())
}
