//! How a stream differs from what this library would create, by the comparisons that opening it makes.
//!
//! Opening compares what was asked for and stops at what it cannot live with; here everything is listed. Nothing talks to a server.

use super::facts::Kind;
use crate::{
    engine::{
        Difference, StoreError,
        nats::{
            bucket,
            names::Names,
            space::{self, Shape},
            stream as streams, tally,
        },
    },
    error::chain,
};
use serde_json::Value;
use std::time::Duration;

/// Fields of a stream's configuration that this library sets, and durations among them.
const FIELDS: [(&str, bool); 17] = [
    ("subjects", false),
    ("retention", false),
    ("discard", false),
    ("storage", false),
    ("num_replicas", false),
    ("max_msgs_per_subject", false),
    ("max_msgs", false),
    ("max_bytes", false),
    ("max_age", true),
    ("duplicate_window", true),
    ("allow_rollup_hdrs", false),
    ("allow_direct", false),
    ("allow_msg_ttl", false),
    ("subject_delete_marker_ttl", true),
    ("allow_atomic", false),
    ("allow_msg_schedules", false),
    ("deny_delete", false),
];

/// Returns why this library would not open a stream, and everything in which it differs.
pub(super) fn of(
    kind: Kind,
    stream: &str,
    names: &Names,
    (shape, level): (Shape, u64),
    found: &Value,
    consumer: Option<&Value>,
) -> (Option<String>, Vec<Difference>) {
    match kind {
        Kind::Space => {
            let wanted = space::config(names, shape, level);
            (why(space::fits(stream, found, &wanted)), compare(found, &wanted))
        }
        Kind::Tally => {
            let wanted = tally::config(names, shape);
            (why(tally::fits(stream, found, &wanted)), compare(found, &wanted))
        }
        // What its owner configured is the owner's business.
        Kind::Bucket => (why(bucket::fits(stream, names, found)), Vec::new()),
        Kind::Stream => match streams::differences(stream, found, consumer) {
            Ok(differences) => (None, differences),
            Err(error) => (Some(chain(&error)), Vec::new()),
        },
    }
}

fn why(fits: Result<(), StoreError>) -> Option<String> {
    fits.err().map(|error| chain(&error))
}

/// Lists every field that the library sets and that is otherwise. Absent is off, or without.
fn compare(found: &Value, wanted: &Value) -> Vec<Difference> {
    let mut all = Vec::new();
    for (field, is_duration) in FIELDS {
        let (is, should) = (&found[field], &wanted[field]);
        let more = match field {
            // Subjects beside ours are no harm, nor is a longer memory.
            "subjects" => should.as_array().into_iter().flatten().all(|s| is.as_array().is_some_and(|all| all.contains(s))),
            "duplicate_window" => is.as_u64() >= should.as_u64(),
            _ => false,
        };
        let (is, should) = (text(is, field, is_duration), text(should, field, is_duration));
        if !more && is != should {
            all.push(Difference { what: field, found: is, wanted: should });
        }
    }
    all
}

fn text(value: &Value, field: &str, is_duration: bool) -> String {
    match value {
        Value::Number(n) if is_duration => match n.as_u64() {
            Some(nanos @ 1..) => format!("{:?}", Duration::from_nanos(nanos)),
            _ => "none".to_owned(),
        },
        Value::Null if is_duration => "none".to_owned(),
        Value::Null if field.starts_with("max_") => "-1".to_owned(),
        Value::Null => "false".to_owned(),
        Value::Array(all) => {
            let mut all: Vec<_> = all.iter().filter_map(Value::as_str).collect();
            all.sort_unstable();
            all.join(", ")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Name;

    const SHAPE: Shape = Shape { replicas: 1, memory: false };

    fn space() -> (Names, Value) {
        let names = Names::new("", &Name::new("shop").unwrap());
        let config = space::config(&names, SHAPE, 2);
        (names, config)
    }

    fn said(kind: Kind, names: &Names, found: &Value) -> (bool, String) {
        let (refused, differences) = of(kind, "KV_shop", names, (SHAPE, 2), found, None);
        (refused.is_some(), differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn what_was_created_does_not_differ() {
        let (names, mut config) = space();
        assert_eq!(said(Kind::Space, &names, &config), (false, String::new()));
        // As the server echoes it: with what is off left out, and with more than was asked for.
        config.as_object_mut().unwrap().remove("max_bytes");
        config["max_age"] = 0.into();
        config["duplicate_window"] = 600_000_000_000_u64.into();
        config["subjects"].as_array_mut().unwrap().push("more".into());
        assert_eq!(said(Kind::Space, &names, &config), (false, String::new()));
        let counters = tally::config(&names, SHAPE);
        assert_eq!(said(Kind::Tally, &names, &counters), (false, String::new()));
    }

    #[test]
    fn everything_that_differs_is_listed_and_what_is_refused_is_told_apart() {
        let (names, mut config) = space();
        config["allow_atomic"] = false.into();
        config["num_replicas"] = 3.into();
        config["deny_delete"] = true.into();
        let expected = "num_replicas is 3, not 1; allow_atomic is false, not true; deny_delete is true, not false";
        assert_eq!(said(Kind::Space, &names, &config), (false, expected.to_owned()));
        config["max_age"] = 3_000_000_000_u64.into();
        let (refused, text) = said(Kind::Space, &names, &config);
        assert!(refused && text.contains("max_age is 3s, not none"), "{text}");
    }

    #[test]
    fn a_bucket_and_a_stream_are_compared_as_opening_them_does() {
        let (names, config) = space();
        assert_eq!(said(Kind::Bucket, &names, &config), (false, String::new()));
        assert!(said(Kind::Bucket, &names, &serde_json::json!({ "subjects": ["x"], "retention": "limits" })).0);
        let consumer = serde_json::json!({ "ack_policy": "explicit", "max_deliver": 5 });
        let (refused, differences) = of(Kind::Stream, "S", &names, (SHAPE, 2), &config, Some(&consumer));
        assert_eq!((refused, differences[0].what), (None, "max_deliver"));
        let unsettled = serde_json::json!({ "ack_policy": "none" });
        assert!(of(Kind::Stream, "S", &names, (SHAPE, 2), &config, Some(&unsettled)).0.is_some());
    }
}
