//! Runs of a graph that has a bit of everything, on several hosts that crash, stand still, are cut off and leave, with a server that does so.
//!
//! Orders become runs by message, by a call, or both; some are signalled, some cancelled, some take their host down. What happened is told by
//! the bodies and by an observer of the store (`witness`), and judged by what is promised of runs; beside that each run has the result
//! that follows from its order, and there is a dead letter for each message whose run failed and no other.

mod alone;
mod graph;
mod inbox;
mod witness;

use super::{Scenario, leaving::Leaving};
use anabranch::{
    core::snapshot::RunStatus,
    engine::{Message, Queue, QueueOptions, Space},
    error::BoxError,
    runtime::{DeadLetter, RunError, Runs, Runtime, RuntimeOptions},
    testing::{
        Dice,
        sim::{Host, SERVER, Simulation, Trouble},
    },
};
use futures_util::future::join_all;
use graph::{App, GO, Kind, Order, SAYS};
use inbox::Inbox;
use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::Duration};
use witness::Witness;

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "runs", about: "runs are neither lost nor done twice, whatever happens to workers and server", run };
pub(crate) use alone::SCENARIO as ALONE;

const WORKERS: [&str; 3] = ["a", "b", "c"];
/// Sends orders, and signals and cancels their runs; it works, too, on what it came to own by that.
const SHOP: &str = "shop";
const OBSERVER: &str = "observer";
const ORDERS: u64 = 6;
const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(2);
const ACK_WAIT: Duration = Duration::from_secs(4);
/// For how long things go wrong.
const TROUBLE: u32 = 15;
/// In how many seconds after that everything is at rest: several leases, and a wait of 30 seconds that a message may have been given.
const LIMIT: u32 = 90;

/// How an order is handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Message,
    Call,
    Both,
}

/// What happens to an order.
#[derive(Debug, Clone, Copy)]
struct Plan {
    order: Order,
    way: Way,
    /// Somebody cancels it after a while.
    cancelled: bool,
}

impl Plan {
    fn all(dice: &mut Dice) -> Vec<Self> {
        let plan = |number| {
            let order = Order { number, kind: Kind::of(dice) };
            let way = [Way::Message, Way::Message, Way::Call, Way::Both][usize::try_from(dice.roll(4)).unwrap_or(0)];
            Self { order, way, cancelled: dice.roll(8) == 0 }
        };
        (0..ORDERS).map(plan).collect()
    }

    fn may_end(&self, status: RunStatus) -> bool {
        self.order.may_end(status) || (self.cancelled && status == RunStatus::Cancelled)
    }
}

/// What all hosts know.
#[derive(Clone, Default)]
struct World {
    witness: Witness,
    plans: Arc<Vec<Plan>>,
    leaving: Leaving,
}

fn run(sim: &mut Simulation) {
    let mut dice = Dice::new(sim.seed() ^ 0x0005_0105);
    let world = World { plans: Arc::new(Plan::all(&mut dice)), ..World::default() };
    let seen = world.witness.clone();
    sim.host(OBSERVER, move |host| {
        let seen = seen.clone();
        async move {
            let space = space(&host).await;
            seen.watch(&host, &space).await;
            Ok(())
        }
    });
    sim.latency(OBSERVER, Duration::ZERO, Duration::ZERO);
    for name in WORKERS {
        let world = world.clone();
        sim.host(name, move |host| work(host, world.clone()));
    }
    let shop = world.clone();
    sim.host(SHOP, move |host| sell(host, shop.clone()));
    go_wrong(sim, &mut dice);
    world.runs_on(sim, TROUBLE, || false);
    sim.calm();
    WORKERS.into_iter().chain([SHOP]).for_each(|name| sim.loss(name, 0));
    world.runs_on(sim, LIMIT, || world.is_quiet());
    world.witness.judge();
    world.results();
    // A message that found its run elsewhere comes again.
    sim.run_for(Duration::from_secs(35) + 2 * ACK_WAIT);
    let found = sim.ask(|host| async move { Found::look(&host, &host.engine().space("shop").await?).await });
    world.letters(found);
    // Most orders may end before much of them has begun.
    assert!(world.witness.starts() > 5, "only {} bodies started", world.witness.starts());
}

