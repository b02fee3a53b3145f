//! Messages: which start a run, which find one, which are held, handed back or given up.

use crate::{
    kit::{ACK_WAIT, LEASE, Mischief, Told, faulty_worker, left_in, letters, publish, queue, single, time_passes},
    support::{Gate, Journal, diamond, gated, space, worker},
};
use anabranch::{
    Ctx, NodeResult, Topology,
    core::snapshot::{NodeStatus, RunStatus},
    engine::{Delivery, Message},
    error::BoxError,
    runtime::StartOptions,
    topology::{Signal, dynamic::Values},
};
use futures_util::TryStreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

fn at_once(messages: usize) -> NonZeroUsize {
    NonZeroUsize::new(messages).unwrap()
}

/// Notes which attempt of which run it is.
async fn noted(ctx: Ctx<Journal>, value: u64) -> NodeResult<u64> {
    ctx.app().note(format!("{} {}", ctx.run_id(), ctx.attempt()));
    Ok(value)
}

#[tokio::test(start_paused = true)]
async fn a_message_is_acknowledged_only_after_the_outcome_is_committed() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let gate = Gate::default();
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    let told = Told::of(&space, "in").await;
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.publish(7).await;
    gate.entered().await;
    faulty.hold_writes();
    gate.open();
    time_passes(&space, 10 * SECOND).await;
    assert_eq!(gate.finished(), 1);
    assert_eq!(told.count("ack"), 0, "the body is done and its end is not stored");
    faulty.resume();
    told.until("ack 1", 1).await;
    let run = runs.inspect("in-1").await.unwrap().unwrap();
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(runs.get("in-1").await.unwrap().outcome().await.unwrap(), 7);
}

/// D10: a message that comes again after its run completed.
#[tokio::test(start_paused = true)]
async fn a_message_of_an_ended_run_is_acknowledged_and_runs_nothing() {
    let space = space().await;
    let (runtime, journal, told) = (worker(&space).await, Journal::default(), Told::of(&space, "in").await);
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).run_id(|_| "same".into()).spawn().await.unwrap();
    told.publish(1).await;
    told.until("ack 1", 1).await;
    told.publish(1).await;
    told.until("ack 2", 1).await;
    assert_eq!(journal.all().len(), 4);
    assert_eq!(left_in(&space, &told.queue()).await, []);
}

/// D11: a message that comes again is no approval.
#[tokio::test(start_paused = true)]
async fn a_message_of_a_suspended_run_is_acknowledged_and_does_not_resume_it() {
    let space = space().await;
    let (runtime, journal, told) = (worker(&space).await, Journal::default(), Told::of(&space, "in").await);
    let approval = Signal::<bool>::new("approval");
    let mut t = Topology::builder::<u64>("approved").app::<Journal>();
    let input = t.input();
    let asked = t.node("ask", input, noted);
    let approved = t.wait_for("approval", asked, approval.clone());
    let done = t.node("done", approved, async |ctx: Ctx<Journal>, yes: bool| {
        ctx.app().note("done");
        Ok(yes)
    });
    let runs = runtime.host(t.build(done).unwrap(), journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).run_id(|_| "same".into()).spawn().await.unwrap();
    for (message, acknowledged) in [(1, "ack 1"), (2, "ack 2")] {
        assert_eq!(told.publish(5).await, message);
        told.until(acknowledged, 1).await;
        assert_eq!(runs.inspect("same").await.unwrap().unwrap().status, RunStatus::Suspended);
    }
    assert_eq!(journal.all(), ["same 1"]);
    runs.signal("same", approval, true).await.unwrap();
    assert!(runs.get("same").await.unwrap().outcome().await.unwrap());
    assert_eq!(journal.all(), ["same 1", "done"]);
}

