//! The best k of a stream of scores.
//!
//! Invariants: of equal scores the lower slot wins, whatever the order of arrival; `threshold` is the score a newcomer
//! with a higher slot than all seen must exceed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::Slot;

/// Keeps the k best (score, slot) pairs seen.
pub(crate) struct Top {
    k: usize,
    /// The worst kept pair on top.
    heap: BinaryHeap<Reverse<(u32, Reverse<Slot>)>>,
    threshold: u32,
}

impl Top {
    pub(crate) fn new(k: usize) -> Self {
        let threshold = if k == 0 { u32::MAX } else { 0 };
        Self { k, heap: BinaryHeap::with_capacity(k.min(4096) + 1), threshold }
    }

    /// Scores up to this one cannot enter any more, if slots come in ascending order.
    #[inline]
    pub(crate) fn threshold(&self) -> u32 {
        self.threshold
    }

    pub(crate) fn push(&mut self, score: u32, slot: Slot) {
        self.heap.push(Reverse((score, Reverse(slot))));
        if self.heap.len() > self.k {
            self.heap.pop();
        }
        if self.heap.len() == self.k {
            self.threshold = self.heap.peek().map_or(self.threshold, |Reverse((score, _))| *score);
        }
    }

    /// Best first; of equals the lower slot first.
    pub(crate) fn into_sorted(self) -> Vec<(u32, Slot)> {
        // Ascending in `Reverse` is descending in score, then ascending in slot.
        self.heap
            .into_sorted_vec()
            .into_iter()
            .map(|Reverse((score, Reverse(slot)))| (score, slot))
            .collect()
    }
}
