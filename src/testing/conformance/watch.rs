//! Cases of watches: the state, then `Synced`, then changes, without a gap.

use super::{PATIENCE, expired, key, next_change, put};
use crate::engine::{Change, Expect, PutOptions, Scope, Space};
use futures_util::stream::BoxStream;
use std::{collections::BTreeMap, time::Duration};

/// What is there comes first, then `Synced`, then what happens.
pub async fn a_watch_reports_values_then_synced_then_changes(space: &Space) {
    let first = put(space, "a", "1", Expect::Absent).await.unwrap();
    let second = put(space, "b", "1", Expect::Absent).await.unwrap();
    let mut changes = space.store().watch(&Scope::All).await.unwrap();
    let mut state = BTreeMap::new();
    loop {
        match next_change(space, &mut changes).await {
            Change::Put(entry) => state.insert(entry.key, entry.revision),
            Change::Synced => break,
            other => panic!("{other:?} before the state was told"),
        };
    }
    assert_eq!(state.into_iter().collect::<Vec<_>>(), [(key("a"), first), (key("b"), second)]);

    let options = PutOptions::default().label("label");
    let third = space.store().put(&key("a"), "2".into(), Expect::At(first), options).await.unwrap();
    let Change::Put(entry) = next_change(space, &mut changes).await else { panic!("a put was expected") };
    assert_eq!((entry.key, entry.revision, &*entry.value), (key("a"), third, &b"2"[..]));
    assert_eq!(entry.label.as_deref(), Some("label"));
}

/// `Synced` comes also when there is nothing.
pub async fn a_watch_of_nothing_is_synced(space: &Space) {
    put(space, "elsewhere", "1", Expect::Absent).await.unwrap();
    put(space, "gone.1", "1", Expect::Absent).await.unwrap();
    space.store().delete(&key("gone.1"), Expect::Anything).await.unwrap();
    let mut changes = watch_synced(space, &key("nothing").below()).await;
    let revision = put(space, "nothing.more", "1", Expect::Absent).await.unwrap();
    assert!(matches!(next_change(space, &mut changes).await, Change::Put(entry) if entry.revision == revision));
}

/// A delete is reported with its own revision.
pub async fn a_watch_reports_deletes(space: &Space) {
    let mut changes = watch_synced(space, &Scope::All).await;
    put(space, "k", "1", Expect::Absent).await.unwrap();
    assert!(matches!(next_change(space, &mut changes).await, Change::Put(_)));
    let deleted = space.store().delete(&key("k"), Expect::Anything).await.unwrap();
    assert_eq!(next_change(space, &mut changes).await, Change::Deleted(key("k"), deleted));
}

/// A TTL that ran out is reported as such, at a revision of its own, also of a key that was there before the watch.
pub async fn a_watch_reports_expiry(space: &Space) {
    if !space.store().capabilities().ttl {
        return;
    }
    let options = PutOptions::default().ttl(Duration::from_secs(1));
    let mut early = space.store().watch(&Scope::All).await.unwrap();
    let written = space.store().put(&key("k"), "1".into(), Expect::Absent, options).await.unwrap();
    let mut late = space.store().watch(&Scope::All).await.unwrap();
    let seen = expired(space, &mut early, "k").await;
    assert!(seen > written);
    assert_eq!(expired(space, &mut late, "k").await, seen);
}

/// A watch of one prefix does not see its neighbours.
pub async fn a_watch_matches_its_prefix_only(space: &Space) {
    let names = ["run.orders", "run.orders2.1", "run.orders-1.1", "run.orders.1"];
    let mut changes = watch_synced(space, &key("run.orders").below()).await;
    for name in names {
        put(space, name, "1", Expect::Absent).await.unwrap();
    }
    for name in names {
        space.store().delete(&key(name), Expect::Anything).await.unwrap();
    }
    loop {
        match next_change(space, &mut changes).await {
            Change::Put(entry) => assert_eq!(entry.key, key("run.orders.1")),
            Change::Deleted(found, _) => return assert_eq!(found, key("run.orders.1")),
            other => panic!("{other:?}"),
        }
    }
}

