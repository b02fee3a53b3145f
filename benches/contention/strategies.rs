//! The strategies: one increment of one key, in six ways.
//!
//! All but ours are on the NATS client alone; they try until they succeed, as often as it takes, but for the one that gives up. None
//! of those looks for a write whose answer was lost: where that happens, the program ends.

use crate::keys::name;
use anabranch::{
    Codec,
    cell::{Cell, CellError, Cells},
    engine::{BucketOptions, Engine},
    time::{Clock, nonce},
};
use async_nats::{
    HeaderMap,
    jetstream::{
        self, Context, ErrorCode,
        context::PublishError,
        kv::{self, Operation, Store},
        message::PublishMessage,
        stream::{self, DirectGetErrorKind},
    },
};
use clap::ValueEnum;
use std::{collections::HashMap, error::Error, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// The header of a write that can be found.
const MARK: &str = "Bench-Write";
/// How many ids it has: one for each process that may write meanwhile, where there are as many as in the README.
const MARKS: usize = 4;

/// How a key is incremented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Strategy {
    /// Read, and write with the revision that was read, at once again after a conflict.
    Naive,
    /// As `Naive`, and each write has an id and says which ones were before it, so that one whose answer was lost could be found.
    Marked,
    /// As the Go origin does: one caller a key and process, read, write, 50 ms after a conflict, ten attempts.
    Go,
    /// Write with the revision that the caller wrote last, and read after a conflict: one round trip where nobody else writes.
    Cached,
    /// This library: a cell, whose callers in a process share a write.
    Combining,
    /// The server's own counter, which knows no conflicts and no other operation.
    Counter,
}

impl Strategy {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Naive => "naive read + CAS",
            Self::Marked => "naive with ids",
            Self::Go => "Go origin's",
            Self::Cached => "cached revision",
            Self::Combining => "combining (ours)",
            Self::Counter => "server counter",
        }
    }
}

/// What one increment took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Writes that were tried.
    pub(crate) attempts: u64,
    pub(crate) conflicts: u64,
}

/// How an increment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    GaveUp,
    Unknown,
}

/// Prepares a place for keys, from nothing.
pub(crate) async fn prepare(strategy: Strategy, url: &str, place: &str) {
    match strategy {
        Strategy::Counter => {
            let config = stream::Config {
                name: place.to_owned(),
                subjects: vec![format!("{place}.>")],
                allow_message_counter: true,
                allow_direct: true,
                ..Default::default()
            };
            context(url).await.create_stream(config).await.unwrap();
        }
        // The same kind of bucket for all, so that strategies are compared and not streams.
        Strategy::Naive | Strategy::Marked | Strategy::Go | Strategy::Cached | Strategy::Combining => {
            let config = kv::Config { bucket: place.to_owned(), ..Default::default() };
            context(url).await.create_key_value(config).await.unwrap();
        }
    }
}

/// Reads the sum of all keys, and takes the place away.
pub(crate) async fn finish(strategy: Strategy, url: &str, place: &str, keys: usize) -> u64 {
    let js = context(url).await;
    let mut sum = 0;
    if strategy == Strategy::Counter {
        let stream = js.get_stream(place).await.unwrap();
        for key in 0..keys {
            if let Ok(message) = stream.get_last_raw_message_by_subject(&format!("{place}.{}", name(key))).await {
                let value: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
                sum += value["val"].as_str().unwrap().parse::<u64>().unwrap();
            }
        }
        js.delete_stream(place).await.unwrap();
        return sum;
    }
    let store = js.get_key_value(place).await.unwrap();
    for key in 0..keys {
        sum += store.get(name(key)).await.unwrap().map_or(0, |value| number(&value));
    }
    js.delete_stream(format!("KV_{place}")).await.unwrap();
    sum
}

