//! Random histories: of an object that is linearizable, of one whose answer was changed, and of nothing in particular, judged beside
//! another checker.

use anabranch::testing::check::{
    Counter, CounterOp, History, Lock, LockOp, LockRet, Model, Record, Register, RegisterOp, RegisterRet, Violation,
    linearizable,
};
use proptest::{
    prelude::*,
    test_runner::{FailurePersistence, FileFailurePersistence},
};
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};

/// An operation that happens at a moment, with a call that begins before it and ends after it.
#[derive(Debug, Clone)]
struct Drawn<O> {
    op: O,
    before: u64,
    after: u64,
    /// Whether its answer was lost, and whether it did not even happen.
    lost: bool,
    never: bool,
}

fn drawn<O: std::fmt::Debug + Clone>(op: impl Strategy<Value = O>) -> impl Strategy<Value = Vec<Drawn<O>>> {
    let one = (op, 0..60_u64, 0..60_u64, prop::bool::weighted(0.1), any::<bool>())
        .prop_map(|(op, before, after, lost, never)| Drawn { op, before, after, lost, never: lost && never });
    prop::collection::vec(one, 1..40)
}

/// Does them in turn and records the calls, so there is an order.
fn done<M: Model>(
    model: &M,
    drawn: &[Drawn<M::Op>],
    answer: impl Fn(&M::State, &M::Op) -> Option<M::Ret>,
) -> Vec<Record<M::Op, M::Ret>> {
    let (mut state, mut records) = (model.initial(), Vec::new());
    for (n, Drawn { op, before, after, lost, never }) in drawn.iter().enumerate() {
        let at = 1000 + n as u64 * 10;
        let Some(ret) = answer(&state, op) else { continue };
        if !never {
            state = model.step(&state, op, Some(&ret)).pop().expect("the answer was possible");
        }
        let returned = (!lost).then_some((at + after, ret));
        records.push(Record { client: n.to_string().into(), op: op.clone(), invoked: at - before, returned });
    }
    records
}

fn counter_op() -> impl Strategy<Value = CounterOp> {
    prop_oneof![
        4 => (1..4_i64).prop_map(CounterOp::Add),
        1 => (0..3_u8, 1..4_i64).prop_map(|(id, n)| CounterOp::AddOnce(id.to_string().into(), n)),
        2 => Just(CounterOp::Read),
        1 => Just(CounterOp::Reset),
    ]
}

fn register_op() -> impl Strategy<Value = RegisterOp<u8>> {
    prop_oneof![
        2 => (0..3_u8).prop_map(RegisterOp::Write),
        2 => (prop::option::of(0..3_u8), 0..3_u8).prop_map(|(from, to)| RegisterOp::CompareAndSet(from, to)),
        3 => Just(RegisterOp::Read),
    ]
}

/// Every answer there can be, of which a model allows at least one.
fn allowed<M: Model>(model: &M, state: &M::State, op: &M::Op, answers: &[M::Ret]) -> Option<M::Ret> {
    answers.iter().find(|ret| !model.step(state, op, Some(ret)).is_empty()).cloned()
}

fn register_answers() -> Vec<RegisterRet<u8>> {
    let values = [None, Some(0), Some(1), Some(2)].map(RegisterRet::Value);
    values.into_iter().chain([RegisterRet::Done, RegisterRet::Conflict]).collect()
}

fn config(cases: u32) -> ProptestConfig {
    let failure_persistence: Option<Box<dyn FailurePersistence>> = Some(Box::new(FileFailurePersistence::Off));
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
}

/// What a counter can have answered to anything in these histories.
fn counter_answers() -> Vec<i64> {
    (-200..200).collect()
}

fn order<M: Model>(model: &M, records: &[Record<M::Op, M::Ret>]) -> Result<(), Violation> {
    linearizable(model, &records.iter().cloned().collect())
}

