//! A barrier's algebra: everybody or nobody, again and again.

use anabranch::core::coordination::{
    NotThis,
    barrier::{Arrival, Barrier, State},
};
use proptest::prelude::*;

const fn nr(n: u64) -> Arrival {
    Arrival::new(n)
}

#[test]
fn a_generation_is_complete_when_everybody_is_there() {
    let mut barrier = Barrier::new(2, 3);
    assert_eq!(barrier.arrive("a", nr(1)), 0);
    assert_eq!(barrier.seen_by("a", 0), State::Waiting);
    assert_eq!(barrier.arrive("b", nr(2)), 0);
    assert_eq!((barrier.seen_by("a", 0), barrier.seen_by("b", 0)), (State::Passed, State::Passed));
    assert_eq!(barrier.arrive("b", nr(3)), 1);
    assert_eq!(barrier.seen_by("b", 1), State::Waiting);
}

#[test]
fn a_party_that_arrives_twice_is_there_once() {
    let mut barrier = Barrier::new(2, 3);
    barrier.arrive("a", nr(1));
    barrier.arrive("a", nr(2));
    assert_eq!(barrier.waiting().collect::<Vec<_>>(), ["a"]);
    // What is left of the first arrival takes nothing back.
    assert_eq!(barrier.withdraw("a", nr(1), 0), State::Waiting);
    assert_eq!(barrier.withdraw("a", nr(2), 0), State::Gone);
    assert_eq!(barrier.waiting().count(), 0);
}

#[test]
fn an_arrival_whose_answer_was_lost_is_part_of_the_generation_that_it_completed() {
    let mut barrier = Barrier::new(2, 3);
    barrier.arrive("a", nr(1));
    assert_eq!(barrier.arrive("b", nr(2)), 0);
    assert_eq!(barrier.arrive("b", nr(2)), 0);
    assert_eq!(barrier.waiting().count(), 0);
}

#[test]
fn an_arrival_is_not_withdrawn_from_a_complete_generation() {
    let mut barrier = Barrier::new(2, 3);
    barrier.arrive("a", nr(1));
    barrier.arrive("b", nr(2));
    assert_eq!(barrier.withdraw("a", nr(1), 0), State::Passed);
    assert_eq!(barrier.generation(), 1);
}

#[test]
fn a_barrier_for_one_lets_everybody_pass() {
    let mut barrier = Barrier::new(1, 3);
    assert_eq!((barrier.arrive("a", nr(1)), barrier.arrive("a", nr(2)), barrier.arrive("b", nr(3))), (0, 1, 2));
}

#[test]
fn an_arrival_at_a_barrier_that_was_made_anew_is_gone() {
    let mut barrier = Barrier::new(2, 3);
    assert_eq!(barrier.seen_by("a", 4), State::Gone);
    barrier.arrive("b", nr(1));
    assert_eq!(barrier.seen_by("a", 0), State::Gone);
}

#[test]
fn a_stored_barrier_is_read_for_ever() {
    let party = [0x22, 12, 0x0a, 1, b'a', 0x11, 9, 0, 0, 0, 0, 0, 0, 0];
    let bytes = [&[0x08, 7, 0x10, 2, 0x18, 5][..], &party, &[0x2a, 8, 7, 0, 0, 0, 0, 0, 0, 0], &[0x31, 4, 0, 0, 0, 0, 0, 0, 0]]
        .concat();
    let mut barrier = Barrier::decode(&bytes).unwrap();
    assert_eq!((barrier.parties(), barrier.generation(), barrier.born()), (2, 5, 4));
    assert_eq!(barrier.encode(), bytes);
    assert_eq!((barrier.arrive("b", nr(7)), barrier.arrive("b", nr(8))), (4, 5));
}

#[test]
fn what_is_no_barrier_is_not_taken_for_one() {
    assert!(matches!(Barrier::decode(b""), Err(NotThis::Kind { found: 0, .. })));
    assert!(matches!(Barrier::decode(&[0x08, 6, 0x10, 3]), Err(NotThis::Kind { found: 6, .. })));
    assert!(matches!(Barrier::decode(&[0x08, 7]), Err(NotThis::Broken(_))));
    assert!(matches!(Barrier::decode(&[0x08, 7, 0x10, 1, 0x22, 3, 0x0a, 1, b'a']), Err(NotThis::Broken(_))));
}

proptest! {
    /// Whoever arrives and withdraws in whatever order: nobody passes before so many are there, and then everybody does.
    #[test]
    fn nobody_goes_on_before_everybody_is_there(
        parties in 1_u32..4,
        acts in prop::collection::vec((0_u8..5, any::<bool>()), 0..60),
    ) {
        let mut barrier = Barrier::new(parties, 3);
        let mut waiting: Vec<(u8, u64)> = Vec::new();
        for (number, (id, arrives)) in acts.into_iter().enumerate() {
            let (name, number) = (id.to_string(), number as u64);
            if arrives {
                let before = barrier.generation();
                prop_assert_eq!(barrier.arrive(&name, nr(number)), before);
                waiting.retain(|(other, _)| *other != id);
                waiting.push((id, number));
                let complete = waiting.len() == parties as usize;
                prop_assert_eq!(barrier.generation(), before + u64::from(complete));
                for (id, _) in &waiting {
                    let wanted = if complete { State::Passed } else { State::Waiting };
                    prop_assert_eq!(barrier.seen_by(&id.to_string(), before), wanted);
                }
                if complete {
                    waiting.clear();
                }
            } else if let Some(at) = waiting.iter().position(|(other, _)| *other == id) {
                let (_, arrival) = waiting.remove(at);
                prop_assert_eq!(barrier.withdraw(&name, nr(arrival), barrier.generation()), State::Gone);
            }
            barrier = Barrier::decode(&barrier.encode()).unwrap();
            prop_assert_eq!(barrier.waiting().count(), waiting.len());
        }
    }

    #[test]
    fn bytes_that_are_no_barrier_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(barrier) = Barrier::decode(&bytes) {
            prop_assert_eq!(Barrier::decode(&barrier.encode()), Ok(barrier));
        }
    }
}
