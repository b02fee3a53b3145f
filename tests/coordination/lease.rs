//! Leases: in no order of sends, delays and losses does a holder believe in itself when somebody else takes over.

use super::permits::ask;
use anabranch::core::coordination::{
    Lease,
    lease::{Belief, Sightings, Silent},
    permits::{Permits, Standing},
};
use proptest::prelude::*;
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// In milliseconds of true time, of which nobody in the story knows.
const LEASE: u64 = 10_000;

fn lease() -> Lease {
    Lease::new(Duration::from_millis(LEASE)).unwrap()
}

/// A clock that runs at a speed of its own, in thousandths of the true one, and started at another time.
#[derive(Debug, Clone, Copy)]
struct Local {
    speed: u64,
    offset: u64,
}

impl Local {
    fn at(self, truth: u64) -> Duration {
        Duration::from_micros(self.offset + truth * self.speed)
    }

    /// The first true millisecond at which this clock shows at least `local`.
    fn when(self, local: Duration) -> u64 {
        let micros = u64::try_from(local.as_micros()).unwrap().saturating_sub(self.offset);
        micros.div_ceil(self.speed)
    }
}

#[derive(Debug, Clone)]
struct Renewal {
    /// After the one before was sent.
    gap: u64,
    /// Until the store has it; `None`: it is lost.
    request: Option<u64>,
    /// Until the holder knows; `None`: the answer is lost.
    answer: Option<u64>,
    /// Until the contender sees it; `None`: the watch skips it.
    seen: Option<u64>,
}

#[derive(Debug, Clone)]
struct Story {
    holder: Local,
    contender: Local,
    granted: Renewal,
    renewals: Vec<Renewal>,
    /// When the contender first reads, and how long its takeovers take to the store.
    reads: u64,
    takeovers: Vec<u64>,
}

fn delay() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![6 => (0..200_u64).prop_map(Some), 2 => (0..2 * LEASE).prop_map(Some), 1 => Just(None)]
}

fn renewal() -> impl Strategy<Value = Renewal> {
    let gap = prop_oneof![3 => LEASE / 4..LEASE / 2, 1 => 0..2 * LEASE];
    (gap, delay(), delay(), delay()).prop_map(|(gap, request, answer, seen)| Renewal { gap, request, answer, seen })
}

fn clock() -> impl Strategy<Value = Local> {
    let speed = prop_oneof![Just(950_u64), Just(1050), 950..=1050_u64];
    (speed, 0..1_000_000_000_u64).prop_map(|(speed, offset)| Local { speed, offset })
}

fn story() -> impl Strategy<Value = Story> {
    let takeovers = prop::collection::vec(0..LEASE, 1..6);
    (clock(), clock(), renewal(), prop::collection::vec(renewal(), 0..8), 0..LEASE, takeovers).prop_map(
        |(holder, contender, granted, renewals, reads, takeovers)| Story {
            holder,
            contender,
            granted,
            renewals,
            reads,
            takeovers,
        },
    )
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(usize),
    Answered(usize),
    /// The contender gets to know the state as it was.
    Sees(Vec<(String, u64)>),
    Looks,
    Takes(String, u64),
}

