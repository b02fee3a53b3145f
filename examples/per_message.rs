//! A run for each message of a queue, and a dead letter for each message that is given up.
//!
//! ```text
//! cargo run --example per_message
//! cargo run --example per_message -- 100
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example per_message
//! ```
//!
//! So many orders are published, 12 unless the argument says another number, and two messages that cannot be fulfilled: an order
//! that nothing is to be paid for, and one that is no order at all. A supervisor starts a run for each, no more than four at the
//! same time, and each line says what one of them does. A message is acknowledged only after its run's outcome is stored, so a
//! crash anywhere costs neither a message nor a run; one that comes twice finds its run, and nothing runs again. The example
//! fails if an order is shipped twice, given up or not fulfilled.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    BuildError, Ctx, NodeResult, NodeResultExt as _, Topology,
    engine::{Engine, Message, Queue, QueueOptions},
    runtime::{DeadLetter, Runtime},
    time::Clock,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, env, error::Error, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize)]
struct Order {
    customer: String,
    cents: u64,
}

/// What the nodes share: a clock to work by, and where they tell that an order is on its way.
struct App {
    clock: Clock,
    shipped: mpsc::UnboundedSender<String>,
}

fn fulfilment() -> Result<Topology<Order, u64, App>, BuildError> {
    let mut t = Topology::builder::<Order>("fulfilment").app::<App>();
    let order = t.input();
    let paid = t.node("charge", order, charge);
    let done = t.node("ship", (order, paid), ship);
    t.build(done)
}

async fn charge(ctx: Ctx<App>, order: Order) -> NodeResult<u64> {
    if order.cents == 0 {
        return Err("there is nothing to charge").terminal(); // other errors are tried again
    }
    println!("{:<10} charges {}", ctx.run_id(), order.customer);
    ctx.app().clock.sleep(Duration::from_millis(100)).await; // stands for work
    Ok(order.cents)
}

async fn ship(ctx: Ctx<App>, (order, cents): (Order, u64)) -> NodeResult<u64> {
    println!("{:<10} ships to {}, who paid {cents}", ctx.run_id(), order.customer);
    ctx.app().shipped.send(ctx.run_id().to_owned())?;
    Ok(cents)
}

/// Publishes something as a message, and returns the id of the run that it will have.
async fn publish(queue: &Arc<dyn Queue>, order: &impl Serialize) -> Result<String, Box<dyn Error>> {
    let published = queue.publish(Message::new(serde_json::to_vec(order)?)).await?;
    Ok(run_of(published.sequence))
}

/// The default of `SupervisorBuilder::run_id`: what the message carries may name its run instead.
fn run_of(sequence: u64) -> String {
    format!("orders-{sequence}")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = env::args().nth(1).map_or(Ok(12), |count| count.parse())?;
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("per-message").await?;
    let orders = space.queue("orders", QueueOptions::default()).await?;
    let dead = space.queue("orders-dead", QueueOptions::default()).await?;

    let (shipped, mut shipments) = mpsc::unbounded_channel();
    let app = App { clock: space.clock().clone(), shipped };
    let runtime = Runtime::start(space).await?;
    let runs = runtime.host(fulfilment()?, app)?;
    let four = NonZeroUsize::new(4).ok_or("4 is not 0")?;
    let supervisor = runs.supervise(Arc::clone(&orders)).concurrency(four).spawn().await?;

    let mut ordered = BTreeSet::new();
    for customer in ["ann", "bob", "cleo", "dan"].into_iter().cycle().take(count) {
        ordered.insert(publish(&orders, &Order { customer: customer.into(), cents: 1_999 }).await?);
    }
    let mut hopeless = BTreeSet::new();
    hopeless.insert(publish(&orders, &Order { customer: "eve".into(), cents: 0 }).await?);
    hopeless.insert(publish(&orders, &"eight lamps, please").await?);

    let mut waiting = ordered.clone();
    while !waiting.is_empty() {
        let run = shipments.recv().await.ok_or("the nodes are gone")?;
        // On a server there may be orders of an earlier start that was interrupted: those are shipped as well.
        if ordered.contains(&run) && !waiting.remove(&run) {
            return Err(format!("{run} was shipped twice").into());
        }
    }
    let mut letters = dead.pull().await?;
    while !hopeless.is_empty() {
        for delivery in letters.next(NonZeroUsize::MIN).await? {
            let letter = DeadLetter::decode(delivery.message().payload.clone())?;
            let node = letter.failures.first().map_or("no node".to_owned(), |f| format!("`{}`: {}", f.node, f.message));
            println!("dead letter  {}: {} ({node})", String::from_utf8_lossy(&letter.payload), letter.reason);
            delivery.ack().await?;
            let run = run_of(letter.sequence);
            if !hopeless.remove(&run) && ordered.contains(&run) {
                return Err(format!("{run} was given up, although it was shipped").into());
            }
        }
    }
    letters.close().await;

    supervisor.drain().await; // takes no more messages, and settles those that it has
    for id in &ordered {
        runs.get(id).await?.outcome().await?; // an error unless it completed
    }
    println!("{count} orders are fulfilled, and 2 messages given up");
    Ok(runtime.drain().await?) // lets go of what is left, so that others take it up at once
}
