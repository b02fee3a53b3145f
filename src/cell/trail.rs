//! What a cell writes beside its value: who wrote it, what it replaced, and the greatest fencing token so far.
//!
//! It is the label of the entry, so the value stays what any other client of the bucket reads and writes. A writer whose answer
//! was lost, and for whom the engine could not find out either, recognizes its write by its id, and that it cannot come any more
//! by the id of what another one replaced. A write without a trail is a foreign one. Nothing here talks to a store.

use crate::engine::{Entry, Expect, Revision};

/// The bits of an id that are written: two of them and a token fit a label, and no two writes of a key meet by chance.
const BITS: u64 = (1 << 48) - 1;

/// Identifies one write of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// Makes one of random bits.
    pub(super) fn new(random: u64) -> Self {
        Self(random & BITS)
    }
}

/// What is known of a value's last writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Trail {
    /// The write that stored the value.
    own: Option<Mark>,
    /// The one that it replaced.
    before: Option<Mark>,
    /// The greatest fencing token that the key was written with; zero when there was none.
    pub(super) fence: u64,
}

/// What a write replaces, or what is found where one may have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// `None` when the key is absent.
    pub(super) revision: Option<Revision>,
    pub(in crate::cell) trail: Trail,
}

/// What became of a write whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It happened, with this revision if that is still to be seen.
    Applied(Option<Revision>),
    /// It has not happened, and may be sent again: whichever of the two arrives second is refused.
    Open,
    /// It has not happened, and cannot any more.
    Refused,
    /// The store does not tell now.
    Unseen,
    /// It was to replace nothing, and there is nothing: it was written and removed again, or has not happened, and still may.
    Absent,
    /// The evidence is gone.
    Unclear,
}

impl Base {
    /// What is found at a key.
    pub(super) fn of(entry: Option<&Entry>) -> Self {
        let trail = Trail::parse(entry.and_then(|entry| entry.label.as_deref()));
        Self { revision: entry.map(|entry| entry.revision), trail }
    }

    pub(super) fn expect(self) -> Expect {
        self.revision.map_or(Expect::Absent, Expect::At)
    }

    /// Tells what became of a write `mark` that was to replace this, by what is stored now. A `removal` leaves no trail.
    pub(super) fn fate(self, mark: Mark, removal: bool, now: Self) -> Fate {
        match (self.revision, now.revision) {
            (Some(expected), Some(found)) if expected == found => return Fate::Open,
            (None, None) => return Fate::Absent,
            // This removal is like any other.
            (Some(_), None) if removal => return Fate::Unclear,
            _ => {}
        }
        let Trail { own, before, .. } = now.trail;
        if own == Some(mark) {
            Fate::Applied(now.revision)
        } else if before == Some(mark) {
            Fate::Applied(None)
        } else if own.is_some() && before.is_some() && before == self.trail.own {
            Fate::Refused
        } else {
            Fate::Unclear
        }
    }
}

impl Fate {
    /// What can be said of a write over `bases` while nothing can be read. A revision is there once, so a write that expects one may be
    /// sent again unseen. An absent key may have been written, removed, and be absent again.
    pub(super) fn unseen(mut bases: impl Iterator<Item = Base>) -> Self {
        if bases.any(|base| base.revision.is_some()) { Self::Open } else { Self::Unseen }
    }

    /// Tells what became of a commit by the fates of its writes, as of one moment.
    pub(super) fn of_all(fates: &[Self]) -> Self {
        let has = |wanted: fn(&Self) -> bool| fates.iter().any(wanted);
        let applied = fates.iter().find(|fate| matches!(fate, Self::Applied(_)));
        let open = has(|fate| *fate == Self::Open);
        match applied {
            Some(applied) => *applied,
            // A revision that is as it was proves that it has not happened, a key that is not as it was, that it cannot any more. One that
            // was absent and is proves neither: what is still on its way finds it as it expects.
            None if open && has(|fate| !matches!(fate, Self::Open | Self::Absent)) => Self::Refused,
            None if open => Self::Open,
            None if has(|fate| *fate == Self::Refused) => Self::Refused,
            None => Self::Unclear,
        }
    }
}

impl Trail {
    /// The trail of a write that replaces the one that this is the trail of.
    pub(super) fn follow(self, mark: Mark, fence: u64) -> Self {
        Self { own: Some(mark), before: self.own, fence }
    }

    /// Writes the label, which is at most 42 characters.
    pub(super) fn label(self) -> String {
        let mut text = String::with_capacity(48);
        if let Some(Mark(own)) = self.own {
            push_hex(&mut text, own);
        }
        if let Some(Mark(before)) = self.before {
            text.push('-');
            push_hex(&mut text, before);
        }
        if self.fence > 0 {
            text.push('~');
            push_hex(&mut text, self.fence);
        }
        text
    }

