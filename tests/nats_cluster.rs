//! A cluster whose nodes are started one by one, behind wires that can be cut: what `./scripts/chaos` stands on.
#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, missing_docs)]

use anabranch::{
    engine::{Engine, Expect, Key, PutOptions},
    testing::{
        server::ServerOptions,
        wire::{Harm, Loses, Wire},
    },
    time::Clock,
};
use std::{fs, time::Duration};

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
        assert!(node.process().is_some() && node.monitor().is_some());
        assert!(node.log().unwrap().contains("Server is ready"));
    }
    let space = in_time("an engine", Engine::open(&cluster.url())).await.unwrap().space("cluster").await.unwrap();
    let around: Vec<&Wire> = wires.iter().filter(|(from, to, _)| *from == 2 || *to == 2).map(|(.., wire)| wire).collect();
    assert!(around.iter().all(|wire| wire.harm() == Harm::default()), "nobody has harmed anybody");

    around.iter().for_each(|wire| wire.lose(Loses::Everything));
    let (mut writes, key) = (0, Key::new("n").unwrap());
    let alone = async {
        while around.iter().all(|wire| wire.harm().lost == 0) {
            // The leader may be the one that is cut off: until there is another one nothing is written.
            let put = space.store().put(&key, "1".into(), Expect::Anything, PutOptions::default()).await;
            writes += u32::from(put.is_ok());
        }
    };
    in_time("a loss", alone).await;
    around.iter().for_each(|wire| wire.cut());
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
