//! Runs: attempts, completions, owners and ends.

use crate::caught;
use anabranch::testing::{
    Dice,
    check::{
        Until, Violation,
        runs::{Event, check},
    },
};

fn submitted() -> Event {
    Event::Submitted { run: "r".into(), at: 0 }
}

fn claimed(epoch: u64, worker: &str, at: u64) -> Event {
    Event::Claimed { run: "r".into(), epoch, worker: worker.into(), at }
}

fn started(attempt: u32, epoch: u64, at: u64) -> Event {
    Event::Started { run: "r".into(), node: "n".into(), attempt, epoch: Some(epoch), worker: format!("w{epoch}").into(), at }
}

/// As whoever does not know the epoch records it.
fn somewhere(attempt: u32, at: u64) -> Event {
    Event::Started { run: "r".into(), node: "n".into(), attempt, epoch: None, worker: "w".into(), at }
}

fn ended(attempt: u32, completed: bool, at: u64) -> Event {
    Event::Ended { run: "r".into(), node: "n".into(), attempt, worker: "w".into(), completed, at }
}

fn committed(node: &str, attempt: u32, epoch: u64, at: u64) -> Event {
    Event::Committed { run: "r".into(), node: node.into(), attempt, epoch, at }
}

fn finished(outcome: &str, at: u64) -> Event {
    Event::Finished { run: "r".into(), outcome: outcome.into(), at }
}

fn observed(outcome: &str, at: u64) -> Event {
    Event::Observed { run: "r".into(), outcome: outcome.into(), at }
}

fn crashed(worker: &str, at: u64) -> Event {
    Event::Crashed { worker: worker.into(), at }
}

fn resumed(at: u64) -> Event {
    Event::Resumed { run: "r".into(), at }
}

fn cut(events: &[Event]) -> Result<(), Violation> {
    check(events, Until::Cut)
}

fn quiet(events: &[Event]) -> Result<(), Violation> {
    check(events, Until::Quiet)
}

#[test]
fn a_run_that_fails_crashes_is_taken_over_and_completes_passes() {
    quiet(&[
        submitted(),
        claimed(1, "w1", 1),
        started(1, 1, 2),
        ended(1, false, 3),
        started(2, 1, 4),
        crashed("w1", 5),
        // Its owner counts an attempt, and is gone before it starts: there is no third.
        claimed(2, "w2", 6),
        crashed("w2", 7),
        claimed(3, "w3", 8),
        started(4, 3, 9),
        ended(4, true, 10),
        committed("n", 4, 3, 11),
        committed("signal", 0, 3, 11),
        finished("completed", 12),
        observed("completed", 13),
    ])
    .unwrap();
}

#[test]
fn a_paused_process_may_start_an_old_attempt_late() {
    cut(&[started(2, 2, 5), committed("n", 2, 2, 10), started(1, 1, 20)]).unwrap();
    let violation = caught(&[started(1, 1, 5), committed("n", 1, 1, 10), started(2, 2, 20)], "runs.again", cut);
    assert!(violation.to_string().starts_with("runs.again: attempt 2 of n of r starts, which attempt 1 has completed"));
    caught(&[started(1, 1, 15), committed("n", 1, 1, 10)], "runs.completed", cut);
}

#[test]
fn attempts_are_numbered_without_repeats_and_gaps() {
    caught(&[started(1, 1, 1), started(1, 2, 2)], "runs.repeated", cut);
    caught(&[started(0, 1, 1)], "runs.repeated", cut);
    caught(&[claimed(1, "w1", 0), started(1, 1, 1), started(3, 1, 2)], "runs.attempts", cut);
    caught(&[claimed(1, "w1", 0), started(2, 1, 1)], "runs.attempts", cut);
    caught(&[started(1, 2, 1), started(2, 1, 2)], "runs.attempts", cut);
    cut(&[started(1, 1, 1), started(3, 2, 2)]).unwrap();
    // Where nobody knows the epochs, a crash or a takeover accounts for a gap.
    cut(&[somewhere(1, 1), crashed("w", 2), somewhere(3, 3)]).unwrap();
    cut(&[claimed(1, "w", 0), somewhere(1, 1), claimed(2, "v", 2), somewhere(3, 3)]).unwrap();
    caught(&[somewhere(1, 1), somewhere(3, 3)], "runs.attempts", cut);
    caught(&[somewhere(1, 1), somewhere(3, 3), crashed("w", 4)], "runs.attempts", cut);
    // One that was over before accounts for nothing.
    caught(&[crashed("w", 1), somewhere(1, 2), somewhere(3, 3)], "runs.attempts", cut);
    // So does a time that was over before the body started, for that attempt and no other.
    let timed_out = |attempt, at| Event::TimedOut { run: "r".into(), node: "n".into(), attempt, at };
    cut(&[somewhere(1, 1), timed_out(2, 2), timed_out(3, 3), somewhere(4, 4)]).unwrap();
    caught(&[somewhere(1, 1), timed_out(2, 2), somewhere(4, 4)], "runs.attempts", cut);
    let violation = caught(&[claimed(1, "w", 0), somewhere(4, 1)], "runs.attempts", cut);
    assert!(
        violation
            .to_string()
            .starts_with("runs.attempts: nothing accounts for what became of attempts 1 to 3: the attempts of n of r")
    );
}

