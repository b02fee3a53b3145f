//! Buckets: plain key-value buckets with options of their own, and what to say when one is configured otherwise.
//!
//! A space is the shape that this library needs. A bucket is the shape that its owner wants: it keeps a history, drops what is
//! old, or belongs to a service in another language. It is opened and never changed. This file does not know how an engine
//! keeps one.

use super::{
    Capabilities, Commit, Rejection, Revision, StoreError,
    drift::{self, Difference, Differences},
};
use crate::time::Timestamp;
use bytes::Bytes;
use std::{fmt, time::Duration};

/// Where a bucket keeps what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// On disk.
    File,
    /// In memory: it is gone with the server.
    Memory,
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Memory => "memory",
        })
    }
}

/// How a bucket is to be configured.
///
/// An option that is left out is the default where the bucket is created, and matches anything where it is there already:
/// `BucketOptions::default()` opens whatever there is.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::engine::{BucketOptions, Engine, Expect, Key, PutOptions, Rejection, StoreError};
/// use std::time::Duration;
///
/// let engine = Engine::open("memory:").await?;
/// let day = BucketOptions::default().max_age(Duration::from_secs(24 * 3600));
/// let bucket = engine.bucket("store_object", day.clone()).await?;
/// bucket.store().put(&Key::new("k")?, "1".into(), Expect::Absent, PutOptions::default()).await?;
///
/// let drift = engine.bucket("store_object", day.history(5)).await.unwrap_err();
/// assert!(matches!(drift, StoreError::Rejected(Rejection::Drift { differences, .. }) if differences[0].what == "history"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketOptions {
    /// How many versions of a key are kept, 1 to 64; 1 when it is left out.
    pub history: Option<u64>,
    /// How long a version lives, at least 100 milliseconds; zero, and what is left out, is for ever.
    pub max_age: Option<Duration>,
    /// How many servers have a copy, 1 to 5; as the engine's URL says when it is left out. An embedded engine has one copy
    /// whatever this says; it is remembered and compared all the same.
    pub replicas: Option<usize>,
    /// Where it is kept; as the engine's URL says when it is left out. An embedded engine keeps everything where its URL says; it
    /// is remembered and compared all the same.
    pub storage: Option<Storage>,
    /// How long the marker of an expired key stays, at least one second. A bucket with markers takes
    /// [`PutOptions::ttl`](super::PutOptions::ttl); zero, and what is left out, is without.
    pub limit_markers: Option<Duration>,
    /// The most bytes of all that is kept, at least 1; no limit when it is left out. A full bucket is
    /// [`Unavailable`](StoreError::Unavailable) for puts. Embedded engines do not count bytes and refuse it.
    pub max_bytes: Option<u64>,
    /// The most bytes of one write, 1 to 2,147,483,647; as the engine can when it is left out. On JetStream the headers of a write
    /// count, too: about 100 bytes for one writer, and 1 KiB where 64 processes write one key.
    pub max_value_size: Option<u32>,
    /// What it is for, for people; at most 4 KiB.
    pub description: Option<String>,
}

impl BucketOptions {
    /// Keeps this many versions of a key, 1 to 64.
    #[must_use]
    pub fn history(mut self, versions: u64) -> Self {
        self.history = Some(versions);
        self
    }

    /// Lets every version go after `age`, at least 100 milliseconds; zero keeps it for ever.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Keeps a copy on this many servers, 1 to 5.
    #[must_use]
    pub fn replicas(mut self, copies: usize) -> Self {
        self.replicas = Some(copies);
        self
    }

    /// Keeps it there.
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Has an expired key leave a marker for `life`, at least one second, and takes TTLs; zero is without.
    #[must_use]
    pub fn limit_markers(mut self, life: Duration) -> Self {
        self.limit_markers = Some(life);
        self
    }

    /// Limits the bytes of everything, at least 1.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Limits the bytes of one write, 1 to 2,147,483,647.
    #[must_use]
    pub fn max_value_size(mut self, bytes: u32) -> Self {
        self.max_value_size = Some(bytes);
        self
    }

