//! A counter's algebra: what was counted does not count again, and what does not fit changes nothing.

use anabranch::core::coordination::{
    Mark, NotThis,
    counter::{Counted, Counter, KIND, WINDOW},
};
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};

fn counted(value: i64, repeated: bool) -> Counted {
    Counted { value, repeated }
}

#[test]
fn an_operation_counts_once() {
    let mut counter = Counter::default();
    assert_eq!(counter.add_once(Mark::of("a"), 3, WINDOW), Ok(counted(3, false)));
    assert_eq!(counter.add_once(Mark::of("b"), -1, WINDOW), Ok(counted(2, false)));
    // It is answered as it was then.
    assert_eq!(counter.add_once(Mark::of("a"), 3, WINDOW), Ok(counted(3, true)));
    assert_eq!(counter.add(40), Ok(42));
    assert_eq!(counter.value(), 42);
}

#[test]
fn what_was_counted_before_a_reset_does_not_count_after_it() {
    let mut counter = Counter::default();
    counter.add_once(Mark::of("a"), 3, WINDOW).unwrap();
    assert_eq!(counter.reset(), 3);
    assert_eq!(counter.add_once(Mark::of("a"), 3, WINDOW), Ok(counted(3, true)));
    assert_eq!(counter.value(), 0);
}

#[test]
fn a_sum_that_does_not_fit_changes_nothing() {
    for (start, n) in [(i64::MAX, 1), (i64::MIN, -1), (-1, i64::MIN)] {
        let mut counter = Counter::default();
        counter.add(start).unwrap();
        let before = counter.clone();
        assert_eq!(counter.add(n).unwrap_err().wanted, i128::from(start) + i128::from(n));
        counter.add_once(Mark::of("a"), n, WINDOW).unwrap_err();
        assert_eq!(counter, before);
        // It was not counted, so it still can be when there is room again.
        counter.add(-start.signum()).unwrap();
        assert!(!counter.add_once(Mark::of("a"), n.signum(), WINDOW).unwrap().repeated);
    }
}

#[test]
fn a_counters_window_only_grows() {
    let mut counter = Counter::default();
    for (id, window) in [("a", 3), ("b", 1), ("c", 1), ("d", 2)] {
        counter.add_once(Mark::of(id), 1, window).unwrap();
    }
    assert_eq!(counter.remembered(), 3);
    assert!(!counter.has_counted(Mark::of("a")) && counter.has_counted(Mark::of("b")));
    assert!(Counter::decode(&counter.encode()).unwrap().add_once(Mark::of("b"), 1, 1).unwrap().repeated);
}

#[test]
fn a_counters_window_costs_at_most_26_bytes_an_operation() {
    let mut counter = Counter::default();
    for id in 0..1000 {
        counter.add_once(Mark::of(&id.to_string()), 1, WINDOW).unwrap();
    }
    let small = counter.encode().len();
    assert!((17 * 256..19 * 256).contains(&small), "{small}");
    counter.add(i64::MAX / 2).unwrap();
    for id in 0..1000 {
        counter.add_once(Mark::of(&format!("other {id}")), 1, WINDOW).unwrap();
    }
    let large = counter.encode().len();
    assert!((25 * 256..26 * 256 + 30).contains(&large), "{large}");
}

#[test]
fn a_stored_counter_is_read_for_ever() {
    // kind 4, value -3 (zigzag 5), counted: the start of the SHA-256 of "a", window 256, answered with 7 (zigzag 14)
    let mark = [0xca, 0x97, 0x81, 0x12, 0xca, 0x1b, 0xbd, 0xca, 0xfa, 0xc2, 0x31, 0xb3, 0x9a, 0x23, 0xdc, 0x4d];
    let bytes = [&[0x08, 4, 0x10, 5, 0x1a, 16][..], &mark, &[0x20, 0x80, 0x02, 0x2a, 1, 14]].concat();
    let counter = Counter::decode(&bytes).unwrap();
    assert_eq!(counter.value(), -3);
    assert!(counter.has_counted(Mark::of("a")));
    assert_eq!(counter.encode(), bytes);
    assert_eq!(counter.clone().add_once(Mark::of("a"), 1, WINDOW), Ok(counted(7, true)));
}

#[test]
fn what_is_no_counter_is_not_taken_for_one() {
    let kind = |found| NotThis::Kind { wanted: "counter", kind: KIND, found };
    assert_eq!(Counter::decode(b""), Err(kind(0)));
    assert_eq!(Counter::decode(&[0x08, 5]), Err(kind(5)));
    assert!(matches!(Counter::decode(b"12"), Err(NotThis::Shape(_))));
    // Marks of 15 bytes, and more marks than are kept.
    assert!(matches!(Counter::decode(&[&[0x08, 4, 0x1a, 15][..], &[7; 15]].concat()), Err(NotThis::Broken(_))));
    assert!(matches!(Counter::decode(&[&[0x08, 4, 0x1a, 16][..], &[7; 16]].concat()), Err(NotThis::Broken(_))));
    // An operation without an answer.
    assert!(matches!(Counter::decode(&[&[0x08, 4, 0x1a, 16][..], &[7; 16], &[0x20, 9]].concat()), Err(NotThis::Broken(_))));
}

proptest! {
    /// Against a model that keeps the ids themselves: whatever is among the newest so many that counted does not count again.
    #[test]
    fn a_counter_counts_what_a_list_of_ids_counts(
        window in 1_u32..6,
        operations in prop::collection::vec((0_u8..12, -5_i64..6, any::<bool>()), 0..80),
    ) {
        let (mut counter, mut value, mut known) = (Counter::default(), 0, VecDeque::new());
        let mut answers: HashMap<u8, i64> = HashMap::new();
        for (id, n, named) in operations {
            if named {
                let answer = counter.add_once(Mark::of(&id.to_string()), n, window).unwrap();
                prop_assert_eq!(answer.repeated, known.contains(&id));
                if !known.contains(&id) {
                    known.push_back(id);
                    value += n;
                    answers.insert(id, value);
                }
                while known.len() > window as usize {
                    known.pop_front();
                }
                prop_assert_eq!(answer.value, answers[&id]);
            } else {
                value += n;
                prop_assert_eq!(counter.add(n).unwrap(), value);
            }
            counter = Counter::decode(&counter.encode()).unwrap();
        }
        prop_assert_eq!(counter.value(), value);
    }

    #[test]
    fn bytes_that_are_no_counter_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(counter) = Counter::decode(&bytes) {
            prop_assert_eq!(Counter::decode(&counter.encode()), Ok(counter));
        }
    }
}
