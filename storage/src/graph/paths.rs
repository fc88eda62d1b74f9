//! The k shortest loopless paths.
//!
//! Source: Yen, "Finding the K Shortest Loopless Paths in a Network" (1971), with Lawler's rule
//! (1972) of deviating only behind the point where a path left its parent.
//!
//! Paths are ordered by length, then by the ids of their nodes from start to end. Between two nodes
//! that are linked more than once the link with the smallest id stands for all, so two paths always
//! differ in a node.
//!
//! Invariant: `GRA-5` the answer is the beginning of the list of all loopless paths in that order.
//!
//! Not here: weights; every link is one step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use types::{LinkId, MemoryId};

use super::Edge;
use crate::answer::Path;

/// Successors of every node, each with the link that stands for the step.
type Successors = BTreeMap<MemoryId, BTreeMap<MemoryId, LinkId>>;

/// The `limit` first paths from `from` to `to` with at most `links_max` links. No path when both
/// ends are the same memory.
pub fn shortest_paths(
    edges: impl IntoIterator<Item = Edge>,
    from: MemoryId,
    to: MemoryId,
    links_max: u32,
    limit: u32,
) -> Vec<Path> {
    if from == to {
        return Vec::new();
    }
    let successors = successors(edges);
    let links_max = links_max as usize;
    let mut found: Vec<Vec<MemoryId>> = Vec::new();
    // Ordered by length first, because that is how the answer is ordered.
    let mut waiting: BTreeSet<(usize, Vec<MemoryId>, usize)> = BTreeSet::new();
    let whole = Search { successors: &successors, to, visited: &[], refused: &BTreeSet::new() };
    waiting.extend(whole.shortest(from, links_max).map(|path| (path.len(), path, 0)));
    while found.len() < limit as usize
        && let Some((_, path, deviates_at)) = waiting.pop_first()
    {
        for spur in deviates_at..path.len() - 1 {
            // Steps that paths with the same beginning already take from here.
            let refused: BTreeSet<MemoryId> = found
                .iter()
                .chain([&path])
                .filter(|other| other.len() > spur + 1 && other[..=spur] == path[..=spur])
                .map(|other| other[spur + 1])
                .collect();
            let search =
                Search { successors: &successors, to, visited: &path[..spur], refused: &refused };
            if let Some(tail) = search.shortest(path[spur], links_max - spur) {
                let deviation: Vec<MemoryId> = path[..spur].iter().copied().chain(tail).collect();
                waiting.insert((deviation.len(), deviation, spur));
            }
        }
        found.push(path);
    }
    found.into_iter().map(|nodes| with_links(&successors, nodes)).collect()
}

fn successors(edges: impl IntoIterator<Item = Edge>) -> Successors {
    let mut all = Successors::new();
    for edge in edges {
        let link = all.entry(edge.from).or_default().entry(edge.to).or_insert(edge.link);
        *link = (*link).min(edge.link);
    }
    all
}

fn with_links(successors: &Successors, nodes: Vec<MemoryId>) -> Path {
    let links = nodes.windows(2).map(|step| successors[&step[0]][&step[1]]).collect();
    Path { nodes, links }
}

/// One search of the shortest path that avoids what earlier paths took.
struct Search<'a> {
    successors: &'a Successors,
    to: MemoryId,
    /// Nodes before the start, which a loopless path may not meet again.
    visited: &'a [MemoryId],
    /// First steps that are taken already.
    refused: &'a BTreeSet<MemoryId>,
}

