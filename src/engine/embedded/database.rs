//! The tables, and what a transaction over them collects for the world outside.
//!
//! Everything of an engine is in one redb database, so a transaction covers keys, messages and timers alike. Rows are redb's
//! own tuples: there is no format of ours that could fail to decode. What the rows mean is known to `values`, `messages` and
//! `timers`; who runs the transaction, and when it is durable, to `group`.

use crate::{
    engine::{Change, Rejection, StoreError},
    error::BoxError,
    time::Timestamp,
};
use redb::{Database, DatabaseError, ReadableTable as _, StorageError, Table, TableDefinition, TableError, WriteTransaction};
use std::{collections::BTreeSet, io::ErrorKind, path::Path};

/// The number of a space in this database.
pub(super) type SpaceId = u32;
/// The number of a queue in this database; no two spaces share one.
pub(super) type QueueId = u32;

/// Revision, time of writing, time of expiry, label.
pub(super) type Head = (u64, i64, Option<i64>, Option<&'static str>);
/// Time of writing, label, value.
pub(super) type Stored = (i64, Option<&'static str>, Option<&'static [u8]>);
/// Id, headers, payload.
pub(super) type Letter = (Option<&'static str>, Vec<(&'static str, &'static str)>, &'static [u8]);

macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident $constant:ident: $key:ty => $value:ty;)+) => {
        $($(#[$doc])* pub(super) const $constant: TableDefinition<'static, $key, $value> =
            TableDefinition::new(stringify!($field));)+

        /// Every table, opened in one transaction.
        #[derive(Debug)]
        pub(super) struct Tables<'t> {
            $($(#[$doc])* pub(super) $field: Table<'t, $key, $value>,)+
        }

        impl<'t> Tables<'t> {
            fn open(transaction: &'t WriteTransaction) -> Result<Self, TableError> {
                Ok(Self { $($field: transaction.open_table($constant)?,)+ })
            }
        }
    };
}

tables! {
    /// The version of this layout, at `format`.
    meta META: &'static str => u64;
    /// The number of each space.
    spaces SPACES: &'static str => SpaceId;
    /// The newest revision of each space.
    revisions REVISIONS: SpaceId => u64;
    /// What is known of a key beside its value, so that checks and listings read no values.
    heads HEADS: (SpaceId, &'static str) => Head;
    /// The values.
    bodies BODIES: (SpaceId, &'static str) => &'static [u8];
    /// The options of each space that is a bucket: history, maximal age and life of markers in microseconds, replicas, whether it
    /// is to be in memory, the most bytes of a value or zero, and what it is for.
    buckets BUCKETS: SpaceId => (u64, u64, u64, u64, bool, u32, &'static str);
    /// The versions of keys of buckets that keep more than one: when it was written, its label, and its value unless it is a removal.
    versions VERSIONS: (SpaceId, &'static str, u64) => Stored;
    /// Numbers that are only added to.
    counters COUNTERS: (SpaceId, &'static str) => i128;
    /// When keys expire, and versions of removed keys with them.
    expiries EXPIRIES: (i64, SpaceId, &'static str) => ();
    /// The number of each queue.
    queues QUEUES: (SpaceId, &'static str) => QueueId;
    /// `ack_wait`, `max_in_flight` and `dedupe_window` of each queue that was opened; durations in microseconds.
    options OPTIONS: QueueId => (u64, u64, u64);
    /// Streams: the queue, the subjects, the name of the consumer and what it takes, the maximal age in microseconds, replicas, and
    /// whether it is to be in memory.
    streams STREAMS: &'static str => (QueueId, Vec<&'static str>, &'static str, Option<&'static str>, u64, u64, bool);
    /// The newest sequence of each queue, and how many of its messages are in flight.
    tallies TALLIES: QueueId => (u64, u64);
    /// Messages that nobody has settled, with the time they were published.
    messages MESSAGES: (QueueId, u64) => (i64, Letter);
    /// Messages that the next worker gets, with their deliveries so far.
    ready READY: (QueueId, u64) => u32;
    /// Messages that wait for a time: deliveries so far, the time, and whether a worker has them.
    parked PARKED: (QueueId, u64) => (u32, i64, bool);
    /// When parked messages become ready.
    dues DUES: (i64, QueueId, u64) => ();
    /// Ids that are taken: the message that took it, and until when.
    ids IDS: (QueueId, &'static str) => (u64, i64);
    /// When ids become free.
    id_ends ID_ENDS: (QueueId, i64, &'static str) => ();
    /// Armed timers: when, where to and what.
    timers TIMERS: (SpaceId, &'static str) => (i64, QueueId, Letter);
    /// When timers fire.
    alarms ALARMS: (i64, SpaceId, &'static str) => ();
}

/// The layout that this build reads and writes.
pub(super) const FORMAT: u64 = 1;

/// Why the body of a transaction did not get through.
#[derive(Debug)]
pub(super) enum Fault {
    /// This one request is refused; it has written nothing, and others in the transaction go on.
    Refused(StoreError),
    /// The storage failed; the whole transaction is void.
    Broken(StorageError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection.into())
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        Self::Broken(error)
    }
}

/// What the world outside is told once a transaction is durable, and not before.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// What happened to keys, in the order of revisions.
    pub(super) changes: Vec<(SpaceId, Change)>,
    /// Queues in which somebody may find something now.
    pub(super) rung: BTreeSet<QueueId>,
    /// The earliest thing that became due in the future.
    pub(super) due: Option<Timestamp>,
}

/// An open transaction, as the requests in it see it.
#[derive(Debug)]
pub(super) struct Batch<'t> {
    pub(super) tables: Tables<'t>,
    pub(super) effects: Effects,
    /// The time at which all of it happens.
    pub(super) now: Timestamp,
}

impl<'t> Batch<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction, now: Timestamp) -> Result<Self, TableError> {
        Ok(Self { tables: Tables::open(transaction)?, effects: Effects::default(), now })
    }

    /// Notes that something is to be done at `at`.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.effects.due = Some(self.effects.due.map_or(at, |due| due.min(at)));
    }
}

/// Opens the database of a file, and creates it when there is none.
pub(super) fn open_file(path: &Path) -> Result<Database, StoreError> {
    Database::create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => in_use(path),
        DatabaseError::Storage(StorageError::Io(io)) if io.kind() == ErrorKind::WouldBlock => in_use(path),
        DatabaseError::Storage(StorageError::Io(io)) if io.kind() == ErrorKind::NotFound => {
            StoreError::Unavailable(format!("the directory of `{}` does not exist: create it first", path.display()).into())
        }
        DatabaseError::Storage(StorageError::Io(io)) => StoreError::Unavailable(io.into()),
        other => corrupt(path.display().to_string(), other),
    })
}

/// Another process has the file.
#[derive(Debug, thiserror::Error)]
#[error("one process can have `{0}` open, and one has: stop it, or open another file")]
pub(super) struct InUse(String);

fn in_use(path: &Path) -> StoreError {
    StoreError::Unavailable(Box::new(InUse(path.display().to_string())))
}

/// Creates what is missing, and refuses a layout that this build does not know.
pub(super) fn prepare(batch: &mut Batch<'_>) -> Result<(), Fault> {
    let found = batch.tables.meta.get("format")?.map(|version| version.value());
    match found {
        Some(FORMAT) => Ok(()),
        None => batch.tables.meta.insert("format", FORMAT).map(drop).map_err(Fault::from),
        Some(other) => {
            let problem = format!("it has layout {other}, and this build reads layout {FORMAT}");
            Err(corrupt("format".to_owned(), problem).into())
        }
    }
}

pub(super) fn corrupt(at: String, source: impl Into<BoxError>) -> StoreError {
    Rejection::Corrupt { at, source: source.into() }.into()
}

/// Says what a failed read means: nothing was asked to be written, so nothing was.
pub(super) fn unreadable(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(what) => corrupt("the database".to_owned(), what),
        other => StoreError::Unavailable(other.into()),
    }
}
