//! Every engine of this crate, held to the one contract.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use anabranch::{
    engine::Engine,
    engine_conformance,
    testing::{
        conformance::{differential, fresh_space, under_faults},
        faulty::{FaultyEngine, Mishaps, Odds},
        seeds,
    },
    time::{Clock, Timestamp},
};
use std::{borrow::Borrow, time::Duration};
use tempfile::TempDir;

engine_conformance!(memory, Engine::open("memory:").await.unwrap());

engine_conformance!(file, OnFile::open().await);

engine_conformance!(late, {
    let faulty = FaultyEngine::over(&Engine::open("memory:").await.unwrap(), Clock::system(), 1);
    let most = Duration::from_millis(2);
    faulty.trouble().odds(Odds { latency: most, ..Odds::default() });
    faulty.trouble().mishaps(Mishaps { late: most, silence: 20, outage: most, ..Mishaps::default() });
    faulty.engine()
});

/// An engine on a file that goes with it.
struct OnFile {
    engine: Engine,
    _directory: TempDir,
}

impl OnFile {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("anabranch.redb");
        Self { engine: Engine::open(&format!("file:{}", path.display())).await.unwrap(), _directory: directory }
    }
}

impl Borrow<Engine> for OnFile {
    fn borrow(&self) -> &Engine {
        &self.engine
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_history_has_the_same_outcome_in_memory_and_on_a_file() {
    let (memory, file) = (Engine::open("memory:").await.unwrap(), OnFile::open().await);
    for seed in 0..8 {
        differential(&fresh_space(&memory).await, &fresh_space(&file.engine).await, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_contract_holds_in_memory_under_faults() {
    for seed in seeds(200) {
        let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
        under_faults(&Engine::open_with("memory:", clock).await.unwrap(), seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_contract_holds_on_a_file_under_faults() {
    for seed in seeds(40) {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
        let url = format!("file:{}", directory.path().join("anabranch.redb").display());
        under_faults(&Engine::open_with(&url, clock).await.unwrap(), seed).await;
    }
}