#[test]
fn a_node_is_completed_once_by_an_attempt_that_could() {
    caught(&[started(1, 1, 1), started(2, 1, 2), committed("n", 1, 1, 3), committed("n", 2, 1, 4)], "runs.completed", cut);
    caught(&[started(1, 1, 1), committed("n", 2, 1, 3)], "runs.completed", cut);
    caught(&[started(1, 1, 1), ended(1, false, 2), committed("n", 1, 1, 3)], "runs.completed", cut);
    // Seen twice, and of a node whose starts nobody records.
    cut(&[started(1, 1, 1), committed("n", 1, 1, 3), committed("n", 1, 1, 4), committed("m", 2, 1, 5)]).unwrap();
}

#[test]
fn an_owner_that_was_replaced_commits_nothing() {
    cut(&[committed("a", 1, 1, 1), committed("b", 1, 2, 2), committed("c", 1, 2, 3)]).unwrap();
    let violation = caught(&[committed("a", 1, 1, 1), committed("b", 1, 2, 2), committed("c", 1, 1, 3)], "runs.fencing", cut);
    assert!(
        violation.to_string().starts_with("runs.fencing: epoch 1 has completed c of r, after epoch 2 had committed"),
        "{violation}"
    );
}

#[test]
fn whoever_knows_how_a_run_ended_knows_the_same_and_every_run_ends() {
    quiet(&[submitted(), finished("completed", 5), observed("completed", 4)]).unwrap();
    caught(&[submitted(), finished("completed", 5), observed("failed", 6)], "runs.outcome", cut);
    caught(&[submitted(), observed("completed", 5), observed("failed", 6)], "runs.outcome", cut);
    quiet(&[submitted(), finished("failed", 5), resumed(6), finished("completed", 7)]).unwrap();
    caught(&[submitted(), claimed(1, "w", 1)], "runs.lost", quiet);
    caught(&[submitted(), finished("failed", 5), resumed(6)], "runs.lost", quiet);
    cut(&[submitted()]).unwrap();
}

#[test]
fn only_what_matters_is_told() {
    let other =
        |n: u64| Event::Started { run: "q".into(), node: "n".into(), attempt: 1, epoch: Some(1), worker: "v".into(), at: n };
    let mine = |n: u64| Event::Started {
        run: "r".into(),
        node: format!("m{n}").into(),
        attempt: 1,
        epoch: Some(1),
        worker: "w1".into(),
        at: n,
    };
    let mut events: Vec<Event> = (10..40).map(mine).collect();
    events.extend([other(1), crashed("v", 2), started(1, 1, 3), started(1, 1, 4), crashed("w1", 50)]);
    let violation = caught(&events, "runs.repeated", cut);
    assert_eq!(
        violation.to_string(),
        "\
runs.repeated: attempt 1 starts twice of n of r
  seconds after 3 us
      0.000000                w1  n: attempt 1 starts, epoch 1
      0.000001                w1  n: attempt 1 starts, epoch 1
      0.000047                w1  crashes"
    );
}

/// Owners that come and go, crash at any point and may be paused, and a store that refuses whoever was replaced.
fn simulate(seed: u64, forgetful: bool) -> Vec<Event> {
    let (mut dice, mut events) = (Dice::new(seed), vec![submitted()]);
    let (mut epoch, mut counted, mut at, mut late) = (0, 0, 1, Vec::new());
    loop {
        epoch += 1;
        at += 10;
        events.push(claimed(epoch, &format!("w{epoch}"), at));
        loop {
            counted += 1;
            match dice.roll(6) {
                // It is gone before the body starts, or starts it when it is too late.
                0 => break late.extend((dice.roll(2) == 0).then_some((counted, epoch))),
                1 => {
                    events.extend([started(counted, epoch, at + 1), crashed(&format!("w{epoch}"), at + 2)]);
                    break;
                }
                2 => events.extend([started(counted, epoch, at + 1), ended(counted, false, at + 2)]),
                _ => {
                    events.extend([started(counted, epoch, at + 1), ended(counted, true, at + 2)]);
                    if forgetful && dice.roll(2) == 0 {
                        events.extend([committed("n", counted, epoch, at + 3), started(counted + 1, epoch, at + 4)]);
                        counted += 1;
                    }
                    events.extend([committed("n", counted, epoch, at + 5), finished("completed", at + 6)]);
                    events.extend(late.into_iter().map(|(attempt, epoch)| started(attempt, epoch, at + 7)));
                    return events;
                }
            }
            at += 10;
        }
    }
}

#[test]
fn what_a_right_store_does_passes_and_a_second_execution_does_not() {
    let mut found = 0;
    for seed in 0..300 {
        quiet(&simulate(seed, false)).unwrap();
        if let Err(violation) = quiet(&simulate(seed, true)) {
            assert!(matches!(violation.rule(), "runs.again" | "runs.completed"), "{violation}");
            found += 1;
        }
    }
    assert!(found > 100, "{found} of about 150");
}
