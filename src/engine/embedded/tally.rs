//! Counters of a space: one row each, and an addition is one request of a group commit.

use super::{
    Core,
    database::{Batch, COUNTERS, Fault, SpaceId, unreadable},
    store::check_key,
};
use crate::engine::{Key, Name, Rejection, StoreError, Tally};
use async_trait::async_trait;
use redb::{ReadableDatabase as _, ReadableTable as _};
use std::sync::Arc;

/// The counters of one space.
#[derive(Debug)]
pub(super) struct EmbeddedTally {
    core: Arc<Core>,
    space: SpaceId,
}

impl EmbeddedTally {
    pub(super) async fn open(core: Arc<Core>, name: &Name) -> Result<Self, StoreError> {
        let name = name.clone();
        let space = core.writer.submit(move |batch| Ok(batch.space(name.as_str())?)).await?;
        Ok(Self { core, space })
    }
}

impl Batch<'_> {
    /// Adds to a counter. Where the sum is beyond a counter nothing is written.
    fn count(&mut self, space: SpaceId, key: &Key, delta: i64) -> Result<i128, Fault> {
        let key = key.as_str();
        let before = self.tables.counters.get((space, key))?.map_or(0, |count| count.value());
        let Some(count) = before.checked_add(delta.into()) else {
            return Err(Rejection::InvalidOption("a counter cannot hold that much").into());
        };
        self.tables.counters.insert((space, key), count)?;
        Ok(count)
    }
}

#[async_trait]
impl Tally for EmbeddedTally {
    async fn add(&self, key: &Key, delta: i64) -> Result<i128, StoreError> {
        check_key(key)?;
        let (space, key) = (self.space, key.clone());
        self.core.writer.submit(move |batch| batch.count(space, &key, delta)).await
    }

    async fn value(&self, key: &Key) -> Result<Option<i128>, StoreError> {
        check_key(key)?;
        let snapshot = self.core.writer.database.begin_read().map_err(unreadable)?;
        let counters = snapshot.open_table(COUNTERS).map_err(unreadable)?;
        Ok(counters.get((self.space, key.as_str())).map_err(unreadable)?.map(|count| count.value()))
    }
}
