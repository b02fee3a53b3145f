//! Values that are changed in the moment in which they expire.

use super::kit::*;
use anabranch::{
    engine::{Change, Engine, Expect, Key, Revision, Scope, Space, StoreError},
    testing::{
        server::{NatsCluster, NatsServer},
        wire::Wire,
    },
};
use async_nats::HeaderMap;
use futures_util::{StreamExt as _, future::join_all};
use std::{collections::HashMap, time::Duration};

const KEYS: usize = 2000;
/// The shortest that there is.
const TTL: Duration = Duration::from_secs(1);

/// Stores a value that expires, waits until that is so, more or less, and tells its revision.
async fn expiring(space: &Space, key: &Key, late: Duration) -> Revision {
    let first = space.store().put(key, "first".into(), Expect::Absent, plain().ttl(TTL)).await.unwrap();
    let since = space.clock().instant();
    while space.clock().instant() < since + TTL + late && space.store().get(key).await.unwrap().is_some() {}
    first
}

/// Waits until everything that was to expire until now has expired.
async fn everything_has_expired(space: &Space) {
    let last = key("last");
    let mut changes = space.store().watch(&last.alone()).await.unwrap();
    space.store().put(&last, "x".into(), Expect::Anything, plain().ttl(TTL)).await.unwrap();
    while !matches!(next(&mut changes).await, Change::Expired(..)) {}
}

/// Changes many values while they expire, and tells which of those that were changed are not there afterwards, and how many were.
async fn change_while_they_expire(space: &Space, round: usize) -> (Vec<Key>, usize) {
    let changed = join_all((0..KEYS).map(async |n| {
        let key = key(&format!("{round}.{n}"));
        let first = expiring(space, &key, Duration::from_millis(n as u64 % 60)).await;
        match space.store().put(&key, "second".into(), Expect::At(first), plain()).await {
            Ok(revision) => Some((key, revision)),
            // It had expired before, or may have been changed and be gone.
            Err(StoreError::Conflict | StoreError::Unknown(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }));
    let changed: Vec<_> = changed.await.into_iter().flatten().collect();
    everything_has_expired(space).await;
    let listed = space.store().keys(&Scope::All).await.unwrap();
    let there: HashMap<_, _> = listed.map(|info| info.map(|info| (info.key, info.revision)).unwrap()).collect().await;
    let count = changed.len();
    let gone = changed.into_iter().filter(|(key, revision)| there.get(key) != Some(revision));
    (gone.map(|(key, _)| key).collect(), count)
}

/// The server takes note of what has expired, and stores the marker of that a moment later, whatever was written meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_value_that_is_changed_while_it_expires_stays() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    let (gone, changed) = change_while_they_expire(&space, 0).await;
    assert!(gone.is_empty(), "{} of {changed} are gone: {gone:?}", gone.len());
}

/// Until replicas agree is longer than a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replicated_value_that_is_changed_while_it_expires_stays() {
    let cluster = NatsCluster::start().await.unwrap();
    let space = space(&cluster.url(), "timeout=20s").await;
    for round in 0..4 {
        let (gone, changed) = change_while_they_expire(&space, round).await;
        assert!(gone.is_empty(), "{} of {changed} are gone: {gone:?}", gone.len());
    }
}

/// What happens to a value between a change of it while it expires and the moment in which that is made sure of.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Expires,
    ExpiresAndIsTaken,
    ExpiresAndIsTakenAndRemoved,
    IsRemoved,
    IsChanged,
}

/// Changes a value while it expires, and returns how that ended and what is there afterwards.
async fn change(meanwhile: Meanwhile) -> (Result<Revision, StoreError>, Option<(String, Revision)>) {
    let url = NatsServer::shared().await.url();
    let (wire, k) = (Wire::to(&url).await.unwrap(), key("k"));
    let there = space(&url, "").await;
    let here = Engine::open(&wire.url()).await.unwrap().space(there.name().as_str()).await.unwrap();
    let first = here.store().put(&k, "first".into(), Expect::Absent, plain().ttl(3 * TTL)).await.unwrap();
    let mut changes = there.store().watch(&k.alone()).await.unwrap();
    wire.delay(TTL / 4);
    let interfere = async {
        let second = loop {
            match next(&mut changes).await {
                Change::Put(entry) if entry.value == "second" => break entry.revision,
                _ => {}
            }
        };
        match meanwhile {
            Meanwhile::IsChanged => {
                put(&there, "k", "theirs", Expect::At(second)).await.unwrap();
                return;
            }
            Meanwhile::IsRemoved => {
                there.store().delete(&k, Expect::Anything).await.unwrap();
                return;
            }
            _ => {}
        }
        let mut marker = HeaderMap::new();
        for (name, value) in [("Nats-Marker-Reason", "MaxAge"), ("Nats-TTL", "60s"), ("Nats-Rollup", "sub")] {
            marker.insert(name, value);
        }
        let subject = format!("$KV.{}.k", there.name());
        client(&url).await.publish_with_headers(subject, marker, "".into()).await.unwrap().await.unwrap();
        if let Meanwhile::ExpiresAndIsTaken | Meanwhile::ExpiresAndIsTakenAndRemoved = meanwhile {
            let theirs = put(&there, "k", "theirs", Expect::Absent).await.unwrap();
            if let Meanwhile::ExpiresAndIsTakenAndRemoved = meanwhile {
                there.store().delete(&k, Expect::At(theirs)).await.unwrap();
            }
        }
    };
    let (done, ()) = tokio::join!(here.store().put(&k, "second".into(), Expect::At(first), plain()), interfere);
    let entry = there.store().get(&k).await.unwrap();
    (done, entry.map(|entry| (String::from_utf8(entry.value.to_vec()).unwrap(), entry.revision)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_expired_with_what_it_replaced_is_made_again_where_nobody_came_first() {
    let (changed, there) = change(Meanwhile::Expires).await;
    assert_eq!(there, Some(("second".into(), changed.unwrap())));
    let (changed, there) = change(Meanwhile::ExpiresAndIsTaken).await;
    assert!(matches!(changed, Err(StoreError::Unknown(_))), "{changed:?}");
    assert_eq!(there.unwrap().0, "theirs");
    for removed in [Meanwhile::ExpiresAndIsTakenAndRemoved, Meanwhile::IsRemoved] {
        let (changed, there) = change(removed).await;
        assert!(matches!(changed, Err(StoreError::Unknown(_))), "{changed:?}");
        assert_eq!(there, None, "{removed:?}");
    }
    let (changed, there) = change(Meanwhile::IsChanged).await;
    let (value, revision) = there.unwrap();
    assert_eq!(value, "theirs");
    assert!(changed.unwrap() < revision);
}