/// Plays a story; returns the true time of the takeover, if there was one, and until when the holder believed.
fn play(story: &Story) -> Option<(u64, u64)> {
    let (mut permits, mut belief, mut seen) = (Permits::free(1), None::<Belief>, Sightings::default());
    let mut agenda = BinaryHeap::new();
    let sends: Vec<&Renewal> = std::iter::once(&story.granted).chain(&story.renewals).collect();
    let mut sent_at = Vec::new();
    let mut time = 0;
    for (i, send) in sends.iter().enumerate() {
        time += if i == 0 { 0 } else { send.gap };
        sent_at.push(time);
        if let Some(delay) = send.request {
            agenda.push(Reverse((time + delay, Event::Arrives(i))));
        }
    }
    agenda.push(Reverse((story.reads, Event::Looks)));
    let mut takeovers = story.takeovers.iter().cycle();
    let (mut until, mut tried) = (0, 0);
    while let Some(Reverse((now, event))) = agenda.pop() {
        match event {
            Event::Arrives(i) => {
                let stored = if i == 0 { permits.join(&ask("holder", 1)).unwrap() } else { permits.renew("holder") };
                let Standing::Holds(_) = stored else { continue };
                if let Some(delay) = sends[i].answer {
                    agenda.push(Reverse((now + delay, Event::Answered(i))));
                }
                if let Some(delay) = sends[i].seen {
                    let members = permits.members().map(|(id, beat, _)| (id.to_owned(), beat)).collect();
                    agenda.push(Reverse((now + delay, Event::Sees(members))));
                }
            }
            Event::Answered(i) => {
                let (sent, local) = (story.holder.at(sent_at[i]), story.holder.at(now));
                match &mut belief {
                    Some(belief) => belief.renewed(sent, local, lease()),
                    // What an answer says that is too late is not believed from the start.
                    None => belief = Some(Belief::granted(sent, lease())),
                }
                until = story.holder.when(belief?.until());
            }
            Event::Sees(members) => {
                let local = story.contender.at(now);
                seen.note(local, members.iter().map(|(id, beat)| (id.as_str(), *beat, lease())));
                agenda.push(Reverse((story.contender.when(seen.next_due("me")?), Event::Looks)));
            }
            Event::Looks => {
                let local = story.contender.at(now);
                for Silent { id, beat } in seen.silent(local, "me") {
                    agenda.push(Reverse((now + takeovers.next().copied().unwrap(), Event::Takes(id, beat))));
                }
                // Whatever its watch shows, it reads now and then.
                seen.note(local, permits.members());
                tried += 1;
                if tried < 30 {
                    agenda.push(Reverse((now + LEASE / 3, Event::Looks)));
                }
            }
            Event::Takes(id, beat) => {
                if permits.evict(&Silent { id, beat }) {
                    let believes = belief.is_some_and(|b| b.holds(story.holder.at(now)));
                    return Some((now, if believes { until.max(now + 1) } else { until.min(now) }));
                }
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// G16: whoever holds stops before anybody else can start.
    #[test]
    fn a_holder_stops_to_believe_before_anybody_takes_over(story in story()) {
        if let Some((taken, believed)) = play(&story) {
            prop_assert!(believed <= taken, "believed until {believed}, taken over at {taken}");
        }
    }
}

const QUICK: Renewal = Renewal { gap: LEASE / 3, request: Some(1), answer: Some(1), seen: Some(1) };

fn plain(holder: u64, contender: u64) -> Story {
    let clock = |speed| Local { speed, offset: 0 };
    Story {
        holder: clock(holder),
        contender: clock(contender),
        granted: QUICK,
        renewals: vec![QUICK; 3],
        reads: 5,
        takeovers: vec![0],
    }
}

#[test]
fn a_silent_holder_is_replaced_soon_after_its_lease() {
    let (taken, believed) = play(&plain(1000, 1000)).unwrap();
    let last = 3 * (LEASE / 3);
    assert_eq!(believed, last + LEASE - LEASE / 20);
    assert!((last + LEASE..last + LEASE * 11 / 10).contains(&taken), "{taken}");
}

/// The margins are what the promise rests on: with clocks that differ by more it does not hold, and the test above would see it.
#[test]
fn clocks_that_differ_by_more_than_the_margins_break_the_promise() {
    let (taken, believed) = play(&plain(850, 1150)).unwrap();
    assert!(believed > taken, "believed until {believed}, taken over at {taken}");
    let (taken, believed) = play(&plain(951, 1049)).unwrap();
    assert!(believed <= taken, "believed until {believed}, taken over at {taken}");
}

#[test]
fn a_belief_that_ended_does_not_come_back() {
    let second = Duration::from_secs(1);
    let mut belief = Belief::granted(second, lease());
    assert!(belief.holds(10 * second) && !belief.holds(Duration::from_millis(10_500)));
    belief.renewed(5 * second, 11 * second, lease());
    assert!(!belief.holds(11 * second) && !belief.holds(second), "the answer came when it had stopped to believe");
    let mut belief = Belief::granted(second, lease());
    belief.renewed(5 * second, 6 * second, lease());
    assert!(belief.holds(Duration::from_millis(14_499)) && belief.until() == Duration::from_millis(14_500));
    belief.gone();
    assert!(!belief.holds(6 * second));
}

#[test]
fn a_lease_is_between_a_second_and_a_day() {
    for bad in [0, 1, 999, 24 * 3_600_000 + 1] {
        assert_eq!(Lease::new(Duration::from_millis(bad)), None, "{bad}");
    }
    assert_eq!(Lease::new(Duration::MAX), None);
    for good in [1000, 1001, 24 * 3_600_000] {
        assert_eq!(Lease::new(Duration::from_millis(good)).unwrap().length(), Duration::from_millis(good));
    }
}
