//! Whether what workers noted is what the library promises, and how much of it there is.
//!
//! The checkers are those of `testing::check`; here is what the notes mean to them.

mod counted;
mod ended;
mod held;
mod linear;
mod ops;
mod stale;
mod work;

pub(crate) use self::stale::Window;

use self::{
    ops::{Op, ops},
    stale::Stale,
};
use crate::history::{Act, Answer, Fact, Line};
use anabranch::testing::check::Violation;
use std::collections::BTreeMap;

/// More violations than this are not told.
const MOST: usize = 20;

/// What one life of a worker noted.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) name: String,
    pub(crate) lines: Vec<Line>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// How often each kind of work was done for certain.
    pub(crate) works: BTreeMap<String, u64>,
    pub(crate) violations: Vec<String>,
    /// Reads that were stale when they may have been.
    pub(crate) stale: Vec<String>,
}

pub(crate) fn judge(lives: &[Life], windows: &[Window]) -> Verdict {
    let (ops, mut stale) = (ops(lives), Stale::new(windows));
    let mut violations: Vec<String> = Vec::new();
    let mut complain = |object: &str, violation: Violation| violations.push(format!("{object}: {violation}"));
    linear::check(lives, &ops, &mut stale, &mut complain);
    held::check(lives, &mut complain);
    counted::check(&ops, &mut stale, &mut complain);
    work::check(lives, &ops, &mut complain);
    violations.extend(ended::check(lives, &ops));
    violations.extend(lives.iter().flat_map(|life| &life.lines).filter_map(|line| match &line.fact {
        Fact::Odd(what) => Some(what.clone()),
        _ => None,
    }));
    if violations.len() > MOST {
        let more = violations.len() - MOST;
        violations.truncate(MOST);
        violations.push(format!("and {more} more"));
    }
    Verdict { works: works(lives, &ops), violations, stale: stale.stories }
}

/// Each kind of work, with how often it was done: all of them are to happen.
fn works(lives: &[Life], ops: &[Op]) -> BTreeMap<String, u64> {
    let kinds = [
        "counter add",
        "counter read",
        "register set",
        "register swap",
        "register read",
        "lock acquire",
        "lock release",
        "guarded fenced",
        "permits acquire",
        "permits release",
        "leader acquire",
        "leader release",
        "group enter",
        "group leave",
        "group wait",
        "api pass",
        "runs started",
        "jobs submitted",
        "runs completed",
        "jobs completed",
        "firings",
    ];
    let mut works: BTreeMap<String, u64> = kinds.into_iter().map(|kind| (kind.to_owned(), 0)).collect();
    let mut count = |work: String| *works.entry(work).or_insert(0) += 1;
    for op in ops.iter().filter(|op| !matches!(op.end, None | Some((_, Answer::Open | Answer::Not)))) {
        let kind = op.object.split('-').next().unwrap_or_default();
        count(match &op.act {
            Act::Start(_) => "runs started".to_owned(),
            Act::Submit(_) => "jobs submitted".to_owned(),
            act => format!("{kind} {}", format!("{act:?}").split('(').next().unwrap_or_default().to_lowercase()),
        });
    }
    for line in lives.iter().flat_map(|life| &life.lines) {
        match &line.fact {
            Fact::Ended { status, .. } if status == "completed" => count("runs completed".to_owned()),
            Fact::Kept { state, .. } if state == "completed" => count("jobs completed".to_owned()),
            Fact::Fired { .. } => count("firings".to_owned()),
            _ => {}
        }
    }
    works
}
