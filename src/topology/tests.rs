//! Typed topologies, one body at a time: what a node is given, what it hands back, and which mistakes are refused.
#![expect(clippy::many_single_char_names, reason = "nodes are called as in a drawing of a graph")]

use super::{
    definition::{Call, Definition, Host, Inputs, Outcome},
    *,
};
use crate::core::{
    graph::{ArmId, Upstream},
    retry::{RetryPolicy, StopReason},
};
use crate::time::Clock;
use futures_util::{FutureExt as _, future::BoxFuture};
use std::{sync::Mutex, time::Duration};

/// A runtime that is shutting down, and keeps what bodies save.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) saved: Mutex<Vec<Bytes>>,
    pub(super) full: bool,
    pub(super) clock: Clock,
}

impl Host for Shelf {
    fn save(&self, state: Bytes) -> BoxFuture<'_, Result<(), NodeError>> {
        async move {
            if self.full {
                return Err(NodeError::retryable("the shelf is full"));
            }
            self.saved.lock().unwrap().push(state);
            Ok(())
        }
        .boxed()
    }

    fn stopped(&self) -> BoxFuture<'_, StopReason> {
        async { StopReason::Shutdown }.boxed()
    }

    fn stop_reason(&self) -> Option<StopReason> {
        Some(StopReason::Shutdown)
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// The value that a dependency has.
#[expect(clippy::unnecessary_wraps, reason = "stands beside `None` in lists of values")]
pub(super) fn json(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

pub(super) fn value(text: &'static str) -> Outcome {
    Outcome::Value(Bytes::from_static(text.as_bytes()))
}

/// Starts one attempt of `node`.
pub(super) fn start<C: Send + Sync + 'static>(
    definition: &Definition<C>,
    node: &str,
    app: C,
    host: &Arc<Shelf>,
    saved: Option<Bytes>,
    inputs: Vec<Option<Bytes>>,
) -> BoxFuture<'static, Result<Outcome, NodeError>> {
    let code = definition.code[definition.graph.find(node).unwrap().index()].as_ref().unwrap();
    let host = Arc::clone(host) as Arc<dyn Host>;
    code(Call {
        ctx: Ctx::new(Arc::new(app), "t".into(), "run/7".into(), node.into(), 2, host),
        inputs: Inputs::new(inputs),
        saved,
    })
}

/// Runs one attempt of `node`, which must not wait for anything.
pub(super) fn attempt<C>(definition: &Definition<C>, node: &str, inputs: Vec<Option<Bytes>>) -> Result<Outcome, NodeError>
where
    C: Default + Send + Sync + 'static,
{
    start(definition, node, C::default(), &Arc::default(), None, inputs).now_or_never().unwrap()
}

async fn unit<T: Send + 'static>(_: Ctx, _: T) -> NodeResult<()> {
    Ok(())
}

#[test]
fn handles_stand_at_the_positions_of_their_nodes() {
    let mut t = Topology::builder::<u8>("t");
    let input = t.input();
    let a = t.node("a", input, unit);
    let (x, y) = t.branch("b", a, (arm::<u8>("x"), arm::<u8>("y")), async |_, _, ()| Ok(Choice::none()));
    let c = t.node("c", (), unit);
    let d = t.wait_for("d", y, Signal::<u8>::new("go"));
    let e = t.node("e", (d.optional(), c, a, input), unit);
    let built = t.build((e, x.optional())).unwrap();
    let position = |name: &str| built.graph().find(name).unwrap();
    for (handle, name) in [(a, "a"), (c, "c"), (e, "e")] {
        assert_eq!(handle.source.upstream, Upstream::Node(position(name)));
    }
    assert_eq!(d.source.upstream, Upstream::Node(position("d")));
    assert_eq!(x.source.upstream, Upstream::Arm(position("b"), ArmId(0)));
    assert_eq!(y.source.upstream, Upstream::Arm(position("b"), ArmId(1)));
    let upstreams = |edges: &[crate::core::graph::Edge]| edges.iter().map(|e| (e.upstream, e.optional)).collect::<Vec<_>>();
    let of_e = upstreams(&built.graph().node(position("e")).edges);
    let expected = [d.source.upstream, c.source.upstream, a.source.upstream, Upstream::Input];
    assert_eq!(of_e, expected.into_iter().zip([true, false, false, false]).collect::<Vec<_>>());
    assert_eq!(upstreams(&built.definition().output), [(e.source.upstream, false), (x.source.upstream, true)]);
}

