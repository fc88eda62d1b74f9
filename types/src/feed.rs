//! Feeds: everything that one origin has said, as a chain of which the origin signs the head.
//!
//! `chain(0) = H(domain ‖ origin)`, `chain(n) = H(domain ‖ chain(n − 1) ‖ hash of operation n)`, with SHA-256.
//! Whoever has a signed head and the hashes up to it knows that nothing was left out, added or changed,
//! whoever passed them on.
//!
//! Invariants: `FEED-1` two feeds with the same head have the same operations; `FEED-2` an operation may
//! be replaced by its hash without breaking the chain.
//!
//! Source: hash-linked time stamping, Haber and Stornetta, "How to time-stamp a digital document" (1991).
//!
//! Not here: signing (the node's identity) and keeping (storage).

use sha2::{Digest, Sha256};

use crate::NodeId;

const CHAIN: &[u8] = b"hivemem feed v1";
const HEAD: &[u8] = b"hivemem feed head v1";

/// The end of a feed, or of a prefix of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedHead {
    /// Whose.
    pub origin: NodeId,
    /// How many operations it has.
    pub seq: u64,
    /// What stands for all of them.
    pub chain: [u8; 32],
}

impl FeedHead {
    /// The feed of an origin that has said nothing.
    pub fn empty(origin: NodeId) -> Self {
        let mut hash = Sha256::new_with_prefix(CHAIN);
        hash.update(origin.as_bytes());
        Self { origin, seq: 0, chain: hash.finalize().into() }
    }

    /// The feed with one operation more, given by its hash ([`crate::codec::op_hash`]).
    #[must_use]
    pub fn with(self, op_hash: &[u8; 32]) -> Self {
        let mut hash = Sha256::new_with_prefix(CHAIN);
        hash.update(self.chain);
        hash.update(op_hash);
        Self { seq: self.seq + 1, chain: hash.finalize().into(), ..self }
    }

    /// What the origin signs.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(HEAD);
        hash.update(self.origin.as_bytes());
        hash.update(self.seq.to_be_bytes());
        hash.update(self.chain);
        hash.finalize().into()
    }
}

/// The end of a feed with its origin's word for it: an Ed25519 signature of [`FeedHead::digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// What is signed.
    pub head: FeedHead,
    /// By the origin's key.
    pub signature: [u8; 64],
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn feed(origin: u128, hashes: &[[u8; 32]]) -> FeedHead {
        hashes.iter().fold(FeedHead::empty(NodeId(Uuid::from_u128(origin))), FeedHead::with)
    }

    proptest! {
        #[test]
        fn heads_agree_exactly_when_feeds_do(
            (a, b) in (prop::collection::vec(any::<[u8; 32]>(), 0..6), 0usize..8).prop_map(|(a, at)| {
                let mut b = a.clone();
                match b.get_mut(at) {
                    Some(hash) => hash[0] ^= 1,
                    None if at == 6 => b.push([0; 32]),
                    None => {}
                }
                (a, b)
            }),
        ) {
            prop_assert_eq!(feed(1, &a) == feed(1, &b), a == b, "FEED-1");
            prop_assert_eq!(feed(1, &a).digest() == feed(1, &b).digest(), a == b, "FEED-1");
        }
    }

    #[test]
    fn a_feed_belongs_to_its_origin() {
        let hashes = [[7; 32]];
        assert_ne!(feed(1, &hashes).chain, feed(2, &hashes).chain);
        assert_ne!(feed(1, &hashes).digest(), feed(2, &hashes).digest());
        assert_eq!(feed(1, &hashes).seq, 1);
    }
}
