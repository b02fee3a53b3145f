//! Calls and what became of them, put together from the lines of all lives.

use super::Life;
use crate::history::{Act, Answer, Fact};
use anabranch::testing::check::Record;
use std::collections::{BTreeMap, HashMap};

/// One call. Times are microseconds, and such that it lies between them.
#[derive(Debug, Clone)]
pub(super) struct Op {
    pub(super) client: String,
    pub(super) object: String,
    pub(super) act: Act,
    pub(super) from: u64,
    /// When it ended and how; nothing when its caller died before.
    pub(super) end: Option<(u64, Answer)>,
}

impl Op {
    /// Whether it was certainly not done.
    pub(super) fn was_refused(&self) -> bool {
        matches!(self.end, Some((_, Answer::Not)))
    }

    /// What it returned.
    pub(super) fn value(&self) -> Option<u64> {
        match self.end {
            Some((_, Answer::Value(value))) => Some(value),
            _ => None,
        }
    }

    /// The record of it for a checker: with this answer, or with none where nobody knows what became of it.
    pub(super) fn record<O, R>(&self, op: O, ret: Option<R>) -> Record<O, R> {
        let to = self.end.as_ref().map_or(self.from, |(at, _)| *at);
        Record { client: self.client.as_str().into(), op, invoked: self.from, returned: ret.map(|ret| (to, ret)) }
    }
}

/// The microsecond in which something began.
pub(super) fn begun(at: u64) -> u64 {
    at / 1000
}

/// The microsecond by which something was over.
pub(super) fn over(at: u64) -> u64 {
    at.div_ceil(1000)
}

/// All calls, in the order in which they began.
pub(super) fn ops(lives: &[Life]) -> Vec<Op> {
    let mut all = Vec::new();
    for life in lives {
        let mut places = HashMap::new();
        for line in &life.lines {
            match &line.fact {
                Fact::Call { op, object, act } => {
                    places.insert(*op, all.len());
                    let (client, object, act) = (life.name.clone(), object.clone(), act.clone());
                    all.push(Op { client, object, act, from: begun(line.at), end: None });
                }
                Fact::Back { op, answer } => {
                    if let Some(place) = places.get(op) {
                        all[*place].end = Some((over(line.at), answer.clone()));
                    }
                }
                _ => {}
            }
        }
    }
    all.sort_by_key(|op| op.from);
    all
}

/// The calls to each object of a kind that may have been done: of `counter-1`, `counter-2` and so on.
pub(super) fn of_kind<'a>(ops: &'a [Op], kind: &str) -> BTreeMap<&'a str, Vec<&'a Op>> {
    let mut objects: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in ops {
        if op.object.split('-').next() == Some(kind) && !op.was_refused() {
            objects.entry(&op.object).or_default().push(op);
        }
    }
    objects
}
