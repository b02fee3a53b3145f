//! Which key a caller changes next.

use crate::Distribution;
use anabranch::testing::Dice;

/// Draws keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// The chance of each key and of those before it.
    cumulated: Vec<f64>,
    dice: Dice,
}

impl Keys {
    pub(crate) fn new(count: usize, distribution: Distribution, exponent: f64, seed: u64) -> Self {
        let weight = |rank: usize| match distribution {
            Distribution::Uniform => 1.0,
            Distribution::Zipf => (rank as f64).powf(-exponent),
        };
        let total: f64 = (1..=count).map(weight).sum();
        let mut sum = 0.0;
        let cumulated = (1..=count).map(|rank| {
            sum += weight(rank) / total;
            sum
        });
        Self { cumulated: cumulated.collect(), dice: Dice::new(seed) }
    }

    pub(crate) fn draw(&mut self) -> usize {
        let chance = (self.dice.number() >> 11) as f64 / (1_u64 << 53) as f64;
        self.cumulated.partition_point(|sum| *sum <= chance).min(self.cumulated.len() - 1)
    }
}

/// The name of a key.
pub(crate) fn name(number: usize) -> String {
    format!("k{number}")
}
