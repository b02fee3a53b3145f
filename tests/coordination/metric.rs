//! Metrics that Go and Rust share: the bytes by hand from the protobuf specification, the arithmetic of the Go library, and what
//! it gets wrong.

use anabranch::core::coordination::{
    NotThis,
    metric::{BaseMetric, Delta, MapDelta, MapMetric, Metric, Refused},
};
use proptest::prelude::*;

fn base(processed: u64, in_flight: i64, failed: u64) -> BaseMetric {
    BaseMetric { processed, in_flight, failed }
}

/// An `int64` below zero takes ten bytes.
const MINUS_TWO: [u8; 11] = [0x10, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];

#[test]
fn a_metrics_bytes_are_those_of_the_go_library() {
    let golden: [(BaseMetric, Vec<u8>); 4] = [
        (base(0, 0, 0), vec![]),
        (base(5, 3, 2), vec![0x08, 5, 0x10, 3, 0x18, 2]),
        (base(300, -2, 0), [&[0x08, 0xAC, 0x02][..], &MINUS_TWO].concat()),
        (base(u64::MAX, 0, 1), vec![0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0x18, 1]),
    ];
    for (metric, bytes) in golden {
        assert_eq!(metric.encode(), bytes);
        assert_eq!(BaseMetric::decode(&bytes), Ok(metric));
    }
}

#[test]
fn a_map_of_metrics_has_the_bytes_of_the_go_library() {
    // What a reset writes there: a whole that is zero, and no board.
    assert_eq!(MapMetric::zero().encode(), &[0x0A, 0][..]);
    // An entry says its key and its value also when they are zero, where prost alone would not.
    let metric = MapMetric { overall: Some(base(2, 1, 0)), boards: [(1, base(1, 0, 0)), (300, base(0, 0, 0))].into() };
    let bytes =
        [&[0x0A, 4, 0x08, 2, 0x10, 1][..], &[0x12, 6, 0x08, 1, 0x12, 2, 0x08, 1], &[0x12, 5, 0x08, 0xAC, 0x02, 0x12, 0]]
            .concat();
    assert_eq!(metric.encode(), bytes);
    assert_eq!(MapMetric::decode(&bytes), Ok(metric.clone()));
    // In the other order, which that library may choose as well.
    let swapped = [&bytes[..6], &bytes[14..], &bytes[6..14]].concat();
    assert_eq!(MapMetric::decode(&swapped), Ok(metric));
}

#[test]
fn what_another_client_leaves_out_of_a_map_is_zero() {
    assert_eq!(MapMetric::decode(&[]), Ok(MapMetric::zero()));
    let entry = MapMetric { boards: [(7, base(0, 0, 0))].into(), ..MapMetric::zero() };
    assert_eq!(MapMetric::decode(&[0x12, 2, 0x08, 7]), Ok(entry));
}

