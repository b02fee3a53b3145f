//! Whether what workers noted is what the library promises, and how much of it there is.

use crate::history::{Act, Answer, Fact, Line};
use std::collections::BTreeMap;

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
}

pub(crate) fn judge(lives: &[Life]) -> Verdict {
    let mut verdict = Verdict::default();
    for life in lives {
        let mut calls = BTreeMap::new();
        for line in &life.lines {
            match &line.fact {
                Fact::Call { op, object, act } => drop(calls.insert(*op, (object, act))),
                Fact::Back { op, answer } => {
                    if let Some((object, act)) = calls.get(op)
                        && !matches!(answer, Answer::Open | Answer::Not)
                    {
                        *verdict.works.entry(work(object, act)).or_insert(0) += 1;
                    }
                }
                Fact::Ended { run, status, .. } if status != "completed" => {
                    verdict.violations.push(format!("{run} is {status}"))
                }
                Fact::Kept { job, state } if state != "completed" => verdict.violations.push(format!("{job} is {state}")),
                Fact::Odd(what) => verdict.violations.push(what.clone()),
                _ => {}
            }
        }
    }
    verdict
}

fn work(object: &str, act: &Act) -> String {
    let kind = object.split('-').next().unwrap_or(object);
    match act {
        Act::Start(_) => "runs started".to_owned(),
        Act::Submit(_) => "jobs submitted".to_owned(),
        act => format!("{kind} {}", format!("{act:?}").split('(').next().unwrap_or_default().to_lowercase()),
    }
}
