//! What was seen of a server, an account and its streams: values without a connection, in the server's own words.
//!
//! Nothing here knows whether something is good or bad. What could not be seen is said as such, and is never a default.

use crate::{engine::Difference, time::Timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Everything that was seen through one URL.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The addresses, without anything secret.
    pub(crate) target: String,
    pub(crate) server: Server,
    pub(crate) asked: UrlAsks,
    /// The shortest of a few round trips.
    pub(crate) round_trip: Option<Duration>,
    /// What the account has and may have; or why that cannot be seen.
    pub(crate) account: Result<Account, Unseen>,
    /// Streams that were named, or that look like this library's.
    pub(crate) streams: Vec<StreamFacts>,
    /// What was named and is not there: which kind, and its stream.
    pub(crate) missing: Vec<(Kind, String)>,
    /// What could not be looked at, although it is there or was named.
    pub(crate) unseen: Vec<(String, Unseen)>,
    /// Why not all streams could be listed, where nothing was named.
    pub(crate) unlisted: Option<Unseen>,
    pub(crate) trials: Vec<Trial>,
    /// One for each server whose time was seen.
    pub(crate) clocks: Vec<ClockSample>,
    /// What servers say of themselves, by their monitoring ports and by the system account.
    pub(crate) monitored: Vec<Varz>,
    /// Where that was asked for and not given: the place, and why.
    pub(crate) unmonitored: Vec<(String, String)>,
}

/// Why something was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unseen {
    /// Nobody answers for it: there is no JetStream.
    NoJetStream,
    /// The server does not permit it, in its words.
    Denied(String),
    /// Something else.
    Failed(String),
}

/// What the server said when it greeted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) version: String,
    pub(crate) name: String,
    pub(crate) cluster: Option<String>,
    pub(crate) max_payload: usize,
    pub(crate) lame_duck: bool,
    pub(crate) wants_login: bool,
}

/// What the URL asks for, and how it reaches the servers.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UrlAsks {
    pub(crate) replicas: usize,
    pub(crate) memory: bool,
    pub(crate) shares_writes: bool,
    pub(crate) encrypted: bool,
    /// Whether a server is not on this machine.
    pub(crate) remote: bool,
    /// Whether something secret goes over the wire to say who this is.
    pub(crate) secret: bool,
    /// How many bytes of the limit of a message the engine keeps for itself.
    pub(crate) headroom: usize,
}

/// An account as JetStream has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Account {
    #[serde(flatten)]
    pub(crate) usage: Tier,
    pub(crate) tiers: BTreeMap<String, Tier>,
    pub(crate) api: ApiLevel,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ApiLevel {
    pub(crate) level: u64,
}

/// What is used of which limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Tier {
    pub(crate) memory: u64,
    pub(crate) storage: u64,
    pub(crate) streams: u64,
    pub(crate) consumers: u64,
    pub(crate) limits: Limits,
}

/// Limits of an account; below zero is without.
#[expect(clippy::struct_field_names, reason = "the server's own names")]
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    pub(crate) max_memory: i64,
    pub(crate) max_storage: i64,
    pub(crate) max_streams: i64,
    pub(crate) max_consumers: i64,
    pub(crate) max_ack_pending: i64,
    pub(crate) max_bytes_required: bool,
}

impl Default for Limits {
    fn default() -> Self {
        let none = -1;
        Self {
            max_memory: none,
            max_storage: none,
            max_streams: none,
            max_consumers: none,
            max_ack_pending: none,
            max_bytes_required: false,
        }
    }
}

/// What a stream is to this library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Space,
    Bucket,
    Tally,
    Stream,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Space => "space",
            Self::Bucket => "bucket",
            Self::Tally => "counters",
            Self::Stream => "stream",
        }
    }
}

/// A stream that was looked at.
#[derive(Debug, Clone)]
pub(crate) struct StreamFacts {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) config: Value,
    pub(crate) cluster: Option<Cluster>,
    /// Why this library would not open it.
    pub(crate) refused: Option<String>,
    /// How it differs from what this library would create.
    pub(crate) differences: Vec<Difference>,
    /// The consumer that was named with the stream.
    pub(crate) consumer: Option<String>,
    /// That one is not there.
    pub(crate) lacks: bool,
}

impl StreamFacts {
    pub(crate) fn number(&self, field: &str) -> i64 {
        self.config[field].as_i64().unwrap_or(0)
    }

    pub(crate) fn flag(&self, field: &str) -> bool {
        self.config[field].as_bool().unwrap_or(false)
    }

    pub(crate) fn replicas(&self) -> i64 {
        self.number("num_replicas").max(1)
    }
}

/// Where the copies of a stream are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) leader: String,
    pub(crate) replicas: Vec<Peer>,
}

/// A copy that does not lead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) current: bool,
    pub(crate) offline: bool,
    /// How long ago it was heard of, in nanoseconds.
    pub(crate) active: u64,
    pub(crate) lag: u64,
}

/// Something that the library does, tried so that nothing comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) subject: String,
    pub(crate) purpose: &'static str,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Permitted,
    /// In the server's words.
    Denied(String),
    /// There was no answer, and no word about why.
    Silent(String),
}

/// How far a server's clock is from this machine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClockSample {
    pub(crate) server: String,
    /// By how many microseconds the server is ahead.
    pub(crate) ahead: i64,
    /// By how many microseconds that may be wrong, either way: half a round trip.
    pub(crate) uncertainty: i64,
}

impl ClockSample {
    /// Takes what a server said the time was, in an answer to a question that was asked at `asked` and took `took`.
    pub(crate) fn new(server: &str, says: Timestamp, asked: Timestamp, took: Duration) -> Self {
        let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        let middle = asked.as_micros().saturating_add(took / 2);
        Self { server: server.to_owned(), ahead: says.as_micros().saturating_sub(middle), uncertainty: took / 2 }
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Varz {
    pub(crate) server_name: String,
    pub(crate) version: String,
    pub(crate) now: String,
    pub(crate) jetstream: JetStreamz,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct JetStreamz {
    /// Absent without JetStream.
    pub(crate) config: Option<JetStreamConfig>,
    pub(crate) stats: Stats,
    pub(crate) meta: Option<Meta>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct JetStreamConfig {
    pub(crate) max_memory: i64,
    pub(crate) max_storage: i64,
    /// In nanoseconds.
    pub(crate) sync_interval: u64,
    pub(crate) sync_always: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Stats {
    pub(crate) memory: u64,
    pub(crate) storage: u64,
}

/// The servers that decide where streams are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Meta {
    pub(crate) leader: String,
    pub(crate) cluster_size: u64,
    /// Only the leader lists them.
    pub(crate) replicas: Vec<Peer>,
}
