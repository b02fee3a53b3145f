//! Numbers in a row, of which all from one place on are raised, and the greatest from one place on is known, each in the logarithm of
//! how many there are.
//!
//! A tree of the greatest of each half, where a number that is added to a whole half stays above it. It does not know what they count.

/// The numbers.
pub(super) struct Peaks {
    /// How many leaves the tree has: a power of two.
    leaves: usize,
    /// The greatest below each node, with what was added at it; the root is at 1, and the leaves come last.
    greatest: Vec<i128>,
    /// What was added to everything below each node.
    added: Vec<i128>,
}

impl Peaks {
    pub(super) fn new(numbers: impl ExactSizeIterator<Item = i128>) -> Self {
        let leaves = numbers.len().next_power_of_two();
        let mut greatest = vec![i128::MIN / 2; 2 * leaves];
        for (leaf, number) in greatest[leaves..].iter_mut().zip(numbers) {
            *leaf = number;
        }
        for node in (1..leaves).rev() {
            greatest[node] = greatest[2 * node].max(greatest[2 * node + 1]);
        }
        Self { leaves, greatest, added: vec![0; 2 * leaves] }
    }

    /// Adds to each number from `place` on.
    pub(super) fn raise_from(&mut self, place: usize, by: i128) {
        let mut node = self.leaves + place;
        self.greatest[node] += by;
        while node > 1 {
            if node.is_multiple_of(2) {
                self.greatest[node + 1] += by;
                self.added[node + 1] += by;
            }
            node /= 2;
            self.greatest[node] = self.greatest[2 * node].max(self.greatest[2 * node + 1]) + self.added[node];
        }
    }

    /// Returns the greatest number from `place` on.
    pub(super) fn greatest_from(&self, place: usize) -> i128 {
        let mut node = self.leaves + place;
        let mut greatest = self.greatest[node];
        while node > 1 {
            if node.is_multiple_of(2) {
                greatest = greatest.max(self.greatest[node + 1]);
            }
            node /= 2;
            greatest += self.added[node];
        }
        greatest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Dice;

    #[test]
    fn the_greatest_is_what_a_look_at_each_finds() {
        let mut dice = Dice::new(1);
        for count in 1..40_usize {
            let mut plain: Vec<i128> = (0..count).map(|_| i128::from(dice.roll(50)) - 100).collect();
            let mut peaks = Peaks::new(plain.clone().into_iter());
            for _ in 0..50 {
                let place = usize::try_from(dice.roll(count as u64)).unwrap();
                let by = i128::from(dice.roll(30)) - 5;
                peaks.raise_from(place, by);
                plain[place..].iter_mut().for_each(|number| *number += by);
                let from = usize::try_from(dice.roll(count as u64)).unwrap();
                assert_eq!(Some(&peaks.greatest_from(from)), plain[from..].iter().max());
            }
        }
    }
}
