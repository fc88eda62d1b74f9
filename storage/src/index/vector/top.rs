//! The best `k` scored slots.
//!
//! Invariant: the order is total, score descending then slot ascending, so the result is a function of the set offered.
//! A score that is not finite is never taken: it can only come from a damaged row.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::super::Slot;

/// A slot and its similarity to the query: the cosine, −1 to 1, up to the rounding of half precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredSlot {
    /// The slot.
    pub slot: Slot,
    /// Cosine similarity.
    pub score: f32,
}

/// Ordered so that the worst is the greatest.
struct Ranked(ScoredSlot);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.score.total_cmp(&self.0.score).then(self.0.slot.cmp(&other.0.slot))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// Collects the best `k`.
pub(super) struct Top {
    k: usize,
    /// A score below this one cannot enter.
    floor: f32,
    heap: BinaryHeap<Ranked>,
}

impl Top {
    /// An empty collection of at most `k`.
    pub(super) fn new(k: usize) -> Self {
        Self { k, floor: f32::NEG_INFINITY, heap: BinaryHeap::with_capacity(k.min(4096) + 1) }
    }

    /// Takes the slot if it is among the best so far.
    #[inline(always)]
    pub(super) fn offer(&mut self, slot: Slot, score: f32) {
        // A score that is not a number fails the comparison too.
        if score >= self.floor && score.is_finite() {
            self.enter(ScoredSlot { slot, score });
        }
    }

    #[inline(never)]
    fn enter(&mut self, scored: ScoredSlot) {
        self.heap.push(Ranked(scored));
        if self.heap.len() > self.k {
            self.heap.pop();
        }
        if self.heap.len() == self.k {
            self.floor = self.heap.peek().map_or(f32::INFINITY, |worst| worst.0.score);
        }
    }

    /// The best, best first.
    pub(super) fn into_sorted(self) -> Vec<ScoredSlot> {
        self.heap.into_sorted_vec().into_iter().map(|ranked| ranked.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_score_that_is_not_finite_never_enters() {
        let mut top = Top::new(2);
        for score in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN, 0.5] {
            top.offer(1, score);
        }
        assert_eq!(top.into_sorted(), [ScoredSlot { slot: 1, score: 0.5 }]);
        let mut none = Top::new(0);
        none.offer(1, 0.5);
        assert!(none.into_sorted().is_empty());
    }

    proptest! {
        #[test]
        fn keeps_what_sorting_everything_would(scores in proptest::collection::vec(0u8..20, 0..200), k in 0usize..30) {
            let mut top = Top::new(k);
            let mut all: Vec<(u8, Slot)> = scores.into_iter().zip(0..).collect();
            for (score, slot) in &all {
                top.offer(*slot, f32::from(*score));
            }
            all.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(k);
            let got: Vec<Slot> = top.into_sorted().iter().map(|scored| scored.slot).collect();
            prop_assert_eq!(got, all.iter().map(|row| row.1).collect::<Vec<_>>());
        }
    }
}
