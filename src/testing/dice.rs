//! Chance that a seed decides, so that what failed once can be repeated.

/// `SplitMix64` (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014): small, and the same for ever.
///
/// ```
/// use anabranch::testing::Dice;
///
/// let (mut one, mut other) = (Dice::new(7), Dice::new(7));
/// assert_eq!(one.roll(6), other.roll(6));
/// ```
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Takes a seed; every one is as good as any other.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number from zero to below `sides`.
    ///
    /// # Panics
    ///
    /// When there are no sides.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.number() % sides
    }

    /// Returns any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