async fn context(url: &str) -> Context {
    let url = url.split('?').next().unwrap();
    jetstream::new(async_nats::connect(url).await.unwrap())
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// What a process has for a strategy; all its writers share it.
pub(crate) enum Hand {
    Naive(Store),
    Marked { js: Context, store: Store, place: String },
    Go { store: Store, clock: Clock, locks: std::sync::Mutex<HashMap<usize, Arc<Mutex<()>>>> },
    Cached { js: Context, store: Store, place: String },
    Combining(Cells<u64>, Vec<Cell<u64>>),
    Counter { js: Context, place: String },
}

impl Hand {
    pub(crate) async fn open(strategy: Strategy, url: &str, place: &str, keys: usize) -> Self {
        let place = place.to_owned();
        match strategy {
            Strategy::Combining => {
                let bucket = Engine::open(url).await.unwrap().bucket(place, BucketOptions::default()).await.unwrap();
                let cells = Cells::new(&bucket, Codec::json());
                let each = (0..keys).map(|key| cells.cell(&name(key)).unwrap()).collect();
                Self::Combining(cells, each)
            }
            Strategy::Counter => Self::Counter { js: context(url).await, place },
            _ => {
                let js = context(url).await;
                let store = js.get_key_value(&place).await.unwrap();
                match strategy {
                    Strategy::Naive => Self::Naive(store),
                    Strategy::Marked => Self::Marked { js, store, place },
                    Strategy::Go => Self::Go { store, clock: Clock::system(), locks: std::sync::Mutex::default() },
                    _ => Self::Cached { js, store, place },
                }
            }
        }
    }

    /// What the library counted, beside what each call reports.
    pub(crate) fn cost(&self) -> Cost {
        match self {
            Self::Combining(cells, _) => {
                let counts = cells.counts();
                Cost { attempts: counts.attempts, conflicts: counts.conflicts }
            }
            _ => Cost::default(),
        }
    }

    /// Increments a key. `last` is what the writer knows of keys, for the strategy that remembers it.
    pub(crate) async fn increment(&self, key: usize, last: &mut HashMap<usize, (u64, u64)>, cost: &mut Cost) -> Outcome {
        match self {
            Self::Naive(store) => loop {
                cost.attempts += 1;
                if read_and_write(store, key).await {
                    return Outcome::Done;
                }
                cost.conflicts += 1;
            },
            Self::Marked { js, store, place } => loop {
                let subject = format!("$KV.{place}.{}", name(key));
                let (revision, value, ids) = read_marked(store, &subject).await;
                cost.attempts += 1;
                let message = PublishMessage::build()
                    .payload((value + 1).to_string().into())
                    .header(MARK, follow(&ids, nonce()))
                    .expected_last_subject_sequence(revision);
                if publish(js, subject, message).await.is_some() {
                    return Outcome::Done;
                }
                cost.conflicts += 1;
            },
            Self::Go { store, clock, locks } => {
                let lock = Arc::clone(locks.lock().unwrap().entry(key).or_default());
                let _alone = lock.lock().await;
                for _ in 0..10 {
                    cost.attempts += 1;
                    if read_and_write(store, key).await {
                        return Outcome::Done;
                    }
                    cost.conflicts += 1;
                    clock.sleep(Duration::from_millis(50)).await;
                }
                Outcome::GaveUp
            }
            Self::Cached { js, store, place } => loop {
                let (revision, value) = match last.get(&key) {
                    Some(known) => *known,
                    None => read(store, key).await,
                };
                cost.attempts += 1;
                let message =
                    PublishMessage::build().payload((value + 1).to_string().into()).expected_last_subject_sequence(revision);
                if let Some(revision) = publish(js, format!("$KV.{place}.{}", name(key)), message).await {
                    last.insert(key, (revision, value + 1));
                    return Outcome::Done;
                }
                cost.conflicts += 1;
                last.insert(key, read(store, key).await);
            },
            Self::Combining(_, cells) => match cells[key].update(|n| *n += 1).await {
                Ok(()) => Outcome::Done,
                Err(CellError::Unknown(_)) => Outcome::Unknown,
                Err(_) => Outcome::GaveUp,
            },
            Self::Counter { js, place } => {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Incr", "1");
                cost.attempts += 1;
                let subject = format!("{place}.{}", name(key));
                js.publish_with_headers(subject, headers, "".into()).await.unwrap().await.unwrap();
                Outcome::Done
            }
        }
    }
}

async fn read(store: &Store, key: usize) -> (u64, u64) {
    match store.entry(name(key)).await.unwrap() {
        Some(entry) if entry.operation == Operation::Put => (entry.revision, number(&entry.value)),
        Some(entry) => (entry.revision, 0),
        None => (0, 0),
    }
}

/// Reads a key with the ids of its last writes.
async fn read_marked(store: &Store, subject: &str) -> (u64, u64, String) {
    match store.stream.direct_get_last_for_subject(subject).await {
        Ok(message) => {
            let ids = message.headers.get(MARK).map_or_else(String::new, ToString::to_string);
            (message.sequence, number(&message.payload), ids)
        }
        Err(error) => {
            assert_eq!(error.kind(), DirectGetErrorKind::NotFound, "{error}");
            (0, 0, String::new())
        }
    }
}

/// The header of a write with this id, over one that had `ids`.
fn follow(ids: &str, id: u64) -> String {
    let before = ids.split(' ').filter(|id| !id.is_empty()).take(MARKS - 1);
    before.fold(format!("{id:016x}"), |all, id| all + " " + id)
}

/// Reads, and writes with the revision that was read; false after a conflict.
async fn read_and_write(store: &Store, key: usize) -> bool {
    let (revision, value) = read(store, key).await;
    match store.update(name(key), (value + 1).to_string().into(), revision).await {
        Ok(_) => true,
        Err(error) => {
            assert!(is_conflict(&error), "{error}");
            false
        }
    }
}

/// Publishes a write, and returns its revision; none after a conflict.
async fn publish(js: &Context, subject: String, message: PublishMessage) -> Option<u64> {
    match js.send_publish(subject, message).await.unwrap().await {
        Ok(ack) => Some(ack.sequence),
        Err(error) => {
            assert!(is_conflict(&error), "{error}");
            None
        }
    }
}

/// Tells a conflict, whichever of its two codes it has.
fn is_conflict(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<jetstream::Error>() {
            let code = error.error_code();
            return code == ErrorCode::STREAM_WRONG_LAST_SEQUENCE || code == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT;
        }
        if let Some(error) = error.downcast_ref::<PublishError>()
            && error.kind() == jetstream::context::PublishErrorKind::WrongLastSequence
        {
            return true;
        }
        cause = error.source();
    }
    false
}
