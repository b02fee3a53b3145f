//! Histories of each model that are right, and one for each way to be wrong.

use anabranch::testing::check::{
    Counter, CounterOp, Expected, History, Keyed, Lock, LockOp, LockRet, Model, Register, RegisterOp, RegisterRet, Violation,
    linearizable,
};
use std::fmt::Debug;

/// An operation with its result, if there is one, from one time to another.
type Line<O, R> = (u64, u64, O, Option<R>);

fn judge<M: Model>(model: &M, lines: &[Line<M::Op, M::Ret>]) -> Result<(), Violation> {
    let history = History::new();
    for (client, (from, to, op, ret)) in lines.iter().enumerate() {
        let call = history.invoke(client, op.clone(), *from);
        match ret {
            Some(ret) => history.returned(call, ret.clone(), *to),
            None => history.unknown(call),
        }
    }
    linearizable(model, &history)
}

#[track_caller]
fn right<M: Model>(model: &M, lines: &[Line<M::Op, M::Ret>]) {
    judge(model, lines).unwrap();
}

#[track_caller]
fn wrong<M: Model>(model: &M, lines: &[Line<M::Op, M::Ret>])
where
    M::Op: Debug,
{
    let violation = judge(model, lines).expect_err("nobody found it");
    assert!(!violation.is_undecided());
}

type Reg = Register<u32>;
type Op = RegisterOp<u32>;
type Ret = RegisterRet<u32>;

fn read(value: Option<u32>) -> (Op, Option<Ret>) {
    (Op::Read, Some(Ret::Value(value)))
}

/// One after the other, all by different clients.
fn in_turn<O, R>(acts: impl IntoIterator<Item = (O, Option<R>)>) -> Vec<Line<O, R>> {
    acts.into_iter().zip(0..).map(|((op, ret), n)| (n * 10, n * 10 + 5, op, ret)).collect()
}

#[test]
fn a_register_holds_what_was_written_last() {
    let reg = Reg::default();
    right(&reg, &in_turn([read(None), (Op::Write(1), Some(Ret::Done)), read(Some(1))]));
    wrong(&reg, &in_turn([read(Some(1)), (Op::Write(1), Some(Ret::Done))]));
    wrong(&reg, &in_turn([(Op::Write(1), Some(Ret::Done)), read(None)]));
    wrong(&reg, &in_turn([(Op::Write(1), Some(Ret::Done)), (Op::Write(2), Some(Ret::Done)), read(Some(1))]));
    right(&Reg::holding(7), &in_turn([read(Some(7))]));
    wrong(&Reg::holding(7), &in_turn([read(None)]));
}

#[test]
fn what_overlaps_happens_in_either_order_and_for_all_in_the_same() {
    let reg = Reg::default();
    let writes = [(0, 100, Op::Write(1), Some(Ret::Done)), (0, 100, Op::Write(2), Some(Ret::Done))];
    for (first, second, fine) in [(1, 1, true), (2, 2, true), (1, 2, true), (2, 1, true), (1, 3, false)] {
        let mut lines = writes.to_vec();
        lines.push((10, 20, Op::Read, Some(Ret::Value(Some(first)))));
        lines.push((30, 40, Op::Read, Some(Ret::Value(Some(second)))));
        assert_eq!(judge(&reg, &lines).is_ok(), fine, "{first} {second}");
        // Whoever reads it later still reads the same.
        lines.push((50, 60, Op::Read, Some(Ret::Value(Some(first)))));
        assert_eq!(judge(&reg, &lines).is_ok(), fine && first == second, "{first} {second} {first}");
    }
}

#[test]
fn a_register_compares_by_value() {
    let reg = Reg::default();
    let swap = |from, to, ret| (Op::CompareAndSet(from, to), Some(ret));
    right(
        &reg,
        &in_turn([swap(None, 1, Ret::Done), swap(Some(1), 2, Ret::Done), swap(Some(1), 3, Ret::Conflict), read(Some(2))]),
    );
    wrong(&reg, &in_turn([swap(Some(1), 2, Ret::Done)]));
    wrong(&reg, &in_turn([swap(None, 1, Ret::Conflict)]));
    wrong(&reg, &in_turn([swap(None, 1, Ret::Done), swap(None, 2, Ret::Done)]));
}

