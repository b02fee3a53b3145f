//! Crashes at every point at which anything awaits something: of a run that branches, fails, and waits for a signal, and of one in a process
//! that has the engine for itself and loses power.

use super::SECOND;
use anabranch::{
    NodeError, RetryPolicy, Signal, Topology, arm,
    engine::{Engine, Message, QueueOptions, Space},
    error::BoxError,
    runtime::{RunError, Runs, Runtime, RuntimeOptions},
    testing::sim::{Host, Simulation},
    time::Clock,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

const GO: Signal<u64> = Signal::new("go");
const RUN: &str = "run-1";
/// What the run of 10 returns: the input and one, the input and two, the signal, and the value of the arm.
const RESULT: u64 = 11 + 12 + 5 + 10;

/// How many bodies of each node ended well, and how many did not.
type Bodies = Arc<Mutex<BTreeMap<(&'static str, bool), u64>>>;

/// `flaky` fails once, beside a branch whose taken arm waits for a signal.
fn topology(clock: &Clock, bodies: &Bodies) -> Topology<u64, u64> {
    let mut t = Topology::builder::<u64>("approval");
    let input = t.input();
    let ended = {
        let (clock, bodies) = (clock.clone(), Arc::clone(bodies));
        move |node: &'static str, well: bool| {
            let (clock, bodies) = (clock.clone(), Arc::clone(&bodies));
            async move {
                clock.sleep(Duration::from_millis(50)).await;
                *bodies.lock().unwrap().entry((node, well)).or_default() += 1;
            }
        }
    };
    let (first, second, last) = (ended.clone(), ended.clone(), ended);
    let flaky = t.node("flaky", input, move |ctx, v: u64| {
        let (attempt, ended) = (ctx.attempt(), first.clone());
        async move {
            ended("flaky", attempt > 1).await;
            if attempt > 1 { Ok(v + 1) } else { Err(NodeError::retryable("the first time it fails")) }
        }
    });
    t.options(flaky).retry(RetryPolicy::default().max_attempts(5).fixed(Duration::from_millis(100)));
    let (large, small) = t.branch("size", input, (arm("large"), arm("small")), async |_, (large, small), v: u64| {
        Ok(if v > 5 { large.take(v) } else { small.take(v) })
    });
    let approved = t.wait_for("approve", large, GO);
    let shipped = t.node("shipped", large, move |_, v: u64| {
        let ended = second.clone();
        async move {
            ended("shipped", true).await;
            Ok(v)
        }
    });
    let minor = t.node("skipped", small, async |_, v: u64| Ok(v * 1000));
    let end = t.node(
        "end",
        (flaky, approved.optional(), shipped.optional(), minor.optional()),
        move |_, (flaky, approved, shipped, minor): (u64, Option<u64>, Option<u64>, Option<u64>)| {
            let ended = last.clone();
            async move {
                ended("end", true).await;
                Ok(flaky + (flaky + 1) + approved.unwrap_or(0) + shipped.unwrap_or(0) + minor.unwrap_or(0))
            }
        },
    );
    t.build(end).unwrap()
}

type Approvals = Runs<u64, u64, ()>;

async fn open(space: &Space, host: &Host, bodies: &Bodies) -> Result<Approvals, RunError> {
    let runtime = Runtime::start_with(space.clone(), RuntimeOptions::default().lease(2 * SECOND)).await?;
    runtime.host(topology(host.clock(), bodies), ())
}

/// Starts the run, sends its signal, and returns what it returns, each as often as it takes.
async fn see_through(host: &Host, runs: &Approvals) -> u64 {
    let soon = || host.clock().sleep(Duration::from_millis(100));
    while runs.start(RUN, 10).await.is_err() {
        soon().await;
    }
    // Once the branch has been taken, so that the run waits for it.
    host.clock().sleep(SECOND).await;
    while !matches!(runs.signal(RUN, GO, 5).await, Ok(()) | Err(RunError::Refused(_))) {
        soon().await;
    }
    loop {
        match async { runs.get(RUN).await?.outcome().await }.await {
            Ok(result) => return result,
            Err(error @ (RunError::Failed { .. } | RunError::Cancelled { .. })) => panic!("{error}"),
            Err(_) => soon().await,
        }
    }
}

/// Runs the whole on a server and returns how often the host that dies was polled, whether it died, and what each body did.
fn on_a_server(crash: Option<u64>) -> (u64, bool, u64, BTreeMap<(&'static str, bool), u64>) {
    let mut sim = Simulation::new(11);
    let (bodies, results) = (Bodies::default(), Arc::new(Mutex::new(Vec::new())));
    for name in ["one", "two"] {
        let (bodies, results) = (Arc::clone(&bodies), Arc::clone(&results));
        sim.host(name, move |host| {
            let (bodies, results) = (Arc::clone(&bodies), Arc::clone(&results));
            async move {
                let runs = open(&host.engine().space("shop").await?, &host, &bodies).await?;
                let result = see_through(&host, &runs).await;
                results.lock().unwrap().push(result);
                std::future::pending().await
            }
        });
    }
    sim.crash("two");
    if let Some(poll) = crash {
        sim.crash_at_poll("one", poll);
    }
    let ended = |sim: &mut Simulation| !sim.is_up("one") || !results.lock().unwrap().is_empty();
    assert!(sim.run_until(60 * SECOND, ended), "the first one neither dies nor gets to the end");
    let (polls, died) = (sim.polls("one"), !sim.is_up("one"));
    sim.start("two");
    let all = 1 + usize::from(!died);
    assert!(sim.run_until(120 * SECOND, |_| results.lock().unwrap().len() == all), "the second one does not get to the end");
    let (results, bodies) = (results.lock().unwrap().clone(), bodies.lock().unwrap().clone());
    assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
    (polls, died, results[0], bodies)
}

#[test]
fn a_run_that_branches_fails_and_waits_survives_a_crash_at_every_await_point() {
    let (polls, died, result, bodies) = on_a_server(None);
    assert!(!died && polls > 50, "{polls} polls");
    assert_eq!(result, RESULT);
    let once = BTreeMap::from([(("flaky", false), 1), (("flaky", true), 1), (("shipped", true), 1), (("end", true), 1)]);
    assert_eq!(bodies, once);
    for poll in 1..=polls {
        let (_, died, result, bodies) = on_a_server(Some(poll));
        assert!(died, "nobody died at poll {poll} of {polls}");
        assert_eq!(result, RESULT, "after a crash at poll {poll}");
        // One crash costs each body one attempt at most.
        let twice = bodies.values().all(|times| *times <= 2);
        assert!(twice && bodies.keys().all(|node| node.0 != "skipped"), "after a crash at poll {poll}: {bodies:?}");
    }
}

/// One life of a process that has the engine for itself: a run by a call, and one by message.
async fn alone(host: Host, bodies: Bodies, results: Arc<Mutex<Vec<(u64, u64)>>>) -> Result<(), BoxError> {
    let engine: Engine = host.embedded()?;
    let space = engine.space("shop").await?;
    let runs = open(&space, &host, &bodies).await?;
    let queue = space.queue("orders", QueueOptions::default().ack_wait(2 * SECOND)).await?;
    let _supervisor = runs.supervise(Arc::clone(&queue)).run_id(|_| "by-message".to_owned()).spawn().await?;
    runs.recover().await?;
    queue.publish(Message::new("3").id("three")).await?;
    let result = see_through(&host, &runs).await;
    let other = loop {
        match runs.get("by-message").await {
            Ok(run) => break run.outcome().await?,
            Err(_) => host.clock().sleep(Duration::from_millis(100)).await,
        }
    };
    results.lock().unwrap().push((result, other));
    Ok(())
}

fn in_one_process(crash: Option<u64>, power: bool) -> (u64, Vec<(u64, u64)>) {
    let mut sim = Simulation::new(12);
    let (bodies, results) = (Bodies::default(), Arc::new(Mutex::new(Vec::new())));
    let there = Arc::clone(&results);
    sim.host("one", move |host| alone(host, Arc::clone(&bodies), Arc::clone(&there)));
    if let Some(poll) = crash {
        sim.crash_at_poll("one", poll);
    }
    assert!(sim.run_until(60 * SECOND, |sim| !sim.is_up("one")), "it does not get to its end");
    let (polls, before) = (sim.polls("one"), results.lock().unwrap().len());
    if crash.is_some() {
        if power {
            sim.lose_power("one", polls % 2 == 0);
        }
        sim.start("one");
        assert!(sim.run_until(120 * SECOND, |sim| !sim.is_up("one")), "its second life does not get to its end");
        assert_eq!(results.lock().unwrap().len(), before + 1);
    }
    let results = results.lock().unwrap().clone();
    (polls, results)
}

#[test]
fn a_process_with_an_engine_of_its_own_goes_on_after_a_crash_at_every_await_point() {
    let by_message = 4 + 5 + 3000;
    let (polls, results) = in_one_process(None, false);
    assert!(polls > 100, "{polls} polls");
    assert_eq!(results, [(RESULT, by_message)]);
    for poll in 1..=polls {
        for power in [false, true] {
            let (_, results) = in_one_process(Some(poll), power);
            let right = results.iter().all(|both| *both == (RESULT, by_message));
            assert!(right && !results.is_empty(), "after a crash at poll {poll}, of power {power}: {results:?}");
        }
    }
}