/// Lets everything go wrong that can.
fn go_wrong(sim: &mut Simulation, dice: &mut Dice) {
    let everyone = || WORKERS.into_iter().chain([SHOP]);
    for name in everyone() {
        let off = |dice: &mut Dice, most: i64| i64::try_from(dice.roll(most.unsigned_abs() * 2 + 1)).unwrap_or(0) - most;
        // Its clocks are half a second off, and up to five percent too fast or too slow.
        let (ahead, drift) = (off(dice, 500_000), off(dice, 50_000));
        sim.skew(name, ahead, drift);
        sim.loss(name, u16::try_from(dice.roll(30)).unwrap_or(0));
        sim.latency(name, Duration::from_micros(100), Duration::from_millis(1 + dice.roll(40)));
    }
    let kinds = [
        Trouble::crash(4 * SECOND).lasting(SECOND).of(everyone()),
        Trouble::pause(4 * SECOND).lasting(3 * SECOND).of(everyone()),
        Trouble::cut(6 * SECOND).lasting(2 * SECOND).of(everyone()),
        Trouble::broken_connection(3 * SECOND).of(everyone()),
        Trouble::crash(8 * SECOND).lasting(SECOND).of([SERVER]),
        Trouble::power_loss(8 * SECOND).lasting(SECOND).of([SERVER]),
        Trouble::pause(12 * SECOND).lasting(SECOND).of([SERVER]),
    ];
    for kind in kinds {
        // Not all in each world, so that each is also met without the others.
        if dice.roll(4) > 0 {
            sim.trouble(kind);
        }
    }
}

impl World {
    /// Lets so many seconds pass, or fewer when it is `over` before, in which whoever left is started again.
    fn runs_on(&self, sim: &mut Simulation, seconds: u32, over: impl Fn() -> bool) {
        for _ in 0..seconds {
            if over() {
                return;
            }
            sim.run_for(SECOND);
            self.leaving.restart(sim);
        }
    }

    fn is_quiet(&self) -> bool {
        self.plans.iter().all(|plan| self.witness.status(&plan.order.id()).is_some_and(RunStatus::is_terminal))
    }

    /// Each run has ended as its order says, and returned what it says.
    fn results(&self) {
        let runs = self.witness.runs();
        assert_eq!(runs.len(), self.plans.len(), "these runs are there: {:?}", runs.keys());
        for plan in &*self.plans {
            let run = &runs[&plan.order.id()];
            assert!(plan.may_end(run.status), "{plan:?} ended {}: {run:?}", run.status);
            if run.status == RunStatus::Completed {
                let right = format!("completed {}", plan.order.result());
                assert_eq!(witness::outcome(run), right, "{plan:?}");
            }
        }
    }

    /// Each message is gone, and there is a letter for each whose run failed.
    fn letters(&self, found: Found) {
        assert_eq!(found.left, 0, "messages are left in the queue");
        let letters: Vec<_> =
            found.letters.into_iter().map(|letter| DeadLetter::decode(letter.payload).expect("a letter")).collect();
        let mut told: BTreeMap<&str, usize> = BTreeMap::new();
        for letter in &letters {
            *told.entry(&letter.run).or_default() += 1;
        }
        let runs = self.witness.runs();
        // Whether a run has a message it knows: one that was started by a call first has none.
        let failed = |status| matches!(status, RunStatus::Errored | RunStatus::Dead | RunStatus::Stuck);
        let wanted = runs.values().filter(|run| failed(run.status) && run.source.is_some());
        assert_eq!(told, wanted.map(|run| (run.run.as_str(), 1)).collect(), "one letter for each run of a message that failed");
        for plan in self.plans.iter().filter(|plan| plan.way == Way::Message) {
            assert!(runs[&plan.order.id()].source.is_some(), "{plan:?} does not know its message");
        }
        let by_message = self.plans.iter().filter(|plan| plan.way != Way::Call).count();
        let acked = self.witness.acknowledged();
        assert!(acked >= by_message, "only {acked} of {by_message} messages were acknowledged");
    }
}

/// What is found in the queues when everything is at rest.
struct Found {
    left: usize,
    letters: Vec<Message>,
}

impl Found {
    async fn look(host: &Host, space: &Space) -> Result<Self, BoxError> {
        let left = drained(host, space.queue("orders", options()).await?).await?.len();
        let letters = drained(host, space.queue("orders-dead", QueueOptions::default()).await?).await?;
        Ok(Self { left, letters })
    }
}

/// Takes everything out of a queue.
async fn drained(host: &Host, queue: Arc<dyn Queue>) -> Result<Vec<Message>, BoxError> {
    let mut pull = queue.pull().await?;
    let mut all = Vec::new();
    while let Some(some) = host.clock().timeout(3 * ACK_WAIT, pull.next(NonZeroUsize::MIN)).await {
        for delivery in some? {
            all.push(delivery.message().clone());
            delivery.ack().await?;
        }
    }
    Ok(all)
}

fn options() -> QueueOptions {
    QueueOptions::default().ack_wait(ACK_WAIT)
}

/// Opens the space once the server is there.
async fn space(host: &Host) -> Space {
    loop {
        match host.engine().space("shop").await {
            Ok(space) => return space,
            Err(_) => host.clock().sleep(SECOND / 4).await,
        }
    }
}