#[test]
fn a_register_compares_by_revision_and_revisions_grow() {
    let reg = Reg::default();
    let put = |value, expected, ret| (Op::Put(value, expected), Some(ret));
    let (absent, at) = (Expected::Absent, Expected::At);
    right(&reg, &in_turn([put(1, absent, Ret::Revision(4)), put(2, at(4), Ret::Revision(9)), put(3, at(4), Ret::Conflict)]));
    wrong(
        &reg,
        &in_turn([put(1, absent, Ret::Revision(4)), put(2, at(4), Ret::Revision(9)), put(3, at(4), Ret::Revision(10))]),
    );
    wrong(&reg, &in_turn([put(1, absent, Ret::Revision(4)), put(2, at(4), Ret::Conflict)]));
    wrong(&reg, &in_turn([put(1, absent, Ret::Revision(4)), put(2, at(4), Ret::Revision(4))]));
    wrong(&reg, &in_turn([put(1, absent, Ret::Revision(4)), put(2, absent, Ret::Revision(5))]));
    // Its revision was never told, so it may be any that is greater; and is one for ever once it was told.
    let entry = |value, revision| (Op::Read, Some(Ret::Entry(Some((value, revision)))));
    let quiet = put(1, Expected::Anything, Ret::Done);
    right(&reg, &in_turn([quiet.clone(), entry(1, 8), put(2, at(8), Ret::Done), read(Some(2))]));
    wrong(&reg, &in_turn([quiet.clone(), entry(1, 8), entry(1, 9)]));
    wrong(&reg, &in_turn([put(1, absent, Ret::Revision(4)), entry(1, 5)]));
    wrong(&reg, &in_turn([quiet, (Op::Read, Some(Ret::Entry(None)))]));
}

#[test]
fn what_was_deleted_is_absent() {
    let reg = Reg::default();
    let put = (Op::Put(1, Expected::Absent), Some(Ret::Revision(3)));
    let delete = |expected, ret| (Op::Delete(expected), Some(ret));
    right(
        &reg,
        &in_turn([
            put.clone(),
            delete(Expected::At(3), Ret::Done),
            read(None),
            (Op::Put(2, Expected::Absent), Some(Ret::Done)),
        ]),
    );
    right(&reg, &in_turn([delete(Expected::Anything, Ret::Done), put.clone(), delete(Expected::At(2), Ret::Conflict)]));
    wrong(&reg, &in_turn([put.clone(), delete(Expected::At(3), Ret::Done), read(Some(1))]));
    wrong(&reg, &in_turn([put.clone(), delete(Expected::At(2), Ret::Done)]));
    wrong(&reg, &in_turn([put, delete(Expected::At(3), Ret::Done), (Op::Put(2, Expected::At(3)), Some(Ret::Done))]));
}

#[test]
fn what_is_unknown_happens_at_any_time_or_never_and_once() {
    let reg = Reg::default();
    let unknown = (0, 0, Op::Write(1), None);
    let reads = |values: &[Option<u32>]| -> Vec<Line<Op, Ret>> {
        let read = |(value, at): (&Option<u32>, u64)| (at * 10, at * 10 + 5, Op::Read, Some(Ret::Value(*value)));
        std::iter::once(unknown.clone()).chain(values.iter().zip(1..).map(read)).collect()
    };
    right(&reg, &reads(&[None, None]));
    right(&reg, &reads(&[Some(1), Some(1)]));
    right(&reg, &reads(&[None, Some(1)]));
    wrong(&reg, &reads(&[Some(1), None]));
    wrong(&reg, &reads(&[Some(2)]));
    let mut once = reads(&[Some(1)]);
    once.push((20, 25, Op::Write(2), Some(Ret::Done)));
    once.push((30, 35, Op::Read, Some(Ret::Value(Some(1)))));
    wrong(&reg, &once);
    // Before it was invoked it has not happened.
    wrong(&reg, &[(0, 5, Op::Read, Some(Ret::Value(Some(1)))), (10, 10, Op::Write(1), None)]);
}

