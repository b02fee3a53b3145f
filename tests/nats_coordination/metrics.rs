//! Metrics that another KV client changes as well, as a service of the Go library does: same bucket, same keys, same bytes.

use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Metrics, MetricsBatch},
    core::coordination::metric::{BaseMetric, Delta, MapDelta, MapMetric},
    engine::{BucketOptions, Engine, Space},
    testing::server::NatsServer,
    time::nonce,
};
use async_nats::jetstream::{self, kv};
use futures_util::{StreamExt as _, future::join_all};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A bucket of its own, as we see it and as others do.
async fn bucket() -> (Space, kv::Store) {
    let url = NatsServer::shared().await.url();
    let name = Metrics::<BaseMetric>::bucket(&format!("test-{:x}", nonce()));
    let space = Engine::open(&url).await.unwrap().space(&*name).await.unwrap();
    let js = jetstream::new(async_nats::connect(url).await.unwrap());
    (space, js.get_key_value(name).await.unwrap())
}

/// A bucket as the Go library makes it: what is older than a day is dropped, and nothing else is said.
async fn bucket_of_the_go_library() -> (Space, kv::Store) {
    let url = NatsServer::shared().await.url();
    let name = Metrics::<BaseMetric>::bucket(&format!("test-{:x}", nonce()));
    let js = jetstream::new(async_nats::connect(url.clone()).await.unwrap());
    let description = "Distributed objects for test".to_owned();
    let config = kv::Config { bucket: name.clone(), description, max_age: DAY, history: 1, ..Default::default() };
    let theirs = js.create_key_value(config).await.unwrap();
    let options = BucketOptions::default().max_age(DAY).history(1);
    (Engine::open(&url).await.unwrap().bucket(name, options).await.unwrap(), theirs)
}

fn varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7F).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
}

/// What the Go library writes: fields in ascending order, without those that are zero.
fn go(processed: u64, in_flight: i64, failed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, number) in [(0x08, processed), (0x10, in_flight.cast_unsigned()), (0x18, failed)] {
        if number != 0 {
            bytes.push(tag);
            varint(number, &mut bytes);
        }
    }
    bytes
}

