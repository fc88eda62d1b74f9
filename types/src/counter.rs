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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    type Events = Vec<(NodeId, u64)>;

    /// What a replica has counted that knows the first `known` events of every origin.
    fn counted(events: &Events, known: usize) -> Counter {
        let mut counter = Counter::default();
        let mut seen: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (origin, amount) in events {
            let n = seen.entry(*origin).or_default();
            *n += 1;
            if *n <= known {
                counter.add(*origin, *amount);
            }
        }
        counter
    }

    fn join(mut a: Counter, b: &Counter) -> Counter {
        a.join(b);
        a
    }

    proptest! {
        #![proptest_config(arbitrary::laws())]

        #[test]
        fn every_event_counts_once(
            events in prop::collection::vec((arbitrary::node_id(), 0u64..100), 0..20),
            known in prop::array::uniform3(0usize..6),
        ) {
            let [a, b, c] = known.map(|known| counted(&events, known));
            prop_assert_eq!(join(a.clone(), &a), a.clone());
            prop_assert_eq!(join(a.clone(), &b), join(b.clone(), &a));
            prop_assert_eq!(join(join(a.clone(), &b), &c), join(a.clone(), &join(b.clone(), &c)));
            let most = known.into_iter().max().expect("three");
            prop_assert_eq!(join(join(a, &b), &c), counted(&events, most));
            let total: u64 = events.iter().map(|(_, amount)| amount).sum();
            prop_assert_eq!(counted(&events, usize::MAX).total(), total);
        }
    }

    #[test]
    fn totals_saturate() {
        let (a, b) = (NodeId(uuid::Uuid::nil()), NodeId(uuid::Uuid::max()));
        let counter: Counter = [(a, u64::MAX), (a, 1), (b, 1)].into_iter().collect();
        assert_eq!(counter.total(), u64::MAX);
    }
}
