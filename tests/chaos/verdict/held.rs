//! Locks, permits and leaderships, as those believed who held them: never more at once than there are.
//!
//! A belief is known to have lasted from the first time to the last that its holder looked and had it. It may have lasted longer on
//! either side, which nobody complains about.

use super::Life;
use super::ops::begun;
use crate::{history::Fact, workload::held::PERMITS};
use anabranch::testing::check::{Holding, Violation, election, semaphore};
use std::collections::BTreeMap;

pub(super) fn check(lives: &[Life], complain: &mut impl FnMut(&str, Violation)) {
    for object in ["lock", "leader"] {
        let _ = election::check(&holdings(lives, object)).map_err(|violation| complain(object, violation));
    }
    let _ = semaphore::check(&holdings(lives, "permits"), PERMITS.get()).map_err(|violation| complain("permits", violation));
}

fn holdings(lives: &[Life], kind: &str) -> Vec<Holding> {
    let mut beliefs: BTreeMap<(&str, u64), (u64, u64)> = BTreeMap::new();
    for life in lives {
        for line in &life.lines {
            if let Fact::Holds { object, token } = &line.fact
                && object == kind
            {
                let at = begun(line.at);
                let belief = beliefs.entry((&life.name, *token)).or_insert((at, at));
                belief.1 = belief.1.max(at);
            }
        }
    }
    let holding = |((client, token), (from, to)): ((&str, u64), (u64, u64))| Holding::Held {
        client: client.into(),
        object: kind.into(),
        hold: format!("{client}-{token}").into(),
        units: 1,
        token,
        at: from,
        until: Some(to + 1),
    };
    beliefs.into_iter().map(holding).collect()
}
