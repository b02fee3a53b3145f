//! Names in the store and on the way: the keys of schedules and delayed messages, their labels, and the message of a timer.
//!
//! A timer says which key it is about and for when it was armed, so whoever gets its message sees whether it is still the one
//! that the key waits for. A label says when its key is due, so that keys can be listed by time without their values.

use crate::{
    engine::{Key, Message, Name, NameError, PutOptions},
    time::Timestamp,
};

/// The queue to which timers send.
pub(super) const QUEUE: &str = "schedule-wakes";
/// The label of what is never due.
const NEVER: &str = "never";

/// What waits for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Schedule,
    Delayed,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Schedule, Self::Delayed];

    /// What is before the name in a key.
    pub(super) fn prefix(self) -> Key {
        let word = match self {
            Self::Schedule => "schedule",
            Self::Delayed => "delayed",
        };
        Key::new(word).expect("a word is a key")
    }

    pub(super) fn key(self, name: &str) -> Result<Key, NameError> {
        // Once more through the checks, since it has grown.
        Key::new(self.prefix().join(&Key::token(name)).as_str())
    }

    /// Reads a key back; `None` when it is another one's.
    pub(super) fn of(key: &Key) -> Option<(Self, String)> {
        let name = Key::untoken(key.last_token())?;
        Self::ALL.into_iter().find(|kind| kind.key(&name).is_ok_and(|own| own == *key)).map(|kind| (kind, name))
    }
}

/// A key and the time for which its timer was armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wake {
    pub(super) key: Key,
    pub(super) at: Timestamp,
}

impl Wake {
    pub(super) fn queue() -> Name {
        Name::new(QUEUE).expect("a word is a name")
    }

    pub(super) fn message(&self) -> Message {
        Message::new(format!("{} {}", self.key, self.at.as_micros()))
    }

    /// Reads it back; `None` when somebody else has sent something.
    pub(super) fn of(message: &Message) -> Option<Self> {
        let (key, at) = std::str::from_utf8(&message.payload).ok()?.split_once(' ')?;
        Some(Self { key: Key::new(key).ok()?, at: Timestamp::from_micros(at.parse().ok()?) })
    }
}

/// What a key's label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    /// When it is due.
    pub(super) due: Option<Timestamp>,
    /// Whether a timer was armed for it.
    pub(super) timer: bool,
}

impl Label {
    pub(super) fn options(self) -> PutOptions {
        let road = if self.timer { "timer" } else { "index" };
        let due = self.due.map_or_else(|| NEVER.to_owned(), |due| due.as_micros().to_string());
        PutOptions::default().label(format!("{road}:{due}"))
    }

    /// Reads it back; `None` when another client wrote the key.
    pub(super) fn of(label: Option<&str>) -> Option<Self> {
        let (road, due) = label?.split_once(':')?;
        let due = if due == NEVER { None } else { Some(Timestamp::from_micros(due.parse().ok()?)) };
        Some(Self { due, timer: road == "timer" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_labels_and_wakes_are_read_back() {
        for name in ["nightly", "a.b c", "\u{fc}"] {
            for kind in Kind::ALL {
                let key = kind.key(name).unwrap();
                assert_eq!(Kind::of(&key), Some((kind, name.to_owned())));
                let wake = Wake { key, at: Timestamp::from_micros(-5) };
                assert_eq!(Wake::of(&wake.message()), Some(wake));
            }
        }
        for foreign in ["run.a.b", "schedule", "schedule.a.b", "delayed"] {
            assert_eq!(Kind::of(&Key::new(foreign).unwrap()), None, "{foreign}");
        }
        assert_eq!(Wake::of(&Message::new("nonsense")), None);
        for (due, timer) in [(None, true), (Some(Timestamp::from_micros(7)), false)] {
            let label = Label { due, timer };
            assert_eq!(Label::of(label.options().label.as_deref()), Some(label));
        }
        assert_eq!(Label::of(Some("running.w")), None);
    }
}
