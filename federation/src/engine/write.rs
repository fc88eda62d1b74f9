//! Writes whose clients wait for a quorum.
//!
//! Invariants: `FED-8` a node counts once, and only once it has applied every operation of the write or knew
//! it, and while it is a peer; `FED-9` each write ends once: with enough nodes, or at its deadline, or when no
//! more can come.
//!
//! Not here: the operations; they travel whether anybody waits or not.

use std::collections::{BTreeMap, BTreeSet};

use types::{NodeId, Reason, planted};

use super::WriteId;

/// A client waits for these operations.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Nodes that must have it, this one among them.
    pub(super) needed: usize,
    pub(super) deadline_ms: u64,
    acks: BTreeSet<NodeId>,
    refusals: BTreeMap<NodeId, Reason>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// So many nodes have it.
    Met(usize),
    /// Too few have.
    NotMet(usize, Short),
}

/// Why too few nodes have a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// Not enough answered in time, and nobody refused.
    Timeout,
    /// Somebody refused; this is why one of those did.
    Refused(Reason),
    /// There are not that many nodes.
    TooFewNodes,
}

impl Write {
    pub(super) fn new(first: u64, last: u64, needed: usize, deadline_ms: u64) -> Self {
        let (acks, refusals) = (BTreeSet::new(), BTreeMap::new());
        Self { first, last, needed, deadline_ms, acks, refusals }
    }

    /// A peer has all of it.
    fn has(&mut self, peer: NodeId) {
        self.acks.insert(peer);
    }

    /// Nodes that have it: this one too.
    fn got(&self) -> usize {
        let twice = planted::is_on("quorum-counts-twice") && !self.acks.is_empty();
        self.acks.len() + 1 + usize::from(twice)
    }

    fn end(&self, peers: usize, now_ms: u64) -> Option<End> {
        let got = self.got();
        if got >= self.needed {
            return Some(End::Met(got));
        }
        if self.needed > peers + 1 {
            return Some(End::NotMet(got, Short::TooFewNodes));
        }
        let hopeless = peers - self.refusals.len() + 1 < self.needed;
        let short = match self.refusals.values().next() {
            Some(reason) => Short::Refused(*reason),
            None => Short::Timeout,
        };
        (hopeless || now_ms >= self.deadline_ms).then_some(End::NotMet(got, short))
    }
}

/// All writes that clients wait for.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes(BTreeMap<WriteId, Write>);

impl Writes {
    pub(super) fn begin(&mut self, id: WriteId, write: Write) {
        self.0.insert(id, write);
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&mut self, id: WriteId) {
        self.0.remove(&id);
    }

    /// A peer has settled this node's feed up to `settled`; `refused` tells the first operation of a range
    /// that it refused.
    pub(super) fn settled(
        &mut self,
        peer: NodeId,
        settled: u64,
        refused: impl Fn(u64, u64) -> Option<Reason>,
    ) {
        for write in self.0.values_mut().filter(|write| write.last <= settled) {
            match refused(write.first, write.last) {
                Some(reason) if !planted::is_on("refusal-is-ack") => {
                    write.refusals.insert(peer, reason);
                }
                _ => {
                    write.refusals.remove(&peer);
                    write.has(peer);
                }
            }
        }
    }

    /// A peer has left: neither its copies nor its refusals count any more.
    pub(super) fn left(&mut self, peer: NodeId) {
        for write in self.0.values_mut() {
            write.acks.remove(&peer);
            write.refusals.remove(&peer);
        }
    }

    /// Takes out those that have ended.
    pub(super) fn ended(&mut self, peers: usize, now_ms: u64) -> Vec<(WriteId, usize, End)> {
        let ended: Vec<(WriteId, usize, End)> = self
            .0
            .iter()
            .filter_map(|(id, write)| Some((*id, write.needed, write.end(peers, now_ms)?)))
            .collect();
        for (id, ..) in &ended {
            self.0.remove(id);
        }
        ended
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.0.values().map(|write| write.deadline_ms).min()
    }

    /// First operation that anybody waits for.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.values().map(|write| write.first).min()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn peer(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn waiting(needed: usize) -> Writes {
        let mut writes = Writes::default();
        writes.begin(WriteId(1), Write::new(5, 6, needed, 100));
        writes
    }

    #[test]
    fn a_peer_counts_once_and_only_with_all_of_it() {
        let mut writes = waiting(3);
        writes.settled(peer(1), 5, |_, _| None);
        assert_eq!(writes.ended(2, 0), []);
        writes.settled(peer(1), 6, |_, _| None);
        writes.settled(peer(1), 9, |_, _| None);
        assert_eq!(writes.ended(2, 0), [], "FED-8");
        writes.settled(peer(2), 6, |_, _| None);
        assert_eq!(writes.ended(2, 0), [(WriteId(1), 3, End::Met(3))]);
        assert_eq!(writes.ended(2, 1000), [], "FED-9");
    }

    #[test]
    fn refusals_are_no_acknowledgements() {
        let mut writes = waiting(2);
        writes.settled(peer(1), 6, |_, _| Some(Reason::QuotaExceeded));
        assert_eq!(writes.ended(2, 0), []);
        writes.settled(peer(2), 6, |_, _| Some(Reason::Forbidden));
        let reason = Short::Refused(Reason::QuotaExceeded);
        assert_eq!(writes.ended(2, 0), [(WriteId(1), 2, End::NotMet(1, reason))]);
    }

    #[test]
    fn what_a_peer_said_that_has_left_does_not_count() {
        let mut writes = waiting(3);
        for number in 1..=2 {
            writes.settled(peer(number), 6, |_, _| Some(Reason::Forbidden));
            writes.left(peer(number));
        }
        assert_eq!(writes.ended(2, 0), [], "two others may still take it");
        writes.settled(peer(3), 6, |_, _| None);
        writes.settled(peer(4), 6, |_, _| None);
        writes.left(peer(3));
        assert_eq!(writes.ended(2, 0), [], "FED-8");
        writes.settled(peer(5), 6, |_, _| None);
        assert_eq!(writes.ended(2, 0), [(WriteId(1), 3, End::Met(3))]);
    }

    #[test]
    fn silence_ends_at_the_deadline_and_the_impossible_at_once() {
        let mut writes = waiting(2);
        assert_eq!(writes.ended(2, 99), []);
        assert_eq!(writes.ended(2, 100), [(WriteId(1), 2, End::NotMet(1, Short::Timeout))]);
        assert_eq!(waiting(4).ended(2, 0), [(WriteId(1), 4, End::NotMet(1, Short::TooFewNodes))]);
        let mut writes = waiting(2);
        writes.settled(peer(1), 6, |_, _| Some(Reason::QuotaExceeded));
        assert_eq!(writes.ended(2, 99), []);
        let refused = Short::Refused(Reason::QuotaExceeded);
        assert_eq!(writes.ended(2, 100), [(WriteId(1), 2, End::NotMet(1, refused))]);
    }
}
