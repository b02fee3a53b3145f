//! Cases of buckets: their options, what differs, histories, ages, and what they refuse.

use super::{
    PATIENCE, all_keys, assert_bad_name, assert_conflict, assert_invalid_option, assert_too_large, assert_unsupported, expired,
    key, next_change, put, read, store, text, watch,
};
use crate::{
    engine::{
        BucketOptions, Change, Commit, Difference, Engine, Expect, Message, Name, PutOptions, QueueOptions, Rejection, Scope,
        Space, Storage, StoreError, Timer, Version,
    },
    testing::faulty::{Fault, FaultyStore, Op},
    time::{Clock, unique},
};
use bytes::Bytes;
use futures_util::future::join_all;
use std::{sync::Arc, time::Duration};

/// A bucket that is there with other options is not touched, and everything that differs is said at once.
pub async fn a_bucket_that_is_configured_otherwise_is_left_alone(engine: &Engine) {
    let minute = Duration::from_secs(60);
    let options = || BucketOptions::default().history(3).max_age(minute).storage(Storage::Memory).description("theirs");
    let name = fresh_name();
    let bucket = engine.bucket(&*name, options()).await.unwrap();
    put(&bucket, "k", "1", Expect::Absent).await.unwrap();
    let other = options().history(1).max_age(2 * minute).storage(Storage::File).limit_markers(minute).description("ours");
    let differences = drift(engine.bucket(&*name, other.max_value_size(512)).await);
    let said: Vec<_> = differences.iter().map(ToString::to_string).collect();
    let expected = [
        "history is 3, not 1",
        "max_age is 60s, not 120s",
        "storage is memory, not file",
        "limit_markers is none, not 60s",
        "max_value_size is unlimited, not 512",
        "description is \"theirs\", not \"ours\"",
    ];
    assert_eq!(said, expected);
    let again = engine.bucket(&*name, options()).await.unwrap();
    assert_eq!(text(&again, "k").await.as_deref(), Some("1"));
    assert_eq!(drift(engine.bucket(&*name, options().max_age(Duration::ZERO)).await).len(), 1, "for ever is an answer, too");
}

/// What is not asked for is not compared: no options at all open whatever is there, also a space.
pub async fn options_that_are_left_out_match_anything(engine: &Engine) {
    let name = fresh_name();
    let bucket = engine.bucket(&*name, BucketOptions::default().history(7)).await.unwrap();
    put(&bucket, "k", "1", Expect::Absent).await.unwrap();
    let opened = engine.bucket(&*name, BucketOptions::default()).await.unwrap();
    put(&opened, "k", "2", Expect::Anything).await.unwrap();
    assert_eq!(values(&opened.store().history(&key("k")).await.unwrap()), [Some("1"), Some("2")]);

    let space = super::fresh_space(engine).await;
    put(&space, "k", "1", Expect::Absent).await.unwrap();
    let opened = engine.bucket(space.name().as_str(), BucketOptions::default()).await.unwrap();
    assert_eq!(text(&opened, "k").await.as_deref(), Some("1"));
    assert_eq!(drift(engine.bucket(space.name().as_str(), BucketOptions::default().history(2)).await).len(), 1);
    // The other way round there is no room for a space's queues.
    let refused = engine.space(&*name).await;
    assert!(matches!(refused, Err(StoreError::Rejected(Rejection::Refused(_)))), "{refused:?}");
}

/// A key's versions come oldest first, no more than are kept, removals among them.
pub async fn a_bucket_keeps_as_many_versions_as_it_was_asked_to(engine: &Engine) {
    let bucket = fresh(engine, BucketOptions::default().history(3)).await;
    assert_eq!(bucket.store().history(&key("k")).await.unwrap(), []);
    let mut revisions = Vec::new();
    for value in ["1", "2", "3", "4"] {
        revisions.push(put(&bucket, "k", value, Expect::Anything).await.unwrap());
        put(&bucket, "other", value, Expect::Anything).await.unwrap();
    }
    let history = bucket.store().history(&key("k")).await.unwrap();
    assert_eq!(values(&history), [Some("2"), Some("3"), Some("4")]);
    assert_eq!(history.iter().map(|v| v.revision).collect::<Vec<_>>(), revisions[1..]);
    assert!(history.is_sorted_by_key(|v| v.written_at));

    let labelled = PutOptions::default().label("five");
    let fifth = bucket.store().put(&key("k"), "5".into(), Expect::At(revisions[3]), labelled).await.unwrap();
    let deleted = bucket.store().delete(&key("k"), Expect::At(fifth)).await.unwrap();
    let history = bucket.store().history(&key("k")).await.unwrap();
    assert_eq!(values(&history), [Some("4"), Some("5"), None]);
    assert_eq!((history[1].label.as_deref(), history[2].revision), (Some("five"), deleted));
    assert_eq!(read(&bucket, "k").await, None);
    put(&bucket, "k", "6", Expect::Absent).await.unwrap();
    assert_eq!(values(&bucket.store().history(&key("k")).await.unwrap()), [Some("5"), None, Some("6")]);
    assert_eq!(all_keys(&bucket).await, [key("k"), key("other")]);

    let faulty = FaultyStore::over(&bucket, 1);
    let bucket = bucket.with_store(Arc::<FaultyStore>::clone(&faulty));
    assert_eq!(values(&bucket.store().history(&key("k")).await.unwrap()), [Some("5"), None, Some("6")]);
    faulty.once(Fault::Unavailable, |call| call.op == Op::Read);
    assert!(matches!(bucket.store().history(&key("k")).await, Err(StoreError::Unavailable(_))));
    let longest = crate::engine::Key::new("k".repeat(crate::engine::MAX_KEY_BYTES)).unwrap();
    assert_bad_name(bucket.store().history(&longest.join("k")).await);
}