/// D12: a message that comes again while its run lives in another worker starts no second one.
#[tokio::test(start_paused = true)]
async fn a_message_of_a_run_that_is_alive_elsewhere_comes_again_later_and_counts_nothing() {
    let space = space().await;
    let (owner, other, gate) = (worker(&space).await, worker(&space).await, Gate::default());
    let here = owner.host(gated(), gate.clone()).unwrap();
    let there = other.host(gated(), gate.clone()).unwrap();
    let run = here.start("same", 1).await.unwrap();
    gate.entered().await;
    let told = Told::of(&space, "in").await;
    let _supervisor = there.supervise(told.queue()).run_id(|_| "same".into()).spawn().await.unwrap();
    told.publish(1).await;
    told.until("retry 1 in", 3).await;
    assert!(!told.said().iter().any(|s| s.starts_with("retry 1 in 0ns")), "{:?}", told.said());
    let snapshot = run.snapshot().await.unwrap();
    assert_eq!((snapshot.epoch, snapshot.nodes[0].attempt, snapshot.nodes[0].failures), (1, 1, 0));
    gate.open();
    assert_eq!(run.outcome().await.unwrap(), 1);
    told.until("ack 1", 1).await;
    assert_eq!(gate.finished(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_worker_died_takes_the_run_over() {
    let space = space().await;
    let (owner, other, journal, gate) = (worker(&space).await, worker(&space).await, Journal::default(), Gate::default());
    let topology = |gate: Gate| {
        single(
            |_| {},
            move |ctx: Ctx<Journal>, value| {
                let gate = gate.clone();
                async move {
                    noted(ctx, value).await?;
                    gate.pass().await;
                    Ok(value)
                }
            },
        )
    };
    let here = owner.host(topology(gate.clone()), journal.clone()).unwrap();
    let told = Told::of(&space, "in").await;
    let _first = here.supervise(told.queue()).spawn().await.unwrap();
    told.publish(1).await;
    gate.entered().await;
    owner.crash();
    gate.open();
    let there = other.host(topology(gate.clone()), journal.clone()).unwrap();
    let _second = there.supervise(told.queue()).spawn().await.unwrap();
    told.until("ack 1", 1).await;
    assert_eq!(journal.all(), ["in-1 1", "in-1 2"]);
    let snapshot = there.inspect("in-1").await.unwrap().unwrap();
    assert_eq!((snapshot.status, snapshot.epoch, snapshot.nodes[0].crashes), (RunStatus::Completed, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_with_the_id_of_another_input_is_a_dead_letter() {
    let space = space().await;
    let (runtime, journal, told) = (worker(&space).await, Journal::default(), Told::of(&space, "in").await);
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).run_id(|_| "same".into()).spawn().await.unwrap();
    told.publish(1).await;
    told.until("ack 1", 1).await;
    told.publish(2).await;
    told.until("reject 2", 1).await;
    assert_eq!(journal.all().len(), 4);
    assert_eq!(runs.get("same").await.unwrap().outcome().await.unwrap(), 303);
    let letters = letters(&space, "in-dead").await;
    assert_eq!(letters.len(), 1);
    assert_eq!((&*letters[0].payload, letters[0].sequence), (&b"2"[..], 2));
    assert!(letters[0].reason.contains("another input"), "{}", letters[0].reason);
}

/// D10: the same, because its acknowledgement was lost.
#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_after_completion_is_harmless() {
    let space = space().await;
    let (runtime, journal, told) = (worker(&space).await, Journal::default(), Told::of(&space, "in").await);
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.mischief(Mischief::LoseAcks);
    told.publish(1).await;
    told.until("ack 1", 2).await;
    told.mischief(Mischief::None);
    told.until("ack 1", 3).await;
    assert_eq!(journal.all().len(), 4);
    assert_eq!(left_in(&space, &told.queue()).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_between_commit_and_acknowledgement_costs_nothing() {
    let space = space().await;
    let (owner, other, journal) = (worker(&space).await, worker(&space).await, Journal::default());
    let told = Told::of(&space, "in").await;
    told.mischief(Mischief::HangAcks);
    let here = owner.host(diamond(), journal.clone()).unwrap();
    let _first = here.supervise(told.queue()).spawn().await.unwrap();
    told.publish(1).await;
    told.until("ack 1", 1).await;
    owner.crash();
    told.mischief(Mischief::None);
    let there = other.host(diamond(), journal.clone()).unwrap();
    let _second = there.supervise(told.queue()).spawn().await.unwrap();
    told.until("ack 1", 2).await;
    assert_eq!(journal.all().len(), 4);
    let snapshot = there.inspect("in-1").await.unwrap().unwrap();
    assert_eq!((snapshot.status, snapshot.epoch), (RunStatus::Completed, 1));
    assert_eq!(left_in(&space, &told.queue()).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_is_one_dead_letter() {
    let space = space().await;
    let (runtime, journal, told) = (worker(&space).await, Journal::default(), Told::of(&space, "in").await);
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    let message = Message::new("no number").id("m-1").header("tenant", "t-1").header("tenant", "t-2");
    told.queue().publish(message).await.unwrap();
    told.until("reject 1", 1).await;
    time_passes(&space, 2 * ACK_WAIT).await;
    assert_eq!((told.count("reject"), told.count("ack"), journal.all().len()), (1, 0, 0));
    assert!(runs.inspect("in-1").await.unwrap().is_none());
    let letters = letters(&space, "in-dead").await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((&*letter.payload, letter.message_id.as_str(), letter.sequence), (&b"no number"[..], "m-1", 1));
    assert_eq!((letter.topology.as_str(), letter.run.as_str(), letter.queue.as_str()), ("diamond", "", "in"));
    assert_eq!(letter.headers.get("tenant"), Some("t-2"), "a header is set once");
}

#[tokio::test(start_paused = true)]
async fn a_message_over_which_the_application_panics_is_a_dead_letter() {
    let space = space().await;
    let (runtime, journal, told) = (worker(&space).await, Journal::default(), Told::of(&space, "in").await);
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let id = |d: &Delivery| d.message().headers.get("order").expect("an order").to_owned();
    let _supervisor = runs.supervise(told.queue()).run_id(id).spawn().await.unwrap();
    told.publish(1).await;
    told.until("reject 1", 1).await;
    let letters = letters(&space, "in-dead").await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].reason.contains("panicked: an order"), "{}", letters[0].reason);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_take_three_times_the_wait_run_once_each() {
    let space = space().await;
    let (runtime, other, gate) = (worker(&space).await, worker(&space).await, Gate::default());
    let told = Told::of(&space, "in").await;
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    for input in 1..=5 {
        told.publish(input).await;
        gate.entered().await;
    }
    // Somebody else waits for what is not extended.
    let elsewhere = Told::of(&space, "in").await;
    let _other = other.host(gated(), gate.clone()).unwrap().supervise(elsewhere.queue()).spawn().await.unwrap();
    time_passes(&space, 3 * ACK_WAIT).await;
    for message in 1..=5 {
        assert!(told.count(&format!("extend {message}")) >= 6, "{:?}", told.said());
    }
    gate.open();
    told.until("ack", 5).await;
    assert_eq!((gate.finished(), elsewhere.said().len()), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_does_not_answer_does_not_keep_a_message_from_being_settled() {
    let space = space().await;
    let (runtime, gate, told) = (worker(&space).await, Gate::default(), Told::of(&space, "in").await);
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).concurrency(at_once(1)).spawn().await.unwrap();
    told.mischief(Mischief::HangExtensions);
    told.publish(1).await;
    gate.entered().await;
    told.until("extend 1", 1).await;
    gate.open();
    told.until("ack 1", 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_after_the_stop_is_left_in_the_queue() {
    let space = space().await;
    let (runtime, gate, told) = (worker(&space).await, Gate::default(), Told::of(&space, "in").await);
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    let supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.publish(1).await;
    gate.entered().await;
    let stopping = async {
        supervisor.drain().await;
        assert_eq!(told.count("ack 1"), 1, "what had started is finished first");
    };
    let late = async {
        told.until("closed", 1).await;
        told.publish(2).await;
        time_passes(&space, SECOND).await;
        gate.open();
    };
    tokio::join!(stopping, late);
    assert_eq!(gate.finished(), 1);
    assert!(runs.inspect("in-2").await.unwrap().is_none());
    let left = left_in(&space, &told.queue()).await;
    assert_eq!(left.iter().map(|m| &*m.payload).collect::<Vec<_>>(), [b"2"]);
}

/// D14: what one message listened to is not what the next one listens to.
#[tokio::test(start_paused = true)]
async fn the_message_after_one_that_timed_out_is_not_stopped() {
    let space = space().await;
    let (runtime, journal, told) = (worker(&space).await, Journal::default(), Told::of(&space, "in").await);
    let limits = |work: &mut anabranch::topology::NodeOptions| {
        work.timeout(SECOND).max_attempts(1);
    };
    let topology = single(limits, async |ctx: Ctx<Journal>, value| {
        if value == 1 {
            let reason = ctx.cancelled().await;
            ctx.app().note(format!("stopped: {reason}"));
            return Ok(value);
        }
        ctx.app().note(format!("asked: {:?}", ctx.stop_reason()));
        Ok(value)
    });
    let runs = runtime.host(topology, journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).concurrency(at_once(1)).spawn().await.unwrap();
    told.publish(1).await;
    told.publish(2).await;
    told.until("ack", 2).await;
    assert_eq!(runs.inspect("in-1").await.unwrap().unwrap().status, RunStatus::Errored);
    assert_eq!(runs.get("in-2").await.unwrap().outcome().await.unwrap(), 2);
    assert!(journal.all().contains(&"asked: None".to_owned()), "{:?}", journal.all());
}

#[tokio::test(start_paused = true)]
async fn no_more_messages_are_taken_than_are_worked_on_at_once() {
    let space = space().await;
    let (runtime, gate, told) = (worker(&space).await, Gate::default(), Told::of(&space, "in").await);
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    for input in 1..=10 {
        told.publish(input).await;
    }
    let _supervisor = runs.supervise(told.queue()).concurrency(at_once(3)).spawn().await.unwrap();
    told.until("pulled 3 of 3", 1).await;
    time_passes(&space, 3 * ACK_WAIT).await;
    assert_eq!(told.count("pulled"), 1);
    // All others are there for whoever has room.
    let mut elsewhere = told.queue().pull().await.unwrap();
    assert_eq!(elsewhere.next(at_once(100)).await.unwrap().len(), 7);
    gate.open();
    told.until("ack", 3).await;
}

#[tokio::test(start_paused = true)]
async fn two_supervisors_share_a_queue_and_no_message_runs_twice() {
    let space = space().await;
    let (one, two, journal) = (worker(&space).await, worker(&space).await, Journal::default());
    let topology = || {
        single(
            |_| {},
            async |ctx: Ctx<Journal>, value| {
                tokio::task::yield_now().await;
                noted(ctx, value).await
            },
        )
    };
    let (here, there) = (Told::of(&space, "in").await, Told::of(&space, "in").await);
    let queue: Arc<_> = queue(&space, "in").await;
    let first = one.host(topology(), journal.clone()).unwrap().supervise(here.queue()).concurrency(at_once(4)).spawn();
    let second = two.host(topology(), journal.clone()).unwrap().supervise(there.queue()).concurrency(at_once(4)).spawn();
    let (_first, _second) = (first.await.unwrap(), second.await.unwrap());
    for input in 0..100 {
        publish(&queue, input).await;
    }
    while here.count("ack") + there.count("ack") < 100 {
        time_passes(&space, LEASE).await;
    }
    let mut ran = journal.all();
    ran.sort();
    ran.dedup();
    assert_eq!((ran.len(), journal.all().len()), (100, 100));
    assert!(here.count("ack") > 0 && there.count("ack") > 0);
    assert_eq!(left_in(&space, &queue).await, []);
}

/// A message as nats-topology-runner takes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    topology_id: String,
    data: Value,
    exclude_nodes: Option<Vec<String>>,
}

fn envelope(delivery: &Delivery) -> Result<Envelope, BoxError> {
    Ok(serde_json::from_slice(&delivery.message().payload)?)
}

/// `fetch`, `parse`, `tell`, by names: each notes itself and the values that it has.
fn named() -> Topology<Value, Value, Journal> {
    async fn step(ctx: Ctx<Journal>, values: Values) -> NodeResult<Value> {
        let names: Vec<_> = values.iter().map(|(name, _)| name).collect();
        ctx.app().note(format!("{}({})", ctx.node(), names.join(", ")));
        Ok(json!(ctx.node()))
    }
    let t = Topology::dynamic::<Journal>("named");
    t.node("fetch", (), step).node("parse", "fetch", step).node("tell", ["fetch", "parse"], step).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_message_names_its_run_its_input_and_the_part_that_runs() {
    let space = space().await;
    let (runtime, journal, told) = (worker(&space).await, Journal::default(), Told::of(&space, "in").await);
    let runs = runtime.host(named(), journal.clone()).unwrap();
    let supervisor = runs.supervise(told.queue()).input(|delivery| Ok(envelope(delivery)?.data));
    let supervisor = supervisor.run_id(|delivery| envelope(delivery).map_or(String::new(), |envelope| envelope.topology_id));
    let supervisor = supervisor
        .options(|delivery| Ok(StartOptions::default().exclude(envelope(delivery)?.exclude_nodes.unwrap_or_default())));
    let _supervisor = supervisor.spawn().await.unwrap();
    for (message, expected) in [
        (json!({ "topologyId": "t-1", "data": 1 }), vec!["fetch($input)", "parse(fetch)", "tell(fetch, parse)"]),
        (json!({ "topologyId": "t-2", "data": 2, "excludeNodes": ["fetch"] }), vec!["parse()", "tell(parse)"]),
        // It comes again, and asks for something else: its run is there already.
        (json!({ "topologyId": "t-2", "data": 2, "excludeNodes": ["parse"] }), vec![]),
    ] {
        let (ran, acknowledged) = (journal.all().len(), told.count("ack"));
        told.queue().publish(Message::new(message.to_string())).await.unwrap();
        told.until("ack", acknowledged + 1).await;
        assert_eq!(journal.all()[ran..], expected);
    }
    assert_eq!(runs.inspect("t-2").await.unwrap().unwrap().node("fetch").unwrap().status, NodeStatus::Excluded);
    let all: Vec<_> = runs.list().await.unwrap().try_collect().await.unwrap();
    assert_eq!(all.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_asks_for_a_part_that_cannot_run_is_a_dead_letter() {
    let space = space().await;
    let (runtime, journal, told) = (worker(&space).await, Journal::default(), Told::of(&space, "in").await);
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let without = |delivery: &Delivery| match delivery.message().headers.get("without") {
        Some("") => Err("no name".into()),
        Some(node) => Ok(StartOptions::default().exclude([node])),
        None => Ok(StartOptions::default()),
    };
    let _supervisor = runs.supervise(told.queue()).options(without).spawn().await.unwrap();
    for node in ["c", "nobody", ""] {
        told.queue().publish(Message::new("1").header("without", node)).await.unwrap();
    }
    told.until("reject", 3).await;
    assert_eq!(journal.all().len(), 0);
    let mut reasons: Vec<_> = letters(&space, "in-dead").await.into_iter().map(|letter| letter.reason).collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "`d` needs the output of `c`, which is left out: include it, or provide its output",
            "`nobody` is not a node of this topology",
            "no name"
        ]
    );
    assert_eq!(left_in(&space, &told.queue()).await, []);
}
