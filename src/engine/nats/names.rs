//! Names on the wire: the stream, the subjects and the headers of a space, as `docs/wire.md` lists them.
//!
//! `=` marks what belongs to no queue: it is in no [`Name`], so no two names ever meet. Nothing here talks to a server.

use super::ids::unique_text;
use crate::engine::{Key, MAX_KEY_BYTES, Name, NameError, Scope};
use async_nats::{HeaderName, Subject};
use std::time::Duration;

/// The write id of a message, the ring of writes before it, and the label that was put with the value.
pub(super) const WRITE: &str = "Anabranch-Write";
/// Where earlier versions put the label.
pub(super) const LABEL: &str = "Anabranch-Label";
/// The id of a message that a timer sends: the server drops `Nats-Msg-Id` when it fires one.
pub(super) const MESSAGE: &str = "Anabranch-Id";

pub(super) const MSG_ID: &str = "Nats-Msg-Id";
pub(super) const TTL: &str = "Nats-TTL";
pub(super) const INCREMENT: &str = "Nats-Incr";
pub(super) const KV_OPERATION: &str = "KV-Operation";
pub(super) const MARKER_REASON: &str = "Nats-Marker-Reason";
pub(super) const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
pub(super) const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
pub(super) const BATCH_ID: &str = "Nats-Batch-Id";
pub(super) const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
pub(super) const BATCH_COMMIT: &str = "Nats-Batch-Commit";
pub(super) const SCHEDULE: &str = "Nats-Schedule";
pub(super) const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";

/// The headers of every write, ready made: a name is checked and copied otherwise, each time.
pub(super) static WRITE_NAME: HeaderName = HeaderName::from_static(WRITE);
pub(super) static EXPECTED_NAME: HeaderName = HeaderName::from_static(EXPECTED);
pub(super) static TTL_NAME: HeaderName = HeaderName::from_static(TTL);

/// How long a deleted key's tombstone stays, so that watchers that were away see it.
pub(super) const TOMBSTONE_TTL: Duration = Duration::from_secs(24 * 3600);
/// How long the server's marker of an expired key stays.
pub(super) const MARKER_TTL: Duration = Duration::from_secs(3600);
/// How long a message stays that is there only to carry a condition.
pub(super) const CARRIER_TTL: Duration = Duration::from_secs(60);
/// How long the stream of a space remembers message ids at least; a queue that wants more widens it.
pub(super) const WINDOW: Duration = Duration::from_secs(120);

/// Writes a TTL as the header wants it, rounded up: a value never lives shorter than was asked for.
pub(super) fn ttl_text(ttl: Duration) -> String {
    format!("{}s", ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0))
}

/// Reads the TTL of a write, as this library or another client in seconds has written it.
pub(super) fn ttl_of(text: &str) -> Option<Duration> {
    text.strip_suffix('s').unwrap_or(text).parse().ok().map(Duration::from_secs)
}

/// Tells whether a filter, which is one subject or ends in a wildcard for all that is below, has a subject.
pub(super) fn takes(filter: &str, subject: &str) -> bool {
    filter.strip_suffix('>').map_or(filter == subject, |above| subject.len() > above.len() && subject.starts_with(above))
}

/// The names of one space.
#[derive(Debug, Clone)]
pub(super) struct Names {
    space: String,
    /// What is on the way of every read and write, ready made: the subjects of all keys, and where messages are asked for.
    below: String,
    direct: Subject,
}

impl Names {
    pub(super) fn new(prefix: &str, space: &Name) -> Self {
        let space = format!("{prefix}{space}");
        Self { below: format!("$KV.{space}."), direct: format!("$JS.API.DIRECT.GET.KV_{space}").into(), space }
    }

    /// The space itself, with its prefix: to other clients it is the name of a bucket.
    pub(super) fn space(&self) -> &str {
        &self.space
    }

    /// The stream that is the space.
    pub(super) fn stream(&self) -> String {
        format!("KV_{}", self.space)
    }

    /// The subjects that the space's stream stores.
    pub(super) fn subjects(&self) -> [String; 3] {
        let space = &self.space;
        [format!("$KV.{space}.>"), format!("{space}.queue.>"), format!("{space}.timer.>")]
    }

    /// The subject of a key.
    pub(super) fn key(&self, key: &Key) -> Result<String, NameError> {
        check(key)?;
        Ok([self.below.as_str(), key.as_str()].concat())
    }

    /// Where a replica is asked for messages. The server can also be asked at a subject that has the message's subject in it, and
    /// that takes it longer where there are many: what it knows of a subject that it is asked at, it remembers for a few hundred.
    pub(super) fn direct(&self) -> Subject {
        self.direct.clone()
    }

    /// The key of a subject; `None` when it is not one, such as a key that another client wrote with another alphabet.
    pub(super) fn key_of(&self, subject: &str) -> Option<Key> {
        Key::new(subject.strip_prefix(&*self.below)?).ok()
    }