/// A history that is read while others write has no holes.
pub async fn a_history_that_is_read_amid_writes_has_no_holes(engine: &Engine) {
    let bucket = fresh(engine, BucketOptions::default().history(4)).await;
    let writer = async {
        for n in 0..60 {
            put(&bucket, "k", &n.to_string(), Expect::Anything).await.unwrap();
        }
    };
    let reader = async {
        loop {
            let history = bucket.store().history(&key("k")).await.unwrap();
            let numbers: Vec<u32> = values(&history).into_iter().map(|v| v.unwrap().parse().unwrap()).collect();
            assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "{numbers:?}");
            if numbers.last() == Some(&59) {
                assert_eq!(numbers.len(), 4);
                break;
            }
            // An embedded engine reads at once.
            tokio::task::yield_now().await;
        }
    };
    futures_util::join!(writer, reader);
}

/// A space keeps the newest version, and says so.
pub async fn the_history_of_a_space_is_its_newest_value(engine: &Engine) {
    let space = super::fresh_space(engine).await;
    assert_eq!(space.store().history(&key("k")).await.unwrap(), []);
    put(&space, "k", "1", Expect::Absent).await.unwrap();
    let second = put(&space, "k", "2", Expect::Anything).await.unwrap();
    let history = space.store().history(&key("k")).await.unwrap();
    assert_eq!((values(&history), history[0].revision), (vec![Some("2")], second));
}

/// What has come of age is gone for a read, for an expectation and for a watch, without anybody writing; an older version does not
/// come back.
pub async fn what_is_too_old_is_gone_and_a_watch_says_so(engine: &Engine) {
    for history in [1, 3] {
        let options = BucketOptions::default().history(history).max_age(Duration::from_secs(1));
        let bucket = fresh(engine, options).await;
        let mut changes = bucket.store().watch(&Scope::All).await.unwrap();
        let first = put(&bucket, "k", "1", Expect::Absent).await.unwrap();
        let second = put(&bucket, "k", "2", Expect::At(first)).await.unwrap();
        put(&bucket, "removed", "1", Expect::Absent).await.unwrap();
        bucket.store().delete(&key("removed"), Expect::Anything).await.unwrap();
        expired(&bucket, &mut changes, "k").await;
        assert_eq!((read(&bucket, "k").await, all_keys(&bucket).await), (None, vec![]));
        assert_eq!(bucket.store().history(&key("k")).await.unwrap(), []);
        assert_conflict(put(&bucket, "k", "3", Expect::At(second)).await);
        put(&bucket, "k", "3", Expect::Absent).await.unwrap();
        // A watch that starts later starts from what there is.
        let mut late = bucket.store().watch(&Scope::All).await.unwrap();
        while !matches!(next_change(&bucket, &mut late).await, Change::Put(entry) if entry.value == "3") {}
        expired(&bucket, &mut late, "k").await;
    }
}

/// A TTL is refused where it would be ignored, and where it would bring an older version back; it works beside markers.
pub async fn a_ttl_is_taken_only_where_it_is_kept(engine: &Engine) {
    let short = || PutOptions::default().ttl(Duration::from_secs(1));
    let store = |bucket: &Space| Arc::clone(bucket.store());
    let plain = fresh(engine, BucketOptions::default()).await;
    assert!(!plain.store().capabilities().ttl);
    assert_unsupported(store(&plain).put(&key("k"), "1".into(), Expect::Absent, short()).await);
    let markers = BucketOptions::default().limit_markers(Duration::from_secs(5));
    let history = fresh(engine, markers.clone().history(2)).await;
    assert!(!history.store().capabilities().ttl);
    assert_invalid_option(store(&history).put(&key("k"), "1".into(), Expect::Absent, short()).await);
    let commit = Commit::new().put(key("k"), "1".into(), Expect::Absent, short());
    assert_invalid_option(store(&history).commit(commit).await);
    assert_eq!((read(&plain, "k").await, read(&history, "k").await), (None, None));

    let bucket = fresh(engine, markers).await;
    assert!(bucket.store().capabilities().ttl);
    let mut changes = bucket.store().watch(&Scope::All).await.unwrap();
    store(&bucket).put(&key("k"), "1".into(), Expect::Absent, short()).await.unwrap();
    expired(&bucket, &mut changes, "k").await;
    assert_eq!(read(&bucket, "k").await, None);
}

