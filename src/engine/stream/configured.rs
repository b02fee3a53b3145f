//! What a stream and its consumer are, on whichever engine: as they are created, and as they are found.
//!
//! Whoever is above gets to see only where they differ from what was asked for.

use super::{
    options::{Retention, StreamOptions},
    subject::has,
};
use crate::engine::{
    Difference, QueueOptions, Rejection, Storage, StoreError,
    drift::{self, Differences, lasting},
};
use std::time::Duration;

/// How old a message may become where nothing else is asked for.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// How a stream is configured, as far as it can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct StreamShape {
    pub(in crate::engine) subjects: Vec<String>,
    pub(in crate::engine) retention: Retention,
    pub(in crate::engine) storage: Storage,
    /// Zero is for ever.
    pub(in crate::engine) max_age: Duration,
    pub(in crate::engine) replicas: usize,
    pub(in crate::engine) dedupe_window: Duration,
    pub(in crate::engine) max_messages: Option<u64>,
}

impl StreamShape {
    /// What is created; `replicas` and `storage` are the engine's own.
    pub(in crate::engine) fn made(name: &str, wanted: &StreamOptions, replicas: usize, storage: Storage) -> Self {
        let max_age = wanted.max_age.unwrap_or(WEEK);
        let window = QueueOptions::default().dedupe_window;
        // No server takes a window that is longer than what it keeps.
        let window = if max_age.is_zero() { window } else { window.min(max_age) };
        Self {
            subjects: wanted.subjects_of(name),
            retention: wanted.retention.unwrap_or(Retention::WorkQueue),
            storage: wanted.storage.unwrap_or(storage),
            max_age,
            replicas: wanted.replicas.unwrap_or(replicas),
            dedupe_window: wanted.dedupe_window.unwrap_or(window),
            max_messages: wanted.max_messages,
        }
    }

    fn compare(&self, wanted: &StreamOptions, found: &mut Differences) {
        let sorted = |all: &[String]| {
            let mut all = all.to_vec();
            all.sort();
            all.join(", ")
        };
        found.note("subjects", sorted(&self.subjects), wanted.subjects.as_deref().map(sorted));
        found.note("retention", self.retention.to_string(), wanted.retention.map(|r| r.to_string()));
        found.note("storage", self.storage.to_string(), wanted.storage.map(|s| s.to_string()));
        found.note("max_age", lasting(self.max_age, "unlimited"), wanted.max_age.map(|age| lasting(age, "unlimited")));
        found.note("replicas", self.replicas.to_string(), wanted.replicas.map(|n| n.to_string()));
        found.note("dedupe_window", format!("{:?}", self.dedupe_window), wanted.dedupe_window.map(|w| format!("{w:?}")));
        let most = self.max_messages.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
        found.note("max_messages", most, wanted.max_messages.map(|n| n.to_string()));
    }
}

/// How a consumer is configured, as far as a queue depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct ConsumerShape {
    /// Empty is everything.
    pub(in crate::engine) filters: Vec<String>,
    pub(in crate::engine) ack_wait: Duration,
    /// `None` is without limit.
    pub(in crate::engine) max_in_flight: Option<usize>,
    /// `None` is without limit.
    pub(in crate::engine) max_deliver: Option<u64>,
    /// The server's word for how messages are acknowledged.
    pub(in crate::engine) ack_policy: String,
    /// Whether the server sends messages to those who ask, and not to a subject.
    pub(in crate::engine) is_pulled: bool,
}

/// The only way in which several workers can settle messages one by one.
const EXPLICIT: &str = "explicit";

impl ConsumerShape {
    /// What is created.
    pub(in crate::engine) fn made(wanted: &StreamOptions) -> Self {
        let QueueOptions { ack_wait, max_in_flight, .. } = QueueOptions::default();
        Self {
            filters: wanted.filter.iter().cloned().collect(),
            ack_wait: wanted.ack_wait.unwrap_or(ack_wait),
            max_in_flight: Some(wanted.max_in_flight.unwrap_or(max_in_flight)),
            max_deliver: None,
            ack_policy: EXPLICIT.to_owned(),
            is_pulled: true,
        }
    }

