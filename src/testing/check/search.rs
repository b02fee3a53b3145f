//! The search for an order of operations that explains every result.
//!
//! Wing and Gong's search ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of what was tried and his just-in-time
//! linearization ("Testing for Linearizability", 2017), as in Knossos (Kyle Kingsbury) and Porcupine (Anish Athalye, 2017). An operation is
//! put into the order no earlier than the return of one demands it, so what has to be remembered is small: the state, which of the open
//! operations have happened, and which of those without a known outcome.
//!
//! Three things keep it from being exponential where it need not be. What only looks happens as soon as it can. Of equal
//! operations without a known outcome the earliest happens first. And of two ways to the same point, the one that needed fewer of them can
//! do whatever the other one can, so the other one is dropped.
//!
//! It is deterministic, and gives up after so many steps of the model.

use super::{history::Moment, model::Model};
use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
};

/// A gate is of no use when there are more points at it.
pub(super) const MOST_AT_A_GATE: usize = 200;

/// An operation of the history that is searched.
#[derive(Debug)]
pub(super) struct Event<'a, M: Model> {
    pub(super) op: &'a M::Op,
    pub(super) invoked: Moment,
    /// When and with which result; nothing if it may have happened at any time since, or never.
    pub(super) returned: Option<(Moment, &'a M::Ret)>,
    /// It only looks.
    pub(super) looks: bool,
}

impl<'a, M: Model> Event<'a, M> {
    pub(super) fn new(model: &M, op: &'a M::Op, invoked: Moment, returned: Option<(Moment, &'a M::Ret)>) -> Self {
        Self { op, invoked, returned, looks: model.only_looks(op, returned.map(|(_, ret)| ret)) }
    }

    /// Returns it with its outcome forgotten.
    pub(super) fn forgotten(self, model: &M) -> Self {
        Self::new(model, self.op, self.invoked, None)
    }
}

impl<M: Model> Clone for Event<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Model> Copy for Event<'_, M> {}

/// A history in the order of its returns.
pub(super) struct Plan<'a, M: Model> {
    events: Vec<Event<'a, M>>,
    returns: Vec<Return>,
    /// Operations without a known outcome, equal ones together.
    classes: Vec<Class<'a, M>>,
}

struct Return {
    event: usize,
    /// Operations with a known outcome that were invoked before this return and have not returned before it.
    open: Vec<usize>,
}

struct Class<'a, M: Model> {
    op: &'a M::Op,
    /// For each, in order: the first return before which it may happen.
    since: Vec<usize>,
}

/// A point that the search has come to: everything before return number `at` is explained.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Point<S> {
    pub(super) at: usize,
    /// Open operations that have happened, ascending.
    pub(super) done: Vec<usize>,
    /// How many of which class have happened, ascending by class.
    pub(super) used: Vec<(usize, usize)>,
    pub(super) state: S,
}

impl<S> Point<S> {
    /// The beginning of a history.
    pub(super) fn start(state: S) -> Self {
        Self { at: 0, done: Vec::new(), used: Vec::new(), state }
    }
}

pub(super) enum Verdict<S> {
    /// There is an order.
    Explained,
    /// There is none; no order gets past the return of this event, before which the object is in one of these states.
    Stuck { event: usize, states: Vec<S> },
    /// The steps were used up.
    Undecided,
}

impl<'a, M: Model> Plan<'a, M> {
    /// Takes operations in any order; `late` are those that have lost their outcome since another plan of the same history was made.
    ///
    /// Classes keep their numbers, and points of the other plan are points of this one up to the first return that is missing.
    pub(super) fn new(events: Vec<Event<'a, M>>, late: &[bool]) -> Self {
        let mut order: Vec<(Moment, usize)> =
            events.iter().enumerate().filter_map(|(at, event)| Some((event.returned?.0, at))).collect();
        order.sort_unstable();
        let mut returns: Vec<Return> = order.iter().map(|(_, event)| Return { event: *event, open: Vec::new() }).collect();
        let first = |invoked: Moment| order.partition_point(|(returned, _)| *returned < invoked);
        for (at, (_, event)) in order.iter().enumerate() {
            for open in &mut returns[first(events[*event].invoked)..=at] {
                open.open.push(*event);
            }
        }
        let mut classes: Vec<Class<'a, M>> = Vec::new();
        let mut known: HashMap<&'a M::Op, usize> = HashMap::new();
        for lately in [false, true] {
            let lost = |(event, late): &(&Event<'a, M>, &bool)| event.returned.is_none() && !event.looks && **late == lately;
            for (event, _) in events.iter().zip(late).filter(lost) {
                let class = *known.entry(event.op).or_insert_with(|| {
                    classes.push(Class { op: event.op, since: Vec::new() });
                    classes.len() - 1
                });
                classes[class].since.push(first(event.invoked));
            }
        }
        for class in &mut classes {
            class.since.sort_unstable();
        }
        Self { events, returns, classes }
    }

    /// Returns the events that return, in that order.
    pub(super) fn order(&self) -> Vec<usize> {
        self.returns.iter().map(|ret| ret.event).collect()
    }
}

/// Searches for an order, from points of which one is known to be right if any order is.
///
/// `steps` is what it may cost in steps of the model, and what is left of that afterwards. `gate` collects the points at which the search
/// comes to a return, each as it gets there.
pub(super) fn search<M: Model>(
    model: &M,
    plan: &Plan<'_, M>,
    from: Vec<Point<M::State>>,
    steps: &mut u64,
    mut gate: Option<(usize, &mut Vec<Point<M::State>>)>,
) -> Verdict<M::State> {
    let mut search = Search { model, plan, steps, seen: HashMap::new(), heap: BinaryHeap::new(), pushed: 0, deepest: None };
    for point in from {
        match search.push(point, &mut gate) {
            Some(true) => return Verdict::Explained,
            Some(false) => {}
            None => return Verdict::Undecided,
        }
    }
    while let Some(Waiting { point, .. }) = search.heap.pop() {
        match search.expand(&point, &mut gate) {
            Some(true) => return Verdict::Explained,
            Some(false) => {}
            None => return Verdict::Undecided,
        }
    }
    let (at, states) = search.deepest.expect("a search that was not explained at once waits at a return");
    Verdict::Stuck { event: plan.returns[at].event, states }
}

type Gate<'g, S> = Option<(usize, &'g mut Vec<Point<S>>)>;
/// Which ways led to a point, by which of the operations without an outcome they needed.
type Seen<S> = HashMap<(usize, Vec<usize>, S), Vec<Vec<(usize, usize)>>>;

