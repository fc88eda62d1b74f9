//! Links: typed, directed edges between memories, with validity.
//!
//! Invariants: a link's ends and relation never change; its end of validity and its removal are
//! registers like any other field; a `contradicts` edge is symmetric and stored once, with the
//! smaller id first, so every replica has the same edge.
//!
//! Not here: finding contradictions, and graph traversal (`storage`).

use crate::{
    AgentId, Invalid, LinkId, MemoryId,
    kinds::vocabulary,
    memory::Validity,
    register::{Register, Stamp},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

vocabulary! {
    /// What a link says of its two ends.
    Relation, "relation" {
        /// They have to do with each other.
        RelatedTo = 1 "related_to",
        /// The source replaces the target; closes the target's validity.
        Supersedes = 2 "supersedes",
        /// Both cannot be true; symmetric.
        Contradicts = 3 "contradicts",
        /// The source was made from the target.
        DerivedFrom = 4 "derived_from",
        /// The source is a reflection on the target.
        ReflectsOn = 5 "reflects_on",
        /// The target is a part of the source.
        DecomposesInto = 6 "decomposes_into",
        /// The source needs the target.
        DependsOn = 7 "depends_on",
        /// The source brings the target closer.
        Advances = 8 "advances",
    }
}

impl Relation {
    /// Whether following the relation back to its start is an error.
    pub fn is_acyclic(self) -> bool {
        matches!(
            self,
            Self::Supersedes
                | Self::DerivedFrom
                | Self::ReflectsOn
                | Self::DecomposesInto
                | Self::DependsOn
        )
    }

    /// Whether the direction means nothing.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::RelatedTo | Self::Contradicts)
    }
}

/// A link as it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// Its id, drawn by the node.
    pub id: LinkId,
    /// Where it starts.
    pub source: MemoryId,
    /// Where it ends.
    pub target: MemoryId,
    /// What it says.
    pub relation: Relation,
    /// When it holds.
    pub validity: Validity,
}

impl NewLink {
    /// Checks the link and puts a symmetric one into its stored direction.
    ///
    /// # Errors
    /// [`Invalid`] when both ends are the same memory or the validity is empty.
    pub fn normalise(mut self) -> Result<Self, Invalid> {
        if self.relation.is_symmetric() && self.target < self.source {
            std::mem::swap(&mut self.source, &mut self.target);
        }
        self.check()?;
        Ok(self)
    }

    /// Checks a link that is in its stored direction already.
    ///
    /// # Errors
    /// [`Invalid`] when it is not, when both ends are the same memory or the validity is empty.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.source == self.target {
            return Err(Invalid::new("target", "a memory cannot be linked to itself"));
        }
        if self.relation.is_symmetric() && self.target < self.source {
            return Err(Invalid::new("target", "is smaller than the source of a symmetric link"));
        }
        self.validity.check()
    }
}

/// A link as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// Where it starts.
    pub source: MemoryId,
    /// Where it ends.
    pub target: MemoryId,
    /// What it says.
    pub relation: Relation,
    /// Who made it.
    pub author: AgentId,
    /// The operation that made it.
    pub created: Stamp,
    /// When it holds.
    pub validity: Register<Validity>,
    /// Whether it was removed; removal is final.
    pub removed: bool,
}

impl Link {
    /// Joins two copies of one link.
    pub fn join(&mut self, other: Link) {
        self.validity.join(other.validity);
        self.removed |= other.removed;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::arbitrary;

    fn link(source: u128, target: u128, relation: Relation) -> NewLink {
        NewLink {
            id: LinkId(Uuid::from_u128(9)),
            source: MemoryId(Uuid::from_u128(source)),
            target: MemoryId(Uuid::from_u128(target)),
            relation,
            validity: Validity::default(),
        }
    }

    #[test]
    fn a_symmetric_link_has_one_direction() {
        let there = link(1, 2, Relation::Contradicts).normalise();
        assert_eq!(link(2, 1, Relation::Contradicts).normalise(), there);
        assert_eq!(link(2, 1, Relation::Contradicts).check().expect_err("swapped").field, "target");
        let directed = link(2, 1, Relation::Supersedes);
        assert_eq!(directed.clone().normalise(), Ok(directed));
    }

    #[test]
    fn loops_and_empty_spans_are_refused() {
        assert_eq!(
            link(1, 1, Relation::RelatedTo).normalise().expect_err("a loop").field,
            "target"
        );
        let validity = Validity { from_ms: Some(3), until_ms: Some(3) };
        let empty = NewLink { validity, ..link(1, 2, Relation::DependsOn) };
        assert_eq!(empty.normalise().expect_err("an empty span").field, "valid_until");
    }

    proptest! {
        #![proptest_config(arbitrary::laws())]

        #[test]
        fn the_join_is_a_semilattice_and_removal_is_final(
            link in arbitrary::link(),
            changes in prop::array::uniform3((arbitrary::stamp(), any::<bool>())),
        ) {
            // One operation sets one validity: its own stamp stands for it.
            let [a, b, c] = changes.map(|(stamp, removed)| {
                let origin = u64::from(stamp.origin.as_bytes()[7]);
                let from_ms = stamp.hlc.as_u64().wrapping_add(stamp.fence).wrapping_mul(8) + origin;
                let value = Validity { from_ms: Some(from_ms), until_ms: None };
                let validity = Register::new(value, stamp);
                Link { validity, removed, ..link.clone() }
            });
            let join = |mut x: Link, y: &Link| { x.join(y.clone()); x };
            prop_assert_eq!(join(a.clone(), &a), a.clone());
            prop_assert_eq!(join(a.clone(), &b).removed, a.removed || b.removed);
            prop_assert_eq!(join(a.clone(), &b), join(b.clone(), &a));
            prop_assert_eq!(join(join(a.clone(), &b), &c), join(a, &join(b, &c)));
        }
    }
}
