//! Two workers that take runs of a diamond from a queue.

use anabranch::{
    Topology,
    engine::{Message, QueueOptions},
    error::BoxError,
    runtime::{Runtime, RuntimeOptions},
    testing::sim::{Host, Simulation},
    time::Clock,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) const WORKERS: [&str; 2] = ["one", "two"];

/// The run and the node of each body that ended, in order.
type Done = Vec<(String, String)>;

#[derive(Clone, Default)]
pub(crate) struct Shop {
    done: Arc<Mutex<Done>>,
}

fn queue() -> QueueOptions {
    QueueOptions::default().ack_wait(Duration::from_secs(5))
}

impl Shop {
    /// Opens for business, with both workers at work.
    pub(crate) fn open(sim: &mut Simulation) -> Self {
        let shop = Self::default();
        for name in WORKERS {
            let shop = shop.clone();
            sim.host(name, move |host| {
                let shop = shop.clone();
                async move {
                    // The server may be away when a host starts.
                    while let Err(error) = shop.work(&host).await {
                        host.say(format!("could not start: {error}"));
                        host.clock().sleep(Duration::from_secs(1)).await;
                    }
                    Ok(())
                }
            });
        }
        shop
    }

    fn diamond(&self, clock: Clock) -> Topology<u64, u64> {
        let mut t = Topology::builder::<u64>("diamond");
        let input = t.input();
        let done = Arc::clone(&self.done);
        let work = move |name: &'static str, run: String, value: u64| {
            let (clock, done) = (clock.clone(), Arc::clone(&done));
            async move {
                clock.sleep(Duration::from_millis(300)).await;
                done.lock().unwrap().push((run, name.to_owned()));
                Ok(value + 1)
            }
        };
        let (first, second, third, last) = (work.clone(), work.clone(), work.clone(), work);
        let a = t.node("a", input, move |ctx, v: u64| first("a", ctx.run_id().to_owned(), v));
        let b = t.node("b", a, move |ctx, v: u64| second("b", ctx.run_id().to_owned(), v));
        let c = t.node("c", a, move |ctx, v: u64| third("c", ctx.run_id().to_owned(), v));
        let d = t.node("d", (b, c), move |ctx, (b, c): (u64, u64)| last("d", ctx.run_id().to_owned(), b + c));
        t.build(d).unwrap()
    }

    /// What the run of an order returns.
    pub(crate) fn result(order: u64) -> u64 {
        (order + 2) * 2 + 1
    }

    /// Takes runs from the queue until the host is killed.
    async fn work(&self, host: &Host) -> Result<(), BoxError> {
        let space = host.engine().space("shop").await?;
        let runtime = Runtime::start_with(space.clone(), RuntimeOptions::default().lease(Duration::from_secs(3))).await?;
        let runs = runtime.host(self.diamond(host.clock().clone()), ())?;
        let _supervisor = runs.supervise(space.queue("orders", queue()).await?).spawn().await?;
        std::future::pending().await
    }

    /// Orders 0 to below `orders`.
    pub(crate) fn order(sim: &mut Simulation, orders: u64) {
        sim.ask(move |host| async move {
            let queue = loop {
                let Ok(space) = host.engine().space("shop").await else { continue };
                if let Ok(queue) = space.queue("orders", queue()).await {
                    break queue;
                }
            };
            for order in 0..orders {
                let message = Message::new(serde_json::to_vec(&order)?).id(format!("order-{order}"));
                // The id makes it one message, however often it has to be said.
                while queue.publish(message.clone()).await.is_err() {}
            }
            Ok(())
        });
    }

    /// Waits for the outcome of the run of a message.
    pub(crate) fn outcome(&self, sim: &mut Simulation, message: u64) -> u64 {
        let shop = self.clone();
        sim.ask(move |host| {
            let diamond = shop.diamond(host.clock().clone());
            async move {
                let runtime = Runtime::start(host.engine().space("shop").await?).await?;
                let runs = runtime.host(diamond, ())?;
                let run = loop {
                    if let Ok(run) = runs.get(&format!("orders-{message}")).await {
                        break run;
                    }
                    host.clock().sleep(Duration::from_millis(500)).await;
                };
                Ok(run.outcome().await?)
            }
        })
    }

    pub(crate) fn done(&self) -> Done {
        self.done.lock().unwrap().clone()
    }
}
