//! A process that counts what it has allocated, and keys that are touched.
//!
//! Whoever uses it is alone in its process.

use anabranch::cell::Cells;
use futures_util::future::join_all;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

pub(crate) const KEYS: usize = 100_000;

/// What is held of what was allocated since this was made.
pub(crate) struct Held(Region<'static, System>);

impl Held {
    pub(crate) fn from_now_on() -> Self {
        Self(Region::new(ALLOCATOR))
    }

    pub(crate) fn bytes(&self) -> usize {
        let change = self.0.change();
        change.bytes_allocated.saturating_sub(change.bytes_deallocated)
    }
}

/// How many tasks are alive.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Updates some keys, a thousand at a time.
pub(crate) async fn touch(cells: &Cells<u64>, from: usize, to: usize) {
    for start in (from..to).step_by(1000) {
        join_all((start..start + 1000).map(|n| {
            let cell = cells.cell(&format!("a.key.with.number.{n}")).unwrap();
            async move { cell.update(|n| *n += 1).await.unwrap() }
        }))
        .await;
    }
}
