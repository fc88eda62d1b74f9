//! What is known of peers by what passes between them: when they were heard, how far their clocks are off, what
//! they speak; and how often something did not go well.
//!
//! Invariants: `SEE-1` only what a member has signed is noted, one sighting a member; `SEE-2` nothing is decided by
//! it.
//!
//! Not here: how much of the feeds a peer has (`crate::engine`), showing it (the node).

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use types::{NodeId, Reject};
use wire::v1::SyncHeader;

use super::Federation;
use crate::sealed::{CAPABILITIES, SCHEMA};

/// Most words that are noted of what a peer offers, and most bytes of one.
const WORDS_MAX: usize = 32;
const WORD_BYTES_MAX: usize = 64;

/// What is known of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// When it asked or answered last, Unix milliseconds of this node's clock.
    pub heard_ms: Option<u64>,
    /// Its clock less this node's, in milliseconds, when it asked last; the way here counts as well.
    pub clock_offset_ms: Option<i64>,
    /// Version of the messages that it writes.
    pub version: Option<u32>,
    /// Version of its store; 0 if it does not say.
    pub schema: u32,
    /// What it offers.
    pub capabilities: Vec<String>,
    /// What went wrong last with a message to it, and when, Unix milliseconds.
    pub trouble: Option<(u64, Reject)>,
}

impl Seen {
    /// Whether it is known to be of another kind than this node: another store, or other offers.
    pub fn drifts(&self) -> bool {
        let same = self.capabilities.iter().map(String::as_str).eq(CAPABILITIES.iter().copied());
        self.version.is_some() && (self.schema != SCHEMA || !same)
    }
}

/// How often something did not go well since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Messages that were not answered, each of which is sent again.
    pub retried: u64,
    /// Operations of this node that a peer refused.
    pub refused: u64,
    /// Of those, how many were given up until somebody asks.
    pub quarantined: u64,
}

/// All that is known of peers.
#[derive(Default)]
pub(super) struct Sightings {
    peers: Mutex<BTreeMap<NodeId, Seen>>,
    retried: AtomicU64,
    refused: AtomicU64,
    quarantined: AtomicU64,
}

impl Sightings {
    /// A member has asked something.
    pub(super) fn asked(&self, peer: NodeId, header: &SyncHeader, now_ms: u64) {
        let mut peers = self.peers.lock();
        let seen = peers.entry(peer).or_default();
        let offset = i128::from(header.sent_ms) - i128::from(now_ms);
        seen.clock_offset_ms = i64::try_from(offset).ok();
        (seen.heard_ms, seen.version) = (Some(now_ms), Some(header.version));
        seen.schema = header.schema;
        let words = header.capabilities.iter().filter(|word| word.len() <= WORD_BYTES_MAX);
        seen.capabilities = words.take(WORDS_MAX).cloned().collect();
    }

    /// A member has answered.
    pub(super) fn answered(&self, peer: NodeId, now_ms: u64) {
        self.peers.lock().entry(peer).or_default().heard_ms = Some(now_ms);
    }

    /// A message was not answered, or the answer was that nothing of it is taken.
    pub(super) fn failed(&self, peer: NodeId, error: &Reject, now_ms: u64) {
        self.retried.fetch_add(1, Ordering::Relaxed);
        self.peers.lock().entry(peer).or_default().trouble = Some((now_ms, error.clone()));
    }

    /// A peer refused an operation; it is tried again, or not.
    pub(super) fn refused(&self, tried_again: bool) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if !tried_again {
            self.quarantined.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Federation {
    /// What is known of a peer.
    pub fn seen(&self, peer: NodeId) -> Seen {
        self.0.sightings.peers.lock().get(&peer).cloned().unwrap_or_default()
    }

    /// What did not go well.
    pub fn troubles(&self) -> Troubles {
        let Sightings { retried, refused, quarantined, .. } = &self.0.sightings;
        Troubles {
            retried: retried.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
            quarantined: quarantined.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use types::VersionVector;
    use uuid::Uuid;
    use wire::v1::SyncPurpose;

    use super::*;
    use crate::sealed;

    #[test]
    fn a_peer_of_another_kind_is_told_from_one_that_was_not_heard_yet() {
        let (sightings, peer) = (Sightings::default(), NodeId(Uuid::from_u128(1)));
        let seen = || sightings.peers.lock().get(&peer).cloned().unwrap_or_default();
        assert!(!seen().drifts() && seen().heard_ms.is_none());
        let late = Reject::new(types::Reason::DeadlineExceeded, "no answer");
        sightings.failed(peer, &late, 4);
        assert_eq!(seen().trouble, Some((4, late)));
        sightings.answered(peer, 5);
        assert!(!seen().drifts() && seen().heard_ms == Some(5), "it has not said anything yet");
        let header = sealed::header(SyncPurpose::Push, peer, 90, &VersionVector::default());
        sightings.asked(peer, &header, 100);
        assert_eq!((seen().clock_offset_ms, seen().heard_ms), (Some(-10), Some(100)));
        assert!(!seen().drifts());
        let newer = SyncHeader { schema: SCHEMA + 1, ..header.clone() };
        sightings.asked(peer, &newer, 100);
        assert!(seen().drifts());
        let fewer = SyncHeader { capabilities: Vec::new(), ..header };
        sightings.asked(peer, &fewer, 100);
        assert!(seen().drifts());
        let many = vec!["x".repeat(WORD_BYTES_MAX + 1), "y".to_owned()];
        sightings.asked(peer, &SyncHeader { capabilities: many, ..fewer }, 100);
        assert_eq!(seen().capabilities, ["y"]);
    }
}
