//! A tally that misbehaves: what is added may be added and not answered.

use super::{
    Trouble,
    call::{Call, Op},
};
use crate::engine::{Key, StoreError, Tally};
use async_trait::async_trait;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct FaultyTally {
    pub(super) inner: Arc<dyn Tally>,
    pub(super) place: Box<str>,
    pub(super) trouble: Arc<Trouble>,
}

impl FaultyTally {
    fn call<'a>(&'a self, op: Op, key: &'a Key) -> Call<'a> {
        Call { keys: vec![key], ..Call::new(op, &self.place) }
    }
}

#[async_trait]
impl Tally for FaultyTally {
    async fn add(&self, key: &Key, delta: i64) -> Result<i128, StoreError> {
        self.trouble.around(&self.call(Op::Add, key), self.inner.add(key, delta)).await
    }

    async fn value(&self, key: &Key) -> Result<Option<i128>, StoreError> {
        self.trouble.around(&self.call(Op::Value, key), self.inner.value(key)).await
    }
}
