//! What is told of a history without an order, in which order things come, and what a search may cost.

use anabranch::testing::{
    Dice,
    check::{Counter, CounterOp, History, Record, Register, RegisterOp, RegisterRet, linearizable, linearizable_within},
};

type Counts = History<CounterOp, i64>;

/// Many clients, and an object that does what they ask for in turn: each at a random point of its call.
fn busy<O, R>(
    seed: u64,
    clients: u64,
    operations: u64,
    lost: u64,
    mut act: impl FnMut(&mut Dice) -> (O, R),
) -> Vec<Record<O, R>> {
    let (mut dice, mut records) = (Dice::new(seed), Vec::new());
    let mut free = vec![0_u64; usize::try_from(clients).unwrap()];
    // Points in time at which things happen; a call begins before and ends after, and not before the client is free.
    for point in (1..=operations).map(|n| n * 10) {
        let client = (0..free.len()).min_by_key(|client| (free[*client], *client)).unwrap();
        let begin = free[client].max(point.saturating_sub(dice.roll(10 * clients))).min(point);
        let end = point + dice.roll(10 * clients);
        free[client] = end + 1;
        let (op, ret) = act(&mut dice);
        let returned = (lost == 0 || dice.roll(lost) > 0).then_some((end, ret));
        records.push(Record { client: client.to_string().into(), op, invoked: begin, returned });
    }
    records
}

fn counted(seed: u64, clients: u64, operations: u64, lost: u64) -> Vec<Record<CounterOp, i64>> {
    let mut value = 0;
    busy(seed, clients, operations, lost, |dice| {
        let op = if dice.roll(4) == 0 { CounterOp::Read } else { CounterOp::Add(1 + i64::try_from(dice.roll(3)).unwrap()) };
        if let CounterOp::Add(n) = op {
            value += n;
        }
        (op, value)
    })
}

/// Reads, writes and swaps of so many values; zero is for as many as there are operations.
fn written(seed: u64, operations: u64, lost: u64, values: u64) -> Vec<Record<RegisterOp<u64>, RegisterRet<u64>>> {
    let (mut value, mut number) = (None, 0);
    busy(seed, 16, operations, lost, |dice| {
        number += 1;
        let new = if values == 0 { number } else { dice.roll(values) };
        match dice.roll(3) {
            0 => (RegisterOp::Read, RegisterRet::Value(value)),
            1 => {
                value = Some(new);
                (RegisterOp::Write(new), RegisterRet::Done)
            }
            _ => (RegisterOp::CompareAndSet(value.replace(new), new), RegisterRet::Done),
        }
    })
}

fn history(records: &[Record<CounterOp, i64>]) -> Counts {
    records.iter().cloned().collect()
}

#[test]
fn ten_thousand_operations_of_sixteen_clients_are_decided() {
    let mut records = counted(1, 16, 10_000, 1000);
    linearizable_within(&Counter, &history(&records), 2_000_000).unwrap();
    // One addition was lost: whoever came after it saw too little.
    let lost = records.iter().position(|record| record.invoked > 50_000 && record.op != CounterOp::Read).unwrap();
    records[lost].returned.as_mut().unwrap().1 -= 1;
    let violation = linearizable_within(&Counter, &history(&records), 2_000_000).unwrap_err();
    assert!(!violation.is_undecided() && violation.to_string().lines().count() <= 20, "{violation}");
}

#[test]
fn hundreds_of_writes_of_sixteen_clients_to_one_register_are_decided() {
    for (values, lost) in [(0, 0), (5, 0), (0, 50), (5, 50)] {
        let records = written(4, 300, lost, values);
        let model = Register::default();
        linearizable_within(&model, &records.iter().cloned().collect(), 2_000_000).unwrap();
    }
}

#[test]
fn what_takes_too_many_steps_is_undecided_and_never_right() {
    let history = history(&counted(2, 8, 200, 0));
    let violation = linearizable_within(&Counter, &history, 100).unwrap_err();
    assert!(violation.is_undecided());
    assert_eq!(violation.to_string(), "linearizable: not decided for the 200 operations within 100 steps");
    linearizable(&Counter, &history).unwrap();
}