#[test]
fn what_is_no_metric_is_not_taken_for_one() {
    let map = MapMetric::zero().encode();
    assert!(matches!(BaseMetric::decode(&map), Err(NotThis::Broken(_))));
    assert!(matches!(MapMetric::decode(&[0x08, 5]), Err(NotThis::Broken(_))));
    // Whatever this version does not know would be gone with the next write.
    assert!(matches!(BaseMetric::decode(&[0x08, 5, 0x20, 1]), Err(NotThis::Broken(_))));
    assert!(matches!(MapMetric::decode(&[0x0A, 2, 0x28, 1]), Err(NotThis::Broken(_))));
    for text in ["7", "hello", "{\"processed\":1}"] {
        assert!(BaseMetric::decode(text.as_bytes()).is_err() && MapMetric::decode(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn what_is_taken_up_is_in_flight_and_processed() {
    let mut metric = BaseMetric::default();
    metric.apply(&Delta::taken_up(3)).unwrap();
    metric.apply(&Delta::done(1)).unwrap();
    metric.apply(&Delta::failed(2)).unwrap();
    assert_eq!(metric, base(3, 2, 2));
    metric.apply(&Delta { counter: 1, failed: 1 }).unwrap();
    assert_eq!(metric, base(4, 3, 3));
}

#[test]
fn an_end_that_is_counted_before_its_beginning_evens_out() {
    let mut metric = BaseMetric::default();
    metric.apply(&Delta::done(2)).unwrap();
    assert_eq!(metric, base(0, -2, 0));
    metric.apply(&Delta::taken_up(2)).unwrap();
    assert_eq!(metric, base(2, 0, 0));
}

#[test]
fn a_metric_that_would_wrap_around_refuses_and_changes_nothing() {
    for (start, delta) in [
        (base(u64::MAX, 0, 0), Delta::taken_up(1)),
        (base(0, i64::MAX, 0), Delta::taken_up(1)),
        (base(0, i64::MIN, 0), Delta::done(1)),
        (base(0, 0, u64::MAX), Delta { counter: 1, failed: 1 }),
        (base(0, -2, 0), Delta { counter: i64::MIN, failed: 0 }),
    ] {
        let mut metric = start;
        assert!(matches!(metric.apply(&delta), Err(Refused::Range(_))), "{start:?} {delta:?}");
        assert_eq!(metric, start);
        let mut map = MapMetric { boards: [(1, start)].into(), ..MapMetric::zero() };
        let before = map.clone();
        assert!(matches!(map.apply(&MapDelta::overall(Delta::taken_up(1)).board(1, delta)), Err(Refused::Range(_))));
        assert_eq!(map, before);
    }
}

#[test]
fn a_board_counts_beside_the_whole() {
    let mut map = MapMetric::default();
    map.apply(&MapDelta::overall(Delta::taken_up(1)).board(4, Delta::taken_up(2)).board(9, Delta::failed(1))).unwrap();
    map.apply(&MapDelta::default().board(4, Delta::done(1))).unwrap();
    assert_eq!(map, MapMetric { overall: Some(base(1, 1, 0)), boards: [(4, base(2, 1, 0)), (9, base(0, 0, 1))].into() });
}

#[test]
fn a_change_without_a_board_or_a_number_is_refused() {
    let mut map = MapMetric::zero();
    assert_eq!(map.apply(&MapDelta::default()), Err(Refused::Nothing));
    assert_eq!(map.apply(&Delta::taken_up(0).into()), Err(Refused::Nothing));
    assert_eq!(map.apply(&MapDelta::default().board(0, Delta::taken_up(1))), Err(Refused::NoBoard));
    assert_eq!(BaseMetric::default().apply(&Delta::default()), Err(Refused::Nothing));
    assert_eq!(map, MapMetric::zero());
}

fn metrics() -> impl Strategy<Value = BaseMetric> {
    (any::<u64>(), any::<i64>(), any::<u64>()).prop_map(|(processed, in_flight, failed)| base(processed, in_flight, failed))
}

proptest! {
    #[test]
    fn every_metric_is_read_as_it_was_written(whole in metrics(), boards in prop::collection::btree_map(any::<u64>(), metrics(), 0..5)) {
        prop_assert_eq!(BaseMetric::decode(&whole.encode()), Ok(whole));
        let map = MapMetric { overall: Some(whole), boards };
        prop_assert_eq!(MapMetric::decode(&map.encode()), Ok(map));
    }

    /// The order in which changes arrive does not matter, so that processes need not agree on one.
    #[test]
    fn changes_commute(deltas in prop::collection::vec((-9_i64..9, 0_u64..9), 1..12), seed in any::<prop::sample::Index>()) {
        let deltas = deltas.into_iter().map(|(counter, failed)| Delta { counter, failed });
        let mut deltas: Vec<Delta> = deltas.filter(|d| *d != Delta::default()).collect();
        let sum = |deltas: &[Delta]| {
            let mut metric = BaseMetric::default();
            for delta in deltas {
                metric.apply(delta).unwrap();
            }
            metric
        };
        let before = sum(&deltas);
        if !deltas.is_empty() {
            let middle = seed.index(deltas.len());
            deltas.rotate_left(middle);
        }
        prop_assert_eq!(sum(&deltas), before);
    }

    #[test]
    fn bytes_that_are_no_metric_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(metric) = BaseMetric::decode(&bytes) {
            prop_assert_eq!(BaseMetric::decode(&metric.encode()), Ok(metric));
        }
        if let Ok(metric) = MapMetric::decode(&bytes) {
            prop_assert_eq!(MapMetric::decode(&metric.encode()), Ok(metric));
        }
    }
}
