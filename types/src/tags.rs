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