    /// Refuses to publish what the consumer leaves out, where there is no other one.
    pub(in crate::engine) fn must_take(&self, subject: Option<String>) -> Result<(), Rejection> {
        let Some(subject) = subject else { return Ok(()) };
        if self.filters.is_empty() || self.filters.iter().any(|filter| has(filter, &subject)) {
            return Ok(());
        }
        let (what, remedy) = ("publishing what the consumer's filter leaves out", "publish on a subject that the filter has");
        Err(Rejection::Unsupported { what, engine: "an embedded engine".to_owned(), remedy })
    }

    /// Compares what a queue cannot live without.
    fn compare_the_essential(&self, found: &mut Differences) {
        found.note("ack_policy", self.ack_policy.clone(), Some(EXPLICIT.to_owned()));
        let kind = |is_pulled| if is_pulled { "pull" } else { "push" };
        found.note("kind of consumer", kind(self.is_pulled).to_owned(), Some(kind(true).to_owned()));
    }

    fn compare(&self, wanted: &StreamOptions, found: &mut Differences) {
        let all = |filters: &[String]| if filters.is_empty() { "everything".to_owned() } else { filters.join(", ") };
        found.note("filter", all(&self.filters), wanted.filter.clone());
        found.note("ack_wait", format!("{:?}", self.ack_wait), wanted.ack_wait.map(|wait| format!("{wait:?}")));
        let unlimited = || "unlimited".to_owned();
        let most = self.max_in_flight.map_or_else(unlimited, |n| n.to_string());
        found.note("max_in_flight", most, wanted.max_in_flight.map(|n| n.to_string()));
        found.note("max_deliver", self.max_deliver.map_or_else(unlimited, |n| n.to_string()), Some(unlimited()));
    }
}

