//! Cases of single keys: revisions, expectations, deletes, TTL, labels, listings and limits.

use super::{
    PATIENCE, all_keys, assert_bad_name, assert_conflict, assert_invalid_option, assert_too_large, assert_unsupported, expired,
    key, put, read, text,
};
use crate::engine::{Commit, Expect, Key, KeyInfo, MAX_KEY_BYTES, PutOptions, Revision, Scope, Space, StoreError};
use bytes::Bytes;
use futures_util::{StreamExt as _, future::join_all};
use std::time::Duration;

/// Whatever is written, wherever: its revision is larger than all before.
pub async fn revisions_grow_across_the_store(space: &Space) {
    let mut revisions = vec![put(space, "a", "1", Expect::Anything).await.unwrap()];
    revisions.push(put(space, "b", "1", Expect::Absent).await.unwrap());
    revisions.push(put(space, "a", "2", Expect::At(revisions[0])).await.unwrap());
    revisions.push(space.store().delete(&key("b"), Expect::Anything).await.unwrap());
    revisions.push(put(space, "b", "2", Expect::Anything).await.unwrap());
    assert!(revisions[0].get() > 0);
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    assert_eq!(read(space, "a").await.unwrap().revision, revisions[2]);
}

/// A key that comes back is not mistaken for the one that was deleted.
pub async fn a_revision_is_not_reused_after_a_delete(space: &Space) {
    let first = put(space, "k", "1", Expect::Absent).await.unwrap();
    let deleted = space.store().delete(&key("k"), Expect::At(first)).await.unwrap();
    let second = put(space, "k", "2", Expect::Absent).await.unwrap();
    assert!(first < deleted && deleted < second);
    assert_conflict(put(space, "k", "3", Expect::At(first)).await);
    assert_eq!(text(space, "k").await.as_deref(), Some("2"));
}

/// Bytes, label and revision come back as they went in, also for no bytes at all.
pub async fn what_was_put_is_read_back(space: &Space) {
    let every_byte = (0..=u8::MAX).collect::<Bytes>();
    for (name, value) in [("bytes", every_byte), ("empty", Bytes::new()), ("deep.er/k=2E.-_", Bytes::from_static(b"x"))] {
        let options = PutOptions::default().label(format!("label-of:{name}"));
        let revision = space.store().put(&key(name), value.clone(), Expect::Absent, options).await.unwrap();
        let entry = read(space, name).await.unwrap();
        assert_eq!((entry.key, entry.value, entry.revision), (key(name), value, revision));
        assert_eq!(entry.label.as_deref(), Some(&*format!("label-of:{name}")));
    }
    let earlier = read(space, "bytes").await.unwrap().written_at;
    put(space, "bytes", "again", Expect::Anything).await.unwrap();
    let entry = read(space, "bytes").await.unwrap();
    assert_eq!(entry.label, None, "a label belongs to one write");
    assert!(entry.written_at >= earlier);
}

/// Nothing was there, so a create succeeds and a write at a revision conflicts.
pub async fn absent_holds_for_a_key_that_was_never_written(space: &Space) {
    assert_eq!(read(space, "k").await, None);
    assert_conflict(put(space, "k", "1", Expect::At(Revision::new(1))).await);
    assert_eq!(read(space, "k").await, None);
    put(space, "k", "1", Expect::Absent).await.unwrap();
}

/// A deleted key can be created again, more than once.
pub async fn absent_holds_after_a_delete(space: &Space) {
    for round in ["1", "2", "3"] {
        put(space, "k", round, Expect::Absent).await.unwrap();
        space.store().delete(&key("k"), Expect::Anything).await.unwrap();
        assert_eq!(read(space, "k").await, None);
    }
}

/// An expired key reads as absent and can be created again; its old revision is gone.
pub async fn absent_holds_after_expiry(space: &Space) {
    if refuses_ttl(space).await {
        return;
    }
    let mut changes = space.store().watch(&Scope::All).await.unwrap();
    let first = space.store().put(&key("k"), "1".into(), Expect::Absent, ttl(1)).await.unwrap();
    assert_conflict(put(space, "k", "2", Expect::Absent).await);
    assert!(expired(space, &mut changes, "k").await >= first);
    assert_eq!(read(space, "k").await, None);
    assert!(all_keys(space).await.is_empty());
    assert_conflict(put(space, "k", "2", Expect::At(first)).await);
    assert!(put(space, "k", "2", Expect::Absent).await.unwrap() > first);
}

