//! What every member covers.
//!
//! Source: causal stability, Baquero, Almeida and Shoker, "Making operation-based CRDTs operation-based"
//! (2014), §6.
//!
//! Invariant: `FED-11` what is called stable is covered by this node and by every member, as each has
//! said itself; it grows only, and a member that has said nothing holds it still.
//!
//! Not here: what is forgotten because of it (storage).

use std::collections::BTreeMap;

use types::{NodeId, VersionVector};

/// What is known of what the members cover.
#[derive(Clone, Debug)]
pub(super) struct Stable {
    mine: VersionVector,
    /// `None`: it has said nothing.
    members: BTreeMap<NodeId, Option<VersionVector>>,
    told: VersionVector,
}

impl Stable {
    pub(super) fn new(mine: VersionVector) -> Self {
        Self { mine, members: BTreeMap::new(), told: VersionVector::default() }
    }

    pub(super) fn mine(&mut self, vector: VersionVector) {
        self.mine.join(&vector);
    }

    pub(super) fn joined(&mut self, member: NodeId) {
        self.members.insert(member, None);
    }

    pub(super) fn left(&mut self, member: NodeId) {
        self.members.remove(&member);
    }

    /// A member covers this much. Less than it said before counts too: it may have been restored.
    pub(super) fn heard(&mut self, member: NodeId, vector: VersionVector) {
        if let Some(known) = self.members.get_mut(&member) {
            *known = Some(vector);
        }
    }

    /// What is stable, if that is more than was told before.
    pub(super) fn advanced(&mut self) -> Option<VersionVector> {
        let least = |origin: NodeId, seq: u64| {
            let theirs = self
                .members
                .values()
                .map(|vector| vector.as_ref().map_or(0, |vector| vector.get(origin)));
            theirs.fold(seq, u64::min)
        };
        let stable: VersionVector = self
            .mine
            .iter()
            .map(|(origin, seq)| (origin, least(origin, seq)))
            .filter(|(_, seq)| *seq > 0)
            .collect();
        // Alone there is nobody to wait for; what a single node keeps is its own affair.
        if self.members.is_empty() || self.told.covers(&stable) {
            return None;
        }
        self.told.join(&stable);
        Some(self.told.clone())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn vector(entries: &[(u128, u64)]) -> VersionVector {
        entries.iter().map(|(origin, seq)| (NodeId(Uuid::from_u128(*origin)), *seq)).collect()
    }

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    #[test]
    fn only_what_everybody_covers_is_stable() {
        let mut stable = Stable::new(vector(&[(1, 9), (2, 4)]));
        assert_eq!(stable.advanced(), None);
        stable.joined(node(2));
        stable.joined(node(3));
        stable.heard(node(2), vector(&[(1, 7), (2, 8)]));
        assert_eq!(stable.advanced(), None, "FED-11: one has said nothing");
        stable.heard(node(3), vector(&[(1, 5), (2, 1), (3, 6)]));
        assert_eq!(stable.advanced(), Some(vector(&[(1, 5), (2, 1)])));
        assert_eq!(stable.advanced(), None);
        stable.heard(node(3), vector(&[(1, 3)]));
        assert_eq!(stable.advanced(), None, "FED-11: it grows only");
        stable.left(node(3));
        assert_eq!(stable.advanced(), Some(vector(&[(1, 7), (2, 4)])));
    }
}
