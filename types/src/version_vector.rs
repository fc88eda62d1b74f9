//! Version vectors: how much of every origin's sequence is known.
//!
//! Source: Parker et al., "Detection of Mutual Inconsistency in Distributed Systems" (1983).
//!
//! Invariant: an entry `(origin, n)` claims operations 1..=n of that origin, so it only advances
//! over a gap-free prefix; [`VersionVector::advance`] refuses anything else.
//!
//! Not here: dots above a gap (the federation engine buffers those).

use std::collections::BTreeMap;

use crate::{NodeId, OpId};

/// For each origin, the greatest sequence number below which nothing is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionVector(BTreeMap<NodeId, u64>);

impl VersionVector {
    /// The greatest known sequence of `origin`, 0 when none is.
    pub fn get(&self, origin: NodeId) -> u64 {
        self.0.get(&origin).copied().unwrap_or(0)
    }

    /// Whether the operation is covered.
    pub fn contains(&self, op: OpId) -> bool {
        op.seq <= self.get(op.origin)
    }

    /// Records `op` if it is the next of its origin; says whether it was.
    pub fn advance(&mut self, op: OpId) -> bool {
        let next = op.seq == self.get(op.origin) + 1;
        if next {
            self.0.insert(op.origin, op.seq);
        }
        next
    }

    /// Claims everything of `origin` up to `seq`; never goes back.
    pub fn raise(&mut self, origin: NodeId, seq: u64) {
        let entry = self.0.entry(origin).or_insert(0);
        *entry = (*entry).max(seq);
    }

    /// Least upper bound of both.
    pub fn join(&mut self, other: &VersionVector) {
        for (origin, seq) in &other.0 {
            self.raise(*origin, *seq);
        }
    }

    /// Whether everything in `other` is covered here.
    pub fn covers(&self, other: &VersionVector) -> bool {
        other.0.iter().all(|(origin, seq)| self.get(*origin) >= *seq)
    }

    /// Entries in order of origin.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.0.iter().map(|(origin, seq)| (*origin, *seq))
    }
}

impl FromIterator<(NodeId, u64)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (NodeId, u64)>>(entries: I) -> Self {
        let mut vector = Self::default();
        for (origin, seq) in entries {
            vector.raise(origin, seq);
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(n: u128) -> NodeId {
        NodeId(Uuid::from_u128(n))
    }

    #[test]
    fn advances_only_without_gaps() {
        let mut vector = VersionVector::default();
        assert!(!vector.advance(OpId { origin: node(1), seq: 2 }));
        assert!(vector.advance(OpId { origin: node(1), seq: 1 }));
        assert!(vector.advance(OpId { origin: node(1), seq: 2 }));
        assert!(!vector.advance(OpId { origin: node(1), seq: 2 }));
        assert!(vector.contains(OpId { origin: node(1), seq: 1 }));
        assert!(!vector.contains(OpId { origin: node(2), seq: 1 }));
    }

    #[test]
    fn join_is_the_least_upper_bound() {
        let a: VersionVector = [(node(1), 3), (node(2), 1)].into_iter().collect();
        let b: VersionVector = [(node(2), 5)].into_iter().collect();
        let mut joined = a.clone();
        joined.join(&b);
        assert!(joined.covers(&a) && joined.covers(&b));
        assert!(!a.covers(&b) && !b.covers(&a));
        assert_eq!(joined, [(node(1), 3), (node(2), 5)].into_iter().collect());
    }
}