    /// Says what it is for.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Checks the limits that hold on every engine.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidOption`] for an option that is out of its range.
    pub fn check(&self) -> Result<(), Rejection> {
        let below = |duration: Option<Duration>, least| duration.is_some_and(|d| !d.is_zero() && d < least);
        let wrong = if self.history.is_some_and(|n| !(1..=64).contains(&n)) {
            "a history is of 1 to 64 versions"
        } else if below(self.max_age, Duration::from_millis(100)) {
            "a maximal age is at least 100 milliseconds"
        } else if [self.max_age, self.limit_markers].iter().flatten().any(|d| d.as_nanos() > i64::MAX as u128) {
            "a duration is at most 292 years"
        } else if self.replicas.is_some_and(|n| !(1..=5).contains(&n)) {
            "there are 1 to 5 replicas"
        } else if below(self.limit_markers, Duration::from_secs(1)) {
            "a limit marker lives for at least one second"
        } else if self.max_bytes.is_some_and(|n| n == 0 || i64::try_from(n).is_err()) {
            "a bucket holds at least one byte"
        } else if self.max_value_size.is_some_and(|n| n == 0 || i32::try_from(n).is_err()) {
            "a value has 1 to 2,147,483,647 bytes"
        } else if self.description.as_ref().is_some_and(|d| d.len() > 4096) {
            "a description has at most 4,096 bytes"
        } else {
            return Ok(());
        };
        Err(Rejection::InvalidOption(wrong))
    }
}

/// How a bucket is configured, whichever engine it is on. Whoever is above gets to see only where it differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configured {
    /// `None` keeps every version.
    pub(super) history: Option<u64>,
    /// Zero is for ever.
    pub(super) max_age: Duration,
    pub(super) replicas: usize,
    pub(super) storage: Storage,
    /// Zero is without.
    pub(super) limit_markers: Duration,
    pub(super) max_bytes: Option<u64>,
    pub(super) max_value_size: Option<u32>,
    pub(super) description: String,
}

impl Configured {
    /// Compares what is there with what was asked for, in everything that was asked for.
    pub(super) fn differences(&self, wanted: &BucketOptions) -> Vec<Difference> {
        let mut all = Differences::default();
        let mut differ = |what, found, wanted| all.note(what, found, wanted);
        let unlimited = |n: Option<u64>| n.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
        let lasting = drift::lasting;
        differ("history", unlimited(self.history), wanted.history.map(|n| n.to_string()));
        differ("max_age", lasting(self.max_age, "unlimited"), wanted.max_age.map(|d| lasting(d, "unlimited")));
        differ("replicas", self.replicas.to_string(), wanted.replicas.map(|n| n.to_string()));
        differ("storage", self.storage.to_string(), wanted.storage.map(|s| s.to_string()));
        differ("limit_markers", lasting(self.limit_markers, "none"), wanted.limit_markers.map(|d| lasting(d, "none")));
        differ("max_bytes", unlimited(self.max_bytes), wanted.max_bytes.map(|n| n.to_string()));
        let size = self.max_value_size.map(u64::from);
        differ("max_value_size", unlimited(size), wanted.max_value_size.map(|n| n.to_string()));
        differ("description", format!("{:?}", self.description), wanted.description.as_ref().map(|d| format!("{d:?}")));
        all.into()
    }

    /// Refuses a bucket that is configured otherwise.
    pub(super) fn must_match(&self, bucket: &str, wanted: &BucketOptions) -> Result<(), StoreError> {
        drift::must_be_none("bucket", bucket, self.differences(wanted))
    }
}

/// One version of a key, as [`Store::history`](super::Store::history) lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// The write.
    pub revision: Revision,
    /// When the engine stored it, by the engine's clock.
    pub written_at: Timestamp,
    /// What was put; `None` for a removal.
    pub value: Option<Bytes>,
    /// The label that was put with it.
    pub label: Option<Box<str>>,
}

impl Version {
    /// Assembles a version; for engines.
    #[must_use]
    pub fn new(revision: Revision, written_at: Timestamp, value: Option<Bytes>, label: Option<Box<str>>) -> Self {
        Self { revision, written_at, value, label }
    }
}

