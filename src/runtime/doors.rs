//! What the bodies of `testing::fuzz` reach of this room: its records, read and written again. It asserts nothing.

use super::{DeadLetter, pb, record::Label};
use crate::engine::{Key, KeyInfo, Revision};
use bytes::Bytes;
use prost::Message as _;

/// Reads a heartbeat, and writes it again.
pub(crate) fn heartbeat(bytes: &[u8]) -> Option<Bytes> {
    let beat = pb::Heartbeat::decode(bytes).ok()?;
    Some(beat.encode_to_vec().into())
}

/// Writes a dead letter again.
pub(crate) fn dead_letter(letter: &DeadLetter) -> Bytes {
    letter.encode()
}

/// Reads the label of a run's key: its status, and the worker that has it.
pub(crate) fn label(key: Key, label: &str) -> Option<(&'static str, Option<String>)> {
    let label = Label::parse(&KeyInfo::new(key, Revision::new(1), Some(label.into())))?;
    Some((label.status.name(), label.worker))
}
