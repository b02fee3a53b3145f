//! Which of several lanes is next: weighted deficit round robin.
//!
//! Over time each lane that has something is served in proportion to its weight, and none waits for longer than one round of the
//! others: a lane that has little to say is never starved, and one that has nothing saves no turns up for later.

/// Lanes with weights.
#[derive(Debug, Clone)]
pub struct Lanes {
    weights: Vec<u32>,
    /// How many turns each has left in this round.
    left: Vec<u32>,
    /// Whose turn it is.
    at: usize,
}

impl Lanes {
    /// Takes the weight of each lane; 0 is taken for 1.
    #[must_use]
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let weights: Vec<u32> = weights.into_iter().map(|weight| weight.max(1)).collect();
        Self { left: weights.clone(), weights, at: 0 }
    }

    /// Returns how many lanes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Returns the share of `whole` that a lane has, at least 1.
    #[must_use]
    pub fn share(&self, lane: usize, whole: usize) -> usize {
        let all: u64 = self.weights.iter().map(|weight| u64::from(*weight)).sum();
        let mine = u64::from(self.weights.get(lane).copied().unwrap_or(1));
        let share = (whole as u64).saturating_mul(mine) / all.max(1);
        usize::try_from(share).unwrap_or(whole).max(1)
    }

    /// Picks the next lane among those that have something, and uses one of its turns up; `None` when none has.
    pub fn pick(&mut self, has: impl Fn(usize) -> bool) -> Option<usize> {
        // Each lane is met at most twice: with what is left of its round, and with a fresh one.
        for _ in 0..=2 * self.len() {
            let lane = self.at;
            if has(lane) && self.left[lane] > 0 {
                self.left[lane] -= 1;
                return Some(lane);
            }
            self.left[lane] = self.weights[lane];
            self.at = (lane + 1) % self.len();
        }
        None
    }
}
