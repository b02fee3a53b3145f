//! The contract of a store: keys, revisions, expectations and one atomic commit.
//!
//! What every engine promises is written at [`Store`] and held by the conformance suite (`testing::conformance`). The trait
//! does not know runs, topologies or queues' consumers; whoever is above `engine` does not know which engine is below.

use super::{
    Key, Message, Name, NameError, Scope,
    bucket::Version,
    drift::{Difference, list},
};
use crate::{error::BoxError, time::Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{fmt, time::Duration};

/// The position of a write in its space: it grows with every write, is never reused and never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// Wraps the number that an engine gave a write.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What must be true of a key for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: the write overwrites whatever is there.
    Anything,
    /// The key was never written, or is deleted, or expired.
    Absent,
    /// The key holds the value that was put with this revision. The revision of a removal is not one to expect: use
    /// [`Absent`](Self::Absent).
    At(Revision),
}

/// What is stored at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The bytes that were put.
    pub value: Bytes,
    /// The write that put them.
    pub revision: Revision,
    /// The label that was put with them; `None` also when another client wrote the key.
    pub label: Option<Box<str>>,
    /// When the engine stored it, by the engine's clock.
    pub written_at: Timestamp,
}

impl Entry {
    /// Assembles an entry; for engines.
    #[must_use]
    pub fn new(key: Key, value: Bytes, revision: Revision, label: Option<Box<str>>, written_at: Timestamp) -> Self {
        Self { key, value, revision, label, written_at }
    }
}

/// A key and what can be known of it without reading its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// The key.
    pub key: Key,
    /// Its newest write.
    pub revision: Revision,
    /// The label that was put with it.
    pub label: Option<Box<str>>,
}

impl KeyInfo {
    /// Assembles a key's information; for engines.
    #[must_use]
    pub fn new(key: Key, revision: Revision, label: Option<Box<str>>) -> Self {
        Self { key, revision, label }
    }
}

/// What goes along with a put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutOptions {
    /// How long this very write lives, at least one second. The next put of the key starts without: a renewal says it again.
    pub ttl: Option<Duration>,
    /// A short text beside the value that [`Store::keys`] can list cheaply: at most 64 visible ASCII characters.
    pub label: Option<Box<str>>,
}

