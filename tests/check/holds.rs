//! Semaphores, locks and leaders: who believes to hold, and when.

use crate::caught;
use anabranch::testing::{
    Dice,
    check::{Holding, election, semaphore},
};

fn held(client: &str, units: u32, token: u64, at: u64, until: Option<u64>) -> Holding {
    let hold = format!("{client}{token}").into();
    Holding::Held { client: client.into(), object: "o".into(), hold, units, token, at, until }
}

fn renewed(hold: &str, at: u64, until: u64) -> Holding {
    Holding::Renewed { hold: hold.into(), at, until: Some(until) }
}

fn ended(hold: &str, at: u64) -> Holding {
    Holding::Ended { hold: hold.into(), at }
}

fn died(client: &str, at: u64) -> Holding {
    Holding::Died { client: client.into(), at }
}

#[test]
fn a_belief_ends_with_its_release_its_loss_its_lease_or_its_holder() {
    let next = held("b", 1, 2, 50, None);
    for end in [ended("a1", 50), died("a", 50)] {
        election::check(&[held("a", 1, 1, 0, Some(100)), next.clone(), end]).unwrap();
    }
    election::check(&[held("a", 1, 1, 0, Some(50)), next.clone()]).unwrap();
    election::check(&[held("a", 1, 1, 0, Some(20)), renewed("a1", 10, 50), next.clone()]).unwrap();
    // The end of one that died is not that of one that comes after it under the same name.
    election::check(&[held("a", 1, 1, 0, None), died("a", 10), held("a", 1, 2, 20, Some(50)), held("b", 1, 3, 50, None)])
        .unwrap();
    for end in [ended("a1", 51), died("a", 51), died("c", 40), renewed("a1", 10, 51)] {
        caught(&[held("a", 1, 1, 0, Some(100)), next.clone(), end], "election.two", election::check);
    }
    caught(&[held("a", 1, 1, 0, Some(20)), renewed("a1", 10, 51), next], "election.two", election::check);
}

#[test]
fn a_belief_that_ended_is_not_brought_back() {
    // By a word that came after the lease.
    election::check(&[held("a", 1, 1, 0, Some(20)), renewed("a1", 30, 60), held("b", 1, 2, 40, None)]).unwrap();
    caught(&[held("a", 1, 1, 0, Some(20)), ended("a1", 10), renewed("a1", 15, 60)], "election.revived", election::check);
}

#[test]
fn two_leaders_are_found_also_when_others_came_between() {
    let events = [
        held("long", 1, 1, 0, Some(100)),
        // Of these each is over before the next one begins, and the first one is not.
        held("late", 1, 2, 90, Some(95)),
    ];
    caught(&events, "election.two", election::check);
    let violation = caught(
        &[held("a", 1, 1, 0, Some(10)), held("b", 1, 2, 9, Some(30)), held("c", 1, 3, 30, None)],
        "election.two",
        election::check,
    );
    assert_eq!(
        violation.to_string(),
        "\
election.two: a and b lead o at once
  seconds after 0 us
      0.000000 - 0.000010     a  believes to hold o (token 1)
      0.000009 - 0.000030     b  believes to hold o (token 2)"
    );
}

#[test]
fn terms_grow() {
    for second in [1, 2] {
        let events = [held("a", 1, 2, 0, Some(10)), held("b", 1, second, 10, Some(20))];
        caught(&events, "election.term", election::check);
    }
    // Whoever is told after its lease is over has never led.
    election::check(&[held("b", 1, 2, 10, Some(20)), held("a", 1, 1, 30, Some(10))]).unwrap();
}

#[test]
fn permits_add_up() {
    let three = |events: &[Holding]| semaphore::check(events, 3);
    three(&[held("a", 2, 1, 0, Some(50)), held("b", 1, 2, 10, Some(60)), held("c", 2, 3, 50, None)]).unwrap();
    let violation = caught(
        &[
            held("z", 3, 1, 0, Some(5)),
            held("a", 2, 2, 5, Some(51)),
            held("b", 1, 3, 10, Some(60)),
            held("c", 1, 4, 50, None),
            held("d", 1, 5, 60, None),
        ],
        "semaphore",
        three,
    );
    assert_eq!(violation.evidence(), [1, 2, 3]);
    assert!(violation.to_string().starts_with("semaphore: 4 of 3 units of o are held at once"), "{violation}");
    // Of two objects each has its own.
    let other =
        Holding::Held { client: "x".into(), object: "p".into(), hold: "x".into(), units: 3, token: 1, at: 0, until: None };
    three(&[held("a", 3, 1, 0, None), other]).unwrap();
    caught(&[held("a", 1, 1, 0, Some(10)), ended("a1", 5), renewed("a1", 6, 20)], "semaphore", three);
}

/// Holders that come and go under one rule: nobody is granted what is not free.
#[test]
fn what_a_right_semaphore_grants_passes_and_one_grant_too_many_does_not() {
    let three = |events: &[Holding]| semaphore::check(events, 3);
    for seed in 0..200 {
        let (mut dice, mut events, mut free) = (Dice::new(seed), Vec::new(), [0_u64; 3]);
        for token in 1..40 {
            let unit = &mut free[usize::try_from(dice.roll(3)).unwrap()];
            let at = *unit + dice.roll(30);
            let lease = at + 1 + dice.roll(50);
            let hold = format!("c{token}");
            events.push(held("c", 1, token, at, Some(lease)));
            let (last, end) = match dice.roll(4) {
                0 => (Some(renewed(&hold, lease - 1, lease + 20)), lease + 20),
                1 => (Some(ended(&hold, lease - 1)), lease - 1),
                _ => (None, lease),
            };
            events.extend(last);
            *unit = end;
        }
        three(&events).unwrap();
        let at = *free.iter().max().unwrap();
        events.extend((40..43).map(|token| held("d", 1, token, at, Some(at + 50))));
        three(&events).unwrap();
        events.push(held("d", 1, 43, at + 49, None));
        assert_eq!(caught(&events, "semaphore", three).evidence().len(), 4);
    }
}