/// A bucket is keys and nothing else, and says what has more.
pub async fn a_bucket_refuses_what_needs_a_space(engine: &Engine) {
    let bucket = fresh(engine, BucketOptions::default()).await;
    let capabilities = bucket.store().capabilities();
    assert!(!capabilities.queues && !capabilities.atomic_commit && !capabilities.checks && !capabilities.timers);
    let queue = bucket.queue("q", QueueOptions::default()).await;
    assert!(matches!(&queue, Err(StoreError::Rejected(e @ Rejection::Unsupported { .. })) if e.to_string().contains("space")));
    let name = || Name::new("q").unwrap();
    let one = || Commit::new().put(key("k"), "1".into(), Expect::Absent, PutOptions::default());
    for commit in [
        one().put(key("l"), "1".into(), Expect::Absent, PutOptions::default()),
        one().send(name(), Message::new("m")),
        Commit::new().send(name(), Message::new("m")),
        one().check(key("l"), Expect::Absent),
        Commit::new().timer(Timer::Cancel { name: key("t") }),
    ] {
        assert_unsupported(bucket.store().commit(commit).await);
    }
    assert!(all_keys(&bucket).await.is_empty());
    bucket.store().commit(one()).await.unwrap();
    assert_eq!(text(&bucket, "k").await.as_deref(), Some("1"));
}

/// Options and names are checked before anything is created.
pub async fn bad_options_of_a_bucket_are_rejected(engine: &Engine) {
    let options = BucketOptions::default;
    for bad in [
        options().history(0),
        options().history(65),
        options().max_age(Duration::from_millis(1)),
        options().limit_markers(Duration::from_millis(1)),
        options().max_bytes(0),
        options().max_value_size(0),
        options().replicas(0),
    ] {
        let name = fresh_name();
        assert_invalid_option(engine.bucket(&*name, bad).await);
        engine.bucket(&*name, options().description("it was not there")).await.unwrap();
    }
    assert_bad_name(engine.bucket("a.b", options()).await);
}

/// A value has its bucket's limit, not the engine's.
pub async fn a_value_beyond_its_buckets_limit_is_rejected(engine: &Engine) {
    let bucket = fresh(engine, BucketOptions::default().max_value_size(2000)).await;
    assert_eq!(bucket.store().capabilities().max_value, 2000);
    let k = key("k");
    let large = |size| bucket.store().put(&k, Bytes::from(vec![7; size]), Expect::Absent, PutOptions::default());
    assert_too_large(large(2001).await);
    assert_eq!(read(&bucket, "k").await, None);
    large(1000).await.unwrap();
}

/// What holds for a store holds for a bucket, whatever its shape.
pub async fn the_rules_of_a_store_hold_in_every_bucket(engine: &Engine) {
    let options = BucketOptions::default;
    let shapes = [
        options(),
        options().history(5),
        options().history(2).max_age(PATIENCE * 10).limit_markers(PATIENCE),
        options().limit_markers(PATIENCE),
    ];
    join_all(shapes.iter().map(async |options| {
        let bucket = || fresh(engine, options.clone());
        store::revisions_grow_across_the_store(&bucket().await).await;
        store::a_revision_is_not_reused_after_a_delete(&bucket().await).await;
        store::what_was_put_is_read_back(&bucket().await).await;
        store::absent_holds_for_a_key_that_was_never_written(&bucket().await).await;
        store::absent_holds_after_a_delete(&bucket().await).await;
        store::absent_refuses_a_key_that_is_there(&bucket().await).await;
        store::a_stale_revision_conflicts_and_writes_nothing(&bucket().await).await;
        store::racing_increments_are_all_counted(&bucket().await).await;
        store::one_of_many_creators_wins(&bucket().await).await;
        store::a_deleted_key_reads_as_absent(&bucket().await).await;
        store::deleting_what_is_not_there_is_fine(&bucket().await).await;
        store::a_delete_that_expects_otherwise_conflicts(&bucket().await).await;
        store::keys_are_listed_with_revision_and_label(&bucket().await).await;
        store::several_keys_are_read_in_their_order(&bucket().await).await;
        if options.history.is_none() {
            store::absent_holds_after_expiry(&bucket().await).await;
            store::a_ttl_belongs_to_one_write(&bucket().await).await;
        }
        watch::a_watch_reports_values_then_synced_then_changes(&bucket().await).await;
        watch::a_watch_reports_deletes(&bucket().await).await;
        watch::a_slow_watch_ends_at_the_newest_value(&bucket().await).await;
    }))
    .await;
}

fn fresh_name() -> String {
    format!("conformance-bucket-{}", unique(&Clock::system()))
}

async fn fresh(engine: &Engine, options: BucketOptions) -> Space {
    engine.bucket(fresh_name(), options).await.unwrap()
}

fn values(history: &[Version]) -> Vec<Option<&str>> {
    history.iter().map(|v| v.value.as_deref().map(|v| std::str::from_utf8(v).unwrap())).collect()
}

#[track_caller]
fn drift(opened: Result<Space, StoreError>) -> Vec<Difference> {
    match opened {
        Err(StoreError::Rejected(Rejection::Drift { differences, .. })) => differences,
        other => panic!("a drift was expected, not {other:?}"),
    }
}
