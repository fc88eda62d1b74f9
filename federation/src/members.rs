//! Who belongs: nodes, their keys, and what each may send and see.
//!
//! Invariant: `MEM-1` whoever is not written down here is nobody: no message of theirs is read, and no
//! feed of theirs is believed.
//!
//! Not here: where the list comes from (the node's configuration), connections (the driver).

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, VerifyingKey};
use types::{NodeId, Reason, Reject, SignedHead};

use crate::admit::Scope;

/// One node of the federation.
#[derive(Clone, Debug)]
pub struct Member {
    /// Which.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Where it is reached; `None` for one that has left, whose feed is still believed.
    pub endpoint: Option<String>,
    /// Its keys, the current one first. Retired ones still prove what they signed.
    pub keys: Vec<VerifyingKey>,
    /// What it may send and see.
    pub scope: Scope,
}

impl Member {
    /// Whether one of its keys signed this. Strict: neither weak keys nor malleable signatures (RFC 8032
    /// §5.1.7, and Chalkias et al., "Taming the many EdDSAs", 2020).
    pub fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.keys.iter().any(|key| key.verify_strict(message, &signature).is_ok())
    }
}

/// All nodes of the federation, this one among them.
#[derive(Clone, Debug, Default)]
pub struct Members {
    rows: BTreeMap<NodeId, Member>,
    /// By what their other names begin with.
    lives: BTreeMap<[u8; 12], NodeId>,
}

impl Members {
    /// The list; of two rows for one node the later counts.
    pub fn new(rows: impl IntoIterator<Item = Member>) -> Self {
        let rows: BTreeMap<NodeId, Member> =
            rows.into_iter().map(|member| (member.node, member)).collect();
        let lives = rows.keys().map(|node| (node.lives(), *node)).collect();
        Self { rows, lives }
    }

    /// Who that is.
    ///
    /// # Errors
    /// [`Reason::Forbidden`]: nobody.
    pub fn get(&self, node: NodeId) -> Result<&Member, Reject> {
        self.rows.get(&node).ok_or_else(|| {
            let detail =
                format!("node {node} is no member of this federation: add it to the peers");
            Reject::new(Reason::Forbidden, detail).with("peer", node)
        })
    }

    /// Whose feed has that name.
    ///
    /// # Errors
    /// [`Reason::Forbidden`]: nobody's.
    pub fn of(&self, origin: NodeId) -> Result<&Member, Reject> {
        let (lives, _) = origin.as_bytes().split_at(12);
        let node = self.lives.get(lives).copied().unwrap_or(origin);
        self.get(node)
    }

    /// Those that have left for good.
    pub fn left(&self) -> impl Iterator<Item = NodeId> {
        self.rows.values().filter(|member| member.endpoint.is_none()).map(|member| member.node)
    }

    /// Every member, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.rows.values()
    }

    /// Whether its origin signed this head.
    ///
    /// # Errors
    /// [`Reason::Forbidden`] for the feed of nobody that is known, [`Reason::ChainBroken`] for a forged one.
    pub fn believe(&self, word: &SignedHead) -> Result<(), Reject> {
        let origin = self.of(word.head.origin)?;
        if origin.signed(&word.head.digest(), &word.signature) {
            return Ok(());
        }
        let detail = format!("what is told of the feed of {} is not signed by it", origin.name);
        Err(Reject::new(Reason::ChainBroken, detail).with("origin", origin.node))
    }
}
