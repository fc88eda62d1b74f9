//! When to compare what is held with whom.
//!
//! Invariants: `FED-12` one comparison is under way at a time; `FED-13` a peer whose log does not reach back to
//! where this node is gives its whole state before anything else is compared; `FED-14` every peer that may be asked
//! is compared with, each [`super::Options::compare_ms`].
//!
//! Not here: how ranges are compared (`crate::compare`), who may be asked (`health`).

use std::collections::BTreeMap;

use types::NodeId;

/// Pause after a comparison that failed, in milliseconds.
const AGAIN_MS: u64 = 5_000;

/// How it stands with one peer.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    /// When it is compared with next; `None` until the time is known.
    at_ms: Option<u64>,
    /// Its log does not reach back to where this node is.
    is_cut: bool,
}

/// Comparisons with all peers.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparing {
    under_way: Option<NodeId>,
    peers: BTreeMap<NodeId, Due>,
}

impl Comparing {
    pub(super) fn joined(&mut self, peer: NodeId) {
        self.peers.entry(peer).or_default();
    }

    pub(super) fn left(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
        self.under_way = self.under_way.filter(|under_way| *under_way != peer);
    }

    /// The peer's log does not reach back to where this node is.
    pub(super) fn is_cut(&mut self, peer: NodeId) {
        if let Some(due) = self.peers.get_mut(&peer) {
            due.is_cut = true;
        }
    }

    /// Whom to compare with now among `awake`, and whether to take all of its state.
    pub(super) fn next(
        &mut self,
        awake: &[NodeId],
        compare_ms: u64,
        now_ms: u64,
    ) -> Option<(NodeId, bool)> {
        for due in self.peers.values_mut() {
            due.at_ms.get_or_insert(now_ms.saturating_add(compare_ms));
        }
        if self.under_way.is_some() {
            return None;
        }
        let is_due = |due: &Due| due.is_cut || due.at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        let ready = |peer: &&NodeId| self.peers.get(peer).is_some_and(is_due);
        let peer = *awake
            .iter()
            .filter(ready)
            .min_by_key(|peer| self.peers.get(peer).map(|due| (!due.is_cut, due.at_ms)))?;
        self.under_way = Some(peer);
        let is_cut = self.peers.get(&peer).is_some_and(|due| due.is_cut);
        Some((peer, is_cut))
    }

    /// A comparison has ended.
    pub(super) fn ended(&mut self, peer: NodeId, whole: bool, compare_ms: u64, now_ms: u64) {
        if self.under_way != Some(peer) {
            return;
        }
        self.under_way = None;
        if let Some(due) = self.peers.get_mut(&peer) {
            let pause_ms = if whole { compare_ms } else { compare_ms.min(AGAIN_MS) };
            due.at_ms = Some(now_ms.saturating_add(pause_ms));
            due.is_cut = false;
        }
    }

    /// When there is something to do next.
    pub(super) fn next_ms(&self) -> Option<u64> {
        if self.under_way.is_some() {
            return None;
        }
        let due_ms = |due: &Due| if due.is_cut { Some(0) } else { due.at_ms };
        self.peers.values().filter_map(due_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn peers_are_compared_with_in_turn_and_the_one_that_is_needed_first() {
        let peers: Vec<NodeId> = (1..=3).map(|number| NodeId(Uuid::from_u128(number))).collect();
        let mut comparing = Comparing::default();
        peers.iter().for_each(|peer| comparing.joined(*peer));
        assert_eq!(comparing.next(&peers, 100, 0), None);
        assert_eq!(comparing.next_ms(), Some(100));
        assert_eq!(comparing.next(&peers, 100, 100), Some((peers[0], false)), "FED-14");
        comparing.is_cut(peers[2]);
        assert_eq!(comparing.next(&peers, 100, 100), None, "FED-12");
        comparing.ended(peers[0], true, 100, 110);
        assert_eq!(comparing.next(&peers, 100, 110), Some((peers[2], true)), "FED-13");
        comparing.ended(peers[2], false, 100, 120);
        assert_eq!(comparing.next(&peers, 100, 120), Some((peers[1], false)));
        comparing.left(peers[1]);
        assert_eq!(comparing.next(&peers, 100, 150), None);
        assert_eq!(comparing.next_ms(), Some(210));
        assert_eq!(comparing.next(&peers[1..], 100, 210), None, "it may not be asked now");
        assert_eq!(comparing.next(&peers, 100, 210), Some((peers[0], false)));
    }
}
