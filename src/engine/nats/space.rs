//! The stream that is a space: what it is created as, and what the server made of it.
//!
//! What a server can do is read from the configuration that it echoes, since older ones drop what they do not know. A stream
//! that is there is never changed, but for how long it remembers message ids; one that a space cannot live in is refused.
//! Nothing here reads or writes keys.

use super::{
    errors::refused,
    feed::nanos,
    link::{Link, Patience},
    names::{MARKER_TTL, Names, WINDOW},
};
use crate::{
    engine::{Capabilities, Rejection, StoreError},
    time::Timestamp,
};
use serde_json::{Value, json};
use std::time::Duration;

/// The server takes 1,000 messages; one is left for the anchor of a batch that has no condition of its own.
const MAX_COMMIT: usize = 999;

/// From which level of the server's API on it adds up counters.
pub(super) const COUNTERS: u64 = 2;

/// How streams are created.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) replicas: usize,
    pub(super) memory: bool,
}

impl Shape {
    pub(super) fn storage(self) -> &'static str {
        if self.memory { "memory" } else { "file" }
    }
}

/// What was found or created.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) replicas: usize,
    /// Whether single messages can be removed from it.
    pub(super) deletes: bool,
    /// How long it remembers message ids, in nanoseconds.
    pub(super) window: u64,
    pub(super) capabilities: Capabilities,
    pub(super) keeping: Keeping,
}

/// How a stream keeps keys, as far as a write or a watch has to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping {
    /// How many messages of a key; `None` for all.
    pub(super) history: Option<u64>,
    /// Whether writes have TTLs, tombstones among them.
    pub(super) ttl: bool,
    /// After which age everything goes.
    pub(super) max_age: Option<Duration>,
    /// The same, when it leaves no marker.
    pub(super) silent_age: Option<Duration>,
    /// How long the marker of an expired key stays.
    pub(super) marker: Option<Duration>,
}

impl Keeping {
    /// What a space is.
    const SPACE: Self = Self { history: Some(1), ttl: true, max_age: None, silent_age: None, marker: Some(MARKER_TTL) };

    /// How long there is at least a trace of what was removed or has expired.
    pub(super) fn trace(self) -> Duration {
        let short = [self.marker, self.max_age].into_iter().flatten().min();
        short.map_or(MARKER_TTL, |short| short.min(MARKER_TTL))
    }

    /// Tells when a value ends by itself that was written at `since`, where the server stores a marker then.
    pub(super) fn ends(self, since: Timestamp, ttl: Option<Duration>) -> Option<Timestamp> {
        let age = [ttl, self.max_age].into_iter().flatten().min()?;
        self.marker.is_some().then(|| since + age)
    }
}

/// The window that a server gives a stream that asks for none.
pub(super) const SERVERS_WINDOW: Duration = Duration::from_secs(120);