#[test]
fn a_handle_of_another_topology_is_refused() {
    let foreign = Topology::builder::<u8>("other").input();
    let refused_at = |result: Result<_, BuildError>| match result.map(|_: Topology<(), (), ()>| ()) {
        Err(BuildError::ForeignHandle { node }) => node,
        other => panic!("{other:?}"),
    };

    let mut t = Topology::builder::<()>("t");
    t.node("a", (), unit);
    t.node("b", (foreign,), unit);
    t.node("b", (), unit);
    assert_eq!(refused_at(t.build(())), "b", "the handle is the first mistake, the second `b` the next");

    let t = Topology::builder::<()>("t");
    assert_eq!(refused_at(t.build(foreign).map(|_| unreachable!())), "output");

    let mut t = Topology::builder::<()>("t");
    t.options(foreign).max_attempts(1);
    assert_eq!(refused_at(t.build(())), "options");
}

#[test]
fn two_nodes_of_one_name_are_refused() {
    let mut t = Topology::builder::<()>("t");
    t.node("a", (), unit);
    t.node("a", (), unit);
    let error = t.build(()).unwrap_err();
    assert!(matches!(&error, BuildError::Graph(GraphError::Duplicate(name)) if name == "a"));
    assert_eq!(error.to_string(), "two nodes are called `a`: rename one");
}

#[test]
fn an_output_that_needs_two_arms_is_refused() {
    let mut t = Topology::builder::<()>("t");
    let (x, y) = t.branch("b", (), (arm("x"), arm("y")), async |_, (x, _): (Arm<u8>, Arm<u8>), ()| Ok(x.take(1)));
    let behind_x = t.node("behind x", x, async |_, n| Ok(n));
    let error = t.build((behind_x, y)).unwrap_err();
    assert!(matches!(error, BuildError::Graph(GraphError::Unreachable { node, branch }) if node == "output" && branch == "b"));
}

#[test]
fn options_reach_the_policy_of_their_node() {
    let mut t = Topology::builder::<u8>("t");
    let input = t.input();
    let a = t.node("a", input, unit);
    let (x,) = t.branch("b", input, (arm::<u8>("x"),), async |_, _, _| Ok(Choice::none()));
    let join = t.node("join", (a.optional(), x.optional()), unit);
    t.options(a).timeout(Duration::from_secs(3)).max_attempts(7);
    t.options(x).retry(RetryPolicy::never());
    t.options(join).trigger(TriggerRule::AllDone);
    let built = t.build(join.optional()).unwrap();
    let policies = &built.definition().policies;
    assert_eq!(policies[0].timeout, Some(Duration::from_secs(3)));
    assert_eq!(policies[0].retry, RetryPolicy::default().max_attempts(7));
    assert_eq!(policies[1].retry, RetryPolicy::never());
    assert_eq!(policies[2], NodeOptions::default().policy);
    assert_eq!(built.graph().nodes().last().unwrap().1.rule, TriggerRule::AllDone);
}

#[test]
fn the_run_input_has_no_options() {
    let mut t = Topology::builder::<u8>("t");
    let input = t.input();
    t.options(input).max_attempts(2);
    assert!(matches!(t.build(()), Err(BuildError::Options(name)) if name == "$input"));
}

#[test]
fn a_trigger_rule_asks_for_optional_dependencies() {
    let mut t = Topology::builder::<()>("t");
    let a = t.node("a", (), unit);
    let b = t.node("b", a, unit);
    t.options(b).trigger(TriggerRule::OneSuccess);
    assert!(matches!(t.build(()), Err(BuildError::Graph(GraphError::RuleNeedsOptional(name))) if name == "b"));
}

