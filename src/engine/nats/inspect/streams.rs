//! Finds streams, by their names or by listing what looks like this library's, and looks at each.
//!
//! Nothing is opened, since opening creates what is missing.

use super::{
    Asked, Asking, Look, drift,
    facts::{Cluster, Kind, StreamFacts, Unseen},
};
use crate::engine::{Name, nats::names::Names};
use serde_json::{Value, json};

/// What was seen of streams.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) streams: Vec<StreamFacts>,
    pub(super) missing: Vec<(Kind, String)>,
    pub(super) unseen: Vec<(String, Unseen)>,
    pub(super) unlisted: Option<Unseen>,
}

/// A stream that is to be looked at.
struct Candidate {
    kind: Kind,
    /// The name that this library knows it by.
    name: Name,
    stream: String,
    consumer: Option<String>,
    /// Whether somebody expects it to be there.
    named: bool,
}

/// What looks like a stream of this library, by its name and its subjects.
fn classify(prefix: &str, stream: &str, subjects: &Value) -> Option<(Kind, Name)> {
    let has = |subject: &str| subjects.as_array().is_some_and(|all| all.iter().any(|s| s == subject));
    let name = |kind: &str| Name::new(stream.strip_prefix(kind)?.strip_prefix(prefix)?).ok();
    if let Some(name) = name("TALLY_").filter(|name| has(&Names::new(prefix, name).tally_subjects())) {
        return Some((Kind::Tally, name));
    }
    let name = name("KV_")?;
    let [keys, queues, timers] = Names::new(prefix, &name).subjects();
    match (has(&keys), has(&queues) && has(&timers)) {
        (true, true) => Some((Kind::Space, name)),
        (true, false) => Some((Kind::Bucket, name)),
        (false, _) => None,
    }
}

impl Look {
    /// Looks at what was named, or else at everything that looks like ours.
    pub(super) async fn streams(&self, asked: &Asked, level: u64) -> Seen {
        let mut seen = Seen::default();
        let mut candidates = self.named(asked);
        if candidates.is_empty() {
            candidates = self.listed(&mut seen).await;
        }
        for candidate in candidates {
            self.look_at(candidate, level, &mut seen).await;
        }
        seen
    }

    fn named(&self, asked: &Asked) -> Vec<Candidate> {
        let mut all = Vec::new();
        for name in &asked.spaces {
            let names = Names::new(&self.prefix, name);
            let (space, counters) = (names.stream(), names.tallies());
            all.push(Candidate { kind: Kind::Space, name: name.clone(), stream: space, consumer: None, named: true });
            all.push(Candidate { kind: Kind::Tally, name: name.clone(), stream: counters, consumer: None, named: false });
        }
        for name in &asked.buckets {
            let stream = Names::new(&self.prefix, name).stream();
            all.push(Candidate { kind: Kind::Bucket, name: name.clone(), stream, consumer: None, named: true });
        }
        for (name, consumer) in &asked.streams {
            let stream = format!("{}{name}", self.prefix);
            all.push(Candidate { kind: Kind::Stream, name: name.clone(), stream, consumer: consumer.clone(), named: true });
        }
        all
    }

    /// Lists all streams of the account, page by page, and takes those that look like ours.
    async fn listed(&self, seen: &mut Seen) -> Vec<Candidate> {
        let mut all = Vec::new();
        let mut offset = 0;
        loop {
            let page = match self.ask("STREAM.LIST", &json!({ "offset": offset })).await {
                Asking::Answer(page) => page,
                Asking::Error(error) => {
                    seen.unlisted = Some(Unseen::Failed(error.to_string()));
                    return all;
                }
                Asking::Unseen(unseen) => {
                    seen.unlisted = Some(unseen);
                    return all;
                }
            };
            let streams = page["streams"].as_array().cloned().unwrap_or_default();
            for stream in &streams {
                let config = &stream["config"];
                let Some(text) = config["name"].as_str() else { continue };
                let Some((kind, name)) = classify(&self.prefix, text, &config["subjects"]) else { continue };
                all.push(Candidate { kind, name, stream: text.to_owned(), consumer: None, named: true });
            }
            // Streams of which nobody answered, known by their names only.
            for stream in page["missing"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                seen.unseen.push((stream.to_owned(), Unseen::Failed("none of its servers answered".to_owned())));
            }
            offset += streams.len();
            if streams.is_empty() || offset as u64 >= page["total"].as_u64().unwrap_or(0) {
                return all;
            }
        }
    }