/// Returns which records say something that `what` is about.
fn known<O, R>(records: &[Record<O, R>], what: impl Fn(&O) -> bool) -> Vec<usize> {
    (0..records.len()).filter(|at| records[*at].returned.is_some() && what(&records[*at].op)).collect()
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn a_sum_that_no_counter_has_is_found(
        drawn in drawn(counter_op()),
        which in any::<prop::sample::Index>(),
        off in prop_oneof![Just(-1000_i64), Just(1000)],
    ) {
        let mut records = done(&Counter, &drawn, |state, op| allowed(&Counter, state, op, &counter_answers()));
        let known = known(&records, |_| true);
        prop_assume!(!known.is_empty());
        records[known[which.index(known.len())]].returned.as_mut().unwrap().1 += off;
        let violation = order(&Counter, &records).unwrap_err();
        prop_assert!(!violation.is_undecided());
        // What it rests on is without an order also if nothing is known of what became of the others.
        let evidence = violation.evidence();
        let forget = |(at, record): (usize, &Record<_, i64>)| Record {
            returned: record.returned.filter(|_| evidence.contains(&at)),
            ..record.clone()
        };
        let weaker: Vec<_> = records.iter().enumerate().map(forget).collect();
        prop_assert!(order(&Counter, &weaker).is_err());
    }

    /// An answer that is off by one is an answer that somebody else may have had, so it may be right: mostly it is not.
    #[test]
    fn an_addition_that_is_lost_in_turn_is_found(additions in prop::collection::vec(1..4_i64, 2..30), which in any::<prop::sample::Index>()) {
        let (lost, mut value, mut records) = (which.index(additions.len() - 1), 0, Vec::new());
        for (n, by) in additions.into_iter().enumerate() {
            let at = n as u64 * 10;
            let returned = Some((at + 15, value + by));
            value += if n == lost { 0 } else { by };
            records.push(Record { client: (n % 2).to_string().into(), op: CounterOp::Add(by), invoked: at, returned });
        }
        prop_assert!(order(&Counter, &records).is_err());
    }

    #[test]
    fn a_value_that_nobody_wrote_is_found(drawn in drawn(register_op()), which in any::<prop::sample::Index>()) {
        let model = Register::<u8>::default();
        let mut records = done(&model, &drawn, |state, op| allowed(&model, state, op, &register_answers()));
        let reads = known(&records, |op| *op == RegisterOp::Read);
        prop_assume!(!reads.is_empty());
        records[reads[which.index(reads.len())]].returned.as_mut().unwrap().1 = RegisterRet::Value(Some(9));
        prop_assert!(!order(&model, &records).unwrap_err().is_undecided());
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn what_a_counter_did_in_turn_has_an_order(drawn in drawn(counter_op())) {
        let records = done(&Counter, &drawn, |state, op| allowed(&Counter, state, op, &counter_answers()));
        prop_assert!(order(&Counter, &records).is_ok());
    }

    #[test]
    fn what_a_register_did_in_turn_has_an_order(drawn in drawn(register_op())) {
        let model = Register::<u8>::default();
        let records = done(&model, &drawn, |state, op| allowed(&model, state, op, &register_answers()));
        prop_assert!(order(&model, &records).is_ok());
    }

    /// With few values and small sums between a quarter and two thirds of the histories have an order: both say so of the same ones.
    #[test]
    fn another_checker_says_the_same_of_counters(history in any_history(small_counter())) {
        prop_assert_eq!(ours(&Counter, &history), theirs(Spec::of(Counter, (-3..10).collect()), &history));
    }

    #[test]
    fn another_checker_says_the_same_of_registers(history in any_history(small_register())) {
        let model = Register::<u8>::default();
        prop_assert_eq!(ours(&model, &history), theirs(Spec::of(model, register_answers()), &history));
    }

    #[test]
    fn another_checker_says_the_same_of_locks(history in any_history(small_lock())) {
        let answers = [LockRet::Done].into_iter().chain((1..4).map(LockRet::Token)).collect();
        prop_assert_eq!(ours(&Lock, &history), theirs(Spec::of(Lock, answers), &history));
    }
}

/// What some clients did: in each step one of them invokes something or its call returns; at the end some are open.
#[derive(Debug, Clone)]
struct Steps<O, R> {
    acts: Vec<(usize, O, R)>,
}

fn any_history<O, R>(act: impl Strategy<Value = (O, R)>) -> impl Strategy<Value = Steps<O, R>>
where
    O: std::fmt::Debug + Clone,
    R: std::fmt::Debug + Clone,
{
    let act = (0..3_usize, act).prop_map(|(client, (op, ret))| (client, op, ret));
    prop::collection::vec(act, 2..11).prop_map(|acts| Steps { acts })
}

fn small_counter() -> impl Strategy<Value = (CounterOp, i64)> {
    prop_oneof![
        (Just(CounterOp::Add(1)), 1..4_i64),
        (Just(CounterOp::AddOnce("x".into(), 1)), 1..4_i64),
        (Just(CounterOp::Read), 0..4_i64),
        (Just(CounterOp::Reset), 0..3_i64),
    ]
}

fn small_register() -> impl Strategy<Value = (RegisterOp<u8>, RegisterRet<u8>)> {
    prop_oneof![
        (Just(RegisterOp::Read), prop::option::of(0..2_u8).prop_map(RegisterRet::Value)),
        ((0..2_u8).prop_map(RegisterOp::Write), Just(RegisterRet::Done)),
        (
            (prop::option::of(0..2_u8), 0..2_u8).prop_map(|(from, to)| RegisterOp::CompareAndSet(from, to)),
            prop_oneof![Just(RegisterRet::Done), Just(RegisterRet::Conflict)]
        ),
    ]
}

fn small_lock() -> impl Strategy<Value = (LockOp, LockRet)> {
    prop_oneof![
        (Just(LockOp::Acquire), (1..4_u64).prop_map(LockRet::Token)),
        ((1..4_u64).prop_map(LockOp::Release), Just(LockRet::Done)),
    ]
}

fn ours<M: Model>(model: &M, steps: &Steps<M::Op, M::Ret>) -> bool {
    let (history, mut open) = (History::new(), [const { None }; 3]);
    for (at, (client, op, ret)) in steps.acts.iter().enumerate() {
        match open[*client].take() {
            // A step of a client that has a call open is its return, with the result that it was invoked with.
            Some((call, ret)) => history.returned(call, ret, at as u64),
            None => open[*client] = Some((history.invoke(client, op.clone(), at as u64), ret.clone())),
        }
    }
    match linearizable(model, &history) {
        Ok(()) => true,
        Err(violation) => {
            assert!(!violation.is_undecided());
            false
        }
    }
}

/// A model as the other checker knows one: deterministic, and with a result for whatever was not finished.
#[derive(Debug, Clone)]
struct Spec<M: Model> {
    model: M,
    answers: Vec<M::Ret>,
    state: M::State,
}

impl<M: Model> Spec<M> {
    fn of(model: M, answers: Vec<M::Ret>) -> Self {
        Self { state: model.initial(), model, answers }
    }
}

impl<M: Model + Clone> SequentialSpec for Spec<M>
where
    M::Ret: PartialEq,
{
    type Op = M::Op;
    type Ret = M::Ret;

    fn invoke(&mut self, op: &M::Op) -> M::Ret {
        // What has no outcome: what it leaves is what matters, and its answer is asked for by nobody.
        if let Some(next) = self.model.step(&self.state, op, None).pop() {
            self.state = next;
        }
        self.answers[0].clone()
    }

    fn is_valid_step(&mut self, op: &M::Op, ret: &M::Ret) -> bool {
        self.model.step(&self.state, op, Some(ret)).pop().map(|next| self.state = next).is_some()
    }
}

fn theirs<M: Model + Clone>(spec: Spec<M>, steps: &Steps<M::Op, M::Ret>) -> bool
where
    M::Ret: PartialEq,
{
    let (mut tester, mut open) = (LinearizabilityTester::new(spec), [const { None }; 3]);
    for (client, op, ret) in &steps.acts {
        if let Some(ret) = open[*client].take() {
            tester.on_return(*client, ret).unwrap();
        } else {
            tester.on_invoke(*client, op.clone()).unwrap();
            open[*client] = Some(ret.clone());
        }
    }
    tester.is_consistent()
}
