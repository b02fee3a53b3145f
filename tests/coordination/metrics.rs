//! Metrics on the embedded engine: many count at once, and what is not a metric stays what it is.

use crate::counted_kit::{HOUR, TROUBLE, faulty, process, put, raw, space};
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Counter, Metrics, MetricsBatch},
    core::coordination::metric::{BaseMetric, Delta, MapDelta, MapMetric, Metric as _},
    testing::{
        Dice,
        faulty::{FaultyStore, Odds},
        pass,
    },
};
use futures_util::{StreamExt as _, future::join_all};

#[tokio::test(start_paused = true)]
async fn metrics_of_both_kinds_are_counted_by_many_processes() {
    let (space, store) = faulty(3).await;
    // But for lost answers: a change that has no id may end as unknown, and would not be counted here.
    store.odds(Odds { unknown: 0, ..TROUBLE });
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

/// G32: a batch is written key by key; what was written when it fails is counted again when its message is redelivered.
#[tokio::test(start_paused = true)]
async fn g32_a_batch_of_metrics_is_counted_once_and_as_a_whole_whatever_the_store_does() {
    for seed in 0..30 {
        let bare = space().await;
        let store = FaultyStore::over(&bare, seed);
        store.odds(TROUBLE);
        let mut dice = Dice::new(seed);
        let mut deliveries = Vec::new();
        for message in 0..8_u64 {
            for _ in 0..=dice.roll(3) {
                let space = process(&bare, &store);
                deliveries.push(async move {
                    let (user, board) = (format!("user.{}", message % 2), format!("board.{}", message % 3));
                    let batch = MetricsBatch::new(&space)
                        .map(&user, MapDelta::overall(Delta::taken_up(1)).board(1 + message % 3, Delta::taken_up(1)))
                        .base(&board, Delta { counter: 1, failed: message });
                    while let Err(error) = batch.clone().commit_once("searches", &message.to_string()).await {
                        assert!(matches!(error, CoordinationError::Cell { .. }), "seed {seed}: {error:?}");
                    }
                });
            }
        }
        join_all(deliveries).await;
        store.behave();
        let (flat, map) = (Metrics::<BaseMetric>::new(&bare), Metrics::<MapMetric>::new(&bare));
        for (board, count, failed) in [(0, 3, 9), (1, 3, 12), (2, 2, 7)] {
            let metric = flat.read(&format!("board.{board}")).await.unwrap().unwrap();
            assert_eq!(
                metric,
                BaseMetric { processed: count, in_flight: i64::try_from(count).unwrap(), failed },
                "seed {seed}"
            );
        }
        for user in 0..2 {
            let metric = map.read(&format!("user.{user}")).await.unwrap().unwrap();
            assert_eq!(metric.overall.unwrap().processed, 4, "seed {seed}");
            assert_eq!(metric.boards.values().map(|b| b.processed).sum::<u64>(), 4, "seed {seed}");
        }
        assert_eq!(Counter::new(&bare, "searches").unwrap().value().await.unwrap(), 8, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_which_one_metric_is_refused_changes_none() {
    let space = space().await;
    let batch = || MetricsBatch::new(&space).base("board.1", Delta::taken_up(1));
    put(&space, "text", b"hello").await;
    Metrics::<BaseMetric>::new(&space).update("full", Delta { counter: i64::MAX, failed: 0 }).await.unwrap();
    let corrupt = batch().base("text", Delta::taken_up(1)).commit().await.unwrap_err();
    assert!(matches!(corrupt, CoordinationError::Cell { object, source: CellError::Corrupt { .. } } if object == "text"));
    let full = batch().base("full", Delta::taken_up(1)).commit_once("searches", "a").await.unwrap_err();
    assert!(matches!(full, CoordinationError::OutOfRange { object, .. } if object == "full"));
    let nothing = batch().map("user.1", MapDelta::default()).commit().await.unwrap_err();
    assert!(matches!(nothing, CoordinationError::Invalid(_)));
    let rejected = |error| matches!(error, CoordinationError::Cell { source: CellError::Rejected(_), .. });
    assert!(rejected(batch().map("board.1", Delta::taken_up(1)).commit().await.unwrap_err()));
    assert!(rejected(MetricsBatch::new(&space).commit().await.unwrap_err()));
    assert!(matches!(batch().base("", Delta::taken_up(1)).commit().await, Err(CoordinationError::Cell { .. })));
    assert!(matches!(batch().commit_once("searches", "").await, Err(CoordinationError::Invalid(_))));
    assert_eq!((raw(&space, "board.1").await, raw(&space, "counter.searches").await), (None, None));
    assert_eq!(raw(&space, "text").await.unwrap(), &b"hello"[..]);
    batch().commit().await.unwrap();
    assert_eq!(Metrics::<BaseMetric>::new(&space).read("board.1").await.unwrap().unwrap().processed, 1);
}
