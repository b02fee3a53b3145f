//! Buckets: what other KV clients make of ours, and we of theirs; what is never changed.

use super::kit::*;
use anabranch::{
    engine::{BucketOptions, Change, Engine, Expect, Rejection, Scope, Space, Storage, StoreError},
    testing::server::NatsServer,
    time::nonce,
};
use async_nats::jetstream::{self, kv, stream};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn bucket(url: &str, name: &str, options: BucketOptions) -> Result<Space, StoreError> {
    Engine::open(url).await.unwrap().bucket(name, options).await
}

fn fresh() -> String {
    format!("store_test-{:x}", nonce())
}

async fn config_of(js: &jetstream::Context, name: &str) -> stream::Config {
    js.get_stream(format!("KV_{name}")).await.unwrap().cached_info().config.clone()
}

/// The Go origin's bucket: `store_<scope>`, a TTL of 24 hours, one version, a description, everything else as its client makes it.
fn of_the_go_service(name: &str) -> kv::Config {
    kv::Config {
        bucket: name.to_owned(),
        description: "Distributed objects for object".to_owned(),
        max_age: DAY,
        history: 1,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_another_service_is_opened_written_and_left_as_it_was() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let foreign = js.create_key_value(of_the_go_service(&name)).await.unwrap();
    let before = config_of(&js, &name).await;
    let created = foreign.create("board.1", "theirs".into()).await.unwrap();

    let ours = bucket(&url, &name, BucketOptions::default().max_age(DAY).history(1)).await.unwrap();
    assert!(!ours.store().capabilities().ttl);
    let mut changes = ours.store().watch(&Scope::All).await.unwrap();
    let entry = ours.store().get(&key("board.1")).await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.revision.get()), (b"theirs".as_slice(), created));
    let second = put(&ours, "board.1", "ours", Expect::At(entry.revision)).await.unwrap();
    let seen = foreign.entry("board.1").await.unwrap().unwrap();
    assert_eq!((seen.value.as_ref(), seen.revision, seen.operation), (b"ours".as_slice(), second.get(), kv::Operation::Put));
    let third = foreign.update("board.1", "theirs again".into(), second.get()).await.unwrap();
    assert!(matches!(put(&ours, "board.1", "late", Expect::At(second)).await, Err(StoreError::Conflict)));
    until_put(&mut changes, "board.1", "theirs again").await;

    // Removals, in both directions.
    let entry = ours.store().get(&key("board.1")).await.unwrap().unwrap();
    assert_eq!(entry.revision.get(), third);
    ours.store().delete(&key("board.1"), Expect::At(entry.revision)).await.unwrap();
    assert_eq!(foreign.get("board.1").await.unwrap(), None);
    foreign.create("board.1", "back".into()).await.unwrap();
    foreign.delete("board.1").await.unwrap();
    assert_eq!(text(&ours, "board.1").await, None);
    put(&ours, "board.1", "over their tombstone", Expect::Absent).await.unwrap();
    foreign.purge("board.1").await.unwrap();
    assert_eq!(text(&ours, "board.1").await, None);
    let after = config_of(&js, &name).await;
    assert_eq!(before, after);
}

/// The server takes a stream that is created a second time only when everything in its configuration is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_created_as_every_kv_client_creates_it() {
    let url = NatsServer::shared().await.url();
    let js = client(&url).await;
    let second = Duration::from_secs(1);
    let both = [
        (BucketOptions::default(), kv::Config::default()),
        (
            BucketOptions::default().history(5).max_age(second).storage(Storage::Memory).description("d"),
            kv::Config {
                history: 5,
                max_age: second,
                storage: stream::StorageType::Memory,
                description: "d".to_owned(),
                ..Default::default()
            },
        ),
        (
            BucketOptions::default().max_bytes(1 << 20).max_value_size(4096).limit_markers(second).replicas(1),
            kv::Config {
                max_bytes: 1 << 20,
                max_value_size: 4096,
                limit_markers: Some(second),
                num_replicas: 1,
                ..Default::default()
            },
        ),
    ];
    for (options, config) in both {
        let (ours, theirs) = (fresh(), fresh());
        bucket(&url, &ours, options.clone()).await.unwrap();
        let history = config.history.max(1);
        js.create_key_value(kv::Config { bucket: ours.clone(), history, ..config.clone() }).await.unwrap();
        js.create_key_value(kv::Config { bucket: theirs.clone(), history, ..config }).await.unwrap();
        bucket(&url, &theirs, options).await.unwrap();
    }
}

