//! A wait group's algebra: idempotent in any order, never below zero, and a zero that nobody misses.

use anabranch::core::coordination::{
    NotThis,
    group::{AddError, Closed, Group, State, WINDOW},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

#[test]
fn a_member_that_enters_twice_leaves_once() {
    let mut group = Group::default();
    assert_eq!(group.enter("a"), Ok(true));
    assert_eq!(group.enter("a"), Ok(true));
    assert_eq!(group.count(), 1);
    assert_eq!(group.leave("a", WINDOW), 0);
    assert_eq!(group.leave("a", WINDOW), 0);
    assert_eq!(group.seen_by(0), State::Zero);
}

/// G11: a redelivered message adds or finishes a second time.
#[test]
fn g11_a_member_that_has_left_does_not_enter_again() {
    let mut group = Group::default();
    group.enter("a").unwrap();
    group.enter("b").unwrap();
    group.leave("a", WINDOW);
    assert_eq!(group.enter("a"), Ok(false));
    assert_eq!(group.leave("a", WINDOW), 1);
    // The end overtook the beginning.
    assert_eq!(group.leave("c", WINDOW), 1);
    assert_eq!(group.enter("c"), Ok(false));
    assert_eq!(group.members().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_group_remembers_the_newest_that_have_left() {
    let mut group = Group::default();
    for id in ["a", "b", "c"] {
        group.enter(id).unwrap();
        group.leave(id, 2);
    }
    assert_eq!(group.remembered(), 2);
    assert_eq!((group.enter("c"), group.enter("b"), group.enter("a")), (Ok(false), Ok(false), Ok(true)));
}

#[test]
fn a_group_below_zero_is_refused_and_nothing_changes() {
    let mut group = Group::default();
    group.enter("a").unwrap();
    assert_eq!(group.add(2), Ok(3));
    let before = group.clone();
    // A member is no unit: it can only leave by its name.
    assert!(matches!(group.add(-3), Err(AddError::Range(e)) if e.wanted == -1));
    assert!(matches!(group.add(i64::MIN), Err(AddError::Range(_))));
    assert_eq!(group, before);
    group.add(i64::MAX).unwrap();
    group.add(i64::MAX - 2).unwrap();
    let full = group.clone();
    assert!(matches!(group.add(i64::MAX), Err(AddError::Range(_))));
    assert_eq!(group, full);
}

#[test]
fn a_zero_is_seen_although_the_next_member_enters_at_once() {
    let mut group = Group::default();
    group.enter("a").unwrap();
    let began = group.zeros();
    group.leave("a", WINDOW);
    group.enter("b").unwrap();
    assert_eq!(group.count(), 1);
    assert_eq!(group.seen_by(began), State::Zero);
    assert_eq!(group.seen_by(group.zeros()), State::Open);
}

#[test]
fn a_member_that_was_never_in_makes_no_zero() {
    let mut group = Group::default();
    group.leave("a", WINDOW);
    assert_eq!(group.zeros(), 0);
    group.add(1).unwrap();
    assert_eq!(group.seen_by(0), State::Open);
}

#[test]
fn a_closed_group_takes_nothing_and_can_be_left() {
    let mut group = Group::default();
    group.enter("a").unwrap();
    group.add(1).unwrap();
    group.close();
    assert_eq!(group.seen_by(group.zeros()), State::Closed);
    assert_eq!(group.enter("b"), Err(Closed));
    assert_eq!(group.enter("a"), Ok(true));
    assert_eq!(group.add(1), Err(AddError::Closed(Closed)));
    assert_eq!(group.add(-1), Ok(1));
    assert_eq!(group.leave("a", WINDOW), 0);
    assert_eq!(group.seen_by(0), State::Zero);
}

#[test]
fn a_stored_group_is_read_for_ever() {
    // kind 5, members a and b, 7 units, nobody left, window 9, 2 zeros, closed, born 3
    let bytes =
        [&[0x08, 5, 0x12, 1, b'a', 0x12, 1, b'b', 0x18, 7, 0x28, 9, 0x30, 2, 0x38, 1][..], &[0x41, 3, 0, 0, 0, 0, 0, 0, 0]]
            .concat();
    let group = Group::decode(&bytes).unwrap();
    assert_eq!((group.count(), group.zeros(), group.is_closed(), group.born()), (9, 2, true, 3));
    assert_eq!(group.encode(), bytes);
}

#[test]
fn what_is_no_group_is_not_taken_for_one() {
    assert!(matches!(Group::decode(b""), Err(NotThis::Kind { found: 0, .. })));
    assert!(matches!(Group::decode(&[0x08, 4]), Err(NotThis::Kind { found: 4, .. })));
    // What the Go library keeps is a number in decimal.
    assert!(Group::decode(b"3").is_err());
    // The same member twice.
    assert!(matches!(Group::decode(&[0x08, 5, 0x12, 1, b'a', 0x12, 1, b'a']), Err(NotThis::Broken(_))));
}

proptest! {
    /// Every redelivery in every order: a member that both entered and left is out, and what happens twice happens once.
    #[test]
    fn in_any_order_of_redelivery_the_same_members_remain(
        deliveries in Just([0_u8, 1, 2, 3].map(|id| [(id, true), (id, false)]).concat())
            .prop_shuffle()
            .prop_flat_map(|once| (Just(once.clone()), prop::collection::vec(prop::sample::select(once), 0..20))),
        stays in 0_u8..4,
    ) {
        let (first, again) = deliveries;
        let mut group = Group::default();
        // One of them never finishes; everything is delivered at least once.
        for (id, enters) in first.iter().chain(&again).filter(|(id, enters)| *enters || *id != stays) {
            let id = id.to_string();
            if *enters {
                group.enter(&id).unwrap();
            } else {
                group.leave(&id, WINDOW);
            }
            group = Group::decode(&group.encode()).unwrap();
        }
        let stays = stays.to_string();
        prop_assert_eq!(group.members().collect::<Vec<_>>(), [stays.as_str()]);
        group.leave(&stays, WINDOW);
        prop_assert_eq!(group.seen_by(0), State::Zero);
    }

    /// Against a set and a number.
    #[test]
    fn a_groups_count_is_never_below_zero(operations in prop::collection::vec((0_u8..3, 0_u8..5, -3_i64..4), 0..60)) {
        let (mut group, mut members, mut left, mut units) = (Group::default(), BTreeSet::new(), BTreeSet::new(), 0_i64);
        for (what, id, n) in operations {
            let (name, before) = (id.to_string(), group.count());
            match what {
                0 => {
                    let is_in = group.enter(&name).unwrap();
                    if !left.contains(&id) {
                        members.insert(id);
                    }
                    prop_assert_eq!(is_in, members.contains(&id));
                }
                1 => {
                    group.leave(&name, WINDOW);
                    members.remove(&id);
                    left.insert(id);
                }
                _ => match group.add(n) {
                    Ok(_) => units += n,
                    Err(_) => prop_assert!(units + n < 0 && group.count() == before),
                },
            }
            prop_assert_eq!(group.count(), u64::try_from(units).unwrap() + members.len() as u64);
        }
    }

    #[test]
    fn bytes_that_are_no_group_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(group) = Group::decode(&bytes) {
            prop_assert_eq!(Group::decode(&group.encode()), Ok(group));
        }
    }
}