    async fn look_at(&self, candidate: Candidate, level: u64, seen: &mut Seen) {
        let Candidate { kind, name, stream, consumer, named } = candidate;
        let (asked, started) = (self.link.clock.now(), self.link.clock.instant());
        let info = match self.ask(&format!("STREAM.INFO.{stream}"), &Value::Null).await {
            Asking::Answer(info) => info,
            Asking::Error(error) if error.is_missing() => {
                seen.missing.extend(named.then_some((kind, stream)));
                return;
            }
            Asking::Error(error) => return seen.unseen.push((stream, Unseen::Failed(error.to_string()))),
            // A stream of counters that nobody expects is not missed.
            Asking::Unseen(unseen) => return seen.unseen.extend(named.then_some((stream, unseen))),
        };
        let took = self.link.clock.instant().saturating_duration_since(started);
        let cluster: Option<Cluster> = serde_json::from_value(info["cluster"].clone()).ok();
        let own = self.link.client.server_info().server_name;
        let leader = cluster.as_ref().map(|c| c.leader.clone()).filter(|leader| !leader.is_empty()).unwrap_or(own);
        self.hear(&leader, info["ts"].as_str().unwrap_or_default(), asked, took);
        let config = info["config"].clone();
        let (found, lacks) = match (kind, &consumer) {
            (Kind::Stream, Some(name)) => self.consumer(&stream, name, seen).await,
            _ => (None, false),
        };
        let names = Names::new(&self.prefix, &name);
        let (refused, differences) = drift::of(kind, &stream, &names, (self.shape, level), &config, found.as_ref());
        seen.streams.push(StreamFacts { kind, name: stream, config, cluster, refused, differences, consumer, lacks });
    }

    /// Reads the configuration of a consumer, and tells whether it is known not to be there.
    async fn consumer(&self, stream: &str, name: &str, seen: &mut Seen) -> (Option<Value>, bool) {
        match self.ask(&format!("CONSUMER.INFO.{stream}.{name}"), &Value::Null).await {
            Asking::Answer(info) => return (Some(info["config"].clone()), false),
            Asking::Error(error) if error.is_missing() => return (None, true),
            Asking::Error(error) => {
                seen.unseen.push((format!("{stream}, consumer {name}"), Unseen::Failed(error.to_string())));
            }
            Asking::Unseen(unseen) => seen.unseen.push((format!("{stream}, consumer {name}"), unseen)),
        }
        (None, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_ours_is_told_by_name_and_subjects() {
        let of = |prefix: &str, stream: &str, subjects: &[&str]| {
            classify(prefix, stream, &json!(subjects)).map(|(kind, name)| (kind, name.to_string()))
        };
        let space = ["$KV.x-a.>", "x-a.queue.>", "x-a.timer.>"];
        assert_eq!(of("", "KV_x-a", &space), Some((Kind::Space, "x-a".to_owned())));
        assert_eq!(of("x-", "KV_x-a", &space), Some((Kind::Space, "a".to_owned())));
        assert_eq!(of("y-", "KV_x-a", &space), None);
        assert_eq!(of("", "KV_x-a", &space[..1]), Some((Kind::Bucket, "x-a".to_owned())));
        assert_eq!(of("", "KV_x-a", &space[1..]), None);
        assert_eq!(of("", "TALLY_a", &["a.tally.>"]), Some((Kind::Tally, "a".to_owned())));
        assert_eq!(of("", "ORDERS", &["orders.>"]), None);
    }
}
