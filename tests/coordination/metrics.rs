//! Metrics on the embedded engine: many count at once, and what is not a metric stays what it is.

use crate::counted_kit::{HOUR, TROUBLE, faulty, process, put, raw, space};
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Metrics},
    core::coordination::metric::{BaseMetric, Delta, MapDelta, MapMetric, Metric as _},
    testing::pass,
};
use futures_util::{StreamExt as _, future::join_all};

#[tokio::test(start_paused = true)]
async fn metrics_of_both_kinds_are_counted_by_many_processes() {
    let (space, store) = faulty(3).await;
    store.odds(TROUBLE);
    let counting = (0..3).flat_map(|_| {
        let space = process(&space, &store);
        (0..8).map(move |n: u64| {
            let (base, map) = (Metrics::<BaseMetric>::new(&space), Metrics::<MapMetric>::new(&space));
            async move {
                base.taken_up("board.7", 2).await.unwrap();
                base.done("board.7", 1).await.unwrap();
                let change = MapDelta::overall(Delta::taken_up(1)).board(1 + n % 2, Delta { counter: 1, failed: 1 });
                map.update("user.42", change).await.unwrap();
                map.failed("user.42", 1).await.unwrap();
            }
        })
    });
    join_all(counting).await;
    store.behave();
    let board = Metrics::<BaseMetric>::new(&space).read("board.7").await.unwrap().unwrap();
    assert_eq!(board, BaseMetric { processed: 48, in_flight: 24, failed: 0 });
    let user = Metrics::<MapMetric>::new(&space).read("user.42").await.unwrap().unwrap();
    let half = BaseMetric { processed: 12, in_flight: 12, failed: 12 };
    assert_eq!(user.overall, Some(BaseMetric { processed: 24, in_flight: 24, failed: 24 }));
    assert_eq!(user.boards, [(1, half), (2, half)].into());
}

#[tokio::test(start_paused = true)]
async fn a_metric_is_reset_to_zero_watched_and_removed() {
    let space = space().await;
    let metrics = Metrics::<MapMetric>::new(&space).expires_after(HOUR).unwrap();
    let mut seen = metrics.watch("user.1").await.unwrap();
    assert_eq!(seen.next().await.unwrap().unwrap(), None);
    metrics.taken_up("user.1", 3).await.unwrap();
    assert_eq!(seen.next().await.unwrap().unwrap().unwrap().overall.unwrap().in_flight, 3);
    metrics.reset("user.1").await.unwrap();
    assert_eq!(seen.next().await.unwrap().unwrap(), Some(MapMetric::zero()));
    // What a reset writes in Go.
    assert_eq!(raw(&space, "user.1").await.unwrap(), &[0x0A, 0][..]);
    metrics.delete("user.1").await.unwrap();
    assert_eq!(seen.next().await.unwrap().unwrap(), None);
    metrics.done("user.1", 1).await.unwrap();
    assert_eq!(seen.next().await.unwrap().unwrap().unwrap().overall.unwrap().in_flight, -1);
    pass(HOUR).await;
    assert_eq!(seen.next().await.unwrap().unwrap(), None);
    assert_eq!(metrics.read("user.1").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_metric_of_this_kind_stays_as_it_is() {
    let space = space().await;
    let (base, map) = (Metrics::<BaseMetric>::new(&space), Metrics::<MapMetric>::new(&space));
    map.taken_up("user.1", 1).await.unwrap();
    put(&space, "text", b"hello").await;
    put(&space, "newer", &[0x08, 1, 0x20, 1]).await;
    for label in ["user.1", "text", "newer"] {
        let before = raw(&space, label).await;
        let corrupt = |error| matches!(error, CoordinationError::Cell { source: CellError::Corrupt { .. }, .. });
        assert!(corrupt(base.read(label).await.unwrap_err()), "{label}");
        assert!(corrupt(base.taken_up(label, 1).await.unwrap_err()), "{label}");
        assert!(corrupt(base.watch(label).await.unwrap().next().await.unwrap().unwrap_err()), "{label}");
        assert_eq!(raw(&space, label).await, before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_metric_refuses_writes_nothing() {
    let space = space().await;
    let metrics = Metrics::<MapMetric>::new(&space);
    for change in [MapDelta::default(), Delta::taken_up(0).into(), MapDelta::default().board(0, Delta::taken_up(1))] {
        assert!(matches!(metrics.update("user.1", change).await, Err(CoordinationError::Invalid(_))));
    }
    assert_eq!(raw(&space, "user.1").await, None);
    metrics.update("user.1", Delta { counter: i64::MAX, failed: 0 }).await.unwrap();
    let before = raw(&space, "user.1").await;
    assert!(matches!(metrics.taken_up("user.1", 1).await, Err(CoordinationError::OutOfRange { .. })));
    assert_eq!(raw(&space, "user.1").await, before);
    for label in ["", "user..1", "user 1"] {
        assert!(matches!(metrics.taken_up(label, 1).await, Err(CoordinationError::Cell { .. })), "{label:?}");
    }
}
