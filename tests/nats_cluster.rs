//! A cluster whose nodes are started one by one, behind wires that can be cut: what `./scripts/chaos` stands on.
#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, missing_docs)]

use anabranch::{
    coordination::{Ended, WaitGroup},
    engine::{Change, Engine, Expect, Key, PutOptions, Scope},
    testing::{
        server::{NatsCluster, ServerOptions},
        wire::{Harm, Loses, Wire},
    },
    time::Clock,
};
use futures_util::{StreamExt as _, future::join_all};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(100), future).await else { panic!("{what} takes too long") };
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_wires_lose_everything_is_missed_by_nobody_and_comes_back() {
    let mut wires = Vec::new();
    let lay = async |from, to, url: String| {
        let wire = Wire::to(&url).await?;
        let url = wire.url();
        wires.push((from, to, wire));
        Ok(url)
    };
    let mut cluster = ServerOptions::default().monitored().prepare_cluster(lay).await.unwrap();
    assert_eq!(wires.len(), 6, "each node has a wire to each other one");
    assert!(cluster.nodes().iter().all(|node| node.process().is_none()), "none of them runs");
    for node in cluster.nodes_mut() {
        node.launch().unwrap();
    }
    for node in cluster.nodes() {
        node.ready().await.unwrap();
        assert!(node.process().is_some() && node.monitor_url().is_some());
        assert!(node.log().unwrap().contains("Server is ready"));
    }
    let space = in_time("an engine", Engine::open(&cluster.url())).await.unwrap().space("cluster").await.unwrap();
    let around: Vec<&Wire> = wires.iter().filter(|(from, to, _)| *from == 2 || *to == 2).map(|(.., wire)| wire).collect();
    assert!(around.iter().all(|wire| wire.harm() == Harm::default()), "nobody has harmed anybody");

    for wire in &around {
        wire.lose(Loses::Everything);
    }
    let (mut writes, key) = (0, Key::new("n").unwrap());
    let alone = async {
        while around.iter().all(|wire| wire.harm().lost == 0) {
            // The leader may be the one that is cut off: until there is another one nothing is written.
            let put = space.store().put(&key, "1".into(), Expect::Anything, PutOptions::default()).await;
            writes += u32::from(put.is_ok());
        }
    };
    in_time("a loss", alone).await;
    for wire in &around {
        wire.cut();
    }
    assert!(around.iter().map(|wire| wire.harm().cut).sum::<u64>() > 0, "somebody was connected");
    let again = async { while space.store().put(&key, "2".into(), Expect::Anything, PutOptions::default()).await.is_err() {} };
    in_time("a write", again).await;
    let node = cluster.node("n3");
    assert!(fs::read_dir(node.store()).unwrap().count() > 0, "it has stored something");
    node.kill();
    assert_eq!(node.process(), None);
    node.restart().await.unwrap();
    assert_eq!(space.store().get(&key).await.unwrap().unwrap().value, "2", "after {writes} writes");
}

/// What was stored before a watch begins is in what it reports, though the replica that serves it may be behind: who waits for a group that
/// another process has just entered does not take it for empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_with_what_was_stored_before_it_whichever_replica_serves_it() {
    const ROUNDS: usize = 60;
    const AT_ONCE: usize = 24;
    let cluster = NatsCluster::start().await.unwrap();
    let open = async || in_time("an engine", Engine::open(&cluster.url())).await.unwrap().space("behind").await.unwrap();
    let (one, other) = (open().await, open().await);
    // Large enough that replicas fall behind for a moment.
    let value = "x".repeat(100_000);
    for round in 0..ROUNDS {
        let (group, waits) = (format!("g{round}"), WaitGroup::new(&other, &format!("g{round}")).unwrap());
        let group = WaitGroup::new(&one, &group).unwrap();
        let large = (0..AT_ONCE).map(async |n| {
            let key = Key::new(format!("large.{n}")).unwrap();
            one.store().put(&key, value.clone().into(), Expect::Anything, PutOptions::default()).await.unwrap();
        });
        in_time("the values", join_all(large)).await;
        in_time("a member", group.enter("m")).await.unwrap();
        let left = AtomicBool::new(false);
        let waits = async {
            let ended = waits.wait().await.unwrap();
            (ended, left.load(Ordering::SeqCst))
        };
        let leaves = async {
            // The other one has looked by then, since it has been told of this key, too.
            let key = Key::new(format!("mark.{round}")).unwrap();
            let mut marks = other.store().watch(&Scope::Only(key.clone())).await.unwrap();
            one.store().put(&key, "1".into(), Expect::Anything, PutOptions::default()).await.unwrap();
            while !matches!(marks.next().await, Some(Change::Put(_))) {}
            left.store(true, Ordering::SeqCst);
            group.leave("m").await.unwrap();
        };
        let (ended, ()) = in_time("the end", async { tokio::join!(waits, leaves) }).await;
        assert_eq!(ended, (Ended::Zero, true), "round {round}: it was woken before the member had left");
    }
}
