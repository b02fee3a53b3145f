//! The plan and the verdict of `./scripts/chaos`, without the faults: a seed has one plan, and what breaks a promise is seen in the notes
//! of workers. The checkers have tests of their own; here it is tried that the notes reach them.
#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(dead_code, reason = "most of the program is about what is not done here")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "as in the program")]

#[path = "chaos/cluster.rs"]
mod cluster;
#[path = "chaos/disk.rs"]
mod disk;
#[path = "chaos/faults.rs"]
mod faults;
#[path = "chaos/history.rs"]
mod history;
#[path = "chaos/links.rs"]
mod links;
#[path = "chaos/monitor.rs"]
mod monitor;
#[path = "chaos/options.rs"]
mod options;
#[path = "chaos/verdict/mod.rs"]
mod verdict;
#[path = "chaos/worker.rs"]
mod worker;
#[path = "chaos/workload/mod.rs"]
mod workload;

use anabranch::time::Clock;
use clap::ValueEnum as _;
use faults::{Fault, Kind, decks};
use history::{Act, Answer, Fact, Line};
use std::collections::HashSet;
use verdict::{Life, Verdict, Window, judge};

fn plan(seed: u64, count: usize) -> Vec<Fault> {
    let decks = decks(seed, Kind::value_variants());
    decks.into_iter().flat_map(|mut deck| (0..count).map(move |_| deck.next(|_| true).unwrap()).collect::<Vec<_>>()).collect()
}

#[test]
fn a_seed_has_one_plan() {
    assert_eq!(plan(7, 50), plan(7, 50));
    assert_ne!(plan(7, 50), plan(8, 50));
}

#[test]
fn every_fault_is_dealt_before_any_comes_again() {
    for seed in 0..100 {
        for (mut deck, for_nodes) in decks(seed, Kind::value_variants()).into_iter().zip([true, false]) {
            let kinds = Kind::value_variants().iter().filter(|kind| kind.is_for_nodes() == for_nodes).count();
            for _ in 0..3 {
                let dealt: HashSet<String> = (0..kinds).map(|_| deck.next(|_| true).unwrap().kind.name()).collect();
                assert_eq!(dealt.len(), kinds, "seed {seed}");
            }
        }
    }
}

#[test]
fn what_is_not_possible_is_not_dealt() {
    let [mut nodes, mut workers] = decks(1, &[Kind::PowerLoss, Kind::Wipe]);
    for _ in 0..20 {
        assert_eq!(nodes.next(|kind| kind != Kind::PowerLoss).unwrap().kind, Kind::Wipe);
    }
    assert_eq!(nodes.next(|kind| kind == Kind::KillAll), None);
    assert_eq!(workers.next(|_| true), None);
}

/// The notes of one worker, each so many seconds after the boot.
fn life(name: &str, facts: impl IntoIterator<Item = (u64, Fact)>) -> Life {
    let lines = facts.into_iter().map(|(second, fact)| Line { at: second * 1_000_000_000, fact }).collect();
    Life { name: name.to_owned(), lines }
}

fn call(op: u64, object: &str, act: Act) -> Fact {
    Fact::Call { op, object: object.to_owned(), act }
}

fn back(op: u64, answer: Answer) -> Fact {
    Fact::Back { op, answer }
}

fn judged(lives: &[Life]) -> Verdict {
    judge(lives, &[])
}

#[track_caller]
fn complains(lives: &[Life], of: &str) {
    let violations = judged(lives).violations;
    assert!(violations.iter().any(|violation| violation.contains(of)), "{violations:?}");
}

#[track_caller]
fn is_content(lives: &[Life]) {
    assert_eq!(judged(lives).violations, [""; 0]);
}

fn adds(from: u64, to: u64, sum: u64) -> [(u64, Fact); 2] {
    [(from, call(from, "counter-1", Act::Add(1))), (to, back(from, Answer::Value(sum)))]
}

