//! A stream and its consumer as the server's JSON has them.
//!
//! Nothing here talks to a server. What the server does not say is what it does by default.

use crate::engine::{
    Retention, Storage,
    nats::{feed::nanos, pull::Limits},
    stream::{ConsumerShape, StreamShape},
};
use serde_json::{Value, json};
use std::time::Duration;

/// Writes a stream that is to be created. A full one refuses what is new: nothing that was taken in is dropped.
pub(super) fn stream(name: &str, shape: &StreamShape) -> Value {
    let most = shape.max_messages.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
    json!({
        "name": name, "subjects": shape.subjects, "retention": shape.retention.as_str(),
        "storage": shape.storage.to_string(), "num_replicas": shape.replicas, "max_age": nanos(shape.max_age),
        "duplicate_window": nanos(shape.dedupe_window), "max_msgs": most, "max_bytes": -1, "max_consumers": -1,
        "discard": if shape.max_messages.is_some() { "new" } else { "old" }, "allow_direct": true,
    })
}

/// Reads a stream's configuration.
pub(super) fn stream_shape(config: &Value) -> StreamShape {
    let duration = |name: &str| Duration::from_nanos(config[name].as_u64().unwrap_or(0));
    StreamShape {
        subjects: texts(&config["subjects"]),
        retention: match config["retention"].as_str() {
            Some("workqueue") => Retention::WorkQueue,
            Some("interest") => Retention::Interest,
            _ => Retention::Limits,
        },
        storage: if config["storage"] == "memory" { Storage::Memory } else { Storage::File },
        max_age: duration("max_age"),
        replicas: limit(config, "num_replicas").and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
        dedupe_window: duration("duplicate_window"),
        max_messages: limit(config, "max_msgs"),
    }
}

/// Writes a consumer that is to be created; of a stream that keeps what was taken it starts behind `floor`.
pub(super) fn consumer(name: &str, shape: &ConsumerShape, floor: u64) -> Value {
    let most = shape.max_in_flight.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
    let mut config = json!({
        "durable_name": name, "name": name, "ack_policy": shape.ack_policy, "deliver_policy": "all",
        "replay_policy": "instant", "ack_wait": nanos(shape.ack_wait), "max_deliver": -1, "max_ack_pending": most,
        "max_waiting": 4096,
    });
    if let [filter] = &shape.filters[..] {
        config["filter_subject"] = filter.as_str().into();
    }
    if floor > 0 {
        config["deliver_policy"] = "by_start_sequence".into();
        config["opt_start_seq"] = (floor + 1).into();
    }
    config
}

/// Reads a consumer's configuration.
pub(super) fn consumer_shape(config: &Value) -> ConsumerShape {
    let one = config["filter_subject"].as_str().filter(|filter| !filter.is_empty()).map(ToOwned::to_owned);
    let mut filters = texts(&config["filter_subjects"]);
    filters.extend(one);
    ConsumerShape {
        filters,
        ack_wait: Duration::from_nanos(config["ack_wait"].as_u64().unwrap_or(0)),
        max_in_flight: limit(config, "max_ack_pending").and_then(|n| usize::try_from(n).ok()),
        max_deliver: limit(config, "max_deliver"),
        ack_policy: config["ack_policy"].as_str().unwrap_or("none").to_owned(),
        is_pulled: config["deliver_subject"].as_str().is_none_or(str::is_empty),
    }
}

/// Reads how much a request may ask a consumer for.
pub(super) fn limits(config: &Value) -> Limits {
    let batch = limit(config, "max_batch").and_then(|n| usize::try_from(n).ok());
    let expires = limit(config, "max_expires").map(Duration::from_nanos);
    Limits {
        batch: batch.unwrap_or(Limits::OURS.batch),
        expires: expires.map_or(Limits::OURS.expires, |expires| expires.min(Limits::OURS.expires)),
    }
}

/// A limit that is set: zero and -1 are without.
fn limit(config: &Value, name: &str) -> Option<u64> {
    config[name].as_u64().filter(|n| *n > 0)
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(ToOwned::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::StreamOptions;

    #[test]
    fn what_is_created_is_read_back_as_it_was_meant() {
        let second = Duration::from_secs(1);
        let wanted = StreamOptions::default().subject("a.>").filter("a.b").max_messages(3).max_age(second).ack_wait(second);
        let made = StreamShape::made("s", &wanted, 1, Storage::File);
        assert_eq!(stream_shape(&stream("s", &made)), made);
        let made = ConsumerShape::made(&wanted);
        assert_eq!(consumer_shape(&consumer("c", &made, 0)), made);
        assert_eq!(consumer_shape(&consumer("c", &ConsumerShape::made(&StreamOptions::default()), 0)).filters, [""; 0]);
    }

    #[test]
    fn a_consumer_starts_behind_what_is_known_to_be_settled() {
        let made = ConsumerShape::made(&StreamOptions::default());
        assert_eq!(consumer("c", &made, 0)["deliver_policy"], "all");
        assert_eq!(consumer("c", &made, 7)["opt_start_seq"], 8);
    }

    #[test]
    fn a_request_asks_for_no_more_than_a_consumer_allows() {
        let found = limits(&json!({ "max_batch": 3, "max_expires": 1_000_000_000_u64 }));
        assert_eq!((found.batch, found.expires), (3, Duration::from_secs(1)));
        assert_eq!(limits(&json!({ "max_expires": 3_600_000_000_000_u64 })).expires, Limits::OURS.expires);
    }
}
