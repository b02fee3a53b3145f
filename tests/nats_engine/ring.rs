//! What becomes of a write whose acknowledgement was lost while many others write the same key.

use super::kit::*;
use anabranch::{
    engine::{Commit, Engine, Expect, Space, StoreError},
    testing::{
        server::NatsServer,
        wire::{Loses, Wire},
    },
};
use futures_util::future::join_all;

/// Has others write a key many times, each at what it finds.
async fn write_often(others: &[Space], name: &str, times: usize) {
    for n in 0..times {
        let other = &others[n % others.len()];
        let entry = other.store().get(&key(name)).await.unwrap().unwrap();
        put(other, name, &format!("theirs {n}"), Expect::At(entry.revision)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_acknowledgement_was_lost_is_known_after_hundreds_of_writes_of_others() {
    let url = NatsServer::shared().await.url();
    let wire = Wire::to(&url).await.unwrap();
    let ours = space(&wire.url(), "timeout=8s").await;
    let others = join_all((0..12).map(|_| async {
        let engine = Engine::open(&url).await.unwrap();
        engine.space(ours.name().as_str()).await.unwrap()
    }))
    .await;
    for (name, loses, in_a_commit) in [
        ("single", Loses::Answers, false),
        ("never", Loses::Requests, false),
        ("commit", Loses::Answers, true),
        ("never-commit", Loses::Requests, true),
    ] {
        if in_a_commit && !ours.store().capabilities().atomic_commit {
            continue;
        }
        let first = put(&ours, name, "first", Expect::Absent).await.unwrap();
        wire.lose(loses);
        let write = async {
            if !in_a_commit {
                return put(&ours, name, "ours", Expect::At(first)).await;
            }
            let commit = Commit::new().put(key(name), "ours".into(), Expect::At(first), plain());
            let commit = commit.put(key(&format!("beside.{name}")), "1".into(), Expect::Absent, plain());
            ours.store().commit(commit).await.map(|done| done.revisions[0])
        };
        let trouble = async {
            let mut seen = others[0].store().get(&key(name)).await.unwrap().unwrap();
            while loses == Loses::Answers && seen.value != "ours" {
                seen = others[0].store().get(&key(name)).await.unwrap().unwrap();
            }
            write_often(&others, name, 240).await;
            wire.cut();
            seen.revision
        };
        let (written, seen) = in_time("the write", async { tokio::join!(write, trouble) }).await;
        match loses {
            Loses::Answers => assert_eq!(written.unwrap(), seen, "{name}"),
            _ => assert!(matches!(written, Err(StoreError::Conflict)), "{name}: {written:?}"),
        }
    }
}

/// The header of a key that one store writes does not grow, and is read by whoever follows.
#[tokio::test(flavor = "multi_thread")]
async fn the_header_of_a_key_grows_with_its_writers_and_not_with_its_writes() {
    let url = NatsServer::shared().await.url();
    let js = client(&url).await;
    let one = &space(&url, "").await;
    let mut revision = put(one, "k", "0", Expect::Absent).await.unwrap();
    let length = async || {
        let stream = js.get_stream(format!("KV_{}", one.name())).await.unwrap();
        let message = stream.get_last_raw_message_by_subject(&format!("$KV.{}.k", one.name())).await.unwrap();
        message.headers.get("Anabranch-Write").unwrap().as_str().len()
    };
    for n in 0..30 {
        revision = put(one, "k", &n.to_string(), Expect::At(revision)).await.unwrap();
    }
    assert!(length().await <= 20, "{}", length().await);
    let second = Engine::open(&url).await.unwrap().space(one.name().as_str()).await.unwrap();
    let entry = second.store().get(&key("k")).await.unwrap().unwrap();
    put(&second, "k", "theirs", Expect::At(entry.revision)).await.unwrap();
    assert!((21..=40).contains(&length().await), "{}", length().await);
}