#[test]
fn an_addition_that_is_lost_is_seen() {
    is_content(&[life("w0", adds(1, 2, 1)), life("w1", adds(3, 4, 2))]);
    complains(&[life("w0", adds(1, 2, 1)), life("w1", adds(3, 4, 1))], "counter-1: linearizable");
}

#[test]
fn a_member_that_may_not_have_entered_takes_nobody_out() {
    let member =
        |op, name: &str, entered: Answer| [(op, call(op, "group-1", Act::Enter(name.into()))), (op + 1, back(op, entered))];
    let leaves = |op, name: &str| [(op, call(op, "group-1", Act::Leave(name.into()))), (op + 1, back(op, Answer::Done))];
    let waits = |op| [(op, call(op, "group-1", Act::Wait)), (op + 1, back(op, Answer::Done))];
    let w0 = || [member(1, "a", Answer::Value(1)), member(3, "b", Answer::Open), leaves(5, "b")].concat();
    complains(&[life("w0", [w0(), waits(7).to_vec()].concat())], "group-1: wait_group.early");
    is_content(&[life("w0", [w0(), leaves(7, "a").to_vec(), waits(9).to_vec()].concat())]);
}

#[test]
fn a_token_that_writes_over_itself_is_seen() {
    let writes = |before| [(1, call(1, "guarded", Act::Fenced(7))), (2, back(1, Answer::Value(before)))];
    is_content(&[life("w0", writes(6))]);
    for before in [7, 8] {
        complains(&[life("w0", writes(before))], "which is not smaller");
    }
}

#[test]
fn a_stale_read_is_seen_and_excused_while_a_leader_is_cut_off() {
    let reads = [(5, call(5, "counter-1", Act::Read)), (6, back(5, Answer::Value(0)))];
    let lives = [life("w0", adds(1, 2, 1)), life("w1", reads)];
    complains(&lives, "counter-1: linearizable");
    let window = |kind| Window { kind, from: 4_000_000, to: 7_000_000 };
    let excused = judge(&lives, &[window(Kind::Partition)]);
    assert_eq!((excused.violations.len(), excused.stale.len()), (0, 1));
    assert_eq!(judge(&lives, &[window(Kind::KillWorker)]).violations.len(), 1);
    // Nobody has ever written this.
    let invents = [(5, call(5, "counter-1", Act::Read)), (6, back(5, Answer::Value(7)))];
    let invented = judge(&[life("w0", adds(1, 2, 1)), life("w1", invents)], &[window(Kind::Partition)]);
    assert_eq!(invented.violations.len(), 1);
}

fn holds(object: &str, token: u64, from: u64, to: u64) -> Vec<(u64, Fact)> {
    let held = |at| (at, Fact::Holds { object: object.to_owned(), token });
    let op = token;
    vec![(from, call(op, object, Act::Acquire)), (from, back(op, Answer::Value(token))), held(from + 1), held(to)]
}

#[test]
fn holders_at_once_are_seen() {
    for object in ["lock", "leader"] {
        is_content(&[life("w0", holds(object, 1, 1, 5)), life("w1", holds(object, 2, 6, 9))]);
        complains(&[life("w0", holds(object, 1, 1, 5)), life("w1", holds(object, 2, 3, 9))], "election.two");
    }
    let permits = |third| {
        let [one, two] = [1, 2].map(|token| life(&format!("w{token}"), holds("permits", token, 1, 9)));
        [one, two, life("w3", holds("permits", 3, third, 20))]
    };
    is_content(&permits(10));
    complains(&permits(4), "3 of 2 units");
}

#[test]
fn a_call_above_the_quota_is_seen() {
    let passes = |count: u64| {
        let pass = |op| [(1, call(op, "api", Act::Pass)), (2, back(op, Answer::Done))];
        life("w0", (0..count).flat_map(pass))
    };
    // Five at once, and twenty in the second between.
    is_content(&[passes(25)]);
    complains(&[passes(26)], "api: limiter");
}