type Shop = Runs<Order, u64, App>;

/// Opens a worker for business.
async fn open(space: &Space, app: &App) -> Result<Shop, RunError> {
    let options =
        RuntimeOptions::default().lease(LEASE).stop_grace(SECOND).drain_timeout(2 * SECOND).sweep_interval(10 * SECOND);
    let runtime = Runtime::start_with(space.clone(), options).await?;
    runtime.host(graph::topology(), app.clone())
}

/// Works until it is killed, falls, or leaves in good order.
async fn work(host: Host, world: World) -> Result<(), BoxError> {
    world.witness.boots(&host);
    let app = App::new(&host, &world.witness);
    let (runs, _supervisor) = loop {
        let space = space(&host).await;
        let begun = async {
            let runs = open(&space, &app).await?;
            let inbox = Inbox::over(space.queue("orders", options()).await?, &host, &world.witness);
            let supervisor = runs.supervise(inbox).run_id(anabranch::schedule::firing_id).spawn().await?;
            Ok::<_, RunError>((runs, supervisor))
        };
        match begun.await {
            Ok(begun) => break begun,
            Err(error) => host.say(format!("cannot begin: {error}")),
        }
        host.clock().sleep(SECOND / 4).await;
    };
    // Some are deployed anew now and then.
    let stays = SECOND * u32::try_from(3 + host.roll(40))?;
    tokio::select! {
        biased;
        () = app.fall.notified() => host.say("falls"),
        () = host.clock().sleep(stays) => {
            // Whether others could be told is the network's affair.
            let left = runs.runtime().drain().await;
            host.say(format!("leaves: {left:?}"));
        }
    }
    world.leaving.leave(&host);
    Ok(())
}

/// Sends orders, each as often as it takes, and signals and cancels their runs.
async fn sell(host: Host, world: World) -> Result<(), BoxError> {
    world.witness.boots(&host);
    let app = App::new(&host, &world.witness);
    let (runs, queue) = loop {
        let space = space(&host).await;
        if let (Ok(runs), Ok(queue)) = (open(&space, &app).await, space.queue("orders", options()).await) {
            break (runs, queue);
        }
        host.clock().sleep(SECOND / 4).await;
    };
    let served = world.plans.iter().map(|plan| serve(&host, &world, &runs, &queue, *plan));
    tokio::select! {
        biased;
        () = app.fall.notified() => host.say("falls"),
        _ = join_all(served) => std::future::pending().await,
    }
    world.leaving.leave(&host);
    Ok(())
}

/// Does what an order asks for.
async fn serve(host: &Host, world: &World, runs: &Shop, queue: &Arc<dyn Queue>, plan: Plan) {
    let order = plan.order;
    let pause = |millis| host.clock().sleep(Duration::from_millis(host.roll(millis)));
    pause(1 + order.number * 1500).await;
    world.witness.sends(host, order);
    let send = async {
        if plan.way != Way::Call {
            let message = Message::new(serde_json::to_vec(&order).expect("an order")).id(order.id());
            while queue.publish(message.clone()).await.is_err() {
                pause(500).await;
            }
            world.witness.submitted(order);
        }
        if plan.way != Way::Message {
            while let Err(error) = runs.start(&order.id(), order).await {
                host.say(format!("{} is not started: {error}", order.id()));
                pause(500).await;
            }
            world.witness.submitted(order);
        }
    };
    // A signal may come before its run is there, and is then sent again.
    let signal = async {
        if order.kind == Kind::Waits {
            pause(2000).await;
            while !is_done(runs.signal(&order.id(), GO, SAYS).await) {
                pause(2000).await;
            }
        }
    };
    let cancel = async {
        if plan.cancelled {
            pause(4000).await;
            while !is_done(runs.cancel(&order.id(), "changed my mind").await) {
                pause(4000).await;
            }
        }
    };
    let outcome = async {
        // Whoever waits is told, wherever the run is.
        loop {
            if let Ok(run) = runs.get(&order.id()).await {
                let outcome = match run.outcome().await {
                    Ok(result) => format!("completed {result}"),
                    Err(RunError::Failed { status, .. }) => status.to_string(),
                    Err(RunError::Cancelled { .. }) => RunStatus::Cancelled.to_string(),
                    Err(error) => {
                        host.say(format!("the outcome of {} is not known: {error}", order.id()));
                        pause(500).await;
                        continue;
                    }
                };
                return world.witness.observed(host, &order.id(), &outcome);
            }
            pause(1000).await;
        }
    };
    futures_util::future::join4(send, signal, cancel, outcome).await;
}

/// Tells whether a run was told, or needs not to be any more.
fn is_done(told: Result<(), RunError>) -> bool {
    matches!(told, Ok(()) | Err(RunError::Refused(_)))
}
