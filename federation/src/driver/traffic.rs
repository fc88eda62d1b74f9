//! What passes between this node and its peers, counted: messages, bytes and signatures.
//!
//! A message is the body of a question or of an answer, as it is signed; what carries it (nonce, signature, HTTP/2,
//! TLS) is not counted. Each message is signed once by whoever sends it and checked once by whoever receives it;
//! the signatures counted here also cover the heads of feeds.
//!
//! Invariants: `SEE-2`; `TRF-1` what was received is counted only once its signature was found to be a member's.
//!
//! Not here: which message is worth sending (`crate::engine`), showing the figures (the node).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use wire::v1::SyncPurpose;

use super::Federation;
use crate::{exchange::Checks, sealed::Identity};

/// Purposes of messages, in the order of the counters.
const PURPOSES: [(SyncPurpose, &str); 3] =
    [(SyncPurpose::Push, "push"), (SyncPurpose::Since, "since"), (SyncPurpose::State, "state")];
/// Directions of messages, in the order of the counters.
const DIRECTIONS: [&str; 2] = ["sent", "received"];

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From this node.
    Sent,
    /// To this node.
    Received,
}

/// Messages of one purpose in one direction since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// `push`, `since` (catching up) or `state` (comparing what is held).
    pub purpose: &'static str,
    /// `sent` or `received`.
    pub direction: &'static str,
    /// Messages.
    pub messages: u64,
    /// Their bodies, in bytes.
    pub bytes: u64,
}

/// All that has passed since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// One entry for each purpose and direction.
    pub flows: Vec<Flow>,
    /// Signatures that this node made.
    pub signed: u64,
    /// Signatures of others that this node checked.
    pub checked: u64,
}

/// The counters.
#[derive(Default)]
pub(super) struct Counters {
    flows: [[(AtomicU64, AtomicU64); DIRECTIONS.len()]; PURPOSES.len()],
    signed: Arc<AtomicU64>,
    pub(super) checks: Checks,
}

/// An identity whose signatures are counted.
struct Counted {
    identity: Arc<dyn Identity>,
    signed: Arc<AtomicU64>,
}

impl Identity for Counted {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signed.fetch_add(1, Ordering::Relaxed);
        self.identity.sign(message)
    }
}

impl Counters {
    /// The identity that signs for this node from now on.
    pub(super) fn counted(&self, identity: Arc<dyn Identity>) -> Arc<dyn Identity> {
        Arc::new(Counted { identity, signed: self.signed.clone() })
    }

    /// A message has passed.
    pub(super) fn passed(&self, purpose: SyncPurpose, direction: Direction, bytes: usize) {
        let Some(at) = PURPOSES.iter().position(|(known, _)| *known == purpose) else { return };
        let (messages, sum) = &self.flows[at][direction as usize];
        messages.fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A message was received, and its signature checked.
    pub(super) fn received(&self, purpose: SyncPurpose, bytes: usize) {
        self.checks.add(1);
        self.passed(purpose, Direction::Received, bytes);
    }

    fn read(&self) -> Traffic {
        let mut flows = Vec::new();
        for ((_, purpose), counters) in PURPOSES.iter().zip(&self.flows) {
            for (direction, (messages, bytes)) in DIRECTIONS.iter().zip(counters) {
                let [messages, bytes] = [messages, bytes].map(|n| n.load(Ordering::Relaxed));
                flows.push(Flow { purpose, direction, messages, bytes });
            }
        }
        let signed = self.signed.load(Ordering::Relaxed);
        Traffic { flows, signed, checked: self.checks.count() }
    }
}

impl Federation {
    /// What has passed since the start.
    pub fn traffic(&self) -> Traffic {
        self.0.traffic.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Identity for Nobody {
        fn sign(&self, _: &[u8]) -> [u8; 64] {
            [0; 64]
        }
    }

    #[test]
    fn every_message_is_counted_where_it_belongs() {
        let counters = Counters::default();
        counters.passed(SyncPurpose::Push, Direction::Sent, 100);
        counters.received(SyncPurpose::State, 7);
        counters.received(SyncPurpose::State, 8);
        counters.passed(SyncPurpose::Unspecified, Direction::Sent, 9);
        counters.counted(Arc::new(Nobody)).sign(b"x");
        let traffic = counters.read();
        let flow = |purpose, direction| {
            let is_it = |flow: &&Flow| (flow.purpose, flow.direction) == (purpose, direction);
            traffic.flows.iter().find(is_it).map(|flow| (flow.messages, flow.bytes))
        };
        assert_eq!(traffic.flows.len(), 6);
        assert_eq!(flow("push", "sent"), Some((1, 100)));
        assert_eq!(flow("state", "received"), Some((2, 15)));
        assert_eq!(flow("since", "sent"), Some((0, 0)));
        assert_eq!((traffic.signed, traffic.checked), (1, 2));
    }
}
