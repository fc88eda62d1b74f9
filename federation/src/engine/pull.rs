//! When to ask a peer what this node lacks.
//!
//! Invariants: `FED-10` one peer is asked at a time, so that nothing comes twice; each in its turn, every
//! [`super::Options::catch_up_ms`]; a peer that has more is asked again at once.
//!
//! Not here: what is asked and what comes (the driver), pauses of silent peers (`health`).

use types::NodeId;

/// The round of catching up.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// Who is being asked.
    asking: Option<NodeId>,
    /// Who was asked last.
    last: Option<NodeId>,
    /// When the next is asked.
    next_ms: u64,
}

impl Round {
    /// Who is to be asked now: the next in order among `peers`, which are ascending and may be asked.
    pub(super) fn next(&mut self, peers: &[NodeId], now_ms: u64) -> Option<NodeId> {
        if self.asking.is_some() || now_ms < self.next_ms {
            return None;
        }
        let after = peers.iter().find(|peer| Some(**peer) > self.last);
        let peer = *after.or(peers.first())?;
        (self.asking, self.last) = (Some(peer), Some(peer));
        Some(peer)
    }

    /// A peer has answered, or has not; it is asked again at once if it has more.
    pub(super) fn ended(&mut self, peer: NodeId, more: bool, pause_ms: u64, now_ms: u64) -> bool {
        if self.asking != Some(peer) {
            return false;
        }
        if more {
            return true;
        }
        self.asking = None;
        self.next_ms = now_ms.saturating_add(pause_ms);
        false
    }

    /// Somebody may have something that is wanted: no reason to wait.
    pub(super) fn hurry(&mut self, now_ms: u64) {
        self.next_ms = self.next_ms.min(now_ms);
    }

    /// A peer has left.
    pub(super) fn left(&mut self, peer: NodeId) {
        self.asking = self.asking.filter(|asking| *asking != peer);
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.asking.is_none().then_some(self.next_ms)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn peers_take_turns() {
        let peers: Vec<NodeId> = (1..=3).map(|number| NodeId(Uuid::from_u128(number))).collect();
        let mut round = Round::default();
        assert_eq!(round.next(&peers, 0), Some(peers[0]));
        assert_eq!(round.next(&peers, 0), None, "FED-10");
        assert!(round.ended(peers[0], true, 100, 5), "it has more");
        assert!(!round.ended(peers[0], false, 100, 10));
        assert_eq!(round.next(&peers, 109), None);
        assert_eq!(round.next(&peers, 110), Some(peers[1]));
        round.left(peers[1]);
        assert_eq!(round.next(&peers[2..], 111), Some(peers[2]));
        assert!(!round.ended(peers[1], true, 100, 120), "it is not the one that was asked");
        round.ended(peers[2], false, 100, 120);
        round.hurry(130);
        assert_eq!(round.next(&peers, 130), Some(peers[0]), "round and round");
    }
}
