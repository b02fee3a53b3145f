//! The stream that is a bucket: created as every NATS KV client creates one, opened as it is, and never changed.
//!
//! What a bucket can do is read from the configuration that the server echoes; one without TTLs gets none from us, also not on
//! tombstones. The stream of a space is a bucket, too. Nothing here reads or writes keys.

use super::{
    feed::nanos,
    link::Link,
    names::Names,
    space::{self, Keeping, Opened, Shape},
};
use crate::engine::{
    BucketOptions, Capabilities, Rejection, Storage, StoreError,
    bucket::{Configured, without_a_space},
};
use serde_json::{Value, json};
use std::time::Duration;

/// Opens the stream of a bucket, and creates it when it is not there.
pub(super) async fn open(link: &Link, names: &Names, shape: Shape, options: &BucketOptions) -> Result<Opened, StoreError> {
    let mut patience = link.patience();
    let level = space::level(link, &mut patience).await?;
    let engine = format!("nats-server {}", link.client.server_info().version);
    if level == 0 {
        let remedy = "a bucket needs nats-server 2.11 or newer";
        return Err(Rejection::Unsupported { what: "a bucket", engine, remedy }.into());
    }
    let stream = names.stream();
    let found = space::create(link, &stream, &config(names, shape, options), &mut patience).await?;
    let effective = &found["config"];
    fits(&stream, names, effective)?;
    let present = |subject: &str| has(effective, subject);
    let [_, queues, timers] = names.subjects();
    let configured = configured(effective);
    configured.must_match(names.space(), options)?;
    let flag = |name: &str| effective[name].as_bool().unwrap_or(false);
    let has_markers = !configured.limit_markers.is_zero();
    let keeping = Keeping {
        history: configured.history,
        // An expiry that leaves no marker is seen by nobody who watches.
        ttl: flag("allow_msg_ttl") && has_markers && configured.history == Some(1),
        silent_age: Some(configured.max_age).filter(|age| !age.is_zero() && !has_markers),
        max_age: Some(configured.max_age).filter(|age| !age.is_zero()),
        marker: Some(configured.limit_markers).filter(|_| has_markers),
    };
    let mut capabilities = Capabilities::full(engine);
    space::batches(effective, &mut capabilities);
    if !(present(&queues) && present(&timers) && keeping.history == Some(1)) {
        without_a_space(&mut capabilities);
    }
    capabilities.ttl = keeping.ttl;
    capabilities.counters &= level >= space::COUNTERS;
    capabilities.consistent_get_many = flag("allow_direct");
    let limit = configured.max_value_size.and_then(|n| usize::try_from(n).ok());
    capabilities.max_value = limit.unwrap_or(usize::MAX).min(link.max_value());
    let deletes = !flag("deny_delete");
    Ok(Opened { replicas: configured.replicas, deletes, window: space::window(effective), capabilities, keeping })
}

fn has(config: &Value, subject: &str) -> bool {
    config["subjects"].as_array().is_some_and(|all| all.iter().any(|s| s == subject))
}

/// Refuses a stream that is no bucket, or one that only follows another.
pub(super) fn fits(stream: &str, names: &Names, found: &Value) -> Result<(), StoreError> {
    let [keys, ..] = names.subjects();
    if has(found, &keys) && found["retention"] == "limits" && !found["mirror"].is_object() {
        return Ok(());
    }
    Err(Rejection::Refused(format!("the stream `{stream}` is no bucket that can be written").into()).into())
}

/// What the `nats` tool and the KV clients of other languages create with the same options. They compare all of it when they
/// create a bucket that is there.
fn config(names: &Names, shape: Shape, options: &BucketOptions) -> Value {
    let [keys, ..] = names.subjects();
    let (age, markers) = (options.max_age.unwrap_or_default(), options.limit_markers.unwrap_or_default());
    let storage = options.storage.map_or_else(|| shape.storage().to_owned(), |s| s.to_string());
    // The server takes no window that is longer than what it keeps.
    let window = if age.is_zero() { space::SERVERS_WINDOW } else { age.min(space::SERVERS_WINDOW) };
    let limit = |n: Option<i64>| n.unwrap_or(-1);
    let mut config = json!({
        "name": names.stream(), "subjects": [keys], "retention": "limits", "discard": "new", "storage": storage,
        "num_replicas": options.replicas.unwrap_or(shape.replicas), "max_msgs_per_subject": options.history.unwrap_or(1),
        "max_msgs": -1, "max_consumers": -1, "max_bytes": limit(options.max_bytes.and_then(|n| i64::try_from(n).ok())),
        "max_msg_size": limit(options.max_value_size.map(i64::from)), "max_age": nanos(age),
        "duplicate_window": nanos(window), "allow_rollup_hdrs": true, "deny_delete": true, "allow_direct": true,
    });
    if !markers.is_zero() {
        config["allow_msg_ttl"] = true.into();
        config["subject_delete_marker_ttl"] = nanos(markers).into();
    }
    if let Some(description) = &options.description {
        config["description"] = description.as_str().into();
    }
    config
}

/// Reads a configuration that the server gave.
fn configured(config: &Value) -> Configured {
    let limit = |name: &str| config[name].as_u64().filter(|n| *n > 0);
    let duration = |name: &str| Duration::from_nanos(config[name].as_u64().unwrap_or(0));
    Configured {
        history: limit("max_msgs_per_subject"),
        max_age: duration("max_age"),
        replicas: limit("num_replicas").and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
        storage: if config["storage"] == "memory" { Storage::Memory } else { Storage::File },
        limit_markers: duration("subject_delete_marker_ttl"),
        max_bytes: limit("max_bytes"),
        max_value_size: limit("max_msg_size").and_then(|n| u32::try_from(n).ok()),
        description: config["description"].as_str().unwrap_or_default().to_owned(),
    }
}