#[test]
fn values_are_read_in_edge_order_through_nested_tuples_lists_and_options() {
    let mut t = Topology::builder::<u8>("t");
    let n = t.input();
    let text = t.node("text", (), async |_, ()| Ok("s".to_string()));
    let out = t.node("out", ((n, text), vec![n.optional(), n.optional()], (), (text.optional(),)), async |_, input| {
        let ((a, b), list, (), (c,)) = input;
        Ok(format!("{a} {b} {list:?} {c:?}"))
    });
    let built = t.build(out).unwrap();
    let values = vec![json("1"), json(r#""b""#), json("2"), None, json(r#""c""#)];
    assert_eq!(attempt(built.definition(), "out", values).unwrap(), value(r#""1 b [Some(2), None] Some(\"c\")""#));
}

#[test]
fn twelve_dependencies_and_eight_arms_fit() {
    let mut t = Topology::builder::<u8>("t");
    let n = t.input();
    let sum = t.node("sum", (n, n, n, n, n, n, n, n, n, n, n, n), async |_, (a, b, c, d, e, f, g, h, i, j, k, l)| {
        Ok([a, b, c, d, e, f, g, h, i, j, k, l].iter().sum::<u8>())
    });
    let unused = arm::<()>;
    let arms = (unused("1"), unused("2"), unused("3"), unused("4"), unused("5"), unused("6"), unused("7"), arm("8"));
    let (.., last) = t.branch("b", sum, arms, async |_, (.., last): (_, _, _, _, _, _, _, Arm<u8>), n| Ok(last.take(n)));
    let built = t.build(last.optional()).unwrap();
    let values = (1..=12).map(|n| Some(Bytes::from(n.to_string()))).collect();
    assert_eq!(attempt(built.definition(), "sum", values).unwrap(), value("78"));
    let taken = Some((ArmId(7), Bytes::from_static(b"9")));
    assert_eq!(attempt(built.definition(), "b", vec![json("9")]).unwrap(), Outcome::Branch { taken, reason: None });
}

#[test]
fn a_missing_required_value_is_a_terminal_error_that_names_it() {
    let mut t = Topology::builder::<u8>("t");
    let n = t.input();
    let (x, _) = t.branch("b", (), (arm("x"), arm::<()>("y")), async |_, (x, _), ()| Ok(x.take(1_u8)));
    let out = t.node("out", (n, x), async |_, (n, x)| Ok(n + x));
    let built = t.build(out).unwrap();
    for (values, expected) in [
        (vec![None, json("1")], "`$input` has no value"),
        (vec![json("1"), None], "`b/x` has no value"),
        (vec![json("1")], "`b/x` has no value"),
        (vec![], "`$input` has no value"),
    ] {
        let error = attempt(built.definition(), "out", values).unwrap_err();
        assert_eq!((error.disposition(), error.message().as_str()), (Disposition::Terminal, expected));
    }
}

#[test]
fn a_value_that_does_not_decode_is_a_terminal_error_that_names_it() {
    let mut t = Topology::builder::<u8>("t");
    let n = t.input();
    let out = t.node("out", n.optional(), async |_, n| Ok(n));
    let built = t.build(out).unwrap();
    let error = attempt(built.definition(), "out", vec![json(r#""seven""#)]).unwrap_err();
    assert_eq!(error.disposition(), Disposition::Terminal);
    let message = error.message();
    assert!(
        message.starts_with("the value of `$input` cannot be read: the payload does not match `u8`: invalid type"),
        "{message}"
    );
}

#[test]
fn an_output_that_does_not_encode_is_a_terminal_error() {
    let mut t = Topology::builder::<()>("t");
    let out = t.node("out", (), async |_, ()| Ok(std::collections::BTreeMap::from([((1, 2), 3)])));
    let built = t.build(out).unwrap();
    assert_eq!(attempt(built.definition(), "out", vec![]).unwrap_err().disposition(), Disposition::Terminal);
}

#[test]
fn a_branch_takes_its_arm_with_a_value_and_a_reason() {
    let mut t = Topology::builder::<u8>("t");
    let n = t.input();
    let (_, odd) = t.branch("parity", n, (arm("even"), arm("odd")), async |_, (even, odd), n: u8| {
        Ok(match n {
            0 => Choice::none().because("nothing"),
            _ if n.is_multiple_of(2) => even.take(()),
            _ => odd.take(n).because(format!("{n} is odd")),
        })
    });
    let built = t.build(odd.optional()).unwrap();
    let decide = |n: &'static str| attempt(built.definition(), "parity", vec![json(n)]).unwrap();
    let branch = |taken: Option<(u16, &'static str)>, reason: Option<&str>| Outcome::Branch {
        taken: taken.map(|(arm, text)| (ArmId(arm), Bytes::from_static(text.as_bytes()))),
        reason: reason.map(str::to_owned),
    };
    assert_eq!(decide("0"), branch(None, Some("nothing")));
    assert_eq!(decide("4"), branch(Some((0, "null")), None));
    assert_eq!(decide("7"), branch(Some((1, "7")), Some("7 is odd")));
}

#[test]
fn an_arm_of_another_branch_is_a_terminal_error() {
    let mut t = Topology::builder::<()>("t");
    let (foreign,) = t.branch("first", (), (arm("x"),), async |_, (x,), ()| Ok(x.take(1_u8)));
    let (_,) = t.branch("second", (), (arm::<u8>("x"),), move |_, _, ()| async move { Ok(foreign.take(1)) });
    let built = t.build(()).unwrap();
    let error = attempt(built.definition(), "second", vec![]).unwrap_err();
    assert_eq!(error.disposition(), Disposition::Terminal);
    assert_eq!(error.message(), "the branch took an arm of another branch");
}

#[test]
fn a_resumable_node_continues_from_what_it_saved() {
    let mut t = Topology::builder::<()>("t");
    let out = t.resumable("out", (), async |_, mut saved: Saved<u8>, ()| {
        let start = saved.last().copied().unwrap_or(0);
        saved.save(start + 1).await?;
        saved.save(start + 2).await?;
        Ok(saved.last().copied())
    });
    let built = t.build(out).unwrap();
    let shelf = Arc::default();
    let run = |saved| start(built.definition(), "out", (), &shelf, saved, vec![]).now_or_never().unwrap();
    assert_eq!(run(None).unwrap(), value("2"));
    assert_eq!(run(json("40")).unwrap(), value("42"));
    assert_eq!(*shelf.saved.lock().unwrap(), ["1", "2", "41", "42"]);
    assert_eq!(run(json("[]")).unwrap_err().disposition(), Disposition::Terminal, "progress of other code is no beginning");
}

#[test]
fn a_failed_save_fails_the_attempt_and_keeps_the_progress_before_it() {
    let mut t = Topology::builder::<()>("t");
    let out = t.resumable("out", (), async |_, mut saved: Saved<u8>, ()| {
        let error = saved.save(9).await.unwrap_err();
        assert_eq!(saved.last(), Some(&1));
        Err::<(), _>(error)
    });
    let built = t.build(out).unwrap();
    let full = Arc::new(Shelf { full: true, ..Shelf::default() });
    let error = start(built.definition(), "out", (), &full, json("1"), vec![]).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.message(), "the shelf is full");
}

#[test]
fn the_context_tells_of_the_run_and_of_its_end() {
    let mut t = Topology::builder::<()>("t");
    let before = t.node("before", (), async |ctx: Ctx, ()| Ok(ctx.attempt()));
    let mut t = t.app::<String>();
    let out = t.node("out", before, async |ctx: Ctx<String>, attempts| {
        assert_eq!((attempts, ctx.attempt(), ctx.run_id(), ctx.node()), (2, 2, "run/7", "out"));
        assert_eq!((ctx.cancelled().await, ctx.stop_reason()), (StopReason::Shutdown, Some(StopReason::Shutdown)));
        Ok((ctx.app().clone(), ctx.idempotency_key()))
    });
    let built = t.build(out).unwrap();
    let run = |node, values| start(built.definition(), node, "state".to_owned(), &Arc::default(), None, values).now_or_never();
    assert_eq!(run("before", vec![]).unwrap().unwrap(), value("2"), "a node from before the state was declared does without");
    assert_eq!(run("out", vec![json("2")]).unwrap().unwrap(), value(r#"["state","t/run%2F7/out"]"#));
}

#[test]
fn a_panic_happens_in_the_body_and_not_in_whoever_starts_it() {
    let mut t = Topology::builder::<()>("t");
    #[expect(unreachable_code, reason = "the function panics before it has made a future")]
    let out = t.node("out", (), |_, ()| {
        panic!("before the first await");
        async { Ok(()) }
    });
    let built = t.build(out).unwrap();
    let body = start(built.definition(), "out", (), &Arc::default(), None, vec![]);
    assert!(std::panic::AssertUnwindSafe(body).catch_unwind().now_or_never().unwrap().is_err());
}

#[test]
fn the_output_is_read_from_the_values_of_its_edges() {
    let mut t = Topology::builder::<u8>("t");
    let n = t.input();
    let a = t.node("a", n, async |_, n| Ok(n));
    let built: Topology<u8, (u8, Option<u8>)> = t.build((a, n.optional())).unwrap();
    assert_eq!(built.encode_input(&5).unwrap(), "5");
    assert_eq!(built.decode_output(vec![json("1"), None]).unwrap(), (1, None));
    assert_eq!(built.decode_output(vec![None, None]).unwrap_err().to_string(), "`a` has no value");
    let error = built.decode_output(vec![json("1"), json("{}")]).unwrap_err();
    assert!(matches!(error, OutputError::Codec { dependency, .. } if dependency == "$input"));
}
