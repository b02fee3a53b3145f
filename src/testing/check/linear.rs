//! Whether a history has an order, and the least that shows that it has none.

use super::{
    history::{End, Entry, History},
    model::Model,
    search::{Event, MOST_AT_A_GATE, Plan, Point, Verdict, search},
    shrink::fewest,
    violation::{Row, Violation},
};
use std::collections::BTreeMap;

const RULE: &str = "linearizable";
/// Steps of the model that a search takes at most unless it is told otherwise: some seconds, and a gigabyte at worst.
const STEPS: u64 = 5_000_000;
/// Steps of the search in a beginning of the history.
const STEPS_OF_A_PREFIX: u64 = 2_000_000;
/// Steps of one attempt to leave something out, and of all of them.
const STEPS_OF_A_TRIAL: u64 = 5_000;
const STEPS_OF_ALL_TRIALS: u64 = 200_000;
/// How many returns before the end are looked at in a long history.
const WINDOW: usize = 48;
/// What does not matter is in the table if all has fewer rows than this.
const ROWS: usize = 12;

/// Checks that each operation can have happened at one point between its invocation and its return (Herlihy and Wing, 1990), such that
/// all results are those of the model.
///
/// An operation whose outcome is unknown may have happened at any time after its invocation, or never. The search is Wing and Gong's
/// with Lowe's improvements, part by part ([`Model::part`]), as in Porcupine (Anish Athalye, 2017); 10,000 operations of 16 clients on a
/// counter take it less than a second. The problem is NP-complete, so it may take for ever: see [`linearizable_within`], of which this takes
/// the bound 5,000,000. What is dear are many blind writes to one register at the same time, since nothing tells their order: with 16
/// clients that never rest some thousand steps each. Several keys with fewer clients say as much and cost a fraction.
///
/// # Errors
///
/// That there is no order, or that it is [not known](Violation::is_undecided) whether there is one. What is told is shrunk, and only in ways
/// that leave a history without an order only if the whole one has none:
///
/// - it ends with the first return that no order explains, and what is open then may have any outcome;
/// - a result is forgotten (which allows more than the result did) as long as there is still no order; what remains known is what
///   matters. To leave the operation out instead would not do: whoever read what it wrote would seem to be wrong;
/// - a long history begins late, with every state in which the operations before may have left the object.
///
/// ```
/// use anabranch::testing::check::{History, Register, RegisterOp, RegisterRet, linearizable};
///
/// let history = History::new();
/// let write = history.invoke("a", RegisterOp::Write(7), 100);
/// history.returned(write, RegisterRet::Done, 200);
/// let read = history.invoke("b", RegisterOp::Read, 300);
/// history.returned(read, RegisterRet::Value(None), 400);
/// let violation = linearizable(&Register::default(), &history).unwrap_err();
/// assert_eq!(
///     violation.to_string(),
///     "\
/// linearizable: no order of the operations explains b's Read -> Value(None); before it the state is 7 at a revision above 0
///   seconds after 100 us
///       0.000000 - 0.000100     a  Write(7) -> Done
///       0.000200 - 0.000300     b  Read -> Value(None)"
/// );
/// ```
pub fn linearizable<M: Model>(model: &M, history: &History<M::Op, M::Ret>) -> Result<(), Violation> {
    linearizable_within(model, history, STEPS)
}

/// Checks as [`linearizable`] does, and gives up after so many steps of the model.
///
/// # Errors
///
/// As [`linearizable`]; more often undecided when it may take less.
pub fn linearizable_within<M: Model>(model: &M, history: &History<M::Op, M::Ret>, mut steps: u64) -> Result<(), Violation> {
    let (entries, most) = (history.entries(), steps);
    let mut parts: BTreeMap<Option<String>, Vec<usize>> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        parts.entry(model.part(&entry.op).map(Into::into)).or_default().push(at);
    }
    let mut undecided = None;
    for (part, members) in parts {
        let events: Vec<Event<'_, M>> = members.iter().map(|at| event(model, &entries[*at])).collect();
        let plan = Plan::new(events.clone(), &vec![false; events.len()]);
        // Each part may take what is left: one that is hard must not hide the violation of another that is easy.
        let mut own = steps;
        match search(model, &plan, vec![Point::start(model.initial())], &mut own, None) {
            Verdict::Explained => steps = own,
            Verdict::Stuck { event, .. } => return Err(explain(model, &entries, &members, &events, event)),
            Verdict::Undecided => undecided = undecided.or(Some((part, members.len()))),
        }
    }
    let Some((part, operations)) = undecided else { return Ok(()) };
    let of = part.map(|part| format!(" of {part}")).unwrap_or_default();
    let what = format!("not decided for the {operations} operations{of} within {most} steps");
    Err(Violation::undecided(RULE, what))
}