/// Opens the stream of a space, and creates it when it is not there.
pub(super) async fn open(link: &Link, names: &Names, shape: Shape) -> Result<Opened, StoreError> {
    let mut patience = link.patience();
    let level = level(link, &mut patience).await?;
    let stream = names.stream();
    let config = config(names, shape, level);
    let found = create(link, &stream, &config, &mut patience).await?;
    let effective = &found["config"];
    fits(&stream, effective, &config)?;
    let flag = |name: &str| effective[name].as_bool().unwrap_or(false);
    let info = link.client.server_info();
    let engine = format!("nats-server {}", info.version);
    if !flag("allow_msg_ttl") || !flag("allow_direct") {
        let remedy = "a space needs nats-server 2.11 or newer, and a stream that allows TTLs and direct gets";
        return Err(Rejection::Unsupported { what: "a space", engine, remedy }.into());
    }
    let mut capabilities = Capabilities::full(engine);
    batches(effective, &mut capabilities);
    capabilities.max_value = link.max_value();
    capabilities.counters = level >= COUNTERS;
    let replicas = effective["num_replicas"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    Ok(Opened { replicas, deletes: !flag("deny_delete"), window: window(effective), capabilities, keeping: Keeping::SPACE })
}

/// What a space is created as, on a server with this level of the API.
pub(super) fn config(names: &Names, shape: Shape, level: u64) -> Value {
    let mut config = json!({
        "name": names.stream(), "subjects": names.subjects(), "retention": "limits", "discard": "old",
        "storage": shape.storage(), "num_replicas": shape.replicas, "max_msgs_per_subject": 1, "max_msgs": -1, "max_bytes": -1,
        "duplicate_window": nanos(WINDOW), "allow_rollup_hdrs": true, "allow_direct": true,
        "allow_msg_ttl": true, "subject_delete_marker_ttl": nanos(MARKER_TTL),
    });
    // Servers from API level 2 (2.12) on know batches and schedules, and refuse a field that they do not know.
    if level >= 2 {
        config["allow_atomic"] = true.into();
        config["allow_msg_schedules"] = true.into();
    }
    config
}

/// Asks for the level of the server's API: 0 before 2.11, 2 from 2.12 on.
pub(super) async fn level(link: &Link, patience: &mut Patience) -> Result<u64, StoreError> {
    let account = link.api("INFO", &Value::Null, patience).await?.map_err(refused)?;
    Ok(account["api"]["level"].as_u64().unwrap_or(0))
}

/// Takes away what a stream was not given.
pub(super) fn batches(effective: &Value, capabilities: &mut Capabilities) {
    let flag = |name: &str| effective[name].as_bool().unwrap_or(false);
    capabilities.atomic_commit = flag("allow_atomic");
    capabilities.checks = flag("allow_atomic");
    capabilities.timers = flag("allow_msg_schedules");
    capabilities.durable = effective["storage"] == "file";
    capabilities.max_commit = MAX_COMMIT;
}

/// Makes a space remember message ids for at least `window`. The longest window of its queues holds for all of them, since the
/// server has one a stream.
pub(super) async fn remember(link: &Link, names: &Names, opened: &Opened, wanted: Duration) -> Result<(), StoreError> {
    let (stream, wanted, mut patience) = (names.stream(), nanos(wanted.max(WINDOW)), link.patience());
    if opened.window >= wanted {
        return Ok(());
    }
    // Read anew, since somebody else may be widening it.
    let found = link.api(&format!("STREAM.INFO.{stream}"), &Value::Null, &mut patience).await?.map_err(refused)?;
    let mut config = found["config"].clone();
    if window(&config) >= wanted {
        return Ok(());
    }
    config["duplicate_window"] = wanted.into();
    // Two that widen it at once may leave the shorter one; whoever opens the longer one next widens it again.
    link.api(&format!("STREAM.UPDATE.{stream}"), &config, &mut patience).await?.map_err(refused)?;
    Ok(())
}

pub(super) fn window(config: &Value) -> u64 {
    config["duplicate_window"].as_u64().unwrap_or(0)
}

/// Returns a stream as it is, and creates it when it is not there.
pub(super) async fn create(link: &Link, stream: &str, config: &Value, patience: &mut Patience) -> Result<Value, StoreError> {
    loop {
        match link.api(&format!("STREAM.INFO.{stream}"), &Value::Null, patience).await? {
            Ok(found) => return Ok(found),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(refused(error)),
        }
        match link.api(&format!("STREAM.CREATE.{stream}"), config, patience).await? {
            Ok(made) => return Ok(made),
            // Somebody else was first.
            Err(error) if error.is_taken() && patience.pause().await => {}
            Err(error) => return Err(refused(error)),
        }
    }
}

/// Refuses a stream that would lose state, or mix it with something else.
pub(super) fn fits(stream: &str, found: &Value, wanted: &Value) -> Result<(), StoreError> {
    let subjects = |v: &Value| v["subjects"].as_array().cloned().unwrap_or_default();
    let present = subjects(found);
    let wrong = if !subjects(wanted).iter().all(|s| present.contains(s)) {
        "lacks subjects of a space"
    } else if found["max_msgs_per_subject"] != 1 {
        "keeps more than the newest message of a key"
    } else if found["retention"] != "limits" || found["discard"] != "old" {
        "has another retention"
    } else if ["max_msgs", "max_bytes"].iter().any(|limit| found[limit].as_i64().unwrap_or(-1) > 0)
        || found["max_age"].as_u64().unwrap_or(0) > 0
    {
        "discards state by age or size"
    } else {
        return Ok(());
    };
    Err(Rejection::Refused(format!("the stream `{stream}` {wrong}").into()).into())
}