#[test]
fn who_is_woken_too_early_is_seen() {
    let enters = || life("w0", [(1, call(1, "group-0-1", Act::Enter("m".into()))), (2, back(1, Answer::Value(1)))]);
    let waits = |answer| life("w1", [(3, call(1, "group-0-1", Act::Wait)), (4, back(1, answer))]);
    is_content(&[enters(), waits(Answer::Not)]);
    complains(&[enters(), waits(Answer::Done)], "wait_group.early");
}

fn run(accepted: Answer, status: &str, output: Option<u64>, attempts: u32) -> Vec<(u64, Fact)> {
    let begins = |node: &str, attempt| Fact::Begins { run: "r".into(), node: node.into(), attempt };
    let ends = |node: &str| Fact::Ends { run: "r".into(), node: node.into(), attempt: 1 };
    let mut facts = vec![(1, call(1, "r", Act::Start(1))), (2, back(1, accepted))];
    for (at, node) in [(3, "a"), (5, "b"), (5, "c"), (7, "d")] {
        facts.extend([(at, begins(node, 1)), (at + 1, ends(node))]);
    }
    facts.extend((2..=attempts).map(|attempt| (8, begins("a", attempt))));
    let counted = [("a", attempts), ("b", 1), ("c", 1), ("d", 1)].map(|(node, attempt)| (node.to_owned(), attempt)).to_vec();
    facts.push((9, Fact::Ended { run: "r".into(), status: status.into(), output, epoch: 1, attempts: counted }));
    facts
}

#[test]
fn a_node_that_begins_again_and_a_run_that_is_lost_are_seen() {
    is_content(&[life("w0", run(Answer::Done, "completed", Some(10), 1))]);
    complains(&[life("w0", run(Answer::Done, "completed", Some(10), 2))], "runs.completed");
    complains(&[life("w0", run(Answer::Done, "completed", Some(11), 1))], "in the end it is");
    complains(&[life("w0", run(Answer::Done, "absent", None, 1))], "in the end it is");
    complains(&[life("w0", run(Answer::Open, "running", None, 1))], "in the end it is");
}

#[test]
fn a_job_that_is_lost_or_comes_from_nowhere_is_seen() {
    let job = |answer, state: &str, works: bool| {
        let mut facts = vec![(1, call(1, "work", Act::Submit(7))), (2, back(1, answer))];
        facts.extend(works.then_some((3, Fact::Works { job: 7, attempt: 1 })));
        facts.push((4, Fact::Kept { job: 7, state: state.into() }));
        [life("w0", facts)]
    };
    is_content(&job(Answer::Done, "completed", true));
    is_content(&job(Answer::Open, "absent", false));
    complains(&job(Answer::Done, "absent", false), "queues.lost");
    complains(&job(Answer::Done, "completed", false), "queues.unhandled");
    complains(&job(Answer::Not, "completed", true), "queues.invented");
}

#[test]
fn a_firing_that_is_missing_or_sent_twice_is_seen() {
    // Long before the boot, so that none of them is early.
    let fired = |second: i64, place| (1, Fact::Fired { firing: format!("tick@{second}"), due: second * 1_000_000, place });
    is_content(&[life("w0", [fired(1, 1), fired(2, 2), fired(2, 2), fired(3, 3)])]);
    complains(&[life("w0", [fired(1, 1), fired(3, 2)])], "schedules.missed");
    complains(&[life("w0", [fired(1, 1), fired(2, 2), fired(2, 3)])], "schedules.twice");
}

#[test]
fn a_schedule_that_stops_before_it_is_paused_is_seen() {
    // A firing is noted when it comes, at the second after the boot at which it is due.
    let wall = u64::try_from(Clock::system().now().as_micros()).unwrap() - history::now() / 1000;
    let fired = |second: u64| {
        let due = ((wall / 1_000_000 + second) * 1_000_000).cast_signed();
        (second + 1, Fact::Fired { firing: format!("tick@{second}"), due, place: second })
    };
    let until = |last: u64| [life("w0", (1..=last).map(fired)), life("audit", [(100, Fact::Pauses)])];
    is_content(&until(99));
    is_content(&until(92));
    complains(&until(80), "schedules.missed");
}
