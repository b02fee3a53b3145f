//! Permits under random histories: whatever is asked in whatever order, and repeated or not.

use super::permits::ask;
use anabranch::core::coordination::{
    FencingToken,
    lease::Silent,
    permits::{Ask, Permits, Standing},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Try(u8, u32),
    Join(u8, u32),
    Attend(u8, u32),
    Renew(u8),
    Release(u8),
    /// Somebody saw it silent; `fresh` tells whether it has not beaten since.
    Evict(u8, bool),
    /// What follows is another write.
    Store,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..6_u8;
    prop_oneof![
        1 => (id.clone(), 1..=4_u32).prop_map(|(id, units)| Step::Try(id, units)),
        3 => (id.clone(), 1..=4_u32).prop_map(|(id, units)| Step::Join(id, units)),
        1 => (id.clone(), 1..=4_u32).prop_map(|(id, units)| Step::Attend(id, units)),
        1 => id.clone().prop_map(Step::Renew),
        2 => id.clone().prop_map(Step::Release),
        1 => (id, any::<bool>()).prop_map(|(id, fresh)| Step::Evict(id, fresh)),
        2 => Just(Step::Store),
    ]
}

/// Ids that are even have a name that they share with the next even one but one, so names come again.
fn request(id: u8, units: u32) -> Ask {
    let mut ask = ask(&format!("m{id}"), units);
    if id.is_multiple_of(2) {
        ask.name = format!("n{}", id % 4);
        ask.units = 1;
    }
    ask
}

fn apply(permits: &mut Permits, step: &Step) -> Option<Standing> {
    let name = |id: &u8| format!("m{id}");
    match step {
        Step::Try(id, units) => permits.try_acquire(&request(*id, *units)).ok(),
        Step::Join(id, units) => permits.join(&request(*id, *units)).ok(),
        Step::Attend(id, units) => permits.attend(&request(*id, *units)).ok(),
        Step::Renew(id) => Some(permits.renew(&name(id))),
        Step::Release(id) => Some(permits.release(&name(id))).map(|_| Standing::Absent),
        Step::Evict(id, fresh) => {
            let beat = permits.members().find(|(member, ..)| *member == name(id)).map_or(0, |(_, beat, _)| beat);
            let silent = Silent { id: name(id), beat: if *fresh { beat } else { beat + 1 } };
            Some(permits.evict(&silent)).map(|_| Standing::Absent)
        }
        Step::Store => None,
    }
}

type Held = (String, u32, Option<FencingToken>);

/// Everything but beats: who holds how much with which token, and who waits in which order.
fn shape(permits: &Permits) -> (Vec<Held>, Vec<String>) {
    let holders = permits.holders().iter().map(|h| (h.id.clone(), h.units, h.token)).collect();
    (holders, waiters(permits))
}

fn waiters(permits: &Permits) -> Vec<String> {
    let held = permits.holders().len();
    permits.members().skip(held).map(|(id, ..)| id.to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    #[test]
    fn never_more_is_held_than_there_is_and_nobody_is_overtaken(
        capacity in 1..=4_u32,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let (mut permits, mut revision) = (Permits::free(capacity), 1_u64);
        let mut tokens: BTreeMap<String, FencingToken> = BTreeMap::new();
        let mut newest = 0;
        for step in &steps {
            if let Step::Store = step {
                let read = Permits::decode(&permits.encode()).unwrap();
                prop_assert_eq!(&read, &permits);
                permits = Permits::from(Some(&read), Some(revision), capacity).unwrap();
                revision += 1;
                for holder in permits.holders() {
                    let token = holder.token.unwrap();
                    let known = *tokens.entry(holder.id.clone()).or_insert(token);
                    prop_assert_eq!(known, token, "a holder's token never changes");
                    let granted_now = token.get() == revision - 1;
                    prop_assert!(granted_now || token.get() <= newest, "only a new holder has a new token");
                }
                newest = revision - 1;
                continue;
            }
            let before = permits.clone();
            let first = apply(&mut permits, step);
            let held: u64 = permits.holders().iter().map(|h| u64::from(h.units)).sum();
            prop_assert!(held <= u64::from(capacity));
            prop_assert_eq!(u64::from(permits.available()), u64::from(capacity) - held);
            // An id that is gone and comes again, as none does outside of this test, is somebody else.
            tokens.retain(|id, _| permits.holders().iter().any(|h| h.id == *id));

            // Whoever could take its turn and has not yet still can.
            for id in waiters(&permits) {
                prop_assert!(!before.is_due(&id) || permits.is_due(&id), "{} was passed over by {:?}", id, step);
            }
            // The order of those who wait never changes; a name that comes again keeps its place under a new id.
            let (was, is) = (waiters(&before), waiters(&permits));
            let kept: Vec<_> = was.iter().filter(|id| is.contains(id)).collect();
            let stayed: Vec<_> = is.iter().filter(|id| was.contains(id)).collect();
            prop_assert_eq!(kept, stayed);

            // A repetition finds what it did. (What an eviction has seen is not there any more.)
            if !matches!(step, Step::Evict(..)) {
                let once = shape(&permits);
                let mut again = permits.clone();
                let second = apply(&mut again, step);
                prop_assert_eq!(first, second);
                prop_assert_eq!(once, shape(&again));
            }
        }
        // Whatever happened: when the holders leave and the waiters ask in their order, all are served.
        let waiting = waiters(&permits);
        for id in waiting {
            for holder in permits.holders().to_vec() {
                permits.release(&holder.id);
            }
            prop_assert!(permits.is_due(&id));
            let units = (1..=4).find(|units| {
                let mut trial = permits.clone();
                let number = id[1..].parse().unwrap();
                trial.join(&request(number, *units)).is_ok_and(|standing| standing == Standing::Holds(None))
            });
            let number = id[1..].parse().unwrap();
            prop_assert!(permits.join(&request(number, units.unwrap())).is_ok());
        }
        prop_assert_eq!(permits.waiting(), 0);
    }
}
