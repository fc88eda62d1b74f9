//! What every member covers.
//!
//! Source: causal stability, Baquero, Almeida and Shoker, "Making operation-based CRDTs operation-based"
//! (2014), §6.
//!
//! Invariants: `FED-11` what is called stable is covered by this node and by every member, as each has
//! said itself; it grows only, and a member that has said nothing holds it still. `FED-15` everything that
//! members had said before they covered it is covered by all of them too: no operation can come any more
//! whose author did not know what is stable.
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
    /// What all covered when this was noted, and what any of them covered then.
    candidate: Option<(VersionVector, VersionVector)>,
    told: VersionVector,
}

impl Stable {
    pub(super) fn new(mine: VersionVector) -> Self {
        Self { mine, members: BTreeMap::new(), candidate: None, told: VersionVector::default() }
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
        // Alone there is nobody to wait for; what a single node keeps is its own affair.
        if self.members.is_empty() {
            return None;
        }
        let common = self.common();
        let known = self.candidate.take_if(|(_, said)| common.covers(said));
        let stable = known.map(|(candidate, _)| candidate);
        if self.candidate.is_none() && !self.told.covers(&common) {
            self.candidate = Some((common, self.any()));
        }
        let stable = stable.filter(|stable| !self.told.covers(stable))?;
        self.told.join(&stable);
        Some(self.told.clone())
    }

    /// What this node and all members cover.
    fn common(&self) -> VersionVector {
        let least = |origin: NodeId, seq: u64| {
            let theirs = self
                .members
                .values()
                .map(|vector| vector.as_ref().map_or(0, |vector| vector.get(origin)));
            theirs.fold(seq, u64::min)
        };
        let common = self.mine.iter().map(|(origin, seq)| (origin, least(origin, seq)));
        common.filter(|(_, seq)| *seq > 0).collect()
    }

    /// What this node or any member covers.
    fn any(&self) -> VersionVector {
        let mut any = self.mine.clone();
        self.members.values().flatten().for_each(|vector| any.join(vector));
        any
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
        stable.heard(node(2), vector(&[(1, 9), (2, 4)]));
        assert_eq!(stable.advanced(), None, "FED-11: one has said nothing");
        stable.heard(node(3), vector(&[(1, 5), (2, 1)]));
        assert_eq!(stable.advanced(), None, "FED-15: something was said meanwhile");
        stable.heard(node(3), vector(&[(1, 9), (2, 4)]));
        assert_eq!(stable.advanced(), Some(vector(&[(1, 5), (2, 1)])), "FED-15");
        assert_eq!(stable.advanced(), Some(vector(&[(1, 9), (2, 4)])), "nothing was said since");
        assert_eq!(stable.advanced(), None);
        stable.heard(node(3), vector(&[(1, 3)]));
        assert_eq!(stable.advanced(), None, "FED-11: it grows only");
    }

    #[test]
    fn what_was_said_without_knowing_it_holds_it_back() {
        let mut stable = Stable::new(vector(&[(1, 1)]));
        stable.joined(node(2));
        // It has said two operations, the second of which this node lacks.
        stable.heard(node(2), vector(&[(1, 1), (2, 2)]));
        stable.mine(vector(&[(2, 1)]));
        assert_eq!(stable.advanced(), None, "FED-15");
        stable.mine(vector(&[(2, 2)]));
        assert_eq!(stable.advanced(), Some(vector(&[(1, 1), (2, 1)])), "FED-15");
        stable.left(node(2));
        stable.joined(node(3));
        stable.mine(vector(&[(1, 5)]));
        assert_eq!(stable.advanced(), None, "FED-11: the new one has said nothing");
    }
}
