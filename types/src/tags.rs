//! The tags of a memory: an observed-remove set.
//!
//! Source: Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data
//! Types" (2011), §3.3.5 (OR-Set). Every addition is a dot, the operation that made it; a removal
//! names the dots it has seen, so a concurrent addition survives and a stale replica cannot bring a
//! removed tag back.
//!
//! Invariants: `TAG-1` a tag is present exactly when it has a dot that no removal named, in
//! whatever order the two arrive; `TAG-2` both parts only grow, so the join is their union.
//!
//! Not here: limits on the number of tags (checked where a request enters).

use std::collections::BTreeSet;

use crate::{OpId, Tag};

/// An addition of a tag: the tag and the operation that added it.
pub type Dot = (Tag, OpId);

/// An observed-remove set of tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    added: BTreeSet<Dot>,
    removed: BTreeSet<Dot>,
}

impl Tags {
    /// Adds `tag` by operation `op`.
    pub fn add(&mut self, tag: Tag, op: OpId) {
        let dot = (tag, op);
        if !self.removed.contains(&dot) {
            self.added.insert(dot);
        }
    }

    /// Removes the additions named by `dots`, arrived or not.
    pub fn remove(&mut self, dots: impl IntoIterator<Item = Dot>) {
        for dot in dots {
            self.added.remove(&dot);
            self.removed.insert(dot);
        }
    }

    /// The dots that make `tag` present: what a removal must name.
    pub fn dots<'a>(&'a self, tag: &'a Tag) -> impl Iterator<Item = &'a Dot> + 'a {
        self.added.iter().filter(move |(t, _)| t == tag)
    }

    /// Tags present, in order, each once.
    pub fn iter(&self) -> impl Iterator<Item = &Tag> + '_ {
        let mut last: Option<&Tag> = None;
        self.added.iter().filter_map(move |(tag, _)| {
            let fresh = last != Some(tag);
            last = Some(tag);
            fresh.then_some(tag)
        })
    }

    /// Joins two copies.
    pub fn join(&mut self, other: &Tags) {
        self.remove(other.removed.iter().cloned());
        for (tag, op) in &other.added {
            self.add(tag.clone(), *op);
        }
    }

    /// Builds the set from its stored parts; a removal outweighs an addition of the same dot.
    pub fn from_parts(added: BTreeSet<Dot>, removed: BTreeSet<Dot>) -> Self {
        let mut tags = Self { added, removed };
        tags.added.retain(|dot| !tags.removed.contains(dot));
        tags
    }

    /// The stored parts: live additions and remembered removals.
    pub fn parts(&self) -> (&BTreeSet<Dot>, &BTreeSet<Dot>) {
        (&self.added, &self.removed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    /// Additions and removals of dots, which may name any addition or none.
    fn changes() -> impl Strategy<Value = Vec<(bool, Dot)>> {
        let dot = (arbitrary::tag(), arbitrary::node_id(), 1u64..4)
            .prop_map(|(tag, origin, seq)| (tag, OpId { origin, seq }));
        prop::collection::vec((any::<bool>(), dot), 0..16)
    }

    fn replay<'a>(changes: impl IntoIterator<Item = &'a (bool, Dot)>) -> Tags {
        let mut tags = Tags::default();
        for (add, dot) in changes {
            if *add { tags.add(dot.0.clone(), dot.1) } else { tags.remove([dot.clone()]) }
        }
        tags
    }

    fn join(mut a: Tags, b: &Tags) -> Tags {
        a.join(b);
        a
    }

    proptest! {
        #![proptest_config(arbitrary::laws())]

        #[test]
        fn a_tag_is_present_exactly_while_an_addition_is_not_removed(changes in changes()) {
            let removed: BTreeSet<&Dot> =
                changes.iter().filter(|(add, _)| !add).map(|(_, dot)| dot).collect();
            let present: BTreeSet<&Tag> = changes
                .iter()
                .filter(|(add, dot)| *add && !removed.contains(dot))
                .map(|(_, dot)| &dot.0)
                .collect();
            let forward = replay(&changes);
            prop_assert_eq!(&forward, &replay(changes.iter().rev()), "TAG-1");
            prop_assert_eq!(forward.iter().collect::<Vec<_>>(), Vec::from_iter(present), "TAG-1");
            let (added, removed) = forward.parts();
            prop_assert_eq!(Tags::from_parts(added.clone(), removed.clone()), forward);
        }

        #[test]
        fn the_join_is_a_semilattice_and_equals_the_whole(
            a in changes(),
            b in changes(),
            c in changes(),
        ) {
            let (x, y, z) = (replay(&a), replay(&b), replay(&c));
            prop_assert_eq!(join(x.clone(), &x), x.clone(), "TAG-2");
            prop_assert_eq!(join(x.clone(), &y), join(y.clone(), &x), "TAG-2");
            let whole = join(join(x.clone(), &y), &z);
            prop_assert_eq!(&whole, &join(x, &join(y, &z)), "TAG-2");
            prop_assert_eq!(whole, replay(a.iter().chain(&b).chain(&c)), "TAG-2");
        }
    }

    #[test]
    fn an_addition_that_a_removal_has_not_seen_survives_it() {
        let tag: Tag = "urgent".parse().expect("a tag");
        let op = |seq| OpId { origin: crate::NodeId(uuid::Uuid::nil()), seq };
        let mut here = Tags::default();
        here.add(tag.clone(), op(1));
        let mut there = here.clone();
        here.remove(here.dots(&tag).cloned().collect::<Vec<_>>());
        there.add(tag.clone(), op(2));
        here.join(&there);
        assert_eq!(here.iter().collect::<Vec<_>>(), [&tag]);
    }
}