/// Takes one up as the Go library does: read, change, write with the revision, and again after a conflict.
async fn take_up(kv: &kv::Store, key: &str, count: u64) {
    let mut done = 0;
    while done < count {
        let entry = kv.entry(key).await.unwrap().filter(|e| e.operation == kv::Operation::Put);
        let (value, revision) = entry.map_or((Vec::new(), 0), |e| (e.value.to_vec(), e.revision));
        let read: BaseMetric = prost::Message::decode(&*value).unwrap();
        let next = go(read.processed + 1, read.in_flight + 1, read.failed);
        let written = match revision {
            0 => kv.create(key, next.into()).await.is_ok(),
            _ => kv.update(key, next.into(), revision).await.is_ok(),
        };
        done += u64::from(written);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_count_another_client_reads_byte_for_byte() {
    let (space, kv) = bucket().await;
    let (base, map) = (Metrics::<BaseMetric>::new(&space), Metrics::<MapMetric>::new(&space));
    base.taken_up("board.7", 5).await.unwrap();
    base.done("board.7", 7).await.unwrap();
    assert_eq!(kv.get("board.7").await.unwrap().unwrap(), go(5, -2, 0));
    map.update("acme.user.42", MapDelta::overall(Delta::taken_up(2)).board(3, Delta::failed(1))).await.unwrap();
    let entry = [&[0x12, 6, 0x08, 3, 0x12, 2][..], &go(0, 0, 1)].concat();
    assert_eq!(kv.get("acme.user.42").await.unwrap().unwrap(), [&[0x0A, 4][..], &go(2, 2, 0), &entry].concat());
    base.reset("board.7").await.unwrap();
    // Of zero length, and not deleted.
    assert_eq!(kv.get("board.7").await.unwrap().unwrap(), "");
    map.delete("acme.user.42").await.unwrap();
    assert_eq!(kv.get("acme.user.42").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_counts_we_read_watch_and_go_on_with() {
    let (space, kv) = bucket().await;
    let map = Metrics::<MapMetric>::new(&space);
    let mut seen = map.watch("user.42").await.unwrap();
    assert_eq!(seen.next().await.unwrap().unwrap(), None);
    // A whole, two boards in no order, and one of them with nothing in it.
    let theirs = [&[0x0A, 2, 0x08, 9][..], &[0x12, 6, 0x08, 5, 0x12, 2, 0x10, 1], &[0x12, 4, 0x08, 2, 0x12, 0]].concat();
    kv.create("user.42", theirs.into()).await.unwrap();
    let metric = seen.next().await.unwrap().unwrap().unwrap();
    assert_eq!((metric.overall.unwrap().processed, metric.boards[&5].in_flight), (9, 1));
    assert_eq!(metric.boards[&2], BaseMetric::default());
    let metric = map.update("user.42", MapDelta::default().board(2, Delta::taken_up(4))).await.unwrap();
    assert_eq!((metric.overall.unwrap().processed, metric.boards[&2].processed), (9, 4));
    seen.next().await.unwrap().unwrap().unwrap();
    kv.delete("user.42").await.unwrap();
    assert_eq!(seen.next().await.unwrap().unwrap(), None);
    kv.put("user.42", "no metric".into()).await.unwrap();
    assert!(seen.next().await.unwrap().is_err());
    let refused = map.taken_up("user.42", 1).await.unwrap_err();
    assert!(matches!(refused, CoordinationError::Cell { source: CellError::Corrupt { .. }, .. }));
    assert_eq!(kv.get("user.42").await.unwrap().unwrap(), "no metric");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_two_kinds_count_in_one_metric_and_lose_nothing() {
    let (space, kv) = bucket_of_the_go_library().await;
    let metrics = Metrics::<BaseMetric>::new(&space);
    let ours = join_all((0..100).map(|_| metrics.taken_up("board.7", 1)));
    let ((), (), ours) = tokio::join!(take_up(&kv, "board.7", 20), take_up(&kv, "board.7", 20), ours);
    for counted in ours {
        counted.unwrap();
    }
    assert_eq!(kv.get("board.7").await.unwrap().unwrap(), go(140, 140, 0));
}

/// G32, where the server commits several keys as one.
#[tokio::test(flavor = "multi_thread")]
async fn g32_a_batch_of_metrics_is_one_commit_on_jetstream() {
    let (space, kv) = bucket().await;
    let batch = || MetricsBatch::new(&space).base("board.7", Delta::taken_up(1)).map("user.42", Delta::taken_up(1));
    if !space.store().capabilities().atomic_commit {
        // Then nothing of it is written.
        let refused = batch().commit().await.unwrap_err();
        assert!(matches!(refused, CoordinationError::Cell { source: CellError::Rejected(_), .. }));
        assert_eq!(kv.get("board.7").await.unwrap(), None);
        return;
    }
    let answers = join_all((0..6).map(|n| batch().commit_once("searches", if n % 2 == 0 { "a" } else { "b" }))).await;
    assert_eq!(answers.into_iter().filter(|answer| !answer.as_ref().unwrap().repeated).count(), 2);
    assert_eq!(kv.get("board.7").await.unwrap().unwrap(), go(2, 2, 0));
    assert_eq!(kv.get("user.42").await.unwrap().unwrap(), [&[0x0A, 4][..], &go(2, 2, 0)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_a_bucket_of_the_go_library_is_one_metric_or_refused() {
    let (space, kv) = bucket_of_the_go_library().await;
    let batch = MetricsBatch::new(&space).base("board.7", Delta::taken_up(1));
    let refused = batch.clone().map("user.42", Delta::taken_up(1)).commit().await.unwrap_err();
    assert!(matches!(refused, CoordinationError::Cell { source: CellError::Rejected(_), .. }), "{refused:?}");
    assert_eq!(kv.get("board.7").await.unwrap(), None);
    batch.commit().await.unwrap();
    assert_eq!(kv.get("board.7").await.unwrap().unwrap(), go(1, 1, 0));
}