fn event<'a, M: Model>(model: &M, entry: &'a Entry<M::Op, M::Ret>) -> Event<'a, M> {
    let returned = match &entry.end {
        End::Returned(at, ret) => Some((*at, ret)),
        End::Unknown | End::Refused => None,
    };
    Event::new(model, &entry.op, entry.invoked, returned)
}

/// The beginning of a history up to a return that no order explains.
struct Prefix<'a, M: Model> {
    /// The last one that returns.
    last: usize,
    events: Vec<Event<'a, M>>,
    /// Where each of them is in the whole history.
    inside: Vec<usize>,
    /// In which states the object can be before the last one, if the search came there.
    states: Vec<M::State>,
}

/// Returns the history up to a return, if that has no order: what is open then is open, and may have any outcome.
fn up_to<'a, M: Model>(model: &M, events: &[Event<'a, M>], last: usize) -> Option<Prefix<'a, M>> {
    let end = events[last].returned.expect("it is one that returns").0;
    let inside: Vec<usize> = (0..events.len()).filter(|at| events[*at].invoked < end).collect();
    let cut = |event: &Event<'a, M>| match event.returned {
        Some((returned, _)) if returned > end => event.forgotten(model),
        _ => *event,
    };
    let prefix: Vec<Event<'a, M>> = inside.iter().map(|at| cut(&events[*at])).collect();
    let last = inside.binary_search(&last).expect("it was invoked before it returned");
    let plan = Plan::new(prefix.clone(), &vec![false; prefix.len()]);
    match search(model, &plan, vec![Point::start(model.initial())], &mut { STEPS_OF_A_PREFIX }, None) {
        Verdict::Stuck { event, states } => {
            let states = if event == last { states } else { Vec::new() };
            Some(Prefix { last, events: prefix, inside, states })
        }
        Verdict::Explained | Verdict::Undecided => None,
    }
}

/// Returns the shortest beginning without an order. The search was stuck at a return, so it ends there or later: the search
/// knows how operations will return that are open then, and this does not.
fn shortest<'a, M: Model>(model: &M, events: &[Event<'a, M>], stuck: usize) -> Prefix<'a, M> {
    let order = Plan::new(events.to_vec(), &vec![false; events.len()]).order();
    let mut low = order.iter().position(|event| *event == stuck).expect("it is stuck at a return");
    // Usually it is near.
    let (mut high, mut stride, mut found) = (low, 1, None);
    while high < order.len() {
        found = up_to(model, events, order[high]);
        if found.is_some() {
            break;
        }
        (low, high, stride) = (high + 1, high + stride, stride * 2);
    }
    let high_end = order.len() - 1;
    high = high.min(high_end);
    while low < high {
        let middle = usize::midpoint(low, high);
        match up_to(model, events, order[middle]) {
            Some(prefix) => (found, high) = (Some(prefix), middle),
            None => low = middle + 1,
        }
    }
    // Where no beginning was decided it is the whole.
    let inside = (0..events.len()).collect();
    found.unwrap_or_else(|| Prefix { last: order[high_end], events: events.to_vec(), inside, states: Vec::new() })
}

