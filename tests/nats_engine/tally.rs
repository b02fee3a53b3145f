//! Counters on a server: answers that are lost, restarts, foreign streams.

use super::kit::*;
use anabranch::{
    engine::{Engine, Rejection, Space, StoreError, Tally},
    testing::{
        server::{NatsCluster, NatsServer},
        wire::{Loses, Wire},
    },
};
use async_nats::{
    HeaderMap,
    jetstream::{self, stream},
};
use futures_util::future::join_all;
use std::sync::Arc;

/// The tallies of a space over a wire and without one; nothing on a server that has none.
async fn two_ways(wire: &Wire, url: &str) -> Option<(Arc<dyn Tally>, Arc<dyn Tally>, Space)> {
    let ours = space(&wire.url(), "timeout=8s").await;
    if !ours.store().capabilities().counters {
        return None;
    }
    let other = Engine::open(url).await.unwrap().space(ours.name().as_str()).await.unwrap();
    Some((ours.tally().await.unwrap(), other.tally().await.unwrap(), ours))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_addition_whose_answer_was_lost_is_counted_once_whatever_others_add() {
    let url = NatsServer::shared().await.url();
    let wire = Wire::to(&url).await.unwrap();
    let Some((ours, others, _space)) = two_ways(&wire, &url).await else { return };
    for (name, loses) in [("answers", Loses::Answers), ("requests", Loses::Requests)] {
        let counter = key(name);
        ours.add(&counter, 1).await.unwrap();
        wire.lose(loses);
        let trouble = async {
            while loses == Loses::Answers && others.value(&counter).await.unwrap() != Some(1001) {}
            for _ in 0..50 {
                others.add(&counter, 1).await.unwrap();
            }
            wire.cut();
        };
        let (added, ()) = in_time("the addition", async { tokio::join!(ours.add(&counter, 1000), trouble) }).await;
        assert_eq!(added.unwrap(), 1051, "{name}: what came back has the others' additions, too");
        assert_eq!(others.value(&counter).await.unwrap(), Some(1051), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_addition_is_recognized_after_a_restart_unless_others_hid_it_and_is_then_unknown() {
    let n = key("n");
    for hidden in [false, true] {
        let mut server = NatsServer::start().await.unwrap();
        let url = server.url();
        let wire = Wire::to(&url).await.unwrap();
        let Some((ours, others, _space)) = two_ways(&wire, &url).await else { return };
        ours.add(&n, 1).await.unwrap();
        wire.lose(Loses::Answers);
        let trouble = async {
            while others.value(&n).await.unwrap() != Some(1001) {}
            if hidden {
                others.add(&n, 1).await.unwrap();
            }
            server.kill();
            wire.cut();
            server.restart().await.unwrap();
        };
        let (added, ()) = in_time("the addition", async { tokio::join!(ours.add(&n, 1000), trouble) }).await;
        let value = in_time("the value", async {
            loop {
                if let Ok(value) = others.value(&n).await {
                    break value;
                }
            }
        });
        if hidden {
            assert!(matches!(added, Err(StoreError::Unknown(_))), "{added:?}");
            assert_eq!(value.await, Some(1002), "it was not counted twice");
        } else {
            assert_eq!((added.unwrap(), value.await), (1001, Some(1001)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn additions_are_counted_on_three_replicas_while_their_leader_is_killed() {
    let mut cluster = NatsCluster::start().await.unwrap();
    let url = cluster.url();
    let space = space(&url, "timeout=20s").await;
    if !space.store().capabilities().counters {
        return;
    }
    let tally = space.tally().await.unwrap();
    tally.add(&key("n"), 1).await.unwrap();
    let leader = leader(&client(&url).await, &format!("TALLY_{}", space.name())).await;
    let adders = join_all((0..8).map(|_| async {
        let mut unknown = 0;
        for _ in 0..25 {
            match tally.add(&key("n"), 1).await {
                Ok(_) => {}
                Err(StoreError::Unknown(_)) => unknown += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        unknown
    }));
    let kill = async {
        while tally.value(&key("n")).await.unwrap() < Some(20) {}
        cluster.node(&leader).kill();
    };
    let (unknown, ()) = in_time("the count", async { tokio::join!(adders, kill) }).await;
    let unknown: i128 = unknown.into_iter().sum();
    let value = tally.value(&key("n")).await.unwrap().unwrap();
    assert!(value <= 201 && value + unknown >= 201, "{value} were counted, {unknown} are unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_stream_of_counters_is_refused_and_left_alone() {
    let url = NatsServer::shared().await.url();
    let space = space(&url, "").await;
    if !space.store().capabilities().counters {
        return;
    }
    let (js, name) = (client(&url).await, format!("TALLY_{}", space.name()));
    let subjects = vec![format!("{}.tally.>", space.name())];
    js.create_stream(stream::Config { name: name.clone(), subjects, ..Default::default() }).await.unwrap();
    let opened = space.tally().await;
    assert!(matches!(opened, Err(StoreError::Rejected(Rejection::Refused(_)))), "{opened:?}");
    assert!(!js.get_stream(name).await.unwrap().cached_info().config.allow_message_counter);
}

/// Another client adds whatever it likes; what no number here holds is said, and left as it is.
#[tokio::test(flavor = "multi_thread")]
async fn another_client_adds_to_the_same_counter_also_beyond_what_can_be_told() {
    let url = NatsServer::shared().await.url();
    let space = space(&url, "").await;
    if !space.store().capabilities().counters {
        return;
    }
    let tally = space.tally().await.unwrap();
    let js: jetstream::Context = client(&url).await;
    let add = async |delta: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Incr", delta);
        let subject = format!("{}.tally.n", space.name());
        js.publish_with_headers(subject, headers, "".into()).await.unwrap().await.unwrap();
    };
    tally.add(&key("n"), 40).await.unwrap();
    add("+2").await;
    assert_eq!(tally.value(&key("n")).await.unwrap(), Some(42));
    add(&i128::MAX.to_string()).await;
    let read = tally.value(&key("n")).await;
    assert!(matches!(read, Err(StoreError::Rejected(Rejection::Corrupt { .. }))), "{read:?}");
    let added = tally.add(&key("n"), 1).await;
    assert!(matches!(added, Err(StoreError::Unknown(_))), "{added:?}");
    add(&format!("-{}", i128::MAX)).await;
    assert_eq!(tally.value(&key("n")).await.unwrap(), Some(43));
}
