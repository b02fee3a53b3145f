//! Snapshots as JSON: what people read, and what runs of topology-runner are taken over from.

use crate::{
    shape::{branch, diamond, topology, wait, work},
    story::{SECOND, Story, new_run, owner, value},
};
use anabranch::{
    core::{
        graph::Graph,
        machine::{Continuation, NewRun, Plan, RunMachine, park},
        snapshot::{FailureKind, ImportError, NodeStatus, RunStatus, Snapshot, Source, Stored, Trace, Value},
    },
    time::Timestamp,
};
use serde_json::{Value as Json, json};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// An order in topology-runner's way: a suspension, a branch, and nodes named after its arms.
fn order() -> Plan {
    topology([
        work("order").input(),
        wait("approve", "approval").after("order"),
        branch("pay", ["card", "invoice"]).after("approve"),
        work("charge").arm("pay", "card"),
        work("invoice").arm("pay", "invoice"),
        work("receipt").after("charge"),
    ])
}

/// What topology-runner 0.9 exports when `charge` threw.
fn exported() -> Json {
    json!({
        "status": "errored",
        "started": "2022-05-20T14:57:54.786Z",
        "finished": "2022-05-20T14:57:55.786Z",
        "data": {
            "order": {
                "type": "work", "deps": [], "status": "completed", "input": [{ "id": 42 }], "output": { "total": 7 },
                "started": "2022-05-20T14:57:54.786Z", "finished": "2022-05-20T14:57:54.886Z"
            },
            "approve": {
                "type": "suspension", "deps": ["order"], "status": "completed", "input": [{ "total": 7 }],
                "started": "2022-05-20T14:57:54.886Z", "finished": "2022-05-20T14:57:54.887Z"
            },
            "pay": {
                "type": "branching", "deps": ["approve"], "status": "completed", "input": [{ "total": 7 }],
                "selected": "charge", "reason": "has a card", "started": "2022-05-20T14:57:54.887Z"
            },
            "charge": {
                "type": "work", "deps": ["pay"], "status": "errored", "input": [{ "total": 7 }], "state": { "token": "t" },
                "started": "2022-05-20T14:57:54.888Z", "error": { "code": 402, "stack": "Error: declined\n    at charge" }
            },
            "invoice": { "type": "work", "deps": ["pay"], "status": "skipped" },
            "receipt": { "type": "work", "deps": ["charge"], "status": "pending" }
        }
    })
}

fn import(json: &Json, graph: &Graph) -> Result<Snapshot, ImportError> {
    Snapshot::from_json(json, graph, "order-42", NOW)
}

fn refused(edit: impl FnOnce(&mut Json)) -> ImportError {
    let mut json = exported();
    edit(&mut json);
    let error = import(&json, &order().graph).unwrap_err();
    assert!(!error.to_string().is_empty());
    error
}

fn wrong(field: &str, expected: &'static str) -> ImportError {
    ImportError::Field { field: field.into(), expected }
}

#[test]
fn a_run_renders_in_the_shape_of_topology_runner() {
    let story = Story::of(order()).completes("order").signalled("approval").takes("pay", "invoice").saves("invoice");
    let json = story.after(SECOND).machine.snapshot().to_json(|_| None);
    assert_eq!(json["status"], "running");
    assert_eq!(json["started"], "2023-11-14T22:13:20Z");
    assert!(json.get("finished").is_none());
    let data = &json["data"];
    assert_eq!(
        data["order"],
        json!({
            "type": "work", "deps": [], "status": "completed", "input": ["order"], "output": "order of attempt 1",
            "started": "2023-11-14T22:13:20Z", "finished": "2023-11-14T22:13:20Z", "attempt": 1, "failures": 0, "crashes": 0
        })
    );
    assert_eq!((&data["approve"]["type"], &data["approve"]["output"]), (&json!("suspension"), &json!("yes")));
    assert_eq!((&data["pay"]["type"], &data["pay"]["selected"]), (&json!("branching"), &json!("invoice")));
    assert_eq!((&data["pay"]["input"], &data["pay"]["reason"]), (&json!(["yes"]), &json!("it is invoice")));
    assert_eq!((&data["invoice"]["input"], &data["invoice"]["state"]), (&json!(["for invoice"]), &json!("half way")));
    assert_eq!(data["charge"]["status"], "skipped");
    assert!(data["charge"].get("input").is_none(), "what never started has no input");
}

