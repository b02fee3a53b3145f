//! Counters, registers, locks and leaderships: whether everything can have happened one after the other.

use super::{
    Life,
    ops::{Op, begun, of_kind},
    stale::Stale,
};
use crate::history::{Act, Answer, Fact};
use anabranch::testing::check::{
    Counter, CounterOp, History, Lock, LockOp, LockRet, Model, Record, Register, RegisterOp, RegisterRet, Violation,
    linearizable,
};
use std::collections::HashMap;

pub(super) fn check(lives: &[Life], ops: &[Op], stale: &mut Stale<'_>, complain: &mut impl FnMut(&str, Violation)) {
    for (object, ops) in of_kind(ops, "counter") {
        let reads = |op: &CounterOp| *op == CounterOp::Read;
        compare(&Counter, object, ops.into_iter().map(counted).collect(), reads, stale, complain);
    }
    for (object, ops) in of_kind(ops, "register") {
        let reads = |op: &RegisterOp<u64>| *op == RegisterOp::Read;
        compare(&Register::default(), object, ops.into_iter().map(registered).collect(), reads, stale, complain);
    }
    for kind in ["lock", "leader"] {
        let held = last_held(lives, kind);
        for (object, ops) in of_kind(ops, kind) {
            let history = holds(&ops, &held);
            let _ = linearizable(&Lock, &history).map_err(|violation| complain(object, violation));
        }
    }
}

/// Compares a history with a model, and once more with reads that may have been stale.
fn compare<M: Model<Op: Clone, Ret: Clone>>(
    model: &M,
    object: &str,
    records: Vec<Record<M::Op, M::Ret>>,
    reads: impl Fn(&M::Op) -> bool,
    stale: &mut Stale<'_>,
    complain: &mut impl FnMut(&str, Violation),
) {
    let strictly = linearizable(model, &records.iter().cloned().collect());
    let Err(violation) = strictly else { return };
    let older = |mut record: Record<M::Op, M::Ret>| {
        if let Some((to, _)) = record.returned.as_ref().filter(|_| reads(&record.op)) {
            record.invoked = stale.may_begin(record.invoked, *to);
        }
        record
    };
    match linearizable(model, &records.into_iter().map(older).collect()) {
        Ok(()) => stale.found(object, &violation),
        Err(_) => complain(object, violation),
    }
}

fn counted(op: &Op) -> Record<CounterOp, i64> {
    let asked = match op.act {
        Act::Add(n) => CounterOp::Add(n.cast_signed()),
        _ => CounterOp::Read,
    };
    op.record(asked, op.value().map(u64::cast_signed))
}

/// An absent value is zero, which nobody sets.
fn something(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

fn registered(op: &Op) -> Record<RegisterOp<u64>, RegisterRet<u64>> {
    match (&op.act, op.value()) {
        (Act::Set(to), value) => op.record(RegisterOp::Write(*to), value.map(|_| RegisterRet::Done)),
        // One that found something else has only looked.
        (Act::Swap(from, _), Some(found)) if found != *from => {
            op.record(RegisterOp::Read, Some(RegisterRet::Value(something(found))))
        }
        (Act::Swap(from, to), value) => {
            op.record(RegisterOp::CompareAndSet(something(*from), *to), value.map(|_| RegisterRet::Done))
        }
        (_, value) => op.record(RegisterOp::Read, value.map(|value| RegisterRet::Value(something(value)))),
    }
}

/// When each token was last believed in, by its own holder.
pub(super) fn last_held(lives: &[Life], kind: &str) -> HashMap<u64, u64> {
    let mut last = HashMap::new();
    for line in lives.iter().flat_map(|life| &life.lines) {
        if let Fact::Holds { object, token } = &line.fact
            && object == kind
        {
            let at = begun(line.at);
            last.entry(*token).and_modify(|last: &mut u64| *last = at.max(*last)).or_insert(at);
        }
    }
    last
}

/// A hold begins with an acquisition and ends with a release, or is lost at some time after it was last believed in.
fn holds(ops: &[&Op], held: &HashMap<u64, u64>) -> History<LockOp, LockRet> {
    let releases: HashMap<u64, &Op> =
        ops.iter().filter_map(|op| if let Act::Release(token) = op.act { Some((token, *op)) } else { None }).collect();
    let mut records = Vec::new();
    for op in ops.iter().filter(|op| op.act == Act::Acquire && !op.was_refused()) {
        let token = op.value();
        records.push(op.record(LockOp::Acquire, token.map(LockRet::Token)));
        let (Some(token), Some((acquired, _))) = (token, &op.end) else { continue };
        let believed = held.get(&token).copied().unwrap_or(*acquired).max(*acquired);
        let lost =
            |returned| Record { client: op.client.as_str().into(), op: LockOp::Lose(token), invoked: believed, returned };
        records.push(match releases.get(&token).map(|release| (*release, &release.end)) {
            Some((release, Some((_, Answer::Done)))) => release.record(LockOp::Release(token), Some(LockRet::Done)),
            Some((_, Some((at, Answer::Lost)))) => lost(Some(((*at).max(believed), LockRet::Done))),
            // It ended at some time, and nobody was told when.
            _ => lost(None),
        });
    }
    records.into_iter().collect()
}