/// Compares what is there with what was asked for, and returns how it differs where that is accepted.
pub(in crate::engine) fn agree(
    name: &str,
    stream: Option<&StreamShape>,
    consumer: Option<&ConsumerShape>,
    wanted: &StreamOptions,
) -> Result<Vec<Difference>, StoreError> {
    let (mut tolerable, mut essential) = (Differences::default(), Differences::default());
    stream.inspect(|stream| stream.compare(wanted, &mut tolerable));
    consumer.inspect(|consumer| consumer.compare(wanted, &mut tolerable));
    consumer.inspect(|consumer| consumer.compare_the_essential(&mut essential));
    let (tolerable, essential) = (Vec::from(tolerable), Vec::from(essential));
    if wanted.accept_drift {
        drift::must_be_none("stream", name, essential)?;
        return Ok(tolerable);
    }
    drift::must_be_none("stream", name, [tolerable, essential].concat())?;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs() -> (StreamShape, ConsumerShape) {
        let stream = StreamShape {
            subjects: vec!["orders.>".to_owned()],
            retention: Retention::Limits,
            storage: Storage::Memory,
            max_age: Duration::ZERO,
            replicas: 1,
            dedupe_window: Duration::from_secs(120),
            max_messages: None,
        };
        let consumer = ConsumerShape {
            filters: vec!["orders.new".to_owned()],
            ack_wait: Duration::from_secs(10),
            max_in_flight: None,
            max_deliver: None,
            ack_policy: EXPLICIT.to_owned(),
            is_pulled: true,
        };
        (stream, consumer)
    }

    fn said(wanted: &StreamOptions, (stream, consumer): &(StreamShape, ConsumerShape)) -> String {
        match agree("orders", Some(stream), Some(consumer), wanted) {
            Err(StoreError::Rejected(drift @ Rejection::Drift { .. })) => drift.to_string(),
            other => panic!("it differs: {other:?}"),
        }
    }

    #[test]
    fn only_what_is_asked_for_is_compared() {
        let (stream, consumer) = theirs();
        let same = StreamOptions::default().subject("orders.>").filter("orders.new").ack_wait(Duration::from_secs(10));
        for wanted in [StreamOptions::default(), same] {
            assert_eq!(agree("orders", Some(&stream), Some(&consumer), &wanted).unwrap(), []);
        }
    }

    #[test]
    fn every_difference_of_the_stream_and_of_the_consumer_is_listed() {
        let (stream, consumer) = theirs();
        let consumer = ConsumerShape { max_deliver: Some(5), ack_policy: "all".to_owned(), is_pulled: false, ..consumer };
        let second = Duration::from_secs(1);
        let wanted = StreamOptions::default().subject("orders").filter("orders").ack_wait(second).max_in_flight(7);
        let wanted = wanted.retention(Retention::WorkQueue).storage(Storage::File).max_age(second).replicas(3);
        let wanted = wanted.dedupe_window(second).max_messages(9);
        let expected = "the stream `orders` is configured otherwise: subjects is orders.>, not orders; retention is limits, not \
                        workqueue; storage is memory, not file; max_age is unlimited, not 1s; replicas is 1, not 3; \
                        dedupe_window is 120s, not 1s; max_messages is unlimited, not 9; filter is orders.new, not orders; \
                        ack_wait is 10s, not 1s; max_in_flight is unlimited, not 7; max_deliver is 5, not unlimited; \
                        ack_policy is all, not explicit; kind of consumer is push, not pull";
        assert_eq!(said(&wanted, &(stream, consumer)), expected);
    }

    #[test]
    fn a_limit_of_deliveries_is_drift_although_nobody_asked() {
        let (stream, consumer) = theirs();
        let limited = ConsumerShape { max_deliver: Some(5), ..consumer };
        let expected = "the stream `orders` is configured otherwise: max_deliver is 5, not unlimited";
        assert_eq!(said(&StreamOptions::default(), &(stream.clone(), limited.clone())), expected);
        let accepted = agree("orders", Some(&stream), Some(&limited), &StreamOptions::as_it_is()).unwrap();
        assert_eq!(accepted.iter().map(|d| d.what).collect::<Vec<_>>(), ["max_deliver"]);
    }

    #[test]
    fn what_no_queue_can_live_with_is_drift_however_it_is_opened() {
        let (stream, consumer) = theirs();
        let shared = ConsumerShape { ack_policy: "none".to_owned(), ..consumer };
        let expected = "the stream `orders` is configured otherwise: ack_policy is none, not explicit";
        assert_eq!(said(&StreamOptions::as_it_is(), &(stream, shared)), expected);
    }

    #[test]
    fn what_is_created_follows_the_defaults_and_what_is_asked_for() {
        let minute = Duration::from_secs(60);
        let made = StreamShape::made("orders", &StreamOptions::default(), 3, Storage::File);
        assert_eq!((&*made.subjects[0], made.retention, made.max_age), ("orders", Retention::WorkQueue, WEEK));
        assert_eq!((made.replicas, made.storage, made.dedupe_window), (3, Storage::File, 2 * minute));
        let short = StreamShape::made("orders", &StreamOptions::default().max_age(minute), 1, Storage::Memory);
        assert_eq!((short.dedupe_window, short.storage), (minute, Storage::Memory));
        let consumer = ConsumerShape::made(&StreamOptions::default());
        assert_eq!((consumer.ack_wait, consumer.max_in_flight, consumer.max_deliver), (minute / 2, Some(10_000), None));
    }

    #[test]
    fn options_out_of_their_range_are_refused() {
        let options = StreamOptions::default;
        let (short, long) = (Duration::from_millis(99), Duration::MAX);
        let bad = [
            options().subject("a..b"),
            options().publish("a.*"),
            options().filter("a.>.b"),
            options().consumer("a.b"),
            options().ack_wait(Duration::from_millis(999)),
            options().max_in_flight(0),
            options().max_age(short),
            options().max_age(long),
            options().dedupe_window(short),
            options().max_age(Duration::from_secs(1)).dedupe_window(Duration::from_secs(2)),
            options().replicas(6),
            options().max_messages(0),
        ];
        for bad in bad {
            assert!(matches!(bad.check(), Err(Rejection::InvalidOption(_))), "{bad:?}");
        }
        options().subject("a.>").publish("a.b").filter("a.*").consumer("c_1").max_age(Duration::ZERO).check().unwrap();
    }

    #[test]
    fn a_message_is_published_on_a_subject_of_the_stream() {
        let has = |options: StreamOptions, subjects: &[&str]| {
            let subjects: Vec<_> = subjects.iter().map(|s| (*s).to_owned()).collect();
            options.publishes_on(&subjects)
        };
        let options = StreamOptions::default;
        assert_eq!(has(options(), &["orders.>", "orders"]).unwrap().as_deref(), Some("orders"));
        assert_eq!(has(options().filter("orders.new"), &["orders.>"]).unwrap().as_deref(), Some("orders.new"));
        assert_eq!(
            has(options().publish("orders.old").filter("orders.new"), &["orders.>"]).unwrap().as_deref(),
            Some("orders.old")
        );
        assert_eq!(has(options().filter("orders.*"), &["orders.>"]).unwrap(), None);
        assert!(matches!(has(options().publish("mail"), &["orders.>"]), Err(Rejection::InvalidOption(_))));
    }
}
