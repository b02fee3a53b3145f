//! The corpora of the fuzzer, and what little changes make of them, on any toolchain: what was found once stays found.
//!
//! `scripts/fuzz` looks for what is new, and needs a nightly compiler. Alone in its process, since it counts what is allocated.
#![allow(clippy::unwrap_used, missing_docs)]

use anabranch::{
    Codec,
    core::{
        coordination::{
            Limit, Window,
            barrier::Barrier,
            counter::Counter,
            group::Group,
            latch::Latch,
            metric::{BaseMetric, MapMetric, Metric as _},
            once::Done,
            permits::Permits,
        },
        jobs::Record,
        schedule::{self, Waiting},
        snapshot::Snapshot,
    },
    engine::{Engine, Message, QueueOptions},
    jobs::{Events, Job, JobResult, Letter, Route, Router, Topic, What},
    runtime::DeadLetter,
    testing::{
        Dice,
        fuzz::{Body, TARGETS},
    },
    time::{Clock, Timestamp},
};
use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{
    alloc::System,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many changed inputs each body gets.
const CHANGED: u64 = 2_000;
/// The first of the seeds that they are drawn by.
const SEED: u64 = 0x00F0_22ED;

/// What is allocated is counted for the whole process, so one test counts at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the files of a corpus, by name, in an order that does not change.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("there is no corpus of `{target}`: {error}"));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of `{target}` is empty");
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

/// Gives a body some bytes. All that it allocates, one after the other, is bounded by what it got.
fn feed(target: &str, body: Body, what: &str, bytes: &[u8]) {
    const ROOM: usize = 32 << 20;
    const BYTES_A_BYTE: usize = 32 << 10;
    let region = Region::new(ALLOCATOR);
    let lived = catch_unwind(AssertUnwindSafe(|| body(bytes)));
    // The panic itself is told above this.
    assert!(lived.is_ok(), "`{target}` does not live through {what}: {}", bytes.escape_ascii());
    let allocated = region.change().bytes_allocated;
    assert!(
        allocated <= ROOM + BYTES_A_BYTE * bytes.len(),
        "`{target}` allocates {allocated} bytes for the {} of {what}: {}",
        bytes.len(),
        bytes.escape_ascii()
    );
}

/// Changes a few bytes, as a fuzzer would: flips bits, writes odd numbers, cuts, repeats, and puts pieces of others in.
fn change(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    fn below(dice: &mut Dice, end: usize) -> usize {
        usize::try_from(dice.roll(end.max(1) as u64)).unwrap()
    }
    const ODD: [&[u8]; 12] = [
        b"\x00",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xff\xff\xff\xff\x0f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\n",
        b":",
        b"null",
        b"{\"",
        b"=",
        b"-1",
    ];
    for _ in 0..=dice.roll(4) {
        let at = below(dice, bytes.len() + 1);
        let end = (at + 1 + below(dice, 16)).min(bytes.len());
        match dice.roll(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            1 if at < bytes.len() => bytes[at] = dice.number().to_le_bytes()[0],
            2 => drop(bytes.splice(at..at, ODD[below(dice, ODD.len())].iter().copied())),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = below(dice, other.len());
                let piece = &other[from..(from + 1 + below(dice, 64)).min(other.len())];
                bytes.splice(at..end, piece.iter().copied());
            }
        }
    }
}

/// Draws the changed input of a seed.
fn changed(files: &[(String, Vec<u8>)], seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut pick = || &files[usize::try_from(dice.roll(files.len() as u64)).unwrap()].1;
    let (mut bytes, other) = (pick().clone(), pick());
    change(&mut dice, &mut bytes, other);
    bytes
}

#[test]
fn what_the_fuzzer_has_found_is_lived_through() {
    let _alone = alone();
    for (target, body) in TARGETS {
        for (name, bytes) in corpus(target) {
            feed(target, body, &format!("`fuzz/corpus/{target}/{name}`"), &bytes);
        }
        feed(target, body, "nothing", &[]);
    }
}

#[test]
fn what_little_changes_make_of_it_is_lived_through() {
    let _alone = alone();
    for (target, body) in TARGETS {
        let files = corpus(target);
        for seed in SEED..SEED + CHANGED {
            feed(target, body, &format!("seed {seed:#x}"), &changed(&files, seed));
        }
    }
}

/// A length that is larger than what follows reserves nothing, and neither does a number of elements.
#[test]
fn a_small_message_does_not_allocate_what_it_promises_to_be() {
    let _alone = alone();
    let lengths: [&[u8]; 6] = [
        // Protobuf: a field of two gigabytes, and one of more than there is.
        b"\x0a\xff\xff\xff\xff\x07",
        b"\x6a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        // MessagePack: an array, a map, a text and bytes of 2^32 - 1.
        b"\n\xdd\xff\xff\xff\xff",
        b"\n\xdf\xff\xff\xff\xff",
        b"\n\xdb\xff\xff\xff\xff",
        b"\n\xc6\xff\xff\xff\xff",
    ];
    for (target, body) in TARGETS {
        for bytes in lengths {
            feed(target, body, "a length", bytes);
        }
        // Deep enough for any stack, if it were followed down.
        for (open, name) in [(b'[', "JSON"), (0x91, "MessagePack"), (0x2a, "protobuf")] {
            feed(target, body, name, &[b"\n".as_slice(), &[open].repeat(100_000)].concat());
        }
    }
}

