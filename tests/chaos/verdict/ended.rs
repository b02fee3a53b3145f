//! What has to be there in the end: whatever was accepted has ended well, and a token never replaced itself or a greater one.

use super::{Life, ops::Op};
use crate::{
    history::{Act, Answer, Fact},
    workload::runs::outcome,
};
use std::collections::HashMap;

pub(super) fn check(lives: &[Life], ops: &[Op]) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut runs, mut jobs) = (HashMap::new(), HashMap::new());
    for line in lives.iter().flat_map(|life| &life.lines) {
        match &line.fact {
            Fact::Ended { run, status, output, .. } => drop(runs.insert(run.as_str(), (status.as_str(), *output))),
            Fact::Kept { job, state } => drop(jobs.insert(*job, state.as_str())),
            _ => {}
        }
    }
    for op in ops {
        let accepted = matches!(op.end, Some((_, Answer::Done)));
        match op.act {
            Act::Start(input) => match runs.get(op.object.as_str()) {
                Some(("completed", Some(output))) if *output == outcome(input) => {}
                // One that nobody was told of may never have been stored.
                Some(("absent", _)) if !accepted => {}
                found => wrong.push(format!("run {} was {}, and in the end it is {found:?}", op.object, asked(accepted))),
            },
            Act::Submit(job) if !op.was_refused() => match jobs.get(&job) {
                Some(&"completed") => {}
                Some(&"absent") if !accepted => {}
                found => wrong.push(format!("job {job} was {}, and in the end it is {found:?}", asked(accepted))),
            },
            Act::Fenced(token) => {
                // Each token writes once.
                if let Some(before) = op.value().filter(|before| *before >= token) {
                    wrong.push(format!("{} wrote with token {token} over {before}, which is not smaller", op.client));
                }
            }
            _ => {}
        }
    }
    wrong
}

fn asked(accepted: bool) -> &'static str {
    if accepted { "accepted" } else { "asked for" }
}
