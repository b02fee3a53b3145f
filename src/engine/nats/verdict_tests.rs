//! A verdict is never wrong: random histories of many writers of one key, with acknowledgements that are lost, ghosts that come
//! late, and foreign clients.

use super::{
    super::ids::{RING, Rings},
    *,
};
use crate::engine::{Expect, Revision};
use proptest::prelude::*;
use std::collections::HashSet;

const KEY: &str = "k";

/// What happens next; `usize` chooses a writer.
#[derive(Debug, Clone)]
enum Step {
    /// Reads the key.
    Read(usize),
    /// Writes at what it knows; the acknowledgement is lost, or not.
    Write { writer: usize, lost: bool, arrives: bool },
    /// Writes whatever is there.
    Overwrite(usize),
    /// Another client writes, or removes the key.
    Foreign { removes: bool },
    /// Removes the key as we do.
    Remove(usize),
    /// Something that was sent and did not arrive does so now.
    Ghost(usize),
    /// A writer looks for a write that it has no answer of, and goes on when it knows.
    Judge(usize),
}

/// A write that somebody has no answer of.
struct Pending {
    writer: usize,
    flight: super::super::ids::Flight,
    expected: u64,
    expect: Expect,
    floor: u64,
    applied: Option<u64>,
    /// What is still on its way.
    ghost: Option<Ring>,
}

struct World {
    writers: Vec<Rings>,
    head: Option<Evidence>,
    last: u64,
    /// The newest write that leaves a gap in the evidence.
    gap: u64,
    /// Who wrote at which revision.
    applied: Vec<(u64, usize)>,
    /// Which revisions are removals.
    removals: HashSet<u64>,
    pending: Vec<Pending>,
}

impl World {
    fn new(writers: usize) -> Self {
        let writers = (0..writers).map(|_| Rings::default()).collect();
        Self { writers, head: None, last: 0, gap: 0, applied: Vec::new(), removals: HashSet::new(), pending: Vec::new() }
    }

    fn at(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.sequence)
    }

    /// The server stores a message.
    fn store(&mut self, ring: Ring, is_gone: bool) -> u64 {
        // Other keys have revisions, too.
        self.last += 1 + self.last % 3;
        if is_gone {
            self.removals.insert(self.last);
        }
        self.head = Some(Evidence { sequence: self.last, is_gone, ring });
        self.last
    }

    fn read(&self, writer: usize) {
        if let Some(head) = &self.head {
            self.writers[writer].remember(KEY, head.sequence, head.ring.clone(), None);
        }
    }

    fn write(&mut self, writer: usize, lost: bool, arrives: bool, is_gone: bool) {
        let rings = &self.writers[writer];
        let (flight, expected) = (rings.take_off(), rings.newest(KEY));
        let ring = rings.next(KEY, Some(expected), flight.id, 0).0;
        let is_absent = expected == 0 || self.removals.contains(&expected);
        let expect = if is_absent { Expect::Absent } else { Expect::At(Revision::new(expected)) };
        let floor = rings.seen();
        let mut pending = Pending { writer, flight, expected, expect, floor, applied: None, ghost: Some(ring) };
        if arrives && self.arrive(&mut pending, is_gone) && !lost {
            self.read(writer);
            return;
        }
        // A conflict that was answered is an end, too.
        if lost {
            self.pending.push(pending);
        }
    }

    /// A write arrives at the server.
    fn arrive(&mut self, pending: &mut Pending, is_gone: bool) -> bool {
        let Some(ring) = pending.ghost.take().filter(|_| self.at() == pending.expected) else { return false };
        let revision = self.store(ring, is_gone);
        self.applied.push((revision, pending.writer));
        pending.applied = Some(revision);
        true
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let of = |n: usize, all: &[Rings]| n % all.len();
        match step {
            Step::Read(writer) => self.read(of(writer, &self.writers)),
            Step::Write { writer, lost, arrives } => {
                let writer = of(writer, &self.writers);
                self.write(writer, lost, arrives, false);
            }
            Step::Remove(writer) => {
                let writer = of(writer, &self.writers);
                self.write(writer, false, true, true);
            }
            Step::Overwrite(writer) => {
                let writer = of(writer, &self.writers);
                let flight = self.writers[writer].take_off();
                let ring = self.writers[writer].next(KEY, None, flight.id, 0).0;
                self.gap = self.store(ring, false);
                self.read(writer);
            }
            Step::Foreign { removes } => self.gap = self.store(Ring::default(), removes),
            Step::Ghost(n) if !self.pending.is_empty() => {
                let mut pending = self.pending.remove(n % self.pending.len());
                self.arrive(&mut pending, false);
                self.pending.push(pending);
            }
            Step::Judge(n) if !self.pending.is_empty() => {
                let n = n % self.pending.len();
                self.judge(n)?;
            }
            Step::Ghost(_) | Step::Judge(_) => {}
        }
        Ok(())
    }

    fn judge(&mut self, n: usize) -> Result<(), TestCaseError> {
        let Pending { flight, expected, expect, floor, applied, .. } = &self.pending[n];
        let attempt = Attempt {
            subject: KEY,
            id: flight.id,
            expect: *expect,
            expected: Some(*expected),
            lost: true,
            floor: *floor,
            fades: false,
        };
        let verdict = attempt.verdict(self.head.as_ref()).expect("it has an expectation");
        match verdict {
            Verdict::Ours(revision) => prop_assert_eq!(Some(revision), *applied),
            Verdict::Taken => {
                prop_assert_eq!(None, *applied);
                prop_assert!(self.at() > *expected, "a ghost could still apply");
            }
            Verdict::Free(expected) => {
                prop_assert_eq!(None, *applied);
                prop_assert_eq!(expected, self.at());
            }
            Verdict::Unclear => {
                // Only where somebody else's write hid the evidence, or more writers than a ring has room for.
                let mut since: Vec<_> = self.applied.iter().filter(|(at, _)| *at > *expected).map(|(_, by)| *by).collect();
                since.sort_unstable();
                since.dedup();
                let unanswered = self.pending.len();
                prop_assert!(self.gap > *expected || since.len() + unanswered > RING, "{:?}", self.head);
            }
        }
        if verdict != Verdict::Unclear || self.pending[n].ghost.is_none() {
            // Whoever knows goes on from there; its flight has landed.
            let pending = self.pending.swap_remove(n);
            self.read(pending.writer);
        }
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..1000_usize;
    let step = prop_oneof![
        10 => who().prop_map(Step::Read),
        12 => (who(), prop::bool::weighted(0.3), prop::bool::weighted(0.8))
            .prop_map(|(writer, lost, arrives)| Step::Write { writer, lost, arrives: arrives || !lost }),
        3 => who().prop_map(Step::Judge),
        2 => who().prop_map(Step::Ghost),
        1 => who().prop_map(Step::Remove),
        1 => prop_oneof![
            8 => who().prop_map(Step::Read),
            1 => who().prop_map(Step::Overwrite),
            1 => any::<bool>().prop_map(|removes| Step::Foreign { removes }),
        ],
    ];
    // Reading before writing lets many of them succeed.
    let eager = who().prop_map(|writer| vec![Step::Read(writer), Step::Write { writer, lost: false, arrives: true }]);
    let one = step.prop_map(|step| vec![step]);
    prop::collection::vec(prop_oneof![2 => one, 1 => eager], 1..250).prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_verdict_is_never_wrong_whatever_was_lost(writers in prop_oneof![1..8_usize, 8..80_usize], steps in steps()) {
        let mut world = World::new(writers);
        for step in steps {
            world.step(step)?;
        }
        while !world.pending.is_empty() {
            let before = world.pending.len();
            world.judge(before - 1)?;
            if world.pending.len() == before {
                world.pending.pop();
            }
        }
    }
}

