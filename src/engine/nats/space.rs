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
use crate::engine::{Capabilities, Rejection, StoreError};
use serde_json::{Value, json};
use std::time::Duration;

/// The server takes 1,000 messages; one is left for the anchor of a batch that has no condition of its own.
const MAX_COMMIT: usize = 999;

/// How streams are created.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) replicas: usize,
    pub(super) memory: bool,
}

impl Shape {
    fn storage(self) -> &'static str {
        if self.memory { "memory" } else { "file" }
    }
}

/// What was found or created.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) replicas: usize,
    /// How long it remembers message ids, in nanoseconds.
    window: u64,
    pub(super) capabilities: Capabilities,
}

/// Opens the stream of a space, and creates it when it is not there.
pub(super) async fn open(link: &Link, names: &Names, shape: Shape) -> Result<Opened, StoreError> {
    let mut patience = link.patience();
    let account = link.api("INFO", &Value::Null, &mut patience).await?.map_err(refused)?;
    let level = account["api"]["level"].as_u64().unwrap_or(0);
    let stream = names.stream();
    let mut config = json!({
        "name": stream, "subjects": names.subjects(), "retention": "limits", "discard": "old",
        "storage": shape.storage(), "num_replicas": shape.replicas, "max_msgs_per_subject": 1, "max_msgs": -1, "max_bytes": -1,
        "duplicate_window": nanos(WINDOW), "allow_rollup_hdrs": true, "allow_direct": true,
        "allow_msg_ttl": true, "subject_delete_marker_ttl": nanos(MARKER_TTL),
    });
    // Servers from API level 2 (2.12) on know batches and schedules, and refuse a field that they do not know.
    if level >= 2 {
        config["allow_atomic"] = true.into();
        config["allow_msg_schedules"] = true.into();
    }
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
    let atomic = flag("allow_atomic");
    let mut capabilities = Capabilities::full(engine);
    capabilities.atomic_commit = atomic;
    capabilities.checks = atomic;
    capabilities.timers = flag("allow_msg_schedules");
    capabilities.durable = effective["storage"] == "file";
    capabilities.max_value = link.max_value();
    capabilities.max_commit = MAX_COMMIT;
    let replicas = effective["num_replicas"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    Ok(Opened { replicas, window: window(effective), capabilities })
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

fn window(config: &Value) -> u64 {
    config["duplicate_window"].as_u64().unwrap_or(0)
}

/// Returns a stream as it is, and creates it when it is not there.
async fn create(link: &Link, stream: &str, config: &Value, patience: &mut Patience) -> Result<Value, StoreError> {
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
fn fits(stream: &str, found: &Value, wanted: &Value) -> Result<(), StoreError> {
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
