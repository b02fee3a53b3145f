//! The contract on a real nats-server while everything goes wrong: in front of the engine, and on the wire to the server.
#![cfg(feature = "nats")]

use anabranch::{
    engine::Engine,
    testing::{
        conformance::{self, differential, fresh_space, in_time, in_trouble, under_faults},
        seeds,
        server::{NatsCluster, NatsServer},
        wire::Wire,
    },
    time::Clock,
};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::sync::Notify;

async fn some_at_a_time(engine: &Engine, seeds: std::ops::Range<u64>) {
    let all: Vec<u64> = seeds.collect();
    for some in all.chunks(5) {
        join_all(some.iter().map(|seed| under_faults(engine, *seed))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_a_server_under_faults() {
    let engine = Engine::open(&NatsServer::shared().await.url()).await.unwrap();
    some_at_a_time(&engine, seeds(20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: on three replicas"]
async fn the_contract_holds_on_a_cluster_under_faults() {
    let engine = Engine::open(&NatsCluster::shared().await.url()).await.unwrap();
    some_at_a_time(&engine, seeds(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_connections_that_lose_what_is_said_and_break() {
    let url = NatsServer::shared().await.url();
    let real = Engine::open(&url).await.unwrap();
    for seed in seeds(4) {
        let wires = join_all((0..3).map(|_| async { Wire::to(&url).await.unwrap() })).await;
        let opened = wires.iter().map(|wire| async { Engine::open(&format!("{}?timeout=3s", wire.url())).await.unwrap() });
        let processes = join_all(opened).await;
        let calm = Notify::new();
        let trouble = async {
            tokio::select! {
                biased;
                () = calm.notified() => {}
                _ = join_all(wires.iter().zip(0..).map(|(wire, n)| wire.misbehave(seed * 3 + n))) => {}
            }
            for wire in &wires {
                wire.delay(Duration::ZERO);
                wire.cut();
            }
        };
        tokio::join!(trouble, in_trouble(&processes, &real, seed, true, || calm.notify_one()));
    }
}

/// A conflict is one by either of its codes, of which one server sends only one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_with_the_other_code_is_a_conflict_to_every_kind_of_write() {
    let url = NatsServer::shared().await.url();
    let (wire, real) = (Wire::to(&url).await.unwrap(), Engine::open(&url).await.unwrap());
    wire.replace("\"err_code\":10071", "\"err_code\":10164");
    let engine = Engine::open(&wire.url()).await.unwrap();
    let cases = async {
        conformance::store::a_stale_revision_conflicts_and_writes_nothing(&fresh_space(&engine).await).await;
        conformance::store::absent_refuses_a_key_that_is_there(&fresh_space(&engine).await).await;
        conformance::store::a_delete_that_expects_otherwise_conflicts(&fresh_space(&engine).await).await;
        conformance::store::one_of_many_creators_wins(&fresh_space(&engine).await).await;
        conformance::store::racing_increments_are_all_counted(&fresh_space(&engine).await).await;
        conformance::commit::one_stale_part_undoes_everything(&fresh_space(&engine).await).await;
        conformance::commit::racing_commits_over_two_keys_never_mix(&fresh_space(&engine).await).await;
        conformance::commit::a_check_holds_a_commit_to_a_key_it_does_not_write(&fresh_space(&engine).await).await;
    };
    in_time(&Clock::system(), cases).await;
    differential(&fresh_space(&engine).await, &fresh_space(&real).await, 1).await;
    under_faults(&engine, 1).await;
}