    /// The subjects of the keys of a scope.
    pub(super) fn keys(&self, scope: &Scope) -> Result<String, NameError> {
        match scope {
            Scope::All => Ok(format!("{}>", self.below)),
            Scope::Below(key) => Ok(format!("{}.>", self.key(key)?)),
            Scope::Only(key) => self.key(key),
        }
    }

    /// The subject of a message: `unique` makes it one of its own, since the stream keeps one message a subject.
    pub(super) fn message(&self, queue: &Name, unique: &str) -> String {
        format!("{}.queue.{queue}.{unique}", self.space)
    }

    /// The subjects of all messages of a queue.
    pub(super) fn messages(&self, queue: &Name) -> String {
        self.message(queue, ">")
    }

    /// The subject of a message that only carries a condition, and belongs to no queue.
    pub(super) fn carrier(&self, unique: &str) -> String {
        format!("{}.queue.=.{unique}", self.space)
    }

    /// The consumer that all workers of a queue share.
    pub(super) fn consumer(queue: &Name) -> String {
        format!("queue-{queue}")
    }

    /// The stream of the space's counters.
    pub(super) fn tallies(&self) -> String {
        format!("TALLY_{}", self.space)
    }

    /// The subjects of all its counters.
    pub(super) fn tally_subjects(&self) -> String {
        format!("{}.tally.>", self.space)
    }

    /// The subject of a counter.
    pub(super) fn tally(&self, key: &Key) -> Result<String, NameError> {
        check(key)?;
        Ok(format!("{}.tally.{key}", self.space))
    }

    /// The subject where a timer is armed.
    pub(super) fn timer(&self, name: &Key) -> Result<String, NameError> {
        check(name)?;
        Ok(format!("{}.timer.{name}", self.space))
    }
}

/// A key that grew by joining is checked where it becomes a subject.
fn check(key: &Key) -> Result<(), NameError> {
    let length = key.as_str().len();
    if length > MAX_KEY_BYTES { Err(NameError::TooLong { length, limit: MAX_KEY_BYTES }) } else { Ok(()) }
}

/// The id under which the server recognizes a repetition. It names the queue, because ids are stream-wide and one commit may
/// send one id to two queues.
pub(super) fn wire_id(queue: &Name, id: &str) -> String {
    format!("{queue}:{id}")
}

/// Makes the id of a message that has none, only to recognize a repetition of it; it begins as no queue's name does.
pub(super) fn unnamed_id() -> String {
    ["=", &unique_text()].concat()
}

/// Tells whether [`unnamed_id`] made an id.
pub(super) fn is_unnamed(id: &str) -> bool {
    id.strip_prefix('=').is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The id that [`wire_id`] was made of; an id that another client gave is taken as it is.
pub(super) fn plain_id(queue: &Name, wire: &str) -> String {
    wire.strip_prefix(queue.as_str()).and_then(|rest| rest.strip_prefix(':')).unwrap_or(wire).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_two_spaces_never_meet() {
        let name = |n: &str| Name::new(n).unwrap();
        let (a, b) = (Names::new("", &name("a-b")), Names::new("", &name("a")));
        assert_ne!(a.messages(&name("c")), b.messages(&name("b-c")));
        assert_ne!(b.carrier("c"), b.message(&name("c"), "c"));
        assert_eq!(b.key_of("$KV.a.run.1"), Some(Key::new("run.1").unwrap()));
        assert_eq!(b.key_of("$KV.a-b.run.1"), None);
    }

    #[test]
    fn a_filter_has_what_is_below_it_and_nothing_beside() {
        assert!(takes("a.>", "a.b") && takes("a.>", "a.b.c") && takes("a.b", "a.b"));
        assert!(!takes("a.>", "a.") && !takes("a.>", "ab.c") && !takes("a.b", "a.b.c") && !takes("a.b.>", "a.b"));
    }

    #[test]
    fn a_ttl_is_rounded_up_to_whole_seconds() {
        assert_eq!(ttl_text(Duration::from_millis(1001)), "2s");
        assert_eq!(ttl_text(Duration::from_secs(3)), "3s");
        assert_eq!(ttl_of(&ttl_text(Duration::from_millis(1001))), Some(Duration::from_secs(2)));
        assert_eq!((ttl_of("60"), ttl_of("never")), (Some(Duration::from_secs(60)), None));
    }

    #[test]
    fn an_id_comes_back_from_the_wire() {
        let queue = Name::new("mail").unwrap();
        assert_eq!(plain_id(&queue, &wire_id(&queue, "a:b")), "a:b");
        assert_eq!(plain_id(&queue, "foreign"), "foreign");
        assert!(is_unnamed(&unnamed_id()) && !is_unnamed(&wire_id(&queue, "a")) && !is_unnamed("=") && !is_unnamed("=foreign"));
    }
}
