//! The workload's own stream of chance (SplitMix64, Steele, Lea and Flood 2014).
//!
//! Invariant: a seed draws the same numbers in every world and build, so what clients would do is
//! decided before anything happens to them.
//!
//! Not here: the faults' chance, which belongs to the worlds.

/// A seeded stream of numbers.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of one of many who share a seed.
    pub fn of(seed: u64, number: u64) -> Self {
        let mut draw = Self(seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Streams of neighbouring numbers must not be shifted copies of each other.
        Self(draw.bits() ^ seed.rotate_left(32))
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits().checked_rem(bound).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included; `low` if there is nothing between.
    pub fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A position in a list of so many.
    pub fn place(&mut self, len: usize) -> usize {
        // The result is below a usize, so it fits one.
        self.below(len as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_and_neighbours_draw_others() {
        let stream = |number| {
            let mut draw = Draw::of(7, number);
            (0..8).map(|_| draw.bits()).collect::<Vec<_>>()
        };
        assert_eq!(stream(1), stream(1));
        for number in 2..50 {
            assert!(stream(1).iter().all(|bits| !stream(number).contains(bits)), "{number}");
        }
    }

    #[test]
    fn numbers_stay_in_their_ranges() {
        let mut draw = Draw::new(3);
        for _ in 0..200 {
            assert!((3..=5).contains(&draw.between((3, 5))));
            assert_eq!(draw.between((9, 2)), 9);
            assert!(draw.place(3) < 3);
        }
        assert_eq!(draw.below(0), 0);
        assert!(!draw.percent(0) && draw.percent(100));
    }
}