impl Search<'_> {
    fn steps(&self, start: MemoryId, node: MemoryId) -> impl Iterator<Item = MemoryId> + '_ {
        let first = node == start;
        self.successors
            .get(&node)
            .into_iter()
            .flat_map(|next| next.keys().copied())
            .filter(move |n| *n != start && !self.visited.contains(n))
            .filter(move |n| !(first && self.refused.contains(n)))
    }

    /// The first path from `start` in the order of the answer, `start` and the end included.
    ///
    /// A breadth-first search that visits nodes in the order of the smallest path leading to them
    /// reaches every node first by its smallest shortest path: nodes of one layer are queued in the
    /// order of their parents, and the children of one parent in the order of their ids.
    fn shortest(&self, start: MemoryId, links_max: usize) -> Option<Vec<MemoryId>> {
        let mut parent_of: BTreeMap<MemoryId, MemoryId> = BTreeMap::new();
        let mut queue = VecDeque::from([(start, 0)]);
        while let Some((node, depth)) = queue.pop_front() {
            if node == self.to {
                return Some(trace(&parent_of, start, node));
            }
            if depth == links_max {
                continue;
            }
            for next in self.steps(start, node) {
                if let std::collections::btree_map::Entry::Vacant(entry) = parent_of.entry(next) {
                    entry.insert(node);
                    queue.push_back((next, depth + 1));
                }
            }
        }
        None
    }
}

fn trace(
    parent_of: &BTreeMap<MemoryId, MemoryId>,
    start: MemoryId,
    end: MemoryId,
) -> Vec<MemoryId> {
    let mut path = vec![end];
    let mut node = end;
    while node != start {
        node = parent_of[&node];
        path.push(node);
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn node(n: u8) -> MemoryId {
        MemoryId(Uuid::from_u128(u128::from(n)))
    }

    fn edge(from: u8, to: u8, link: u8) -> Edge {
        Edge { from: node(from), to: node(to), link: LinkId(Uuid::from_u128(u128::from(link))) }
    }

    fn as_numbers(paths: &[Path]) -> Vec<Vec<u8>> {
        let number = |id: &MemoryId| id.0.as_u128() as u8;
        paths.iter().map(|path| path.nodes.iter().map(number).collect()).collect()
    }

    /// All loopless paths, by trying everything.
    fn exhaustive(edges: &[(u8, u8)], to: u8, links_max: usize) -> Vec<Vec<u8>> {
        let mut done = BTreeSet::new();
        let mut open = vec![vec![0u8]];
        while let Some(path) = open.pop() {
            let last = path[path.len() - 1];
            if last == to {
                done.insert((path.len(), path));
                continue;
            }
            for (from, next) in edges {
                if *from == last && !path.contains(next) && path.len() <= links_max {
                    open.push(path.iter().copied().chain([*next]).collect());
                }
            }
        }
        done.into_iter().map(|(_, path)| path).collect()
    }

    proptest! {
        #[test]
        fn the_answer_is_the_beginning_of_all_paths_in_order(
            edges in prop::collection::vec((0u8..7, 0u8..7), 0..24),
            links_max in 1u32..6,
            limit in 1u32..20,
        ) {
            let edges: Vec<(u8, u8)> = edges.into_iter().filter(|(a, b)| a != b).collect();
            let given = edges.iter().enumerate().map(|(n, (a, b))| edge(*a, *b, n as u8));
            let found = as_numbers(&shortest_paths(given, node(0), node(6), links_max, limit));
            let mut expected = exhaustive(&edges, 6, links_max as usize);
            expected.truncate(limit as usize);
            prop_assert_eq!(found, expected, "GRA-5");
        }
    }

    #[test]
    fn the_smallest_of_parallel_links_stands_for_the_step() {
        let edges = [edge(1, 2, 9), edge(1, 2, 4), edge(2, 3, 7)];
        let found = shortest_paths(edges, node(1), node(3), 5, 8);
        assert_eq!(found.len(), 1);
        let links: Vec<u128> = found[0].links.iter().map(|l| l.0.as_u128()).collect();
        assert_eq!(links, [4, 7]);
    }

    #[test]
    fn a_memory_has_no_path_to_itself_nor_beyond_the_limit() {
        let edges = [edge(1, 2, 1), edge(2, 3, 2), edge(3, 1, 3)];
        assert!(shortest_paths(edges, node(1), node(1), 5, 8).is_empty());
        assert!(shortest_paths(edges, node(1), node(3), 1, 8).is_empty());
        assert_eq!(shortest_paths(edges, node(1), node(3), 2, 8).len(), 1);
    }
}