struct Search<'s, 'a, M: Model> {
    model: &'s M,
    plan: &'s Plan<'a, M>,
    steps: &'s mut u64,
    seen: Seen<M::State>,
    heap: BinaryHeap<Waiting<M::State>>,
    pushed: usize,
    deepest: Option<(usize, Vec<M::State>)>,
}

impl<M: Model> Search<'_, '_, M> {
    fn step(&mut self, state: &M::State, op: &M::Op, ret: Option<&M::Ret>) -> Option<Vec<M::State>> {
        *self.steps = self.steps.checked_sub(1)?;
        Some(self.model.step(state, op, ret))
    }

    /// Goes on from a point as far as there is nothing to choose; `true` at the end of the history, nothing when the steps are used up.
    fn push(&mut self, mut point: Point<M::State>, gate: &mut Gate<'_, M::State>) -> Option<bool> {
        loop {
            if let Some((at, points)) = gate
                && *at == point.at
                && points.len() <= MOST_AT_A_GATE
                && !points.contains(&point)
            {
                points.push(point.clone());
            }
            let Some(next) = self.plan.returns.get(point.at) else { return Some(true) };
            if let Ok(done) = point.done.binary_search(&next.event) {
                point.done.remove(done);
                point.at += 1;
                continue;
            }
            for event in &next.open {
                let Event { op, returned, looks, .. } = self.plan.events[*event];
                // What only looks and is possible now happens now: it makes nothing impossible.
                if looks
                    && let Err(place) = point.done.binary_search(event)
                    && !self.step(&point.state, op, returned.map(|(_, ret)| ret))?.is_empty()
                {
                    point.done.insert(place, *event);
                }
            }
            if point.done.binary_search(&next.event).is_err() {
                break;
            }
        }
        let key = (point.at, point.done.clone(), point.state.clone());
        let ways = self.seen.entry(key).or_default();
        if ways.iter().any(|used| within(used, &point.used)) {
            return Some(false);
        }
        ways.retain(|used| !within(&point.used, used));
        ways.push(point.used.clone());
        match &mut self.deepest {
            Some((at, states)) if *at == point.at => {
                if !states.contains(&point.state) {
                    states.push(point.state.clone());
                }
            }
            Some((at, _)) if *at > point.at => {}
            deepest => *deepest = Some((point.at, vec![point.state.clone()])),
        }
        self.pushed += 1;
        self.heap.push(Waiting { number: self.pushed, point });
        Some(false)
    }

    /// Tries everything that may happen next at a point that waits for a return.
    fn expand(&mut self, point: &Point<M::State>, gate: &mut Gate<'_, M::State>) -> Option<bool> {
        let next = &self.plan.returns[point.at];
        // The newest is gone on from first: of those that are possible, the one that returns first.
        for event in next.open.iter().rev() {
            let Event { op, returned, looks, .. } = self.plan.events[*event];
            let Err(place) = point.done.binary_search(event) else { continue };
            if looks {
                continue;
            }
            for state in self.step(&point.state, op, returned.map(|(_, ret)| ret))? {
                let mut done = point.done.clone();
                done.insert(place, *event);
                if self.push(Point { at: point.at, done, used: point.used.clone(), state }, gate)? {
                    return Some(true);
                }
            }
        }
        for (class, Class { op, since }) in self.plan.classes.iter().enumerate() {
            let place = point.used.binary_search_by_key(&class, |(class, _)| *class);
            let used = place.map_or(0, |place| point.used[place].1);
            // They are in the order in which they may happen, so the next one is all that has to be looked at.
            if since.get(used).is_none_or(|since| *since > point.at) {
                continue;
            }
            for state in self.step(&point.state, op, None)?.into_iter().filter(|state| *state != point.state) {
                let mut more = point.used.clone();
                match place {
                    Ok(place) => more[place].1 += 1,
                    Err(place) => more.insert(place, (class, 1)),
                }
                if self.push(Point { at: point.at, done: point.done.clone(), used: more, state }, gate)? {
                    return Some(true);
                }
            }
        }
        Some(false)
    }
}

/// Returns whether the first needs no operation that the second does not need.
fn within(few: &[(usize, usize)], many: &[(usize, usize)]) -> bool {
    few.iter()
        .all(|(class, count)| many.binary_search_by_key(class, |(class, _)| *class).is_ok_and(|place| many[place].1 >= *count))
}

/// A point that was not gone on from yet.
struct Waiting<S> {
    number: usize,
    point: Point<S>,
}

impl<S> Waiting<S> {
    /// The furthest first; of those the one that needed the least without an outcome; then the newest.
    fn rank(&self) -> (usize, Reverse<usize>, usize) {
        let used = self.point.used.iter().map(|(_, count)| count).sum();
        (self.point.at, Reverse(used), self.number)
    }
}

impl<S> PartialEq for Waiting<S> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<S> Eq for Waiting<S> {}

impl<S> PartialOrd for Waiting<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<S> Ord for Waiting<S> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}
