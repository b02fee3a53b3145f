//! What a cell writes beside its value: who wrote it, what it replaced, and the greatest fencing token so far.
//!
//! It is the label of the entry, so the value stays what any other client of the bucket reads and writes. A writer whose answer
//! was lost, and for whom the engine could not find out either, recognizes its write by its id, and that it cannot come any more
//! by the id of what another one replaced. A write without a trail is a foreign one. Nothing here talks to a store.

use std::fmt;

/// The bits of an id that are written: two of them and a token fit a label, and no two writes of a key meet by chance.
const BITS: u64 = (1 << 48) - 1;

/// Identifies one write of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64);

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

/// What became of a write whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is what is stored.
    Applied,
    /// It was applied, and another write followed.
    Replaced,
    /// It was not applied, and cannot be any more.
    Refused,
    /// The evidence is gone.
    Unclear,
}

impl Trail {
    /// The trail of a write that replaces the one that this is the trail of.
    pub(super) fn follow(self, mark: Mark, fence: u64) -> Self {
        Self { own: Some(mark), before: self.own, fence }
    }

    /// Tells what became of a write `mark` that expected what `base` is the trail of, by what is stored now, which is not that.
    pub(super) fn fate(self, mark: Mark, base: Self) -> Fate {
        if self.own == Some(mark) {
            Fate::Applied
        } else if self.before == Some(mark) {
            Fate::Replaced
        } else if self.own.is_some() && self.before.is_some() && self.before == base.own {
            Fate::Refused
        } else {
            Fate::Unclear
        }
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

impl fmt::Display for Trail {
    /// Writes the label, which is at most 42 characters; a default trail has none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Mark(own)) = self.own {
            write!(f, "{own:x}")?;
        }
        if let Some(Mark(before)) = self.before {
            write!(f, "-{before:x}")?;
        }
        if self.fence > 0 {
            write!(f, "~{:x}", self.fence)?;
        }
        Ok(())
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
            let label = trail.to_string();
            assert!(label.len() <= 64, "{label}");
            assert_eq!(Trail::parse(Some(&label)), trail);
        }
        for foreign in [None, Some(""), Some("running.w1"), Some("1-2-3"), Some("1~x")] {
            assert_eq!(Trail::parse(foreign), Trail::default(), "{foreign:?}");
        }
    }

    #[test]
    fn a_lost_write_is_recognized_by_what_is_stored() {
        let (base, ours, other, later) = (Mark::new(1), Mark::new(2), Mark::new(3), Mark::new(4));
        let base = Trail::default().follow(base, 0);
        assert_eq!(base.follow(ours, 0).fate(ours, base), Fate::Applied);
        assert_eq!(base.follow(ours, 0).follow(other, 0).fate(ours, base), Fate::Replaced);
        assert_eq!(base.follow(other, 0).fate(ours, base), Fate::Refused);
        assert_eq!(base.follow(other, 0).follow(later, 0).fate(ours, base), Fate::Unclear);
        // A foreign write says nothing about what it replaced.
        assert_eq!(Trail::default().fate(ours, base), Fate::Unclear);
        assert_eq!(Trail::default().follow(other, 0).fate(ours, Trail::default()), Fate::Unclear);
    }
}