#[test]
fn what_we_know_beyond_topology_runner_has_names_of_its_own() {
    let plan = topology([work("a"), work("b")]);
    let trace = Trace { parent: "00-ab-cd-01".into(), state: String::new() };
    let source = Source { queue: "orders".into(), sequence: 9, message_id: "m".into() };
    let run = NewRun { trace: Some(trace), source: Some(source), ..new_run(&plan) };
    let story = Story::create(plan, run).fails("a").completes("b").cancelled().finishes(RunStatus::Cancelled);
    let json = story.machine.snapshot().to_json(|_| None);
    assert_eq!((&json["run"], &json["topology"], &json["epoch"]), (&json!("order-42"), &json!("orders"), &json!(1)));
    assert_eq!(json["trace"]["traceparent"], "00-ab-cd-01");
    assert_eq!(json["source"], json!({ "queue": "orders", "sequence": 9, "messageId": "m" }));
    assert_eq!(json["cancel"]["reason"], "changed my mind");
    assert_eq!(json["reason"], "changed my mind");
    assert_eq!(json["data"]["a"]["error"]["message"], "no luck");
    assert_eq!(json["data"]["a"]["error"]["kind"], "error");
    assert_eq!(json["data"]["a"]["failures"], 1);

    let json = Story::of(topology([work("a")])).machine.snapshot().to_json(|_| None);
    assert_eq!(json["owner"], json!({ "worker": "ann", "instance": "i-1" }));
}

#[test]
fn a_join_shows_its_inputs_in_order_and_null_for_one_that_is_not_there() {
    let plan = topology([
        branch("b", ["x", "y"]),
        work("left").arm("b", "x"),
        work("right").arm("b", "y"),
        work("join").maybe("left").maybe("right"),
    ]);
    let story = Story::of(plan).takes("b", "y").completes("right").starts(["join"]);
    let json = story.machine.snapshot().to_json(|_| None);
    assert_eq!(json["data"]["join"]["input"], json!([null, "right of attempt 1"]));
}

#[test]
fn nodes_that_the_run_leaves_out_are_left_out() {
    let plan = diamond();
    let included = vec![true, true, false, true];
    let name = plan.graph.get(2).unwrap().1.name.clone();
    let run = NewRun { included, ..new_run(&plan) };
    let json = Story::create(plan.clone(), run).machine.snapshot().to_json(|_| None);
    assert!(json["data"].get(&name).is_none());
    assert_eq!(json["data"]["join"]["deps"].as_array().map(Vec::len), Some(1));
    assert_eq!(import(&json, &plan.graph).unwrap().node(&name).unwrap().status, NodeStatus::Excluded);
}

fn stored() -> Value {
    Value::Stored(Stored { key: "out.1".into(), chunks: 2, size: 6, sha256: [0xab; 32] })
}

#[test]
fn values_that_are_out_of_line_are_asked_for_and_named_when_nobody_has_them() {
    let story = Story::of(diamond()).completes("load").edited(|s| s.nodes[0].output = Some(stored()));
    let snapshot = story.machine.snapshot();
    let found = snapshot.to_json(|s| (s.key == "out.1").then(|| "[1,2]".into()));
    assert_eq!(found["data"]["load"]["output"], json!([1, 2]));
    assert_eq!(found["data"]["left"]["input"], json!([[1, 2]]));

    let unresolved = snapshot.to_json(|_| None);
    let place = &unresolved["data"]["load"]["output"]["$stored"];
    assert_eq!((&place["key"], &place["chunks"], &place["size"]), (&json!("out.1"), &json!(2), &json!(6)));
    assert_eq!(place["sha256"], "ab".repeat(32));
    let error = import(&unresolved, &diamond().graph).unwrap_err();
    assert_eq!(error, ImportError::OutOfLine("data.load.output".into()));
}

#[test]
fn a_value_that_is_no_json_survives_as_digits() {
    let raw = Value::Inline(vec![0xff, 0x00, b'{'].into());
    let story = Story::of(diamond()).completes("load").edited(|s| s.nodes[0].output = Some(raw.clone()));
    let json = story.machine.snapshot().to_json(|_| None);
    assert_eq!(json["data"]["load"]["output"], json!({ "$bytes": "ff007b" }));
    assert_eq!(import(&json, &diamond().graph).unwrap().nodes[0].output, Some(raw));
}