/// A watch of one key tells what it is, and sees neither what is below it nor beside it.
pub async fn a_watch_of_one_key_sees_no_other(space: &Space) {
    for name in ["run", "run.a", "run.ab", "run.a.b"] {
        put(space, name, "before", Expect::Absent).await.unwrap();
    }
    let mut changes = space.store().watch(&key("run.a").alone()).await.unwrap();
    assert!(matches!(next_change(space, &mut changes).await, Change::Put(entry) if entry.key == key("run.a")));
    assert_eq!(next_change(space, &mut changes).await, Change::Synced);
    for name in ["run", "run.ab", "run.a.b", "run.a"] {
        put(space, name, "after", Expect::Anything).await.unwrap();
    }
    assert!(matches!(next_change(space, &mut changes).await, Change::Put(entry) if entry.key == key("run.a")));
    space.store().delete(&key("run.a"), Expect::Anything).await.unwrap();
    assert!(matches!(next_change(space, &mut changes).await, Change::Deleted(gone, _) if gone == key("run.a")));
}

/// What is seen of one key only moves forward and ends at its newest write.
pub async fn a_watch_keeps_each_key_in_order(space: &Space) {
    let mut changes = watch_synced(space, &Scope::All).await;
    let write = async { tokio::join!(count_up(space, "a", 40), count_up(space, "b", 40)) };
    let look = async {
        let mut last = BTreeMap::new();
        let mut ended = 0;
        while ended < 2 {
            let Change::Put(entry) = next_change(space, &mut changes).await else { panic!("only puts were made") };
            if let Some(before) = last.insert(entry.key.clone(), entry.revision) {
                assert!(before < entry.revision, "{} went back", entry.key);
            }
            ended += usize::from(entry.value == "40");
        }
    };
    tokio::join!(write, look);
}

/// However a watch falls between two writes, the newest value reaches it.
pub async fn a_watch_that_starts_amid_writes_misses_nothing(space: &Space) {
    let look = async {
        for _ in 0..8 {
            let mut changes = space.store().watch(&Scope::All).await.unwrap();
            until(space, &mut changes, "k", "60").await;
        }
    };
    tokio::join!(count_up(space, "k", 60), look);
}

/// A reader that stood still skips values, never the newest.
pub async fn a_slow_watch_ends_at_the_newest_value(space: &Space) {
    let mut changes = watch_synced(space, &Scope::All).await;
    count_up(space, "k", 300).await;
    put(space, "last", "1", Expect::Absent).await.unwrap();
    until(space, &mut changes, "k", "300").await;
    until(space, &mut changes, "last", "1").await;
}

/// Watches do not take changes from each other.
pub async fn two_watches_see_the_same(space: &Space) {
    let (mut one, mut two) = (watch_synced(space, &Scope::All).await, watch_synced(space, &Scope::All).await);
    count_up(space, "k", 5).await;
    until(space, &mut one, "k", "5").await;
    until(space, &mut two, "k", "5").await;
    let deleted = space.store().delete(&key("k"), Expect::Anything).await.unwrap();
    for changes in [&mut one, &mut two] {
        assert_eq!(next_change(space, changes).await, Change::Deleted(key("k"), deleted));
    }
}

/// A watch that was dropped takes nothing with it.
pub async fn dropping_a_watch_leaves_the_others_alone(space: &Space) {
    let mut stays = watch_synced(space, &Scope::All).await;
    for round in 1..=3 {
        let mut goes = space.store().watch(&Scope::All).await.unwrap();
        next_change(space, &mut goes).await;
        drop(goes);
        put(space, "k", &round.to_string(), Expect::Anything).await.unwrap();
        until(space, &mut stays, "k", &round.to_string()).await;
    }
}

async fn watch_synced(space: &Space, prefix: &Scope) -> BoxStream<'static, Change> {
    let mut changes = space.store().watch(prefix).await.unwrap();
    assert_eq!(next_change(space, &mut changes).await, Change::Synced);
    changes
}

async fn count_up(space: &Space, name: &str, to: u64) {
    for n in 1..=to {
        put(space, name, &n.to_string(), Expect::Anything).await.unwrap();
    }
}

async fn until(space: &Space, changes: &mut BoxStream<'static, Change>, name: &str, value: &str) {
    let seen = async {
        loop {
            if let Change::Put(entry) = next_change(space, changes).await
                && entry.key == key(name)
                && entry.value == value.as_bytes()
            {
                break;
            }
        }
    };
    space.clock().timeout(PATIENCE, seen).await.expect("the newest value is seen");
}
