//! Two contenders, one lock, and every order in which requests, answers, sightings and time can come.
//!
//! The lock, the beliefs and the sightings are the real ones of `core::coordination`; the clock ticks in thirds of a lease, and is
//! the same for both, since clocks that differ are tried in `coordination/lease.rs`. Requests and answers arrive at any time, in any
//! order, or never, and a contender looks at the state when it likes. Three broken versions of the protocol must be caught.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

use anabranch::{
    core::coordination::{
        Lease,
        lease::{Belief, Sightings},
        permits::{Ask, Permits, Standing},
    },
    time::Timestamp,
};
use stateright::{Checker, Model, Property};
use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

const TICK: Duration = Duration::from_secs(1);

fn lease() -> Lease {
    Lease::new(TICK * 3).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Sound,
    /// A hold counts from the answer.
    BelieveFromTheAnswer,
    /// Who was seen to be silent is removed even if it has beaten since.
    EvictWhateverTheBeat,
    /// Another's beat is taken to be as old as the observer's own request.
    SightingsFromTheStart,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct System {
    now: u8,
    permits: Permits,
    contenders: [Contender; 2],
    overlap: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Contender {
    /// Requests on their way, with the time at which they were sent.
    requests: Vec<(Request, u8)>,
    /// Answers that it holds, on their way.
    answers: Vec<u8>,
    belief: Option<Belief>,
    seen: Sightings,
    /// How often it may still ask.
    left: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Request {
    /// Asks for the lock, or renews it, or waits on.
    Join,
    /// The same, and removes the other that it has seen to be silent at this beat.
    Replace(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Tick,
    Send(usize),
    Deliver(usize, usize),
    Answer(usize, usize),
    Look(usize),
}

impl Hash for System {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.now.hash(state);
        self.permits.encode().hash(state);
        self.overlap.hash(state);
        for contender in &self.contenders {
            (&contender.requests, &contender.answers, contender.left).hash(state);
            format!("{:?}{:?}", contender.belief, contender.seen).hash(state);
        }
    }
}

struct Race {
    protocol: Protocol,
    ticks: u8,
    /// How often each may ask.
    asks: [u8; 2],
}

fn id(contender: usize) -> String {
    ["a", "b"][contender].to_owned()
}

fn at(tick: u8) -> Duration {
    TICK * u32::from(tick)
}

impl Race {
    fn request(system: &System, who: usize) -> Request {
        let contender = &system.contenders[who];
        let silent = contender.seen.silent(at(system.now), &id(who));
        silent.first().map_or(Request::Join, |other| Request::Replace(other.beat))
    }

    fn deliver(&self, system: &mut System, who: usize, request: Request, sent: u8) {
        let other = id(1 - who);
        if let Request::Replace(beat) = request {
            let silent = anabranch::core::coordination::lease::Silent { id: other.clone(), beat };
            if self.protocol == Protocol::EvictWhateverTheBeat {
                system.permits.release(&other);
            } else {
                system.permits.evict(&silent);
            }
        }
        let ask = Ask {
            id: id(who),
            beat: 0,
            units: 1,
            lease: lease(),
            info: String::new(),
            name: String::new(),
            now: Timestamp::EPOCH,
        };
        if let Ok(Standing::Holds(_)) = system.permits.join(&ask) {
            system.contenders[who].answers.push(sent);
        }
    }

    fn answered(&self, system: &mut System, who: usize, sent: u8) {
        let now = at(system.now);
        let sent = if self.protocol == Protocol::BelieveFromTheAnswer { now } else { at(sent) };
        let contender = &mut system.contenders[who];
        match &mut contender.belief {
            Some(belief) if belief.holds(now) => belief.renewed(sent, now, lease()),
            // It asks for a hold of its own; what is over by now is not believed.
            belief => *belief = Some(Belief::granted(sent, lease())),
        }
    }
}

impl Model for Race {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        let contenders = self.asks.map(|left| Contender {
            requests: Vec::new(),
            answers: Vec::new(),
            belief: None,
            seen: Sightings::default(),
            left,
        });
        vec![System { now: 0, permits: Permits::free(1), contenders, overlap: false }]
    }

    fn actions(&self, system: &System, actions: &mut Vec<Action>) {
        if system.now < self.ticks {
            actions.push(Action::Tick);
        }
        for (who, contender) in system.contenders.iter().enumerate() {
            if contender.left > 0 {
                actions.push(Action::Send(who));
            }
            // What is never delivered is lost.
            actions.extend((0..contender.requests.len()).map(|i| Action::Deliver(who, i)));
            actions.extend((0..contender.answers.len()).map(|i| Action::Answer(who, i)));
            actions.push(Action::Look(who));
        }
    }

    fn next_state(&self, before: &System, action: Action) -> Option<System> {
        let mut system = before.clone();
        match action {
            Action::Tick => system.now += 1,
            Action::Send(who) => {
                let request = (Self::request(&system, who), system.now);
                let contender = &mut system.contenders[who];
                contender.left -= 1;
                contender.requests.push(request);
            }
            Action::Deliver(who, i) => {
                let (request, sent) = system.contenders[who].requests.remove(i);
                self.deliver(&mut system, who, request, sent);
            }
            Action::Answer(who, i) => {
                let sent = system.contenders[who].answers.remove(i);
                self.answered(&mut system, who, sent);
            }
            Action::Look(who) => {
                let now = if self.protocol == Protocol::SightingsFromTheStart { 0 } else { system.now };
                system.contenders[who].seen.note(at(now), system.permits.members());
            }
        }
        let now = at(system.now);
        system.overlap |= system.contenders.iter().all(|c| c.belief.is_some_and(|b| b.holds(now)));
        (system != *before).then_some(system)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ALONE, |_, s: &System| !s.overlap),
            Property::sometimes("somebody is replaced", |_, s: &System| {
                let now = at(s.now);
                let holds = |c: &Contender| c.belief.is_some_and(|b| b.holds(now));
                let over = |c: &Contender| c.belief.is_some_and(|b| !b.holds(now));
                (holds(&s.contenders[0]) && over(&s.contenders[1])) || (holds(&s.contenders[1]) && over(&s.contenders[0]))
            }),
        ]
    }
}

const ALONE: &str = "two never believe at the same time that they hold";

#[test]
fn in_no_order_of_events_do_two_believe_that_they_hold() {
    let checker = Race { protocol: Protocol::Sound, ticks: 5, asks: [2, 1] }.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    let states = checker.unique_state_count();
    assert!(states >= 5_000, "only {states} states were explored: the model has lost its point");
}

fn is_caught(protocol: Protocol) {
    let checker = Race { protocol, ticks: 4, asks: [2, 1] }.checker().threads(2).target_state_count(400_000).spawn_bfs().join();
    assert!(checker.discovery(ALONE).is_some(), "{protocol:?} must let two in");
}

#[test]
fn believing_from_the_answer_on_is_caught() {
    is_caught(Protocol::BelieveFromTheAnswer);
}

#[test]
fn removing_whoever_has_beaten_since_is_caught() {
    is_caught(Protocol::EvictWhateverTheBeat);
}

#[test]
fn counting_from_before_a_beat_was_seen_is_caught() {
    is_caught(Protocol::SightingsFromTheStart);
}