/// A create does not overwrite.
pub async fn absent_refuses_a_key_that_is_there(space: &Space) {
    put(space, "k", "1", Expect::Absent).await.unwrap();
    assert_conflict(put(space, "k", "2", Expect::Absent).await);
    assert_eq!(text(space, "k").await.as_deref(), Some("1"));
}

/// Whoever decided on an old value does not get to write.
pub async fn a_stale_revision_conflicts_and_writes_nothing(space: &Space) {
    let first = put(space, "k", "1", Expect::Absent).await.unwrap();
    let other = put(space, "other", "1", Expect::Absent).await.unwrap();
    let second = put(space, "k", "2", Expect::At(first)).await.unwrap();
    for stale in [first, other, Revision::new(second.get() + 1_000_000)] {
        assert_conflict(put(space, "k", "3", Expect::At(stale)).await);
    }
    let entry = read(space, "k").await.unwrap();
    assert_eq!((entry.revision, entry.value), (second, Bytes::from_static(b"2")));
}

/// Five writers that each add one ten times end at fifty.
pub async fn racing_increments_are_all_counted(space: &Space) {
    join_all((0..5).map(|_| async {
        for _ in 0..10 {
            add_one(space, "n").await;
        }
    }))
    .await;
    assert_eq!(text(space, "n").await.as_deref(), Some("50"));
}

async fn add_one(space: &Space, name: &str) {
    let mut last = None;
    loop {
        let entry = read(space, name).await;
        let expect = entry.as_ref().map_or(Expect::Absent, |e| Expect::At(e.revision));
        let count = entry.map_or(0, |e| String::from_utf8_lossy(&e.value).parse::<u64>().unwrap());
        match put(space, name, &(count + 1).to_string(), expect).await {
            Ok(revision) => return assert!(last.is_none_or(|l| revision > l)),
            Err(StoreError::Conflict) => last = last.max(if let Expect::At(at) = expect { Some(at) } else { None }),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Of all who create one key at once, one wins, and its value is the one that stays.
pub async fn one_of_many_creators_wins(space: &Space) {
    let results = join_all((0..16).map(|i| async move { put(space, "k", &i.to_string(), Expect::Absent).await })).await;
    let winners: Vec<_> = results.iter().enumerate().filter(|(_, result)| result.is_ok()).map(|(i, _)| i).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(StoreError::Conflict))), "{results:?}");
    assert_eq!(text(space, "k").await, Some(winners[0].to_string()));
}

/// Of all who overwrite one revision at once, puts and deletes alike, one wins.
pub async fn one_of_many_writers_at_a_revision_wins(space: &Space) {
    let first = put(space, "k", "0", Expect::Absent).await.unwrap();
    let results = join_all((0..16).map(|i| async move {
        if i % 4 == 0 {
            space.store().delete(&key("k"), Expect::At(first)).await
        } else {
            put(space, "k", &i.to_string(), Expect::At(first)).await
        }
    }))
    .await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
    assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(StoreError::Conflict))), "{results:?}");
}

/// After a delete nothing is read and nothing is listed.
pub async fn a_deleted_key_reads_as_absent(space: &Space) {
    let first = put(space, "k", "1", Expect::Absent).await.unwrap();
    put(space, "stays", "1", Expect::Absent).await.unwrap();
    assert!(space.store().delete(&key("k"), Expect::At(first)).await.unwrap() > first);
    assert_eq!(read(space, "k").await, None);
    assert_eq!(all_keys(space).await, [key("stays")]);
    assert_conflict(put(space, "k", "2", Expect::At(first)).await);
}

/// A delete is repeatable, and still tells a revision.
pub async fn deleting_what_is_not_there_is_fine(space: &Space) {
    let first = space.store().delete(&key("k"), Expect::Anything).await.unwrap();
    let second = space.store().delete(&key("k"), Expect::Absent).await.unwrap();
    let third = put(space, "k", "1", Expect::Absent).await.unwrap();
    assert!(first <= second && second < third);
}