#[test]
fn a_counter_counts_each_addition_once() {
    let add = |n: i64, ret| (CounterOp::Add(n), Some(ret));
    let once = |id: &str, n: i64, ret| (CounterOp::AddOnce(id.into(), n), Some(ret));
    right(&Counter, &in_turn([add(1, 1), add(-3, -2), (CounterOp::Read, Some(-2)), (CounterOp::Reset, Some(-2)), add(1, 1)]));
    right(
        &Counter,
        &in_turn([once("a", 5, 5), add(1, 6), once("a", 5, 5), once("b", 1, 7), (CounterOp::Reset, Some(7)), once("a", 5, 5)]),
    );
    wrong(&Counter, &in_turn([add(1, 1), add(1, 1)]));
    wrong(&Counter, &in_turn([add(1, 1), add(1, 3)]));
    wrong(&Counter, &in_turn([once("a", 5, 5), once("a", 5, 10)]));
    wrong(&Counter, &in_turn([once("a", 5, 5), add(1, 6), once("a", 5, 6)]));
    wrong(&Counter, &in_turn([add(2, 2), (CounterOp::Reset, Some(0))]));
    wrong(&Counter, &in_turn([add(2, 2), (CounterOp::Reset, Some(2)), (CounterOp::Read, Some(2))]));
    wrong(&Counter, &in_turn([add(i64::MAX, i64::MAX), add(1, i64::MIN)]));
    right(&Counter, &[(0, 0, CounterOp::Add(1), None), (10, 20, CounterOp::Read, Some(1))]);
    wrong(&Counter, &[(0, 0, CounterOp::Add(1), None), (10, 20, CounterOp::Read, Some(2))]);
}

#[test]
fn a_lock_has_one_holder_with_a_greater_token() {
    let acquire = |token| (LockOp::Acquire, Some(LockRet::Token(token)));
    let release = |token| (LockOp::Release(token), Some(LockRet::Done));
    let lose = |token| (LockOp::Lose(token), Some(LockRet::Done));
    right(&Lock, &in_turn([acquire(5), release(5), acquire(6), lose(6), acquire(9)]));
    wrong(&Lock, &in_turn([acquire(5), acquire(6)]));
    wrong(&Lock, &in_turn([acquire(5), acquire(6), lose(5)]));
    wrong(&Lock, &in_turn([acquire(5), release(5), acquire(5)]));
    wrong(&Lock, &in_turn([acquire(5), release(5), acquire(4)]));
    wrong(&Lock, &in_turn([acquire(5), release(4)]));
    wrong(&Lock, &in_turn([acquire(5), release(5), release(5)]));
    // Acquired by nobody knows whom, who may be gone at any time.
    let unknown = (LockOp::Acquire, None);
    right(&Lock, &in_turn([unknown.clone(), acquire(6), release(6)]));
    right(&Lock, &in_turn([unknown.clone(), release(3), acquire(6)]));
    wrong(&Lock, &in_turn([acquire(6), unknown, acquire(7)]));
    // A release of which nobody knows the outcome may have been one.
    right(&Lock, &in_turn([acquire(5), (LockOp::Release(5), None), acquire(6)]));
}

#[test]
fn each_key_is_an_object_of_its_own() {
    let add = |key: &str, ret| ((Box::from(key), CounterOp::Add(1)), Some(ret));
    right(&Keyed(Counter), &in_turn([add("x", 1), add("y", 1), add("x", 2)]));
    let violation =
        judge(&Keyed(Counter), &in_turn([add("x", 1), add("y", 1), add("x", 2), add("y", 3), add("y", 2)])).unwrap_err();
    assert_eq!(violation.evidence(), [3], "{violation}");
    assert!(!violation.to_string().contains("\"x\""), "{violation}");
}
