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

use std::collections::{BTreeMap, BTreeSet};

use types::{NodeId, VersionVector};

/// What is known of what the members cover.
#[derive(Clone, Debug)]
pub(super) struct Stable {
    mine: VersionVector,
    /// `None`: it has said nothing.
    members: BTreeMap<NodeId, Option<VersionVector>>,
    candidate: Option<Candidate>,
    told: VersionVector,
}

/// What may be stable.
#[derive(Clone, Debug)]
struct Candidate {
    /// What all covered when this was noted.
    common: VersionVector,
    /// What any of them had said before it covered that.
    said: VersionVector,
    /// Members that may have said something since without covering it: they are new, or were put back.
    unsure: BTreeSet<NodeId>,
}

impl Candidate {
    /// A member covers this much, and covered that much when it was heard before.
    fn heard(&mut self, member: NodeId, before: Option<&VersionVector>, now: &VersionVector) {
        let knew = |origin: NodeId| before.is_some_and(|before| before.get(origin) > 0);
        let mut lives = now.iter().filter(|(origin, _)| member.speaks_as(*origin));
        if !now.covers(&self.common) || lives.any(|(origin, _)| !knew(origin)) {
            self.unsure.insert(member);
        }
        if now.covers(&self.common) && self.unsure.remove(&member) {
            self.said.join(now);
        }
    }
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
        if let Some(candidate) = &mut self.candidate {
            candidate.unsure.insert(member);
        }
    }

    pub(super) fn left(&mut self, member: NodeId) {
        self.members.remove(&member);
        if let Some(candidate) = &mut self.candidate {
            candidate.unsure.remove(&member);
        }
    }

    /// A member covers this much. Less than it said before counts too: it may have been restored.
    pub(super) fn heard(&mut self, member: NodeId, vector: VersionVector) {
        let Some(known) = self.members.get_mut(&member) else { return };
        if let Some(candidate) = &mut self.candidate {
            candidate.heard(member, known.as_ref(), &vector);
        }
        *known = Some(vector);
    }

    /// What is stable, if that is more than was told before.
    pub(super) fn advanced(&mut self) -> Option<VersionVector> {
        // Alone there is nobody to wait for; what a single node keeps is its own affair.
        if self.members.is_empty() {
            return None;
        }
        let common = self.common();
        let known = self.candidate.take_if(|candidate| common.covers(&candidate.said));
        let stable = known.map(|candidate| candidate.common);
        if self.candidate.is_none() && !self.told.covers(&common) {
            let (said, unsure) = (self.any(), BTreeSet::new());
            self.candidate = Some(Candidate { common, said, unsure });
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
    fn who_comes_or_is_put_back_may_have_said_something_without_knowing_it() {
        // This node is 1; 2 has gone past everything, 3 lacks the last operation of 2, which holds the candidate.
        let all = vector(&[(1, 4), (2, 2)]);
        let begun = || {
            let mut stable = Stable::new(all.clone());
            stable.joined(node(2));
            stable.joined(node(3));
            stable.heard(node(2), all.clone());
            stable.heard(node(3), vector(&[(1, 4), (2, 1)]));
            assert_eq!(stable.advanced(), None, "FED-15");
            stable
        };
        let mut stable = begun();
        stable.heard(node(2), vector(&[(1, 2), (2, 2)]));
        stable.heard(node(2), vector(&[(1, 4), (2, 3)]));
        stable.heard(node(3), all.clone());
        assert_eq!(stable.advanced(), None, "FED-15: 2 was put back, and said its third then");
        stable.mine(vector(&[(2, 3)]));
        stable.heard(node(3), vector(&[(1, 4), (2, 3)]));
        assert_eq!(stable.advanced(), Some(vector(&[(1, 4), (2, 1)])), "FED-15");

        let mut stable = begun();
        stable.joined(node(4));
        stable.heard(node(4), vector(&[(1, 4), (2, 2), (4, 1)]));
        stable.heard(node(3), all.clone());
        assert_eq!(stable.advanced(), None, "FED-15: 4 may have said it before it knew");
        stable.mine(vector(&[(4, 1)]));
        for member in [2, 3] {
            stable.heard(node(member), vector(&[(1, 4), (2, 2), (4, 1)]));
        }
        assert_eq!(stable.advanced(), Some(vector(&[(1, 4), (2, 1)])), "FED-15");
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
