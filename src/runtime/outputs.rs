//! Large values in keys of their own, found again by digest.
//!
//! A value is written before the snapshot that names it: a crash in between leaves an orphan, never a dangling name. The key
//! holds the digest, so writing the same value again is harmless. It does not know whose value it is.

use super::RunError;
use crate::{
    core::snapshot::{Stored, Value},
    engine::{Expect, Key, PutOptions, Store, StoreError},
};
use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// Chunks stay well below the smallest server limit, with room for headers.
const CHUNK: usize = 512 << 10;

#[derive(Debug, Clone)]
pub(super) struct Outputs {
    store: Arc<dyn Store>,
    /// `out.<topology>`
    base: Key,
    inline_limit: usize,
}

pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl Outputs {
    pub(super) fn new(store: Arc<dyn Store>, base: Key, inline_limit: usize) -> Self {
        Self { store, base, inline_limit }
    }

    /// Keeps a value where its size says.
    pub(super) async fn keep(&self, run: &str, bytes: Bytes) -> Result<Value, StoreError> {
        if bytes.len() <= self.inline_limit { Ok(Value::Inline(bytes)) } else { self.store(run, &bytes).await }
    }

    /// Keeps a value out of line.
    pub(super) async fn store(&self, run: &str, bytes: &Bytes) -> Result<Value, StoreError> {
        let sha256 = digest(bytes);
        let key = self.of_run(run).join(&hex(&sha256[..16]));
        let chunk = CHUNK.min(self.store.capabilities().max_value);
        let mut chunks = 0;
        for start in (0..bytes.len()).step_by(chunk) {
            let part = bytes.slice(start..bytes.len().min(start + chunk));
            let key = key.join(&chunks.to_string());
            self.store.put(&key, part, Expect::Anything, PutOptions::default()).await?;
            chunks += 1;
        }
        Ok(Value::Stored(Stored { key: key.as_str().to_owned(), chunks, size: bytes.len() as u64, sha256 }))
    }

    /// Reads a value wherever it is.
    pub(super) async fn fetch(&self, value: &Value) -> Result<Bytes, RunError> {
        let stored = match value {
            Value::Inline(bytes) => return Ok(bytes.clone()),
            Value::Stored(stored) => stored,
        };
        let lost = || RunError::ValueLost(stored.key.clone());
        let mut bytes = BytesMut::new();
        for key in chunk_keys(stored)? {
            bytes.extend_from_slice(&self.store.get(&key).await?.ok_or_else(lost)?.value);
        }
        if digest(&bytes) == stored.sha256 { Ok(bytes.freeze()) } else { Err(lost()) }
    }

    /// Reads several, and leaves a gap where there is none.
    pub(super) async fn fetch_all<V: std::borrow::Borrow<Value>>(
        &self,
        values: &[Option<V>],
    ) -> Result<Vec<Option<Bytes>>, RunError> {
        let mut fetched = Vec::with_capacity(values.len());
        for value in values {
            fetched.push(match value {
                Some(value) => Some(self.fetch(value.borrow()).await?),
                None => None,
            });
        }
        Ok(fetched)
    }

    /// Lets a value that is out of line expire together with its run.
    pub(super) async fn expire(&self, value: &Value, ttl: Duration) -> Result<(), RunError> {
        let Value::Stored(stored) = value else { return Ok(()) };
        for key in chunk_keys(stored)? {
            if let Some(entry) = self.store.get(&key).await? {
                self.store.put(&key, entry.value, Expect::At(entry.revision), PutOptions::default().ttl(ttl)).await?;
            }
        }
        Ok(())
    }

    /// The key below which a run's values are.
    pub(super) fn of_run(&self, run: &str) -> Key {
        self.base.join(&Key::token(run))
    }
}

fn chunk_keys(stored: &Stored) -> Result<Vec<Key>, RunError> {
    let keys = (0..stored.chunks).map(|chunk| Key::new(format!("{}.{chunk}", stored.key)));
    Ok(keys.collect::<Result<_, _>>()?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