#[test]
fn many_writes_of_unknown_outcome_are_decided() {
    // With every subset of them in every order there would be more to try than there is time for.
    let history = History::new();
    for value in 0..40 {
        history.unknown(history.invoke("lost", RegisterOp::Write(value), value));
    }
    for (at, value) in [(100, 30), (200, 3), (300, 17)] {
        let read = history.invoke("reader", RegisterOp::Read, at);
        history.returned(read, RegisterRet::Value(Some(value)), at + 1);
    }
    linearizable(&Register::default(), &history).unwrap();
    let read = history.invoke("reader", RegisterOp::Read, 400);
    history.returned(read, RegisterRet::Value(Some(30)), 401);
    let violation = linearizable(&Register::default(), &history).unwrap_err();
    assert!(!violation.is_undecided(), "{violation}");
}

#[test]
fn an_order_is_that_of_the_times_and_then_that_of_the_recording() {
    let add = |history: &Counts, ret, from, to| history.returned(history.invoke("a", CounterOp::Add(1), from), ret, to);
    // Recorded the other way round than it happened.
    let turned = Counts::new();
    add(&turned, 2, 20, 25);
    add(&turned, 1, 10, 15);
    linearizable(&Counter, &turned).unwrap();
    // In no time at all, but recorded in turn.
    let at_once = Counts::new();
    add(&at_once, 1, 10, 10);
    add(&at_once, 2, 10, 10);
    linearizable(&Counter, &at_once).unwrap();
    let swapped = Counts::new();
    add(&swapped, 2, 10, 10);
    add(&swapped, 1, 10, 10);
    linearizable(&Counter, &swapped).unwrap_err();
    // Of records of several processes nobody knows which was first.
    linearizable(&Counter, &history(&swapped.records())).unwrap();
}

#[test]
fn what_was_refused_leaves_no_trace() {
    let counts = Counts::new();
    let refused = counts.invoke("a", CounterOp::Add(1), 10);
    counts.refused(refused, 20);
    assert!(counts.is_empty() && counts.records().is_empty());
    let read = counts.invoke("a", CounterOp::Read, 30);
    counts.returned(read, 1, 40);
    linearizable(&Counter, &counts).unwrap_err();
}

#[test]
#[should_panic(expected = "the call of a at 20 returned at 19, before it was made")]
fn a_clock_that_goes_back_makes_no_history() {
    let counts = Counts::new();
    counts.returned(counts.invoke("a", CounterOp::Read, 20), 0, 19);
}

#[test]
#[should_panic(expected = "a call ends once")]
fn a_call_ends_once() {
    let counts = Counts::new();
    let call = counts.invoke("a", CounterOp::Read, 20);
    counts.returned(call, 0, 21);
    counts.refused(call, 22);
}

#[test]
fn a_history_without_an_order_is_told_in_a_few_lines() {
    // Among many others, c reads what two additions to one value have left.
    let mut records = counted(3, 3, 60, 0);
    let at = records.len() as u64 * 10 + 1000;
    let value = records.iter().filter_map(|record| record.returned).max().unwrap().1;
    for (client, ret, from) in [("a", value + 5, at), ("b", value + 5, at + 20), ("c", value + 10, at + 200)] {
        let op = if client == "c" { CounterOp::Read } else { CounterOp::Add(5) };
        records.push(Record { client: client.into(), op, invoked: from, returned: Some((from + 50, ret)) });
    }
    let violation = linearizable(&Counter, &history(&records)).unwrap_err();
    let told = violation.to_string();
    assert!(told.lines().count() <= 8, "{told}");
    // What it rests on is without an order by itself, with the outcome of everything else unknown.
    let evidence = violation.evidence();
    let weaker: Vec<_> = records
        .into_iter()
        .enumerate()
        .map(|(at, record)| Record { returned: record.returned.filter(|_| evidence.contains(&at)), ..record })
        .collect();
    linearizable(&Counter, &history(&weaker)).unwrap_err();
}