/// What becomes of a write whose acknowledgement is lost, when so many others then write the key ten times each.
fn verdict_after(others: usize, applied: bool) -> Option<Verdict> {
    let mut world = World::new(others + 1);
    world.write(0, false, true, false);
    (0..=others).for_each(|writer| world.read(writer));
    if !applied {
        world.write(1, false, true, false);
    }
    world.write(0, true, true, false);
    for n in 0..10 * others {
        let writer = 1 + n % others;
        world.read(writer);
        world.write(writer, false, true, false);
    }
    let Pending { flight, expected, expect, floor, applied: at, .. } = &world.pending[0];
    assert_eq!(at.is_some(), applied);
    let (expected, lost, fades) = (Some(*expected), true, false);
    let attempt = Attempt { subject: KEY, id: flight.id, expect: *expect, expected, lost, floor: *floor, fades };
    let verdict = attempt.verdict(world.head.as_ref());
    if let Some(Verdict::Ours(revision)) = verdict {
        assert_eq!(Some(revision), *at);
    }
    verdict
}

#[test]
fn a_lost_write_is_recognized_after_hundreds_of_writes_of_sixty_others() {
    assert!(matches!(verdict_after(62, true), Some(Verdict::Ours(_))));
    assert_eq!(verdict_after(62, false), Some(Verdict::Taken));
}

#[test]
fn with_more_writers_than_a_ring_has_room_for_it_is_unclear() {
    assert_eq!(verdict_after(RING + 2, true), Some(Verdict::Unclear));
    assert_eq!(verdict_after(RING + 2, false), Some(Verdict::Unclear));
}

/// Where a value can go without a trace, an absent key says nothing of a write that may have been applied.
#[test]
fn evidence_that_fades_proves_nothing() {
    let rings = Rings::default();
    let flight = rings.take_off();
    let attempt =
        |fades, lost| Attempt { subject: KEY, id: flight.id, expect: Expect::Absent, expected: Some(0), lost, floor: 0, fades };
    assert_eq!(attempt(false, true).verdict(None), Some(Verdict::Free(0)));
    assert_eq!(attempt(true, false).verdict(None), Some(Verdict::Free(0)));
    assert_eq!(attempt(true, true).verdict(None), Some(Verdict::Unclear));
    let other = rings.take_off();
    let anew = Evidence { sequence: 9, is_gone: false, ring: rings.next(KEY, Some(0), other.id, 0).0 };
    assert_eq!(attempt(false, true).verdict(Some(&anew)), Some(Verdict::Taken));
    assert_eq!(attempt(true, true).verdict(Some(&anew)), Some(Verdict::Unclear));
}
