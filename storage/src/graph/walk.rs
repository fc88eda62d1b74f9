//! Breadth-first walk in layers: the caller loads the edges of a whole frontier at once.
//!
//! Invariants: `GRA-3` nodes come in order of distance, then id; `GRA-4` at the node limit the walk
//! keeps the nearest nodes, and among equally near ones those with the smallest ids.
//!
//! Not here: loading edges, which costs I/O and belongs to the backend.

use std::collections::{BTreeMap, BTreeSet};

use types::MemoryId;

use super::Edge;

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbourhood {
    /// Nodes with their distance from the start, in order of distance, then id.
    pub nodes: Vec<(u32, MemoryId)>,
    /// Whether the node limit left something out.
    pub truncated: bool,
}

/// A walk in progress. Alternate [`Walk::frontier`] and [`Walk::advance`] until the frontier is
/// empty, then take the result with [`Walk::finish`].
#[derive(Debug)]
pub struct Walk {
    distance_of: BTreeMap<MemoryId, u32>,
    edges: BTreeSet<Edge>,
    frontier: BTreeSet<MemoryId>,
    depth: u32,
    depth_max: u32,
    nodes_max: usize,
    truncated: bool,
}

impl Walk {
    /// A walk from `start`, at most `depth_max` links deep and `nodes_max` nodes wide in all.
    pub fn new(start: MemoryId, depth_max: u32, nodes_max: usize) -> Self {
        Self {
            distance_of: BTreeMap::from([(start, 0)]),
            edges: BTreeSet::new(),
            frontier: BTreeSet::from([start]),
            depth: 0,
            depth_max,
            nodes_max: nodes_max.max(1),
            truncated: false,
        }
    }

    /// Nodes whose edges are wanted next; empty when the walk is over.
    pub fn frontier(&self) -> impl Iterator<Item = MemoryId> + '_ {
        let over = self.depth >= self.depth_max;
        self.frontier.iter().copied().filter(move |_| !over)
    }

    /// Takes the edges that leave the frontier (already turned so that `from` is in it).
    pub fn advance(&mut self, edges: impl IntoIterator<Item = Edge>) {
        self.depth += 1;
        let edges: BTreeSet<Edge> = edges.into_iter().collect();
        let fresh: BTreeSet<MemoryId> = edges
            .iter()
            .map(|edge| edge.to)
            .filter(|node| !self.distance_of.contains_key(node))
            .collect();
        let room = self.nodes_max - self.distance_of.len();
        self.truncated |= fresh.len() > room;
        self.frontier = fresh.into_iter().take(room).collect();
        self.distance_of.extend(self.frontier.iter().map(|node| (*node, self.depth)));
        self.edges.extend(edges);
    }

    /// How far a node is from the start, if the walk has reached it.
    pub fn distance(&self, node: MemoryId) -> Option<u32> {
        self.distance_of.get(&node).copied()
    }

    /// Every edge met so far.
    pub fn edges(&self) -> impl Iterator<Item = Edge> + '_ {
        self.edges.iter().copied()
    }

    /// Whether the node limit left something out so far.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// What was found.
    pub fn finish(self) -> Neighbourhood {
        let mut nodes: Vec<(u32, MemoryId)> =
            self.distance_of.iter().map(|(node, distance)| (*distance, *node)).collect();
        nodes.sort_unstable();
        Neighbourhood { nodes, truncated: self.truncated }
    }
}

#[cfg(test)]
mod tests {
    use types::LinkId;
    use uuid::Uuid;

    use super::*;

    fn node(n: u128) -> MemoryId {
        MemoryId(Uuid::from_u128(n))
    }

    fn edge(from: u128, to: u128) -> Edge {
        Edge { from: node(from), to: node(to), link: LinkId(Uuid::from_u128(from * 100 + to)) }
    }

    fn walk(all: &[Edge], depth: u32, nodes_max: usize) -> Neighbourhood {
        let mut walk = Walk::new(node(1), depth, nodes_max);
        loop {
            let frontier: BTreeSet<MemoryId> = walk.frontier().collect();
            if frontier.is_empty() {
                return walk.finish();
            }
            walk.advance(all.iter().copied().filter(|e| frontier.contains(&e.from)));
        }
    }

    fn ids(found: &Neighbourhood) -> Vec<(u32, u128)> {
        found.nodes.iter().map(|(d, n)| (*d, n.0.as_u128())).collect()
    }

    #[test]
    fn nodes_come_nearest_first_and_no_deeper_than_asked() {
        let ring = [edge(1, 3), edge(1, 2), edge(2, 4), edge(4, 1), edge(4, 5)];
        assert_eq!(ids(&walk(&ring, 2, 100)), [(0, 1), (1, 2), (1, 3), (2, 4)]);
        assert_eq!(ids(&walk(&ring, 1, 100)), [(0, 1), (1, 2), (1, 3)]);
        let whole = walk(&ring, 5, 100);
        assert_eq!(ids(&whole), [(0, 1), (1, 2), (1, 3), (2, 4), (3, 5)], "GRA-3");
        assert!(!whole.truncated);
    }

    #[test]
    fn the_limit_keeps_the_nearest_and_smallest() {
        let star: Vec<Edge> = (2..10).rev().map(|n| edge(1, n)).collect();
        let cut = walk(&star, 3, 4);
        assert_eq!(ids(&cut), [(0, 1), (1, 2), (1, 3), (1, 4)], "GRA-4");
        assert!(cut.truncated);
    }
}
