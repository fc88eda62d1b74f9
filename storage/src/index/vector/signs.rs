//! Sign codes: one bit per dimension, the cheap sieve in front of the exact score.
//!
//! A code holds the signs of the vector minus the collection's mean. Real embeddings share a strong common direction;
//! without centring most of their signs agree and tell nothing (binary quantisation with re-scoring; the centring is
//! that of product quantisation's residuals).
//!
//! Invariants: all codes that a search compares were made with one [`Centre`]; the shortlist is a function of the set of
//! rows alone: whatever the order they are offered in, it ends as every row within the smallest distance that holds
//! `depth` rows.

use sha2::{Digest, Sha256};

use super::super::Slot;
use super::kernel::signs;

/// The mean vector that codes are taken around, and how many rows it was taken from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Centre {
    numbers: Vec<f32>,
    /// Rows in the collection when the mean was taken; 0 for the first centre, which is the origin.
    pub(super) rows: u32,
}

impl Centre {
    /// The origin: for a collection too small to have a mean worth having.
    pub(super) fn origin(dimension: u16) -> Self {
        Self { numbers: vec![0.0; usize::from(dimension)], rows: 0 }
    }

    /// A centre from its stored numbers.
    pub(super) fn from_numbers(numbers: Vec<f32>, rows: u32) -> Self {
        Self { numbers, rows }
    }

    /// Its numbers, one per dimension.
    pub(super) fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// Names the centre in file headers.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.rows.to_le_bytes());
        for number in &self.numbers {
            hash.update(number.to_le_bytes());
        }
        hash.finalize().into()
    }

    /// The code of a vector: bit `i` is set where number `i` exceeds the centre's. Padding is not looked at.
    pub(super) fn encode(&self, vector: &[f32], code: &mut [u64]) {
        let blocks = self.numbers.chunks(64).zip(vector.chunks(64));
        for (word, (centre, numbers)) in code.iter_mut().zip(blocks) {
            *word = signs(numbers, centre);
        }
    }
}

/// The nearest rows by Hamming distance seen so far: at least `depth` of them, all ties included.
pub(super) struct Shortlist {
    depth: u32,
    /// Largest distance that still enters.
    bound: u32,
    /// Rows within the bound.
    within: u32,
    /// Rows per distance, up to the bound.
    counts: Vec<u32>,
    found: Vec<(u32, Slot)>,
}

impl Shortlist {
    /// An empty list that keeps `depth` rows (at least one) of codes with `dimension` bits.
    pub(super) fn new(depth: u32, dimension: u16) -> Self {
        let bound = u32::from(dimension);
        Self {
            depth: depth.max(1),
            bound,
            within: 0,
            counts: vec![0; bound as usize + 1],
            found: Vec::with_capacity(depth as usize * 2),
        }
    }

    /// Takes the row in if it can still be among the nearest.
    #[inline(always)]
    pub(super) fn offer(&mut self, distance: u32, slot: Slot) {
        if distance <= self.bound {
            self.enter(distance, slot);
        }
    }

    #[inline(never)]
    fn enter(&mut self, distance: u32, slot: Slot) {
        self.counts[distance as usize] += 1;
        self.within += 1;
        self.found.push((distance, slot));
        while self.within - self.counts[self.bound as usize] >= self.depth {
            self.within -= self.counts[self.bound as usize];
            self.bound -= 1;
        }
        if self.found.len() > 4 * self.within as usize + 1024 {
            let bound = self.bound;
            self.found.retain(|(distance, _)| *distance <= bound);
        }
    }

    /// The slots of the list, ascending (so that the re-scoring reads rows in their order on disk).
    pub(super) fn into_slots(self) -> Vec<Slot> {
        let bound = self.bound;
        let mut slots: Vec<Slot> = self
            .found
            .into_iter()
            .filter(|(distance, _)| *distance <= bound)
            .map(|(_, slot)| slot)
            .collect();
        slots.sort_unstable();
        slots
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_the_side_of_the_centre_in_each_dimension() {
        let mut code = [u64::MAX; 2];
        let mut vector = vec![0.25f32; 96];
        vector[0] = 0.75;
        vector[65] = 0.75;
        Centre::from_numbers(vec![0.5; 70], 9).encode(&vector, &mut code);
        assert_eq!(code, [1, 2]);
        Centre::origin(70).encode(&vector, &mut code);
        assert_eq!(code, [u64::MAX, 0b11_1111], "bits beyond the dimension stay clear");
    }

    #[test]
    fn a_centre_is_named_by_its_numbers_and_its_rows() {
        let base = Centre::from_numbers(vec![0.5, 0.25], 7);
        assert_eq!(base.digest(), base.clone().digest());
        assert_ne!(base.digest(), Centre::from_numbers(vec![0.5, 0.25], 8).digest());
        assert_ne!(base.digest(), Centre::from_numbers(vec![0.5, 0.26], 7).digest());
    }

    proptest! {
        #[test]
        fn the_shortlist_holds_the_nearest_with_their_ties_in_any_order(
            mut rows in proptest::collection::vec(0u32..=40, 0..3000),
            depth in 1u32..300,
            seed in any::<u64>(),
        ) {
            let take = |order: &[(u32, Slot)]| {
                let mut list = Shortlist::new(depth, 40);
                order.iter().for_each(|(distance, slot)| list.offer(*distance, *slot));
                list.into_slots()
            };
            let mut order: Vec<(u32, Slot)> = rows.iter().copied().zip(0u32..).collect();
            let got = take(&order);
            order.sort_by_key(|(_, slot)| (u64::from(*slot) ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            prop_assert_eq!(&take(&order), &got);

            let distances = rows.clone();
            rows.sort_unstable();
            let bound = rows.get(depth as usize - 1).copied().unwrap_or(40);
            let expected: Vec<Slot> = distances
                .iter().zip(0u32..).filter(|(d, _)| **d <= bound).map(|(_, slot)| slot).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