    /// Reads a label; one that cannot be read is a foreign writer's.
    pub(super) fn parse(label: Option<&str>) -> Self {
        let Some(label) = label else { return Self::default() };
        let (marks, fence) = label.split_once('~').map_or((label, Some(0)), |(marks, fence)| (marks, hex(fence)));
        let (own, before) = marks.split_once('-').map_or((marks, None), |(own, before)| (own, Some(before)));
        match (hex(own), before.map(hex), fence) {
            (Some(own), None, Some(fence)) => Self { own: Some(Mark(own)), before: None, fence },
            (Some(own), Some(Some(before)), Some(fence)) => Self { own: Some(Mark(own)), before: Some(Mark(before)), fence },
            _ => Self::default(),
        }
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// Writes a number as hexadecimal digits, without the machinery of formatting: this is on the way of every write.
fn push_hex(text: &mut String, number: u64) {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        let digit = u32::try_from((number >> (at * 4)) & 0xF).expect("four bits fit");
        text.push(char::from_digit(digit, 16).expect("four bits are a digit"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_survives_its_label() {
        let first = Trail::default().follow(Mark::new(u64::MAX), 0);
        let second = first.follow(Mark::new(7), u64::MAX);
        for trail in [first, second] {
            let label = trail.label();
            assert!(label.len() <= 64, "{label}");
            assert_eq!(Trail::parse(Some(&label)), trail);
        }
        let numbers = [0, 1, 15, 16, 255, 0xABC_DEF0, u64::MAX].map(|number| {
            let mut text = String::new();
            push_hex(&mut text, number);
            (text, format!("{number:x}"))
        });
        assert!(numbers.iter().all(|(ours, theirs)| ours == theirs), "{numbers:?}");
        for foreign in [None, Some(""), Some("running.w1"), Some("1-2-3"), Some("1~x")] {
            assert_eq!(Trail::parse(foreign), Trail::default(), "{foreign:?}");
        }
    }

    #[test]
    fn a_lost_write_is_recognized_by_what_is_stored() {
        let [base, ours, other, later] = [1, 2, 3, 4].map(Mark::new);
        let at = |revision: u64, trail| Base { revision: Some(Revision::new(revision)), trail };
        let absent = Base { revision: None, trail: Trail::default() };
        let first = Trail::default().follow(base, 0);
        let (mine, others) = (first.follow(ours, 0), first.follow(other, 0));
        let fate = |now| at(1, first).fate(ours, false, now);
        assert_eq!(fate(at(1, first)), Fate::Open);
        assert_eq!(fate(at(2, mine)), Fate::Applied(Some(Revision::new(2))));
        assert_eq!(fate(at(3, mine.follow(other, 0))), Fate::Applied(None));
        assert_eq!(fate(at(2, others)), Fate::Refused);
        assert_eq!(fate(at(3, others.follow(later, 0))), Fate::Unclear);
        // A foreign write says nothing about what it replaced, and an absent key nothing about what was there.
        assert_eq!(fate(at(2, Trail::default())), Fate::Unclear);
        assert_eq!(fate(absent), Fate::Unclear);
        assert_eq!(absent.fate(ours, false, absent), Fate::Absent);
        assert_eq!(absent.fate(ours, false, at(2, Trail::default().follow(ours, 0))), Fate::Applied(Some(Revision::new(2))));
        assert_eq!(at(1, first).fate(ours, true, absent), Fate::Unclear);
        assert_eq!(at(1, first).fate(ours, true, at(1, first)), Fate::Open);
        assert_eq!(Fate::unseen([absent, at(1, first)].into_iter()), Fate::Open);
        assert_eq!(Fate::unseen([absent, absent].into_iter()), Fate::Unseen);
    }

    #[test]
    fn a_commit_is_recognized_by_any_of_its_keys() {
        use Fate::{Absent, Applied, Open, Refused, Unclear};
        assert_eq!(Fate::of_all(&[Unclear, Applied(None)]), Applied(None));
        assert_eq!(Fate::of_all(&[Open, Open]), Open);
        assert_eq!(Fate::of_all(&[Open, Unclear]), Refused);
        assert_eq!(Fate::of_all(&[Unclear, Refused]), Refused);
        assert_eq!(Fate::of_all(&[Unclear, Unclear]), Unclear);
        assert_eq!(Fate::of_all(&[Absent, Absent]), Unclear);
        assert_eq!(Fate::of_all(&[Absent, Refused]), Refused);
    }

    /// It was made again by what was found then, arrived after all, and had happened twice.
    #[test]
    fn a_commit_over_an_absent_key_that_is_still_on_its_way_is_sent_again_and_not_made_again() {
        use Fate::{Absent, Open, Refused, Unclear};
        assert_eq!(Fate::of_all(&[Open, Absent]), Open);
        assert_eq!(Fate::of_all(&[Open, Absent, Unclear]), Refused);
    }
}
