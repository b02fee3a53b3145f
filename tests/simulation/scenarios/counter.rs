//! Hosts that add to one counter and read it, with crashes, pauses, cuts, lost answers and a server that is killed.

use super::Scenario;
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Counter},
    error::BoxError,
    testing::{
        check::{self, Call, CounterOp, History, linearizable},
        sim::{Host, SERVER, Simulation, Trouble},
    },
};
use std::time::Duration;

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "counter", about: "a counter that several hosts add to is linearizable", run };

const HOSTS: [&str; 3] = ["a", "b", "c"];
const TASKS: u64 = 2;
const SECOND: Duration = Duration::from_secs(1);

type Told = History<CounterOp, i64>;

fn run(sim: &mut Simulation) {
    let history = Told::new();
    for name in HOSTS {
        let history = history.clone();
        sim.host(name, move |host| work(host, history.clone()));
        sim.loss(name, 10);
    }
    sim.trouble(Trouble::crash(6 * SECOND).lasting(SECOND));
    sim.trouble(Trouble::pause(6 * SECOND).lasting(2 * SECOND));
    sim.trouble(Trouble::cut(6 * SECOND).lasting(SECOND));
    sim.trouble(Trouble::crash(10 * SECOND).lasting(SECOND).of([SERVER]));
    sim.run_for(12 * SECOND);
    sim.calm();
    sim.run_for(SECOND);
    assert!(history.len() > 20, "only {} operations were tried", history.len());
    if let Err(violation) = linearizable(&check::Counter, &history) {
        panic!("{violation}");
    }
}

fn micros(host: &Host) -> u64 {
    u64::try_from(host.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn record(host: &Host, history: &Told, call: Call, outcome: Result<i64, CoordinationError>) {
    match outcome {
        Ok(value) => history.returned(call, value, micros(host)),
        Err(CoordinationError::Cell { source: CellError::Unknown(_), .. }) => history.unknown(call),
        // Whatever else it says, it says that nothing happened.
        Err(_) => history.refused(call, micros(host)),
    }
}

/// Runs until the host is killed.
async fn work(host: Host, history: Told) -> Result<(), BoxError> {
    let space = loop {
        match host.engine().space("shop").await {
            Ok(space) => break space,
            Err(_) => host.clock().sleep(SECOND / 2).await,
        }
    };
    let counter = Counter::new(&space, "visits")?;
    let tasks = (0..TASKS).map(|task| {
        let (counter, host, history) = (counter.clone(), host.clone(), history.clone());
        async move {
            for n in 0.. {
                let client = format!("{}{}/{task}", host.name(), host.boot());
                let at = micros(&host);
                match host.roll(4) {
                    0 => {
                        let call = history.invoke(&client, CounterOp::Read, at);
                        record(&host, &history, call, counter.value().await);
                    }
                    1 => {
                        let id = format!("{client}.{n}");
                        let call = history.invoke(&client, CounterOp::AddOnce(id.as_str().into(), 10), at);
                        let sum = counter.add_once(&id, 10).await.map(|counted| counted.value);
                        record(&host, &history, call, sum);
                    }
                    _ => {
                        let call = history.invoke(&client, CounterOp::Add(1), at);
                        record(&host, &history, call, counter.add(1).await);
                    }
                }
                host.clock().sleep(Duration::from_millis(host.roll(1000))).await;
            }
        }
    });
    futures_util::future::join_all(tasks).await;
    Ok(())
}
