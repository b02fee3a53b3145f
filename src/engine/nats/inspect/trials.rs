//! Tries what the library does, so that a server shows whether it permits it, and nothing comes of it.
//!
//! A server denies a message before it looks at it, so what it cannot understand is enough: a body that is no JSON is refused by
//! every call of the API, and a message for another stream by every stream. A request for messages that is no JSON would be taken for
//! a number, and a purge without a body for all of it: the body begins as an object does, and ends there.

use super::{
    Asked, Look,
    facts::{Kind, Outcome, Trial},
    streams::Seen,
};
use crate::{
    engine::nats::{errors::Lapse, names::Names},
    error::chain,
};
use async_nats::HeaderMap;
use bytes::Bytes;

/// Begins an object, and does not end it: no version of the server reads it as anything.
const NONSENSE: &[u8] = b"{\"anabranch doctor\":";

/// Names that nobody uses: `=` is in no name of this library.
const NOBODY: &str = "=doctor";

/// A stream of this name is on no server.
const ELSEWHERE: &str = "anabranch=doctor";

/// What is published where.
struct Attempt {
    subject: String,
    purpose: &'static str,
    /// Whether it is a message for a stream, and not a request to the API.
    stored: bool,
}

fn api(verb: &str, purpose: &'static str) -> Attempt {
    Attempt { subject: format!("$JS.API.{verb}"), purpose, stored: false }
}

/// What the library publishes on, for a space.
fn of_a_space(stream: &str) -> Vec<Attempt> {
    let space = stream.strip_prefix("KV_").unwrap_or(stream);
    let stored = |subject: String, purpose| Attempt { subject, purpose, stored: true };
    vec![
        api(&format!("STREAM.CREATE.{stream}"), "to create the space"),
        api(&format!("STREAM.UPDATE.{stream}"), "to remember message ids for as long as a queue asks for"),
        api(&format!("STREAM.MSG.GET.{stream}"), "to read keys from the leader, and to settle messages"),
        api(&format!("DIRECT.GET.{stream}"), "to read keys"),
        api(&format!("STREAM.MSG.DELETE.{stream}"), "to remove messages that are settled"),
        api(&format!("STREAM.PURGE.{stream}"), "to remove messages that are settled"),
        api(&format!("CONSUMER.CREATE.{stream}.{NOBODY}"), "to watch keys, and to open queues"),
        api(&format!("CONSUMER.INFO.{stream}.{NOBODY}"), "to open queues"),
        api(&format!("CONSUMER.DELETE.{stream}.{NOBODY}"), "to end a watch"),
        api(&format!("CONSUMER.MSG.NEXT.{stream}.{NOBODY}"), "to take messages"),
        Attempt { subject: format!("$JS.ACK.{stream}.{NOBODY}.1.1.1.1.0"), purpose: "to settle messages", stored: false },
        Attempt { subject: format!("$JS.FC.{stream}.{NOBODY}.1"), purpose: "to keep up with a watch", stored: false },
        stored(format!("$KV.{space}.{NOBODY}"), "to write keys"),
        stored(format!("{space}.queue.=.{NOBODY}"), "to send messages"),
        stored(format!("{space}.timer.{NOBODY}"), "to arm timers"),
    ]
}

/// What the library publishes on, for a bucket.
fn of_a_bucket(stream: &str) -> Vec<Attempt> {
    let bucket = stream.strip_prefix("KV_").unwrap_or(stream);
    vec![
        api(&format!("STREAM.MSG.GET.{stream}"), "to read keys from the leader"),
        api(&format!("DIRECT.GET.{stream}"), "to read keys"),
        api(&format!("CONSUMER.CREATE.{stream}.{NOBODY}"), "to watch keys"),
        Attempt { subject: format!("$KV.{bucket}.{NOBODY}"), purpose: "to write keys", stored: true },
    ]
}

/// What the library publishes on, for a stream and its consumer.
fn of_a_stream(stream: &str, consumer: &str) -> Vec<Attempt> {
    vec![
        api(&format!("CONSUMER.INFO.{stream}.{consumer}"), "to open the consumer"),
        api(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}"), "to take messages"),
        Attempt { subject: format!("$JS.ACK.{stream}.{consumer}.1.1.1.1.0"), purpose: "to settle messages", stored: false },
    ]
}

impl Look {
    /// Tries everything that the library does with the streams that were seen, and with those that were named.
    pub(super) async fn trials(&self, seen: &Seen, asked: &Asked) -> Vec<Trial> {
        let mut all = vec![api("INFO", "to find out what the server can do")];
        for name in &asked.spaces {
            all.push(api(&format!("STREAM.INFO.{}", Names::new(&self.prefix, name).stream()), "to open the space"));
        }
        for name in &asked.buckets {
            all.push(api(&format!("STREAM.INFO.{}", Names::new(&self.prefix, name).stream()), "to open the bucket"));
        }
        for (name, consumer) in &asked.streams {
            all.push(api(&format!("STREAM.INFO.{}{name}", self.prefix), "to open the stream"));
            let stream = format!("{}{name}", self.prefix);
            all.extend(consumer.iter().flat_map(|consumer| of_a_stream(&stream, consumer)));
        }
        let named: Vec<String> = asked.spaces.iter().map(|name| Names::new(&self.prefix, name).stream()).collect();
        let found = |kind: Kind| seen.streams.iter().filter(move |s| s.kind == kind).map(|s| s.name.clone());
        let mut spaces = named;
        spaces.extend(found(Kind::Space));
        spaces.sort();
        spaces.dedup();
        all.extend(spaces.iter().flat_map(|stream| of_a_space(stream)));
        all.extend(found(Kind::Bucket).flat_map(|stream| of_a_bucket(&stream)));
        for stream in found(Kind::Tally) {
            let space = stream.strip_prefix("TALLY_").unwrap_or(&stream);
            all.push(Attempt { subject: format!("{space}.tally.{NOBODY}"), purpose: "to add to counters", stored: true });
            all.push(api(&format!("STREAM.MSG.GET.{stream}"), "to read counters"));
        }
        let mut trials = Vec::new();
        for attempt in all {
            trials.push(self.attempt(attempt).await);
        }
        trials
    }

    async fn attempt(&self, Attempt { subject, purpose, stored }: Attempt) -> Trial {
        let mut headers = HeaderMap::new();
        let payload = if stored {
            // No stream takes it, also where the subject is another's.
            headers.insert("Nats-Expected-Stream", ELSEWHERE);
            Bytes::new()
        } else {
            Bytes::from_static(NONSENSE)
        };
        let outcome = match self.link.request(subject.clone(), headers, payload).await {
            // Whatever is said, and that nobody listens, was let through.
            Ok(_) | Err(Lapse::Deaf) => Outcome::Permitted,
            Err(Lapse::Refused(why)) => Outcome::Denied(why.to_string()),
            Err(lapse) => self.link.deaf().map_or_else(|| Outcome::Silent(chain(&lapse)), Outcome::Denied),
        };
        Trial { subject, purpose, outcome }
    }
}
