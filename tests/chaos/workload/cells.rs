//! Counters and registers in cells, which all workers change at once.

use super::{Site, for_a_while, unique};
use crate::history::{Act, Answer};
use anabranch::{
    Codec,
    cell::{Cell, CellError, Cells},
    engine::Key,
};
use std::time::Duration;

const WHILE: Duration = Duration::from_secs(2);

fn cell(site: &Site, kind: &str, object: &str) -> Cell<u64> {
    let cells = Cells::below(&site.space, &Key::new(kind).expect("it is a token"), Codec::json());
    cells.deadline(Duration::from_secs(6)).cell(object).expect("it is a token")
}

fn answer(site: &Site, object: &str, outcome: Result<u64, CellError>) -> Answer {
    match outcome {
        Ok(value) => Answer::Value(value),
        Err(error) => site.told_by_cell(object, &error),
    }
}

/// Adds, and looks now and then; every addition returns the sum.
pub(super) async fn count(site: Site, part: u64) {
    let mut dice = site.dice(part);
    while !site.is_over() {
        let object = for_a_while("counter", WHILE);
        let cell = cell(&site, "counter", &object);
        let add = dice.roll(4) != 0;
        let op = site.history.call(&object, if add { Act::Add(1) } else { Act::Read });
        let outcome = if add {
            cell.update(|n| {
                *n += 1;
                *n
            })
            .await
        } else {
            cell.read().await.map(|stored| stored.map_or(0, |stored| stored.value))
        };
        site.history.back(op, answer(&site, &object, outcome));
        site.pause(&mut dice, 150).await;
    }
}

/// Sets, swaps what it saw for something new, and reads.
pub(super) async fn register(site: Site, part: u64) {
    let mut dice = site.dice(10 + part);
    let mut seen = 0;
    while !site.is_over() {
        let object = for_a_while("register", WHILE);
        let cell = cell(&site, "register", &object);
        let act = match dice.roll(4) {
            0 => Act::Set(unique()),
            1 | 2 => Act::Swap(seen, unique()),
            _ => Act::Read,
        };
        let op = site.history.call(&object, act.clone());
        let outcome = match act {
            Act::Set(to) => cell.edit(move |draft| draft.set(to)).await.map(|_| to),
            Act::Swap(from, to) => {
                let swap = move |draft: &mut anabranch::cell::Draft<u64>| {
                    let found = draft.get().copied().unwrap_or(0);
                    if found == from {
                        draft.set(to);
                    }
                    found
                };
                cell.edit(swap).await.map(|edited| edited.result)
            }
            _ => cell.read().await.map(|stored| stored.map_or(0, |stored| stored.value)),
        };
        if let Ok(value) = &outcome {
            // What a swap found is what it will try to replace next.
            seen = *value;
        }
        site.history.back(op, answer(&site, &object, outcome));
        site.pause(&mut dice, 150).await;
    }
}
