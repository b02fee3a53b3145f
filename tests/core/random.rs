//! Random graphs, and random things that happen to their runs.

use crate::{
    shape::{Shape, branch, graph, topology, wait, work},
    story::SECOND,
};
use anabranch::{
    NodePolicy, RetryPolicy,
    core::{
        graph::{GraphError, TriggerRule},
        machine::Plan,
    },
};
use proptest::{collection::vec, prelude::*};

pub(crate) const SIGNALS: [&str; 2] = ["s0", "s1"];

/// What a random node is made from; indices wrap around what there is.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    kind: u8,
    deps: Vec<(usize, bool)>,
    rule: u8,
    attempts: u32,
    timeout: bool,
}

pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    let seed = (0..8_u8, vec((0..64_usize, any::<bool>()), 0..4), 0..8_u8, 1..5_u32, any::<bool>())
        .prop_map(|(kind, deps, rule, attempts, timeout)| Seed { kind, deps, rule, attempts, timeout });
    vec(seed, 1..9).prop_map(|seeds| plan(&seeds))
}

fn plan(seeds: &[Seed]) -> Plan {
    let mut shapes: Vec<Shape> = (0..seeds.len()).map(|index| node(seeds, index)).collect();
    loop {
        match graph(shapes.clone()) {
            Ok(_) => return topology(shapes),
            Err(GraphError::Unreachable { node, .. }) => {
                shapes.iter_mut().filter(|s| s.name() == node).for_each(Shape::loosen);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn is_branch(seed: &Seed) -> bool {
    seed.kind > 5
}

fn node(seeds: &[Seed], index: usize) -> Shape {
    let (seed, name) = (&seeds[index], format!("n{index}"));
    let mut shape = match seed.kind {
        0 | 1 => wait(&name, SIGNALS[usize::from(seed.kind)]),
        _ if is_branch(seed) => branch(&name, ["x", "y"]),
        _ => work(&name),
    };
    for (dep, optional) in &seed.deps {
        let (dep, arm) = if index == 0 { break } else { (dep % index, ["x", "y"][dep / 32]) };
        let on = format!("n{dep}");
        shape = match (is_branch(&seeds[dep]), optional) {
            (true, false) => shape.arm(&on, arm),
            (true, true) => shape.maybe_arm(&on, arm),
            (false, false) => shape.after(&on),
            (false, true) => shape.maybe(&on),
        };
    }
    let rule = match seed.rule {
        0 => TriggerRule::NoneFailedOneSuccess,
        1 => TriggerRule::AllDone,
        2 => TriggerRule::OneSuccess,
        _ => TriggerRule::AllSuccess,
    };
    if rule != TriggerRule::AllSuccess {
        shape.loosen();
    }
    let retry = RetryPolicy::default().max_attempts(seed.attempts).max_crashes(2).delays([SECOND, 5 * SECOND]);
    shape.rule(rule).policy(NodePolicy { timeout: seed.timeout.then_some(10 * SECOND), retry })
}

/// Something that happens; which body it is about is an index into those that ever started, late ones included.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A body produces its output, or takes this arm.
    Complete(usize, Option<usize>),
    Fail(usize),
    FailForGood(usize),
    Snooze(usize),
    Save(usize),
    Stop(usize),
    Signal(usize),
    Cancel,
    Wait(u64),
    Release,
    /// What happened since the last persist becomes durable, and its effects are performed.
    Persist,
    /// The process dies; what was not persisted is lost, and another process adopts the run.
    Crash,
    /// Somebody else noted a signal, and the owner finds it when its write conflicts.
    Conflict(usize),
    /// Somebody moves the run by hand.
    Resume(bool),
}

pub(crate) fn acts(longest: usize) -> impl Strategy<Value = Vec<Act>> {
    let body = || 0..64_usize;
    let act = prop_oneof![
        8 => (body(), proptest::option::of(0..2_usize)).prop_map(|(b, arm)| Act::Complete(b, arm)),
        3 => body().prop_map(Act::Fail),
        1 => body().prop_map(Act::FailForGood),
        1 => body().prop_map(Act::Snooze),
        2 => body().prop_map(Act::Save),
        1 => body().prop_map(Act::Stop),
        2 => (0..3_usize).prop_map(Act::Signal),
        1 => Just(Act::Cancel),
        3 => (0..40_u64).prop_map(Act::Wait),
        1 => Just(Act::Release),
        12 => Just(Act::Persist),
        2 => Just(Act::Crash),
        1 => (0..2_usize).prop_map(Act::Conflict),
        1 => any::<bool>().prop_map(Act::Resume),
    ];
    vec(act, 0..longest)
}
