//! The disk's own stream of chance (SplitMix64, Steele, Lea and Flood 2014): tiny, and the same
//! numbers on every platform and in both worlds.

/// A seeded stream of numbers.
#[derive(Clone, Debug)]
pub struct Generator(u64);

impl Generator {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Generator(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// `below`, for lengths of slices.
    pub(super) fn below_len(&mut self, bound: usize) -> usize {
        // The result is below a usize, so it fits one.
        self.below(bound as u64) as usize
    }

    /// True in `per_million` of a million cases.
    pub fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }

    /// True in half of the cases.
    pub fn coin(&mut self) -> bool {
        self.next_u64() >> 63 == 1
    }
}