/// A delete is held to its expectation like a put.
pub async fn a_delete_that_expects_otherwise_conflicts(space: &Space) {
    assert_conflict(space.store().delete(&key("k"), Expect::At(Revision::new(7))).await);
    let first = put(space, "k", "1", Expect::Absent).await.unwrap();
    put(space, "k", "2", Expect::At(first)).await.unwrap();
    assert_conflict(space.store().delete(&key("k"), Expect::At(first)).await);
    assert_conflict(space.store().delete(&key("k"), Expect::Absent).await);
    assert_eq!(text(space, "k").await.as_deref(), Some("2"));
}

/// A put without TTL outlives the TTL of the put before it.
pub async fn a_ttl_belongs_to_one_write(space: &Space) {
    if refuses_ttl(space).await {
        return;
    }
    let mut changes = space.store().watch(&Scope::All).await.unwrap();
    let first = space.store().put(&key("k"), "1".into(), Expect::Absent, ttl(1)).await.unwrap();
    put(space, "k", "2", Expect::At(first)).await.unwrap();
    // A witness of later, so that the first TTL has run out by the time that this one has.
    space.store().put(&key("witness"), "1".into(), Expect::Absent, ttl(2)).await.unwrap();
    expired(space, &mut changes, "witness").await;
    assert_eq!(text(space, "k").await.as_deref(), Some("2"));
}

/// NATS counts TTLs in seconds, so nobody may rely on less.
pub async fn a_ttl_below_a_second_is_rejected(space: &Space) {
    let options = PutOptions::default().ttl(Duration::from_millis(999));
    assert_invalid_option(space.store().put(&key("k"), "1".into(), Expect::Anything, options.clone()).await);
    let commit = Commit::new().put(key("k"), "1".into(), Expect::Anything, options);
    assert_invalid_option(space.store().commit(commit).await);
    assert_eq!(read(space, "k").await, None);
}

/// A label is short visible ASCII, or nothing is written.
pub async fn a_bad_label_is_rejected(space: &Space) {
    for bad in [String::new(), "two words".into(), "line\nbreak".into(), "\u{fc}".into(), "x".repeat(65)] {
        let options = PutOptions::default().label(bad);
        assert_invalid_option(space.store().put(&key("k"), "1".into(), Expect::Anything, options).await);
    }
    assert_eq!(read(space, "k").await, None);
    let longest = PutOptions::default().label("x".repeat(64));
    space.store().put(&key("k"), "1".into(), Expect::Absent, longest).await.unwrap();
}

/// A listing tells each key's newest write and its label.
pub async fn keys_are_listed_with_revision_and_label(space: &Space) {
    let running = PutOptions::default().label("running");
    space.store().put(&key("run.1"), "1".into(), Expect::Absent, running).await.unwrap();
    let done = PutOptions::default().label("done");
    let first = space.store().put(&key("run.1"), "2".into(), Expect::Anything, done).await.unwrap();
    let second = put(space, "run.2", "1", Expect::Absent).await.unwrap();
    let mut listed = list(space, &Scope::All).await;
    listed.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(listed, [KeyInfo::new(key("run.1"), first, Some("done".into())), KeyInfo::new(key("run.2"), second, None)]);
}

/// `run.orders` lists what is below it, neither itself nor `run.orders2`.
pub async fn keys_below_a_prefix_match_whole_tokens(space: &Space) {
    for name in ["run", "run.orders", "run.orders.1", "run.orders.2.deep", "run.orders-2.1", "run.orders2.1", "run.orders/1.1"]
    {
        put(space, name, "1", Expect::Absent).await.unwrap();
    }
    let mut listed: Vec<_> = list(space, &key("run.orders").below()).await.into_iter().map(|info| info.key).collect();
    listed.sort();
    assert_eq!(listed, [key("run.orders.1"), key("run.orders.2.deep")]);
    assert_eq!(list(space, &Scope::All).await.len(), 7);
    let one: Vec<_> = list(space, &key("run.orders").alone()).await.into_iter().map(|info| info.key).collect();
    assert_eq!(one, [key("run.orders")]);
    assert!(list(space, &key("nothing").below()).await.is_empty());
}

async fn list(space: &Space, prefix: &Scope) -> Vec<KeyInfo> {
    space.store().keys(prefix).await.unwrap().map(Result::unwrap).collect().await
}