/// Tells why there is no order, the search having been stuck at the return of an event.
fn explain<M: Model>(
    model: &M,
    entries: &[Entry<M::Op, M::Ret>],
    members: &[usize],
    events: &[Event<'_, M>],
    stuck: usize,
) -> Violation {
    let prefix = shortest(model, events, stuck);
    let Prefix { last, events, .. } = &prefix;
    let whole = Plan::new(events.clone(), &vec![false; events.len()]);
    let mut place = vec![usize::MAX; events.len()];
    for (at, event) in whole.order().into_iter().enumerate() {
        place[event] = at;
    }
    let (cut, starts) = begin(model, &whole, place[*last]);
    // What has returned before the cut is in the states there, and so is what has happened before it.
    let fixed = |at: usize| place[at] < cut || starts.iter().any(|start| start.done.binary_search(&at).is_ok());
    let others = (0..events.len()).filter(|at| events[*at].returned.is_some() && at != last);
    let (fixed, free): (Vec<usize>, Vec<usize>) = others.partition(|at| fixed(*at));
    let mut left = STEPS_OF_ALL_TRIALS;
    let kept = fewest(free, |kept| {
        let known = |at: usize| at == *last || kept.binary_search(&at).is_ok() || fixed.binary_search(&at).is_ok();
        let forgotten: Vec<bool> = (0..events.len()).map(|at| events[at].returned.is_some() && !known(at)).collect();
        let weaker = events.iter().zip(&forgotten).map(|(event, gone)| if *gone { event.forgotten(model) } else { *event });
        let plan = Plan::new(weaker.collect(), &forgotten);
        // The plan costs as well.
        left = left.saturating_sub(events.len() as u64);
        let mut steps = left.min(STEPS_OF_A_TRIAL);
        left -= steps;
        let verdict = search(model, &plan, starts.clone(), &mut steps, None);
        left += steps;
        matches!(verdict, Verdict::Stuck { .. })
    });
    // What only looks does not help anybody, whatever it returns.
    let silent: Vec<bool> = (0..events.len()).map(|at| place[at] < cut || events[at].forgotten(model).looks).collect();
    let earlier = if cut == 0 { None } else { Some((cut, starts.iter().map(|start| start.state.clone()).collect())) };
    Told { entries, members, prefix: &prefix, kept: &kept, silent: &silent, earlier }.story()
}

/// Returns where a history is to begin that is long, and every point that it may begin at.
fn begin<M: Model>(model: &M, whole: &Plan<'_, M>, last: usize) -> (usize, Vec<Point<M::State>>) {
    let from_the_start = (0, vec![Point::start(model.initial())]);
    let cut = last.saturating_sub(WINDOW);
    if cut == 0 {
        return from_the_start;
    }
    let mut starts = Vec::new();
    let verdict =
        search(model, whole, vec![Point::start(model.initial())], &mut { STEPS_OF_A_PREFIX }, Some((cut, &mut starts)));
    // With more points to begin at each trial would take as long as the whole.
    let all = matches!(verdict, Verdict::Stuck { .. }) && starts.len() <= MOST_AT_A_GATE;
    if all { (cut, starts) } else { from_the_start }
}

/// What there is to tell.
struct Told<'t, 'a, M: Model> {
    entries: &'t [Entry<M::Op, M::Ret>],
    /// From the history of the part to the entries.
    members: &'t [usize],
    prefix: &'t Prefix<'a, M>,
    /// What has no order even if nothing is known of the others.
    kept: &'t [usize],
    /// What needs not be told of, unless it is kept.
    silent: &'t [bool],
    /// How many had returned before the beginning, and what they may have left.
    earlier: Option<(usize, Vec<M::State>)>,
}

impl<M: Model> Told<'_, '_, M> {
    fn story(&self) -> Violation {
        let Prefix { last, events, states, .. } = self.prefix;
        let Entry { client, op, .. } = self.entry(*last);
        let ret = events[*last].returned.map(|(_, ret)| ret).expect("the last one has returned");
        let before = if states.is_empty() { String::new() } else { format!("; before it the state is {}", some(states)) };
        let mut violation =
            Violation::new(RULE, format!("no order of the operations explains {client}'s {op:?} -> {ret:?}{before}"));
        let matters = |at: usize| at == *last || self.kept.binary_search(&at).is_ok();
        let others = (0..events.len()).filter(|at| !matters(*at) && !self.silent[*at]).count();
        let listed = self.kept.len() + others < ROWS;
        for at in (0..events.len()).filter(|at| matters(*at) || (listed && !self.silent[*at])) {
            let index = self.members[self.prefix.inside[at]];
            violation = if matters(at) { violation.with(index, self.row(at)) } else { violation.beside(self.row(at)) };
        }
        if let Some((count, states)) = &self.earlier {
            violation =
                violation.note(format!("{count} operations had returned before, after which the state is {}", some(states)));
        }
        if others > 0 {
            let them = if listed { "those marked *".into() } else { format!("{others} others that could change it") };
            violation = violation.note(format!("of {them} nothing needs to be known: there is no order whatever they did"));
        }
        violation
    }

    fn entry(&self, at: usize) -> &Entry<M::Op, M::Ret> {
        &self.entries[self.members[self.prefix.inside[at]]]
    }

    fn row(&self, at: usize) -> Row {
        let Entry { client, op, invoked, end } = self.entry(at);
        let mark = if at == self.prefix.last || self.kept.binary_search(&at).is_ok() { "" } else { " *" };
        let (to, what) = match end {
            End::Returned((to, _), ret) => (Some(*to), format!("{op:?} -> {ret:?}{mark}")),
            End::Unknown | End::Refused => (None, format!("{op:?} -> unknown{mark}")),
        };
        Row { from: invoked.0, to, who: client.to_string(), what }
    }
}

/// Lists some states, and says how many more there are.
fn some<S: std::fmt::Debug + PartialEq>(states: &[S]) -> String {
    let mut different: Vec<&S> = Vec::new();
    for state in states {
        if !different.contains(&state) {
            different.push(state);
        }
    }
    let shown: Vec<String> = different.iter().take(3).map(|state| format!("{state:?}")).collect();
    let more = different.len().saturating_sub(3);
    let rest = if more > 0 { format!(" or one of {more} others") } else { String::new() };
    format!("{}{rest}", shown.join(" or "))
}
