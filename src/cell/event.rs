//! What happens to keys, as values of their type: what is there first, then every change.
//!
//! A slow reader sees the newest change of each key, and not each. Values that cannot be read are told, and end nothing.

use super::{error::CellError, shelf::decode};
use crate::{
    codec::Codec,
    engine::{Change, Entry, Key, Revision, Version},
    time::Timestamp,
};
use futures_util::{
    Stream,
    stream::{BoxStream, StreamExt as _},
};

/// A value and the write that stored it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored<T> {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: T,
    /// The write that stored it.
    pub revision: Revision,
    /// When the engine stored it, by the engine's clock.
    pub written_at: Timestamp,
}

impl<T> Stored<T> {
    pub(super) fn read(codec: Codec<T>, entry: Entry) -> Result<Self, CellError> {
        let value = decode(codec, &entry)?;
        Ok(Self { key: entry.key, value, revision: entry.revision, written_at: entry.written_at })
    }
}

/// What a key held, or that it held nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Past<T> {
    /// The value; `None` for a removal.
    pub value: Option<T>,
    /// The write that stored or removed it.
    pub revision: Revision,
    /// When the engine did, by the engine's clock.
    pub written_at: Timestamp,
}

impl<T> Past<T> {
    pub(super) fn read(codec: Codec<T>, key: &Key, version: Version) -> Result<Self, CellError> {
        let Version { revision, written_at, value, .. } = version;
        let value = value.map(|bytes| codec.decode(&bytes)).transpose();
        let value = value.map_err(|source| CellError::Corrupt { key: key.clone(), revision, source })?;
        Ok(Self { value, revision, written_at })
    }
}

/// What a watch tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<T> {
    /// This was there when the watch began, or began anew after a gap.
    Initial(Stored<T>),
    /// Everything that was there has been told; changes follow. Comes also when nothing was there.
    Synced,
    /// This was stored.
    Put(Stored<T>),
    /// The key was deleted, with this revision.
    Deleted(Key, Revision),
    /// The key's time ran out, at this revision.
    Expired(Key, Revision),
    /// Changes were missed. What is there now follows as [`Initial`](Self::Initial), up to [`Synced`](Self::Synced); what is not
    /// among it is gone.
    Resynced,
    /// What was stored is no value of this type: [`CellError::Corrupt`].
    Unreadable(CellError),
}

/// Makes events of a store's changes.
pub(super) fn events<T: Send + 'static>(
    codec: Codec<T>,
    changes: BoxStream<'static, Change>,
) -> impl Stream<Item = Event<T>> + Send + Unpin + 'static {
    let mut first = true;
    changes.map(move |change| match change {
        Change::Put(entry) => match Stored::read(codec, entry) {
            Ok(stored) if first => Event::Initial(stored),
            Ok(stored) => Event::Put(stored),
            Err(error) => Event::Unreadable(error),
        },
        Change::Deleted(key, revision) => Event::Deleted(key, revision),
        Change::Expired(key, revision) => Event::Expired(key, revision),
        Change::Synced => {
            first = false;
            Event::Synced
        }
        Change::Resynced => {
            first = true;
            Event::Resynced
        }
    })
}
