//! Grow-only counters with one slot per origin.
//!
//! Source: Shapiro et al. (2011), §3.1.1 (G-Counter).
//!
//! Invariant: a slot is written by its origin alone and only grows, so a join by maximum never
//! counts an event twice.
//!
//! Not here: decrements.

use std::collections::BTreeMap;

use crate::NodeId;

/// A sum of per-origin counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter(BTreeMap<NodeId, u64>);

impl Counter {
    /// Adds `amount` to the slot of `origin`. The caller applies each operation once.
    pub fn add(&mut self, origin: NodeId, amount: u64) {
        let slot = self.0.entry(origin).or_insert(0);
        *slot = slot.saturating_add(amount);
    }

    /// The total, saturating.
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Joins two copies: the maximum of every slot.
    pub fn join(&mut self, other: &Counter) {
        for (origin, count) in &other.0 {
            let slot = self.0.entry(*origin).or_insert(0);
            *slot = (*slot).max(*count);
        }
    }

    /// Slots in order of origin.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.0.iter().map(|(origin, count)| (*origin, *count))
    }
}

impl FromIterator<(NodeId, u64)> for Counter {
    fn from_iter<I: IntoIterator<Item = (NodeId, u64)>>(slots: I) -> Self {
        let mut counter = Self::default();
        for (origin, count) in slots {
            counter.add(origin, count);
        }
        counter
    }
}