#[test]
fn a_run_of_topology_runner_goes_on_where_it_failed() {
    let plan = order();
    let snapshot = import(&exported(), &plan.graph).unwrap();
    assert_eq!(
        (snapshot.status, &snapshot.owner, snapshot.input.clone()),
        (RunStatus::Running, &None, value(json!({ "id": 42 })))
    );
    assert_eq!(snapshot.created_at, Timestamp::parse_rfc3339("2022-05-20T14:57:54.786Z").unwrap());

    let approve = snapshot.node("approve").unwrap();
    assert_eq!(approve.output, Some(value(json!({ "total": 7 }))), "a suspension passes its input on");
    let pay = snapshot.node("pay").unwrap();
    assert_eq!(pay.selected.as_ref().map(|s| s.name.as_str()), Some("card"), "the arm that `charge` hangs on");
    assert_eq!(pay.output, Some(value(json!({ "total": 7 }))), "and so does a branch");
    assert_eq!(pay.because.as_deref(), Some("has a card"));
    let charge = snapshot.node("charge").unwrap();
    assert_eq!((charge.status, charge.saved.clone()), (NodeStatus::Pending, Some(value(json!({ "token": "t" })))));
    let error = charge.error.as_ref().unwrap();
    assert_eq!((error.message.as_str(), error.kind), ("Error: declined", FailureKind::Error));

    let mut machine = RunMachine::load(plan, snapshot).unwrap();
    let effects = machine.adopt(owner("bob"), NOW).unwrap();
    assert_eq!(effects.execute, [(machine.plan().graph.find("charge").unwrap(), 2)]);
    assert_eq!(machine.snapshot().node("invoice").unwrap().status, NodeStatus::Skipped);
}

/// D9: the text that topology-runner writes for none is read as none.
#[test]
fn an_arm_may_be_selected_by_its_own_name_and_d9_none_is_none() {
    let select = |selected: Json| {
        let mut json = exported();
        json["data"]["pay"]["selected"] = selected;
        import(&json, &order().graph).map(|s| s.node("pay").unwrap().selected.as_ref().map(|s| s.name.clone()))
    };
    assert_eq!(select(json!("invoice")), Ok(Some("invoice".into())));
    assert_eq!(select(json!("card")), Ok(Some("card".into())));
    assert_eq!(select(json!("Symbol(NONE)")), Ok(None));
    assert_eq!(select(Json::Null), Ok(None));
    let arms = vec!["card".into(), "invoice".into()];
    assert_eq!(select(json!("receipt")), Err(ImportError::Arm { node: "pay".into(), selected: "receipt".into(), arms }));
}

#[test]
fn a_completed_run_stays_completed() {
    let plan = topology([work("a")]);
    let export = json!({ "status": "completed", "data": { "a": { "status": "completed", "deps": [] } } });
    let snapshot = import(&export, &plan.graph).unwrap();
    assert_eq!((snapshot.status, snapshot.finished_at), (RunStatus::Completed, Some(NOW)));
    assert_eq!(snapshot.nodes[0].output, Some(value(Json::Null)), "undefined becomes null");
    assert_eq!(snapshot.input, value(Json::Null));
    let mut machine = RunMachine::load(plan, snapshot).unwrap();
    assert_eq!(machine.adopt(owner("bob"), NOW), Err(RunStatus::Completed));
    let effects = machine.resume(owner("bob"), Continuation::FromScratch, NOW);
    assert_eq!(effects.execute.len(), 1, "what ran elsewhere was not provided: it runs again from scratch");
}

#[test]
fn where_the_message_came_from_survives_from_nats_topology_runner() {
    let mut json = exported();
    json["stream"] = json!("ORDERS");
    json["streamSequence"] = json!(17);
    let source = import(&json, &order().graph).unwrap().source;
    assert_eq!(source, Some(Source { queue: "ORDERS".into(), sequence: 17, message_id: String::new() }));
}

/// D8: an old graph and new code do not mix, whoever exported the run.
#[test]
fn d8_an_export_that_does_not_fit_the_graph_is_refused_by_name() {
    let unknown = refused(|j| j["data"]["ghost"] = json!({ "status": "pending" }));
    assert_eq!(unknown, ImportError::UnknownNode("ghost".into()));
    let kind = refused(|j| j["data"]["pay"]["type"] = json!("work"));
    assert_eq!(kind, ImportError::Kind { node: "pay".into(), found: "work".into(), expected: "branching" });
    let deps = refused(|j| j["data"]["receipt"]["deps"] = json!(["order"]));
    let (found, expected) = (vec!["order".into()], vec!["charge".into()]);
    assert_eq!(deps, ImportError::Deps { node: "receipt".into(), found, expected });
    assert_eq!(refused(|j| j["signals"] = json!({ "s": {} })), ImportError::UnknownSignal("s".into()));
}

