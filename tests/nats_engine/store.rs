//! Keys: lost acknowledgements, dead and paused servers, clusters, foreign clients.

use super::kit::*;
use anabranch::{
    engine::{Change, Engine, Expect, Scope, StoreError},
    testing::server::{NatsCluster, NatsServer, ServerOptions},
};
use futures_util::{StreamExt as _, future::join_all};
use std::{collections::HashSet, time::Duration};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_kv_client_reads_our_values_and_its_write_is_an_ordinary_conflict() {
    let url = NatsServer::shared().await.url();
    let space = space(&url, "").await;
    let foreign = client(&url).await.get_key_value(space.name().as_str()).await.unwrap();
    let first = put(&space, "k", "ours", Expect::Absent).await.unwrap();
    let entry = foreign.entry("k").await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.revision), (b"ours".as_slice(), first.get()));
    let second = foreign.update("k", "theirs".into(), first.get()).await.unwrap();
    assert!(matches!(put(&space, "k", "again", Expect::At(first)).await, Err(StoreError::Conflict)));
    let entry = space.store().get(&key("k")).await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.revision.get(), entry.label), (b"theirs".as_slice(), second, None));
    let third = put(&space, "k", "ours", Expect::At(entry.revision)).await.unwrap();
    space.store().delete(&key("k"), Expect::At(third)).await.unwrap();
    assert_eq!(foreign.get("k").await.unwrap(), None);
    foreign.create("k", "back".into()).await.unwrap();
    foreign.delete("k").await.unwrap();
    assert_eq!(text(&space, "k").await, None);
    put(&space, "k", "over their tombstone", Expect::Absent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_survives_creating_a_key_over_its_tombstone() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    let mut changes = space.store().watch(&Scope::All).await.unwrap();
    let short = || plain().ttl(Duration::from_secs(1));
    for _ in 0..2 {
        // Over nothing, over the marker of the expiry, and over the tombstone of the delete.
        space.store().put(&key("lease"), "1".into(), Expect::Absent, short()).await.unwrap();
        while !matches!(next(&mut changes).await, Change::Expired(k, _) if k == key("lease")) {}
        space.store().put(&key("lease"), "2".into(), Expect::Absent, short()).await.unwrap();
        space.store().delete(&key("lease"), Expect::Anything).await.unwrap();
        space.store().put(&key("lease"), "3".into(), Expect::Absent, short()).await.unwrap();
        while !matches!(next(&mut changes).await, Change::Expired(k, _) if k == key("lease")) {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_acknowledgement_was_lost_is_recognized_and_counted_once() {
    let server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "timeout=4s").await;
    let mut revision = put(&space, "n", "0", Expect::Absent).await.unwrap();
    for round in 1..=3 {
        let round = round.to_string();
        let written = while_paused(&server, put(&space, "n", &round, Expect::At(revision))).await;
        revision = written.unwrap();
        let entry = space.store().get(&key("n")).await.unwrap().unwrap();
        assert_eq!((entry.value, entry.revision), (round.into(), revision));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_cannot_be_resolved_is_unknown_and_its_ghost_applies_at_most_once() {
    let server = NatsServer::start().await.unwrap();
    let (ours, other) = (space(&server.url(), "timeout=400ms").await, Engine::open(&server.url()).await.unwrap());
    let other = other.space(ours.name().as_str()).await.unwrap();
    let first = put(&ours, "n", "0", Expect::Absent).await.unwrap();
    let mut changes = other.store().watch(&Scope::All).await.unwrap();
    until_put(&mut changes, "n", "0").await;
    server.pause().unwrap();
    let written = put(&ours, "n", "1", Expect::At(first)).await;
    server.resume().unwrap();
    assert!(matches!(written, Err(StoreError::Unknown(_))), "{written:?}");
    assert!(until_put(&mut changes, "n", "1").await.iter().all(|c| *c == Change::Synced));
    assert!(matches!(put(&other, "n", "2", Expect::At(first)).await, Err(StoreError::Conflict)));
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_are_counted_exactly_once_while_the_server_is_paused_and_killed() {
    let mut server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "timeout=20s").await;
    let workers = join_all((0..4).map(|_| add(&space, "n", 25)));
    let trouble = async {
        for _ in 0..3 {
            // Some are counted, then the server stops amid the next.
            while space.store().get(&key("n")).await.ok().flatten().is_none() {}
            server.pause().unwrap();
            server.kill();
            server.restart().await.unwrap();
        }
    };
    let (unknown, ()) = in_time("the count", async { tokio::join!(workers, trouble) }).await;
    counted(&space, "n", 100, unknown.into_iter().sum()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_on_a_replicated_stream_is_a_conflict_whatever_its_code() {
    let cluster = NatsCluster::start().await.unwrap();
    let space = space(&cluster.url(), "timeout=15s").await;
    let unknown = in_time("the count", join_all((0..6).map(|_| add(&space, "n", 15)))).await;
    counted(&space, "n", 90, unknown.into_iter().sum()).await;
    let raced = join_all((0..12).map(|i| put(&space, "new", if i % 2 == 0 { "a" } else { "b" }, Expect::Absent))).await;
    assert_eq!(raced.iter().filter(|r| r.is_ok()).count(), 1, "{raced:?}");
    assert!(raced.iter().all(|r| matches!(r, Ok(_) | Err(StoreError::Conflict))), "{raced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_loses_its_leader_counts_on() {
    let mut cluster = NatsCluster::start().await.unwrap();
    let url = cluster.url();
    let space = space(&url, "timeout=15s").await;
    let mut unknown = add(&space, "n", 1).await;
    let stream = format!("KV_{}", space.name());
    let leader = leader(&client(&url).await, &stream).await;
    let mut changes = space.store().watch(&Scope::All).await.unwrap();
    until_put(&mut changes, "n", "1").await;
    let workers = join_all((0..3).map(|_| add(&space, "n", 10)));
    let kill = async {
        cluster.node(&leader).kill();
    };
    let (more, ()) = in_time("the count", async { tokio::join!(workers, kill) }).await;
    unknown += more.into_iter().sum::<u64>();
    let count = counted(&space, "n", 31, unknown).await;
    until_put(&mut changes, "n", &count.to_string()).await;
    cluster.node(&leader).restart().await.unwrap();
    unknown += add(&space, "n", 1).await;
    let again = counted(&space, "n", 32, unknown).await;
    if again > count {
        until_put(&mut changes, "n", &again.to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_keys_than_one_page_are_one_snapshot() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    let keys: Vec<_> = (0..2500).map(|i| key(&format!("k.{i}"))).collect();
    for some in keys.chunks(250) {
        join_all(some.iter().map(|k| space.store().put(k, k.to_string().into(), Expect::Absent, plain()))).await;
    }
    let absent = key("absent");
    let asked: Vec<_> = keys.iter().chain([&absent]).cloned().collect();
    let found = space.store().get_many(&asked).await.unwrap();
    assert!(found[2500].is_none());
    assert!(
        found.iter().zip(&keys).all(|(entry, key)| entry.as_ref().is_some_and(|e| e.key == *key && e.value == key.to_string()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_syncs_always_keeps_what_it_acknowledged() {
    let mut server = ServerOptions::default().sync_always().start().await.unwrap();
    let space = space(&server.url(), "").await;
    let revision = put(&space, "k", "1", Expect::Absent).await.unwrap();
    server.kill();
    server.restart().await.unwrap();
    let entry = in_time("a get", async {
        loop {
            if let Ok(Some(entry)) = space.store().get(&key("k")).await {
                break entry;
            }
        }
    });
    assert_eq!(entry.await.revision, revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_shows_what_was_just_written_whichever_replica_serves_it() {
    const ROUNDS: usize = 40;
    const AT_ONCE: usize = 16;
    let cluster = NatsCluster::start().await.unwrap();
    let space = space(&cluster.url(), "timeout=20s").await;
    // Large enough that replicas fall behind for a moment.
    let value = "x".repeat(100_000);
    let list = async || {
        let listed = space.store().keys(&key("listed").below()).await.unwrap();
        in_time("a listing", listed.map(|info| info.unwrap().key).collect::<Vec<_>>()).await
    };
    for round in 0..ROUNDS {
        let written =
            (0..AT_ONCE).map(async |n| put(&space, &format!("listed.{n}.{round}"), &value, Expect::Absent).await.unwrap());
        join_all(written).await;
        // In every other round the newest change is of a key that is not listed.
        if round % 2 == 0 {
            put(&space, "other", &value, Expect::Anything).await.unwrap();
        }
        assert_eq!(list().await.len(), AT_ONCE * (round + 1));
    }
}

/// The change that was seen last is listed along, and the server takes no filter that has what another one has.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_goes_on_although_the_newest_change_is_no_key() {
    let cluster = NatsCluster::start().await.unwrap();
    let space = space(&cluster.url(), "timeout=20s").await;
    put(&space, "k", "1", Expect::Absent).await.unwrap();
    let foreign = format!("$KV.{}.k\u{fc}", space.name());
    client(&cluster.url()).await.publish(foreign, "foreign".into()).await.unwrap().await.unwrap();
    let mut changes = space.store().watch(&Scope::All).await.unwrap();
    while next(&mut changes).await != Change::Synced {}
    let listed = space.store().keys(&Scope::All).await.unwrap();
    let listed: Vec<_> = in_time("a listing", listed.map(|info| info.unwrap().key).collect()).await;
    assert_eq!(listed, [key("k")]);
}

/// While a value is replaced the server counts neither the old nor the new one among what is still to come.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_is_rewritten_meanwhile_is_listed_once_and_in_the_state_of_a_watch() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    for name in ["a", "b", "c"] {
        put(&space, name, "0", Expect::Absent).await.unwrap();
    }
    let over = CancellationToken::new();
    let write = join_all(["a", "b", "c", "a", "b", "c"].map(|name| {
        let (space, over) = (&space, &over);
        async move {
            while !over.is_cancelled() {
                put(space, name, "again", Expect::Anything).await.unwrap();
            }
        }
    }));
    let read = async {
        for _ in 0..2000 {
            let listed: Vec<_> = space.store().keys(&Scope::All).await.unwrap().map(|info| info.unwrap().key).collect().await;
            assert_eq!(listed.len(), 3, "{listed:?}");
            assert_eq!(listed.iter().collect::<HashSet<_>>().len(), 3, "{listed:?}");
        }
        for _ in 0..300 {
            let (mut changes, mut state) = (space.store().watch(&Scope::All).await.unwrap(), HashSet::new());
            loop {
                match next(&mut changes).await {
                    Change::Put(entry) => drop(state.insert(entry.key)),
                    Change::Synced => break,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(state.len(), 3, "{state:?}");
        }
        over.cancel();
    };
    tokio::join!(write, read);
}

/// What the stream has and is no key counts among what has to have come, or a watch never says that it has everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_has_everything_although_the_newest_message_is_no_key() {
    let url = NatsServer::shared().await.url();
    let space = space(&url, "").await;
    put(&space, "k", "1", Expect::Absent).await.unwrap();
    client(&url).await.publish(format!("$KV.{}.k\u{fc}", space.name()), "foreign".into()).await.unwrap().await.unwrap();
    let mut changes = space.store().watch(&Scope::All).await.unwrap();
    assert!(matches!(next(&mut changes).await, Change::Put(entry) if entry.key == key("k")));
    let synced = space.clock().timeout(Duration::from_secs(4), next(&mut changes)).await;
    assert_eq!(synced, Some(Change::Synced));
}
