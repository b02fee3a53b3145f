//! What the bodies of `testing::fuzz` reach of this room: the messages of timers, and the keys that they name. It asserts nothing.

use super::wake::{Kind, Wake};
use crate::engine::{Key, Message};

/// Reads the message of a timer, and makes it again.
pub(crate) fn wake(message: &Message) -> Option<Message> {
    Wake::of(message).map(|wake| wake.message())
}

/// Reads the name of a schedule or a delayed message from its key, and makes the key again.
pub(crate) fn key(key: &Key) -> Option<(String, Option<Key>)> {
    let (kind, name) = Kind::of(key)?;
    let again = kind.key(&name).ok();
    Some((name, again))
}