/// Several keys come back in the order that they were asked for, absent ones as `None`, repeated ones repeatedly.
pub async fn several_keys_are_read_in_their_order(space: &Space) {
    for name in ["a", "b", "c"] {
        put(space, name, name, Expect::Absent).await.unwrap();
    }
    space.store().delete(&key("b"), Expect::Anything).await.unwrap();
    let found = space.store().get_many(&["c", "b", "never", "a", "c"].map(key)).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|entry| entry.map(|e| e.key.as_str().to_owned())).collect();
    assert_eq!(found, [Some("c".into()), None, None, Some("a".into()), Some("c".into())]);
    assert!(space.store().get_many(&[]).await.unwrap().is_empty());
}

/// Two keys that are always committed together are always read together.
///
/// An engine without that promise still has to give values that were written.
pub async fn several_keys_are_never_read_torn(space: &Space) {
    const ROUNDS: usize = 50;
    let capabilities = space.store().capabilities();
    let (left, right) = (key("left"), key("right"));
    let write = async {
        for round in 0..ROUNDS {
            let value = Bytes::from(round.to_string());
            let both = Commit::new().put(left.clone(), value.clone(), Expect::Anything, PutOptions::default()).put(
                right.clone(),
                value.clone(),
                Expect::Anything,
                PutOptions::default(),
            );
            if capabilities.atomic_commit {
                space.store().commit(both).await.unwrap();
            } else {
                assert_unsupported(space.store().commit(both).await);
                space.store().put(&left, value.clone(), Expect::Anything, PutOptions::default()).await.unwrap();
                space.store().put(&right, value, Expect::Anything, PutOptions::default()).await.unwrap();
            }
        }
    };
    let look = async {
        let done = Bytes::from((ROUNDS - 1).to_string());
        loop {
            let found = space.store().get_many(&[left.clone(), right.clone()]).await.unwrap();
            let values: Vec<_> = found.into_iter().map(|entry| entry.map(|e| e.value)).collect();
            if capabilities.atomic_commit && capabilities.consistent_get_many {
                assert_eq!(values[0], values[1]);
            }
            if values.iter().all(|value| value.as_ref() == Some(&done)) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let both = async { tokio::join!(write, look) };
    space.clock().timeout(PATIENCE, both).await.expect("the last round is seen");
}

/// The limit itself is inside.
pub async fn a_value_as_large_as_the_limit_is_stored(space: &Space) {
    let largest = Bytes::from(vec![7; space.store().capabilities().max_value]);
    space.store().put(&key("k"), largest.clone(), Expect::Absent, PutOptions::default()).await.unwrap();
    assert!(read(space, "k").await.unwrap().value == largest);
}

/// One byte more is rejected, and what was there stays.
pub async fn a_value_beyond_the_limit_is_rejected(space: &Space) {
    put(space, "k", "small", Expect::Absent).await.unwrap();
    let too_large = Bytes::from(vec![7; space.store().capabilities().max_value + 1]);
    assert_too_large(space.store().put(&key("k"), too_large, Expect::Anything, PutOptions::default()).await);
    assert_eq!(text(space, "k").await.as_deref(), Some("small"));
}

/// A key that grew too long by joining is rejected wherever it is used, before anything is written.
pub async fn a_key_beyond_the_limit_is_rejected(space: &Space) {
    let longest = Key::new("k".repeat(MAX_KEY_BYTES)).unwrap();
    space.store().put(&longest, "1".into(), Expect::Absent, PutOptions::default()).await.unwrap();
    assert!(space.store().get(&longest).await.unwrap().is_some());

    let store = space.store();
    let too_long = longest.join("k");
    assert_bad_name(store.put(&too_long, "1".into(), Expect::Anything, PutOptions::default()).await);
    assert_bad_name(store.delete(&too_long, Expect::Anything).await);
    assert_bad_name(store.get(&too_long).await);
    assert_bad_name(store.get_many(std::slice::from_ref(&too_long)).await);
    let commit = Commit::new().put(too_long, "1".into(), Expect::Anything, PutOptions::default());
    assert_bad_name(store.commit(commit).await);
    assert_eq!(all_keys(space).await, [longest]);
}

fn ttl(seconds: u64) -> PutOptions {
    PutOptions::default().ttl(Duration::from_secs(seconds))
}

/// Whether the engine has no TTL; it then has to say so instead of keeping the value for ever.
async fn refuses_ttl(space: &Space) -> bool {
    if space.store().capabilities().ttl {
        return false;
    }
    assert_unsupported(space.store().put(&key("k"), "1".into(), Expect::Anything, ttl(1)).await);
    assert_eq!(read(space, "k").await, None);
    true
}
