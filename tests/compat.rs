//! Stored snapshots are read for ever, and what is not understood is refused, never guessed.
//!
//! `tests/golden` has a snapshot of each release, as bytes and as the JSON that people read. A new release adds its own with
//! `ANABRANCH_UPDATE=1 cargo test --test compat`; files of earlier releases never change.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

#[path = "core/shape.rs"]
mod shape;

use anabranch::{
    NodePolicy,
    core::{
        graph::{Subset, Upstream},
        machine::{Disposition, Event, NewRun, Plan, RunMachine, note_cancel, note_signal},
        snapshot::{DecodeError, FailureKind, Owner, Snapshot, Source, Stored, Trace, Value},
    },
    time::Timestamp,
};
use bytes::Bytes;
use shape::{branch, topology, wait, work};
use std::{fs, path::PathBuf, time::Duration};

const RELEASES: [&str; 1] = ["v0.1.0"];

fn golden(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

fn inline(json: &'static str) -> Value {
    Value::Inline(json.into())
}

fn plan() -> Plan {
    let timed = || NodePolicy { timeout: Some(Duration::from_secs(30)), ..NodePolicy::default() };
    topology([
        work("load").input().policy(timed()),
        branch("size", ["large", "small"]).after("load"),
        wait("approve", "approval").arm("size", "large"),
        work("tag").arm("size", "small").policy(timed()),
        work("pack").after("load").policy(timed()),
        work("count").after("load"),
        work("ship").maybe("approve").maybe("tag").after("pack"),
        work("notify").after("ship"),
    ])
}

/// A run in which every field of a snapshot has a value, and nodes have every status that they can have together.
fn everything() -> Snapshot {
    let plan = plan();
    let at = |seconds: i64| Timestamp::from_millis(1_790_000_000_000 + seconds * 1000);
    let id = |name: &str| plan.graph.find(name).unwrap();
    let included = Subset::all().exclude(["notify"]).resolve(&plan.graph, |_| false, false).unwrap();
    let new = NewRun {
        run: "order-42".into(),
        input: inline(r#"{"order":42}"#),
        input_digest: [0x42; 32],
        included,
        provided: Vec::new(),
        owner: Owner { worker: "01K5".into(), instance: "ann-7".into() },
        trace: Some(Trace { parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(), state: "v=1".into() }),
        source: Some(Source { queue: "orders".into(), sequence: 17, message_id: "m-17".into() }),
    };
    let (mut machine, _) = RunMachine::create(plan.clone(), new, at(0));
    let apply = |machine: &mut RunMachine, event: Event, seconds: i64| {
        let _ = machine.apply(event, at(seconds)).unwrap();
    };
    let _ = machine.adopt(Owner { worker: "01K6".into(), instance: "bob-1".into() }, at(1)).unwrap();
    let stored = Stored { key: "run.orders.order-42.out.load.2".into(), chunks: 3, size: 700_000, sha256: [0xab; 32] };
    apply(&mut machine, Event::Completed { node: id("load"), attempt: 2, output: Value::Stored(stored) }, 2);
    let Upstream::Arm(_, small) = plan.graph.node(id("tag")).edges[0].upstream else { panic!("`tag` depends on an arm") };
    let because = Some("only one item".into());
    apply(&mut machine, Event::Branched { node: id("size"), attempt: 1, taken: Some((small, inline("1"))), because }, 3);
    apply(&mut machine, Event::Saved { node: id("pack"), attempt: 1, progress: inline(r#"{"done":1}"#) }, 4);
    let failed =
        |disposition, kind| Event::Failed { node: id("tag"), attempt: 1, kind, message: "printer on fire".into(), disposition };
    let after = Some(Duration::from_secs(60));
    apply(&mut machine, failed(Disposition::Retry { after }, FailureKind::Panic), 5);
    let failed = Event::Failed {
        node: id("count"),
        attempt: 1,
        kind: FailureKind::Error,
        message: "cannot count".into(),
        disposition: Disposition::Terminal,
    };
    apply(&mut machine, failed, 6);
    let mut snapshot = machine.snapshot().clone();
    note_signal(&mut snapshot, &plan.graph, "approval", inline(r#"{"by":"ann"}"#), at(7)).unwrap();
    note_cancel(&mut snapshot, "changed my mind".into(), at(8)).unwrap();
    snapshot.finished_at = Some(at(9));
    snapshot.reason = Some("for the golden file".into());
    snapshot
}

fn readable(snapshot: &Snapshot) -> String {
    format!("{:#}\n", snapshot.to_json(|_| None))
}

#[test]
fn snapshots_of_every_release_are_read() {
    let newest = RELEASES[RELEASES.len() - 1];
    assert_eq!(newest, concat!("v", env!("CARGO_PKG_VERSION")), "this release has a golden snapshot");
    let binary = |release: &str| golden(&format!("snapshot-{release}.bin"));
    let json = |release: &str| golden(&format!("snapshot-{release}.json"));
    if std::env::var_os("ANABRANCH_UPDATE").is_some() && !binary(newest).exists() {
        fs::write(binary(newest), everything().encode()).unwrap();
        fs::write(json(newest), readable(&everything())).unwrap();
    }
    for release in RELEASES {
        let snapshot = Snapshot::decode(fs::read(binary(release)).unwrap().into()).unwrap();
        assert_eq!(readable(&snapshot), fs::read_to_string(json(release)).unwrap(), "{release}");
        assert_eq!(Snapshot::decode(snapshot.encode()).unwrap(), snapshot, "{release} is written again as it was read");
        RunMachine::load(plan(), snapshot).expect("the fingerprint of a graph is the same for ever");
    }
}

#[test]
fn this_release_writes_what_its_golden_snapshot_says() {
    let newest = RELEASES[RELEASES.len() - 1];
    let found = Snapshot::decode(fs::read(golden(&format!("snapshot-{newest}.bin"))).unwrap().into()).unwrap();
    assert_eq!(found, everything());
}

/// A field as protobuf writes it: its number and type, then a varint or a length and bytes.
fn varint(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn message(field: u8, content: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

/// The least that is a snapshot, without the fields of these numbers, and with these bytes after it.
fn minimal(without: u8, more: &[u8]) -> Result<Snapshot, DecodeError> {
    let fields = [
        (1, varint(1, 1)),
        (4, message(4, &[7; 16])),
        (5, varint(5, 1)),
        (11, message(11, &message(1, b"1"))),
        (12, message(12, &[0; 32])),
    ];
    let kept = fields.into_iter().filter(|(number, _)| *number != without).flat_map(|(_, bytes)| bytes);
    Snapshot::decode(kept.chain(more.iter().copied()).collect::<Vec<_>>().into())
}

fn node(content: &[u8]) -> Result<Snapshot, DecodeError> {
    minimal(0, &message(13, content))
}

#[test]
fn a_missing_field_is_named() {
    assert!(minimal(0, &[]).is_ok());
    let missing = |number| minimal(number, &[]).unwrap_err();
    assert_eq!(missing(1), DecodeError::Field("format"));
    assert_eq!(missing(4), DecodeError::Field("fingerprint"));
    assert_eq!(missing(5), DecodeError::Field("status"));
    assert_eq!(missing(11), DecodeError::Field("input"));
    assert_eq!(missing(12), DecodeError::Field("input_digest"));
    assert_eq!(Snapshot::decode(Bytes::new()), Err(DecodeError::Field("format")));
}

#[test]
fn a_status_of_a_newer_version_is_not_taken_for_an_old_one() {
    assert_eq!(minimal(0, &varint(5, 99)), Err(DecodeError::Field("status")));
    let (work, running) = (varint(2, 1), varint(4, 2));
    assert!(node(&[work.clone(), running.clone()].concat()).is_ok());
    assert_eq!(node(&[work.clone(), varint(4, 99)].concat()), Err(DecodeError::Field("node status")));
    assert_eq!(node(&work), Err(DecodeError::Field("node status")));
    assert_eq!(node(&[varint(2, 99), running.clone()].concat()), Err(DecodeError::Field("kind")));
    assert_eq!(node(&running), Err(DecodeError::Field("kind")));
    let error = message(14, &varint(1, 99));
    assert_eq!(node(&[work.clone(), running.clone(), error].concat()), Err(DecodeError::Field("error")));
    let nowhere = message(12, &[]);
    assert_eq!(node(&[work, running, nowhere].concat()), Err(DecodeError::Field("output")));
}

#[test]
fn a_dependency_on_a_node_that_is_not_there_is_refused() {
    let deps = message(3, &[1]);
    assert_eq!(node(&[varint(2, 1), varint(4, 1), deps].concat()), Err(DecodeError::Field("deps")));
}

#[test]
fn a_newer_format_says_so() {
    let error = minimal(0, &varint(1, 2)).unwrap_err();
    assert_eq!(error, DecodeError::Newer { found: 2 });
    assert!(error.to_string().contains("upgrade"));
}

#[test]
fn bytes_that_are_no_protobuf_are_malformed() {
    assert!(matches!(Snapshot::decode(Bytes::from_static(b"{\"status\":1}")), Err(DecodeError::Malformed(_))));
}

#[test]
fn fields_of_a_newer_minor_version_are_skipped() {
    assert!(minimal(0, &message(15, &message(9, b"new"))).is_ok());
}