#[test]
fn a_field_that_makes_no_sense_is_refused_by_its_place() {
    let node = "`pending`, `running`, `suspended`, `errored`, `completed` or `skipped`";
    assert_eq!(refused(|j| j["data"]["order"]["status"] = json!("done")), wrong("data.order.status", node));
    assert_eq!(refused(|j| j["data"]["order"]["status"] = Json::Null), wrong("data.order.status", node));
    assert_eq!(refused(|j| j["status"] = json!("fine")), wrong("status", "the status of a run"));
    assert_eq!(refused(|j| j["data"]["order"]["started"] = json!("soon")), wrong("data.order.started", "a time of RFC 3339"));
    assert_eq!(refused(|j| j["data"]["order"]["deps"] = json!([1])), wrong("data.order.deps", "an array of names"));
    assert_eq!(
        refused(|j| j["data"]["order"]["attempt"] = json!(1_u64 << 32)),
        wrong("data.order.attempt", "a number below 2^32")
    );
    assert_eq!(refused(|j| j["data"]["order"] = json!(1)), wrong("data.order", "an object"));
    assert_eq!(refused(|j| *j = json!([])), wrong("the snapshot", "an object"));
    assert_eq!(refused(|j| j["data"] = Json::Null), wrong("data", "an object with a member for each node"));
    let odd = refused(|j| j["data"]["order"]["output"] = json!({ "$bytes": "abc" }));
    assert_eq!(odd, wrong("data.order.output", "hexadecimal digits"));
}

#[test]
fn what_a_resume_keeps_survives_the_way_out_and_back() {
    let plan = order();
    let story =
        Story::of(plan.clone()).signalled("approval").completes("order").takes("pay", "card").saves("charge").fails("charge");
    let before = story.machine.snapshot();
    let after = import(&before.to_json(|_| None), &plan.graph).unwrap();
    for (old, new) in before.nodes.iter().zip(&after.nodes) {
        assert_eq!((new.status, new.attempt), (old.status, old.attempt), "{}", old.name);
        assert_eq!((&new.output, &new.saved, &new.selected), (&old.output, &old.saved, &old.selected), "{}", old.name);
        assert_eq!(new.error, old.error);
    }
    assert_eq!((&after.input, &after.signals, after.epoch), (&before.input, &before.signals, before.epoch));
    assert_eq!((after.fingerprint, after.created_at), (before.fingerprint, before.created_at));
}

#[test]
fn progress_counts_nodes_by_their_status() {
    let story = Story::of(order()).completes("order").signalled("approval").takes("pay", "card");
    let progress = story.machine.snapshot().progress();
    assert_eq!((progress.completed, progress.running, progress.skipped, progress.pending), (3, 1, 1, 1));
    assert_eq!((progress.total(), progress.done()), (6, 4));
}

/// The value of a node may be what an export writes for a value that is elsewhere, or that is no JSON.
#[test]
fn a_value_that_looks_like_a_stand_in_survives_an_export() {
    for output in [json!({ "$stored": { "key": "k" } }), json!({ "$bytes": "no digits" }), json!({ "$bytes": "ff" })] {
        let mut snapshot = import(&exported(), &order().graph).unwrap();
        snapshot.nodes[0].output = Some(value(output.clone()));
        let again = import(&snapshot.to_json(|_| None), &order().graph).unwrap_or_else(|error| panic!("{output}: {error}"));
        assert_eq!(again.nodes[0].output, Some(value(output)));
    }
}

/// Numbers of an export that somebody edited: nothing overflows, and the run goes on.
#[test]
fn counts_that_somebody_made_up_do_not_overflow() {
    let mut json = exported();
    json["epoch"] = json!(u64::MAX);
    json["data"]["charge"]["attempt"] = json!(u32::MAX);
    let plan = order();
    let mut snapshot = import(&json, &plan.graph).unwrap();
    for node in &mut snapshot.nodes {
        (node.failures, node.crashes) = (u32::MAX, u32::MAX);
    }
    let mut machine = RunMachine::load(plan.clone(), snapshot.clone()).unwrap();
    assert_eq!(machine.adopt(owner("bob"), NOW).unwrap().execute.len(), 1);
    // The process dies in it.
    let found = Snapshot::decode(machine.snapshot().encode()).unwrap();
    let mut machine = RunMachine::load(plan, found).unwrap();
    let _ = machine.adopt(owner("ann"), NOW).unwrap();
    assert_eq!(machine.snapshot().status, RunStatus::Dead, "it has died in this node often enough");
    park(&mut snapshot, "another graph".into());
    assert_eq!(snapshot.epoch, u64::MAX);
}