/// The fuzzer changes what it is given: what it is not given, it hardly finds.
#[test]
fn every_kind_of_record_is_in_the_corpora() {
    let files = corpus("envelopes");
    let has = |kind: &str, reads: &dyn Fn(&Bytes) -> bool| {
        let found = files.iter().filter(|(_, bytes)| reads(&Bytes::copy_from_slice(bytes))).count();
        assert!(found > 0, "no file of `envelopes` is a {kind}");
    };
    has("job", &|bytes| Record::decode(bytes).is_ok_and(|record| record.progress.is_some() && !record.failures.is_empty()));
    has("letter", &|bytes| Letter::decode(bytes).is_ok_and(|letter| !letter.headers.is_empty()));
    has("cron schedule", &|bytes| schedule::Record::decode(bytes.clone()).is_ok_and(|s| s.plan.rule.pattern().is_some()));
    has("interval", &|bytes| schedule::Record::decode(bytes.clone()).is_ok_and(|s| s.plan.rule.period().is_some()));
    has("delayed message", &|bytes| Waiting::decode(bytes.clone()).is_ok());
    has("permit with waiters", &|bytes| Permits::decode(bytes).is_ok_and(|p| p.waiting() > 0 && !p.holders().is_empty()));
    has("limit", &|bytes| Limit::decode(bytes).is_ok());
    has("window", &|bytes| Window::decode(bytes).is_ok());
    has("counter", &|bytes| Counter::decode(bytes).is_ok_and(|counter| counter.remembered() > 0));
    has("group", &|bytes| Group::decode(bytes).is_ok_and(|group| group.remembered() > 0 && group.count() > 0));
    has("latch", &|bytes| Latch::decode(bytes).is_ok());
    has("barrier", &|bytes| Barrier::decode(bytes).is_ok_and(|barrier| barrier.waiting().count() > 0));
    has("once", &|bytes| Done::decode(bytes).is_ok());
    has("metric", &|bytes| BaseMetric::decode(bytes).is_ok_and(|metric| metric != BaseMetric::default()));
    has("map of metrics", &|bytes| MapMetric::decode(bytes).is_ok_and(|metric| !metric.boards.is_empty()));
    has("dead letter of a run", &|bytes| DeadLetter::decode(bytes.clone()).is_ok_and(|letter| !letter.failures.is_empty()));
    let snapshots = corpus("snapshot");
    let read = snapshots.iter().filter_map(|(_, bytes)| Snapshot::decode(Bytes::copy_from_slice(bytes)).ok());
    assert!(read.into_iter().any(|snapshot| snapshot.nodes.len() == 6), "one can be taken up by the graph of the body");
}

/// A message as the body of `router` reads it: lines of headers, an empty line, a payload.
fn message(bytes: &[u8]) -> Message {
    let text = String::from_utf8_lossy(bytes);
    let (head, _) = text.split_once("\n\n").unwrap_or((&text, ""));
    let start = bytes.windows(2).position(|pair| pair == b"\n\n").map_or(bytes.len(), |at| at + 2);
    let mut message = Message::new(bytes[start..].to_vec());
    for (name, value) in head.lines().filter_map(|line| line.split_once(':')) {
        message.headers.append(name, value);
    }
    message
}

/// Waits until so many messages were routed or given up, and returns how many of each.
async fn ends(events: &mut Events, messages: usize) -> (usize, usize) {
    let clock = Clock::following_tokio(Timestamp::EPOCH);
    let (mut routed, mut buried) = (0, 0);
    while routed + buried < messages {
        let event = clock.timeout(Duration::from_secs(3600), events.next()).await.expect("each message has an end");
        match event.expect("the router is there").what {
            What::Routed { .. } => routed += 1,
            What::DeadLettered { .. } => buried += 1,
            What::Missed(events) => panic!("{events} events were missed"),
            _ => {}
        }
    }
    (routed, buried)
}

/// One router that reads numbers, and whatever the fuzzer has found in its queue: each message has one end, and the router lives.
#[tokio::test(start_paused = true)]
async fn every_message_that_was_found_is_routed_or_a_dead_letter() {
    const WORK: Topic<u64> = Topic::new("work", Codec::json());
    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    let space = Engine::open_with("memory:", clock).await.unwrap().space("shop").await.unwrap();
    let queue = space.queue("events", QueueOptions::default()).await.unwrap();
    let files = corpus("router");
    let found = files.iter().map(|(_, bytes)| bytes.clone());
    let (mut sent, mut refused) = (0, 0);
    for bytes in found.chain((SEED..SEED + 300).map(|seed| changed(&files, seed))) {
        let mut message = message(&bytes);
        // Who a job is, and whose, is what several messages may say; here each is to be its own.
        for name in ["Job-Id", "Job-Topic"] {
            message.headers.set(name, "");
        }
        match queue.publish(message).await {
            Ok(_) => sent += 1,
            Err(error) => {
                assert!(matches!(error, anabranch::engine::StoreError::Rejected(_)), "{error}");
                refused += 1;
            }
        }
    }
    assert!(sent > 100 && refused > 0, "{sent} were sent and {refused} refused");
    let code = async |event: Job<u64>| -> JobResult<Route> { Ok(Route::to(&WORK, &event.payload)) };
    let mut router = Router::builder(&space, "events", Codec::message_pack(), code).topic(&WORK, "work");
    let mut events = router.events();
    let router = router.spawn().await.unwrap();
    let (_, buried) = ends(&mut events, sent).await;
    assert!(buried > 0, "what is no event is a dead letter");
    queue.publish(Message::new(vec![7])).await.unwrap();
    assert_eq!(ends(&mut events, 1).await, (1, 0), "the next event is routed as ever");
    router.drain().await;
}