/// What a bucket cannot have, since it has no room beside its keys.
pub(super) fn without_a_space(capabilities: &mut Capabilities) {
    capabilities.atomic_commit = false;
    capabilities.checks = false;
    capabilities.timers = false;
    capabilities.queues = false;
    capabilities.counters = false;
}

/// Refuses a commit that a bucket cannot do, before anything is written.
pub(super) fn admit(capabilities: &Capabilities, commit: &Commit) -> Result<(), Rejection> {
    let what = match () {
        () if !commit.timers.is_empty() && !capabilities.timers => "a timer",
        () if !commit.messages.is_empty() && !capabilities.queues => "a message",
        () if !commit.checks.is_empty() && !capabilities.checks => "a check",
        () if commit.len() > 1 && !capabilities.atomic_commit => "a commit of several parts",
        () => return Ok(()),
    };
    Err(lacks(capabilities, what))
}

/// Says that a bucket has no such thing, and what has.
pub(super) fn lacks(capabilities: &Capabilities, what: &'static str) -> Rejection {
    let engine = format!("a bucket of {}", capabilities.engine);
    Rejection::Unsupported { what, engine, remedy: "open a space, which `Engine::space` makes for that" }
}

/// Refuses a TTL where it would be ignored, or would bring an older version back.
pub(super) fn admit_ttl(capabilities: &Capabilities, history: Option<u64>) -> Result<(), Rejection> {
    if history != Some(1) {
        return Err(Rejection::InvalidOption(
            "a write with a TTL needs a bucket with a history of 1: where it expires, the version before it would come back",
        ));
    }
    if capabilities.ttl {
        return Ok(());
    }
    let engine = format!("a bucket of {}", capabilities.engine);
    Err(Rejection::Unsupported { what: "a TTL", engine, remedy: "create the bucket with `limit_markers`" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Configured {
        Configured {
            history: Some(5),
            max_age: Duration::from_secs(60),
            replicas: 1,
            storage: Storage::Memory,
            limit_markers: Duration::ZERO,
            max_bytes: None,
            max_value_size: Some(1024),
            description: "theirs".to_owned(),
        }
    }

    #[test]
    fn only_what_is_asked_for_is_compared() {
        assert_eq!(found().differences(&BucketOptions::default()), []);
        let same = BucketOptions::default().history(5).max_age(Duration::from_secs(60)).limit_markers(Duration::ZERO);
        assert_eq!(found().differences(&same), []);
    }

    #[test]
    fn every_difference_is_listed() {
        let second = Duration::from_secs(1);
        let wanted = BucketOptions::default().history(1).max_age(Duration::ZERO).replicas(3).storage(Storage::File);
        let wanted = wanted.limit_markers(second).max_bytes(9).max_value_size(7).description("ours");
        let Err(StoreError::Rejected(drift)) = found().must_match("b", &wanted) else { panic!("it differs") };
        let text = "the bucket `b` is configured otherwise: history is 5, not 1; max_age is 60s, not unlimited; replicas is 1, \
                    not 3; storage is memory, not file; limit_markers is none, not 1s; max_bytes is unlimited, not 9; \
                    max_value_size is 1024, not 7; description is \"theirs\", not \"ours\"";
        assert_eq!(drift.to_string(), text);
    }

    #[test]
    fn options_out_of_their_range_are_refused() {
        let options = BucketOptions::default;
        let (short, long) = (Duration::from_millis(99), Duration::MAX);
        let bad = [
            options().history(0),
            options().history(65),
            options().max_age(short),
            options().max_age(long),
            options().replicas(0),
            options().replicas(6),
            options().limit_markers(short),
            options().max_bytes(0),
            options().max_bytes(u64::MAX),
            options().max_value_size(0),
            options().max_value_size(u32::MAX),
            options().description("x".repeat(4097)),
        ];
        for bad in bad {
            assert!(matches!(bad.check(), Err(Rejection::InvalidOption(_))), "{bad:?}");
        }
        options().history(64).max_age(Duration::from_millis(100)).limit_markers(Duration::ZERO).check().unwrap();
    }
}