/// G5: what was bound silently, whatever its configuration, is refused with everything that differs. G31: nothing is changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_another_service_that_differs_is_refused_and_left_alone() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let config = kv::Config { history: 5, max_age: DAY, ..of_the_go_service(&name) };
    js.create_key_value(config).await.unwrap();
    let before = config_of(&js, &name).await;
    let hour = Duration::from_secs(3600);
    let options = BucketOptions::default().history(1).max_age(hour).replicas(3).storage(Storage::File).limit_markers(hour);
    let opened = bucket(&url, &name, options).await;
    let Err(StoreError::Rejected(drift @ Rejection::Drift { .. })) = opened else { panic!("it was opened: {opened:?}") };
    let text = format!(
        "the bucket `{name}` is configured otherwise: history is 5, not 1; max_age is 86400s, not 3600s; replicas is 1, not 3; \
         limit_markers is none, not 3600s"
    );
    assert_eq!(drift.to_string(), text);
    assert_eq!(config_of(&js, &name).await, before);
    bucket(&url, &name, BucketOptions::default().history(5)).await.unwrap();
}

/// G4: an option that is given has an effect, also the one of the URL that goes before every name.
#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_goes_before_the_name_of_a_bucket() {
    let url = NatsServer::shared().await.url();
    let name = format!("object-{:x}", nonce());
    bucket(&format!("{url}?prefix=store_"), &name, BucketOptions::default().max_age(DAY)).await.unwrap();
    assert_eq!(config_of(&client(&url).await, &format!("store_{name}")).await.max_age, DAY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_the_same_to_another_kv_client() {
    use futures_util::TryStreamExt as _;
    let url = NatsServer::shared().await.url();
    let name = fresh();
    let ours = bucket(&url, &name, BucketOptions::default().history(4)).await.unwrap();
    let foreign = client(&url).await.get_key_value(&*name).await.unwrap();
    put(&ours, "k", "1", Expect::Absent).await.unwrap();
    foreign.put("k", "2".into()).await.unwrap();
    ours.store().delete(&key("k"), Expect::Anything).await.unwrap();
    foreign.create("k", "3".into()).await.unwrap();
    let theirs: Vec<_> = foreign.history("k").await.unwrap().try_collect().await.unwrap();
    let theirs = theirs.into_iter().map(|e| (e.revision, (e.operation == kv::Operation::Put).then_some(e.value)));
    let history = ours.store().history(&key("k")).await.unwrap();
    let history: Vec<_> = history.into_iter().map(|v| (v.revision.get(), v.value)).collect();
    assert_eq!(history, theirs.collect::<Vec<_>>());
    assert_eq!(history.iter().map(|(_, v)| v.as_deref()).collect::<Vec<_>>(), [Some(&b"1"[..]), Some(b"2"), None, Some(b"3")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_bucket_is_unavailable_and_keeps_what_it_has() {
    let url = NatsServer::shared().await.url();
    let ours = bucket(&url, &fresh(), BucketOptions::default().max_bytes(4096)).await.unwrap();
    put(&ours, "a", &"x".repeat(2000), Expect::Absent).await.unwrap();
    let full = put(&ours, "b", &"x".repeat(3000), Expect::Absent).await;
    assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
    assert_eq!((text(&ours, "a").await.map(|v| v.len()), text(&ours, "b").await), (Some(2000), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_no_bucket_is_refused() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let subjects = vec![format!("{name}.>")];
    js.create_stream(stream::Config { name: format!("KV_{name}"), subjects, ..Default::default() }).await.unwrap();
    let opened = bucket(&url, &name, BucketOptions::default()).await;
    assert!(matches!(opened, Err(StoreError::Rejected(Rejection::Refused(_)))), "{opened:?}");
}

/// A bucket without direct gets is read all the same, key by key.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_direct_gets_says_so_and_is_read() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let subjects = vec![format!("$KV.{name}.>")];
    let config = stream::Config { name: format!("KV_{name}"), subjects, max_messages_per_subject: 1, ..Default::default() };
    js.create_stream(stream::Config { allow_rollup: true, ..config }).await.unwrap();
    let ours = bucket(&url, &name, BucketOptions::default()).await.unwrap();
    assert!(!ours.store().capabilities().consistent_get_many);
    put(&ours, "a", "1", Expect::Absent).await.unwrap();
    let found = ours.store().get_many(&[key("a"), key("b")]).await.unwrap();
    assert_eq!((found[0].as_ref().unwrap().value.as_ref(), &found[1]), (b"1".as_slice(), &None));
}

/// Nobody reports the end of a value that goes by its age without a marker; a watch that was away all the same knows of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_was_away_hears_of_what_has_come_of_age_meanwhile() {
    let mut server = NatsServer::start().await.unwrap();
    let options = BucketOptions::default().max_age(Duration::from_secs(2)).storage(Storage::File);
    let ours = bucket(&server.url(), "aged", options).await.unwrap();
    let mut changes = ours.store().watch(&Scope::All).await.unwrap();
    assert_eq!(next(&mut changes).await, Change::Synced);
    let revision = put(&ours, "k", "1", Expect::Absent).await.unwrap();
    until_put(&mut changes, "k", "1").await;
    server.kill();
    server.restart().await.unwrap();
    let expired = in_time("the expiry", async {
        loop {
            match next(&mut changes).await {
                Change::Expired(k, at) if k == key("k") => break at,
                // A server that is back counts the age on.
                _ => {}
            }
        }
    });
    assert_eq!(expired.await, revision);
    assert_eq!(text(&ours, "k").await, None);
}
