//! What limiters let through, and when those were woken who waited for a group.

use super::{
    ops::{Op, of_kind},
    stale::Stale,
};
use crate::{
    history::{Act, Answer},
    workload::limits::quota,
};
use anabranch::testing::check::{
    Until, Violation,
    limiter::{self, Admission},
    wait_group::{self, Event},
};
use std::{collections::HashMap, time::Duration};

pub(super) fn check(ops: &[Op], stale: &mut Stale<'_>, complain: &mut impl FnMut(&str, Violation)) {
    let admissions: Vec<Admission> = ops.iter().filter_map(admission).collect();
    // All ask with one clock.
    let _ = limiter::check(&admissions, quota(), Duration::ZERO).map_err(|violation| complain("api", violation));
    for (group, ops) in of_kind(ops, "group") {
        let mut events = changes(group, &ops);
        let Err(violation) = wait_group::check(&events, Until::Cut) else { continue };
        for event in &mut events {
            if let Event::Waited { called, woken: Some(woken), .. } = event {
                *called = stale.may_begin(*called, *woken);
            }
        }
        match wait_group::check(&events, Until::Cut) {
            Ok(()) => stale.found(group, &violation),
            Err(_) => complain(group, violation),
        }
    }
}

fn admission(op: &Op) -> Option<Admission> {
    let (Act::Pass, Some((returned, Answer::Done))) = (&op.act, &op.end) else { return None };
    let (client, key) = (op.client.as_str().into(), op.object.as_str().into());
    Some(Admission { client, key, called: op.from, returned: *returned, cells: 1 })
}

fn changes(group: &str, ops: &[&Op]) -> Vec<Event> {
    // Whether a member has entered: for certain, or perhaps.
    let mut entered: HashMap<&str, bool> = HashMap::new();
    let mut events = Vec::new();
    for op in ops {
        let (client, name): (Box<str>, Box<str>) = (op.client.as_str().into(), group.into());
        let returned = op.end.as_ref().filter(|(_, answer)| *answer != Answer::Open).map(|(at, _)| *at);
        match &op.act {
            Act::Enter(member) if op.value() != Some(0) => {
                entered.insert(member, op.value().is_some());
                events.push(Event::Changed { client, group: name, by: 1, called: op.from, returned });
            }
            Act::Leave(member) => {
                // Of one that may not have entered, the two together may be nothing, and are never less.
                if entered.get(member.as_str()) != Some(&true) {
                    continue;
                }
                events.push(Event::Changed { client, group: name, by: -1, called: op.from, returned });
            }
            Act::Wait if matches!(op.end, Some((_, Answer::Done))) => {
                events.push(Event::Waited { client, group: name, called: op.from, waiting: None, woken: returned });
            }
            _ => {}
        }
    }
    events
}
