//! Wait groups: one worker enters and leaves, and another one waits until all have left.

use super::{Site, for_a_while};
use crate::{
    history::{Act, Answer},
    worker::WORKERS,
};
use anabranch::coordination::{Ended, WaitGroup};
use std::time::Duration;

const WHILE: Duration = Duration::from_secs(6);

fn name(worker: u32) -> String {
    for_a_while(&format!("group-{worker}"), WHILE)
}

/// Enters with four, and lets them leave one by one.
pub(super) async fn enter_and_leave(site: Site) {
    let mut dice = site.dice(30);
    let mut last = String::new();
    while !site.is_over() {
        let object = name(site.worker);
        if object == last {
            site.pause(&mut dice, 300).await;
            continue;
        }
        last.clone_from(&object);
        let group = WaitGroup::new(&site.space, &object).expect("the name is valid");
        let members: Vec<String> = (0..4).map(|n| format!("m{}-{n}", site.life)).collect();
        for member in &members {
            let op = site.history.call(&object, Act::Enter(member.clone()));
            let answer = match group.enter(member).await {
                Ok(entered) => Answer::Value(entered.into()),
                Err(error) => site.told(&object, &error),
            };
            site.history.back(op, answer);
        }
        for member in &members {
            site.pause(&mut dice, 400).await;
            // Also one that may not have entered: that it is gone afterwards is all that is wanted.
            let op = site.history.call(&object, Act::Leave(member.clone()));
            let answer = match group.leave(member).await {
                Ok(left) => Answer::Value(left),
                Err(error) => site.told(&object, &error),
            };
            site.history.back(op, answer);
        }
    }
}

/// Waits for the group of the next worker.
pub(super) async fn wait(site: Site) {
    let mut dice = site.dice(31);
    while !site.is_over() {
        let object = name((site.worker + 1) % WORKERS);
        let group = WaitGroup::new(&site.space, &object).expect("the name is valid");
        let op = site.history.call(&object, Act::Wait);
        let answer = match group.wait_within(Duration::from_secs(4)).await {
            Ok(Ended::Zero) => Answer::Done,
            Ok(_) => Answer::Lost,
            Err(error) => match site.told(&object, &error) {
                // It only looks.
                Answer::Open => Answer::Not,
                answer => answer,
            },
        };
        site.history.back(op, answer);
        site.pause(&mut dice, 500).await;
    }
}