impl PutOptions {
    /// Lets this write expire after `ttl`: garbage collection, never what makes a lease safe.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Puts `label` beside the value.
    #[must_use]
    pub fn label(mut self, label: impl Into<Box<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Checks the limits that hold on every engine.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidOption`] for a TTL below one second or a label that is too long or not visible ASCII.
    pub fn check(&self) -> Result<(), Rejection> {
        if self.ttl.is_some_and(|t| t < Duration::from_secs(1)) {
            return Err(Rejection::InvalidOption("a ttl is at least one second"));
        }
        match &self.label {
            Some(l) if l.is_empty() || l.len() > 64 || !l.bytes().all(|b| b.is_ascii_graphic()) => {
                Err(Rejection::InvalidOption("a label is 1 to 64 visible ASCII characters"))
            }
            _ => Ok(()),
        }
    }
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The key holds this now.
    Put(Entry),
    /// The key was deleted.
    Deleted(Key, Revision),
    /// The key's TTL ran out.
    Expired(Key, Revision),
    /// Everything that was there has been reported; what follows are changes. Comes also when nothing was there.
    Synced,
    /// Changes were missed. The full state follows, up to the next [`Synced`](Self::Synced): keys that it lacks are gone.
    Resynced,
}

/// What an engine and its server can do; data to decide on, not flags to skip tests with.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Several writes, messages and timers in one [`Store::commit`].
    pub atomic_commit: bool,
    /// [`Timer`]s in a commit.
    pub timers: bool,
    /// Conditions on keys that a commit does not write.
    pub checks: bool,
    /// [`PutOptions::ttl`].
    pub ttl: bool,
    /// Queues beside the keys, and messages to them in a [`Store::commit`]; a bucket has none.
    pub queues: bool,
    /// [`Space::tally`](super::Space::tally).
    pub counters: bool,
    /// [`Store::get_many`] is one consistent snapshot.
    pub consistent_get_many: bool,
    /// An acknowledged write survives the death of this process.
    pub durable: bool,
    /// No other process can have this store open: any owner that is not of this process is dead.
    pub exclusive: bool,
    /// The largest value, in bytes.
    pub max_value: usize,
    /// The most parts (writes, checks, messages, timers) of one commit.
    pub max_commit: usize,
    /// What is below, for people: `embedded memory`, `nats-server 2.15.1`.
    pub engine: String,
}

impl Capabilities {
    /// Describes an engine that can do everything; an engine then takes away what it lacks.
    #[must_use]
    pub fn full(engine: impl Into<String>) -> Self {
        Self {
            atomic_commit: true,
            timers: true,
            checks: true,
            ttl: true,
            queues: true,
            counters: true,
            consistent_get_many: true,
            durable: true,
            exclusive: false,
            max_value: 1 << 20,
            max_commit: 1000,
            engine: engine.into(),
        }
    }

    /// Returns the options of a write that goes away after `ttl` where the engine can let it, and stays where it cannot.
    #[must_use]
    pub fn expiring(&self, ttl: Duration) -> PutOptions {
        let options = PutOptions::default();
        if self.ttl { options.ttl(ttl) } else { options }
    }
}

/// One write of a [`Commit`].
#[derive(Debug, Clone)]
pub struct Write {
    /// The key.
    pub key: Key,
    /// What must be true of it.
    pub expect: Expect,
    /// What to do with it.
    pub op: WriteOp,
}

/// What a [`Write`] does.
#[derive(Debug, Clone)]
pub enum WriteOp {
    /// Stores a value.
    Put(Bytes, PutOptions),
    /// Removes the key.
    Delete,
}

/// A condition on a key that the commit does not write.
#[derive(Debug, Clone)]
pub struct Check {
    /// The key.
    pub key: Key,
    /// What must be true of it.
    pub expect: Expect,
}

/// A message that leaves with a commit.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The queue that it goes to.
    pub queue: Name,
    /// The message.
    pub message: Message,
}

/// A timer that a commit arms or cancels. Firing is at least once, and up to a few seconds late.
#[derive(Debug, Clone)]
pub enum Timer {
    /// Publishes `message` to `queue` at `at`; arming a name again replaces what it was armed with.
    Arm {
        /// Identifies the timer within its space.
        name: Key,
        /// When it fires; a past time fires at once.
        at: Timestamp,
        /// What it sends, and where to.
        send: Outgoing,
    },
    /// Disarms the timer; one that is not armed is fine.
    Cancel {
        /// Identifies the timer within its space.
        name: Key,
    },
}

/// Everything that happens together or not at all, in one space.
///
/// A key may be written once in a commit, and not be checked besides.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The keys that it writes.
    pub writes: Vec<Write>,
    /// Conditions on other keys.
    pub checks: Vec<Check>,
    /// The messages that leave with it.
    pub messages: Vec<Outgoing>,
    /// The timers that it arms or cancels.
    pub timers: Vec<Timer>,
}

impl Commit {
    /// Starts an empty commit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put.
    #[must_use]
    pub fn put(mut self, key: Key, value: Bytes, expect: Expect, options: PutOptions) -> Self {
        self.writes.push(Write { key, expect, op: WriteOp::Put(value, options) });
        self
    }

    /// Adds a delete.
    #[must_use]
    pub fn delete(mut self, key: Key, expect: Expect) -> Self {
        self.writes.push(Write { key, expect, op: WriteOp::Delete });
        self
    }

    /// Adds a condition on a key that the commit does not write.
    #[must_use]
    pub fn check(mut self, key: Key, expect: Expect) -> Self {
        self.checks.push(Check { key, expect });
        self
    }

    /// Adds a message.
    #[must_use]
    pub fn send(mut self, queue: Name, message: Message) -> Self {
        self.messages.push(Outgoing { queue, message });
        self
    }

    /// Adds a timer.
    #[must_use]
    pub fn timer(mut self, timer: Timer) -> Self {
        self.timers.push(timer);
        self
    }

    /// Returns how many parts it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len() + self.checks.len() + self.messages.len() + self.timers.len()
    }

    /// Tells whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a commit wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The revision of each of its writes, in their order.
    pub revisions: Vec<Revision>,
}

/// Why a store did not do what it was asked to. Four kinds, each of which says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing was written, since a key is not as expected: read again and decide again. May be spurious.
    #[error("a key is not as expected")]
    Conflict,
    /// It may have been written: read again before deciding, and repeat nothing blindly.
    #[error("the outcome is unknown")]
    Unknown(#[source] BoxError),
    /// Nothing was written, since the store cannot be reached, or has no room: try later.
    #[error("the store is unavailable")]
    Unavailable(#[source] BoxError),
    /// Nothing was written, and the same request will never succeed: change it.
    #[error("the request was rejected")]
    Rejected(#[from] Rejection),
}

/// Why a request can never succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// A key or a name is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A value or a commit is larger than the engine takes: keep large data elsewhere, or raise the server's limit.
    #[error("{size} exceeds the limit of {limit} {unit}")]
    TooLarge {
        /// What was asked for.
        size: usize,
        /// What is possible.
        limit: usize,
        /// `bytes` or `parts`.
        unit: &'static str,
    },
    /// The engine, or its server's version, cannot do this; [`Capabilities`] tells beforehand.
    #[error("{what} is not supported by {engine}: {remedy}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// What was asked.
        engine: String,
        /// What would help.
        remedy: &'static str,
    },
    /// An option is out of its range.
    #[error("{0}")]
    InvalidOption(&'static str),
    /// The bucket or the stream is there and is configured otherwise. It was not changed.
    #[error("the {what} `{name}` is configured otherwise: {}", list(.differences))]
    Drift {
        /// `bucket` or `stream`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Everything that differs.
        differences: Vec<Difference>,
    },
    /// It is not there, and was not to be created.
    #[error("there is no {what} `{name}`")]
    Missing {
        /// `stream` or `consumer`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// What is stored cannot be understood. It is left as it is.
    #[error("what is stored at `{at}` cannot be read")]
    Corrupt {
        /// Where it is.
        at: String,
        /// What is wrong with it.
        source: BoxError,
    },
    /// The server said no: permissions, limits of an account, a stream of another shape.
    #[error("the server refused")]
    Refused(#[source] BoxError),
}

impl From<NameError> for StoreError {
    fn from(error: NameError) -> Self {
        Self::Rejected(error.into())
    }
}

/// A key-value store with revisions, in one space.
///
/// What an implementation promises:
///
/// - Revisions grow across the space and are never reused, also not after a delete.
/// - A write with an expectation is linearizable: of any number of writers at one revision exactly one wins.
/// - Reads are the freshest that the engine can give, and may still be stale: decide by a write's expectation, never by a read.
/// - [`Expect::Absent`] holds for keys that were never written, that were deleted and that expired.
/// - [`StoreError::Conflict`] means that nothing was written; [`StoreError::Unknown`] that it may have been. The store has
///   then already looked for its own write id as far as it can.
/// - A read or decode error is never reported as an absent key.
/// - A TTL belongs to one write.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Tells what this store can do.
    fn capabilities(&self) -> &Capabilities;

    /// Reads a key.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// Reads several keys as of one moment, in their order.
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, StoreError>;

    /// Lists the versions of a key that are kept, oldest first, removals among them for as long as there is a trace of them.
    ///
    /// A space keeps the newest only. How many a bucket keeps is its [`BucketOptions::history`](super::BucketOptions::history).
    async fn history(&self, key: &Key) -> Result<Vec<Version>, StoreError> {
        let newest = self.get(key).await?;
        Ok(newest.map(|e| Version::new(e.revision, e.written_at, Some(e.value), e.label)).into_iter().collect())
    }

    /// Stores a value.
    async fn put(&self, key: &Key, value: Bytes, expect: Expect, options: PutOptions) -> Result<Revision, StoreError>;

    /// Removes a key and returns the revision of the removal. Removing what is not there is fine under [`Expect::Anything`] and
    /// [`Expect::Absent`].
    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError>;

    /// Does all of `commit`, or nothing.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// Lists the keys of a scope, each once, in no particular order, without reading their values.
    ///
    /// At least as new as what this store has read and written; what others write meanwhile may be in it or not.
    async fn keys(&self, scope: &Scope) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError>;

    /// Reports every key of a scope, then [`Change::Synced`], then changes as they happen, for ever. Values may be
    /// coalesced: a slow reader sees a key's newest write, not each. Heals itself after the server was away.
    async fn watch(&self, scope: &Scope) -> Result<BoxStream<'static, Change>, StoreError>;
}
