//! Messages of the wire and what they mean.
//!
//! Invariant: what a peer sent is taken apart without a panic, and whatever does not fit is refused with the
//! name of its field.
//!
//! Not here: whether to believe it (`members`, `admit`).

use types::{FeedHead, NodeId, OpId, Reason, Reject, SignedHead, VersionVector};
use wire::v1::{
    SyncCovered, SyncOperation, SyncProof, SyncResult, SyncVerdict, sync_operation::Said,
};

/// Most feeds that a message may speak of.
const FEEDS_MAX: usize = 4096;
/// Most hashes behind the operations of one feed.
const TAIL_MAX: usize = 65_536;

fn malformed(field: &'static str, problem: &str) -> Reject {
    Reject::new(Reason::Malformed, format!("{field}: {problem}")).with("field", field)
}

/// Exactly so many bytes.
///
/// # Errors
/// [`Reason::Malformed`].
pub fn bytes<const N: usize>(value: &[u8], field: &'static str) -> Result<[u8; N], Reject> {
    value.try_into().map_err(|_| malformed(field, &format!("needs {N} bytes")))
}

/// A node.
///
/// # Errors
/// [`Reason::Malformed`].
pub fn node(value: &[u8], field: &'static str) -> Result<NodeId, Reject> {
    NodeId::from_slice(value).map_err(|_| malformed(field, "needs the 16 bytes of a node"))
}

/// A vector as a message has it.
pub fn covered(vector: &VersionVector) -> Vec<SyncCovered> {
    let entry =
        |(origin, seq): (NodeId, u64)| SyncCovered { origin: origin.as_bytes().into(), seq };
    vector.iter().map(entry).collect()
}

/// The inverse of [`covered`].
///
/// # Errors
/// [`Reason::Malformed`].
pub fn vector(entries: &[SyncCovered]) -> Result<VersionVector, Reject> {
    if entries.len() > FEEDS_MAX {
        return Err(malformed("covers", &format!("at most {FEEDS_MAX} feeds")));
    }
    let entry = |entry: &SyncCovered| Ok((node(&entry.origin, "covers.origin")?, entry.seq));
    entries.iter().map(entry).collect()
}

/// An operation that came, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// All of it.
    Whole(Vec<u8>),
    /// Its hash.
    Hash([u8; 32]),
}

/// An operation and its name.
///
/// # Errors
/// [`Reason::Malformed`].
pub fn operation(told: SyncOperation) -> Result<(OpId, Came), Reject> {
    let origin = node(&told.origin, "operations.origin")?;
    let came = match told.said {
        Some(Said::Whole(bytes)) => Came::Whole(bytes),
        Some(Said::Hash(hash)) => Came::Hash(bytes(&hash, "operations.hash")?),
        None => return Err(malformed("operations.said", "is missing")),
    };
    Ok((OpId { origin, seq: told.seq }, came))
}

/// What shows that a feed is whole: the head, and the hashes before it.
///
/// # Errors
/// [`Reason::Malformed`].
pub fn proof(told: &SyncProof) -> Result<(SignedHead, Vec<[u8; 32]>), Reject> {
    if told.tail.len() > TAIL_MAX {
        return Err(malformed("proofs.tail", &format!("at most {TAIL_MAX} hashes")));
    }
    let head = FeedHead {
        origin: node(&told.origin, "proofs.origin")?,
        seq: told.seq,
        chain: bytes(&told.chain, "proofs.chain")?,
    };
    let signature = bytes(&told.signature, "proofs.signature")?;
    let tail = told.tail.iter().map(|hash| bytes(hash, "proofs.tail"));
    Ok((SignedHead { head, signature }, tail.collect::<Result<_, _>>()?))
}

/// The inverse of [`proof`].
pub fn told_proof(word: SignedHead, tail: &[[u8; 32]]) -> SyncProof {
    let SignedHead { head, signature } = word;
    SyncProof {
        origin: head.origin.as_bytes().into(),
        seq: head.seq,
        chain: head.chain.into(),
        signature: signature.into(),
        tail: tail.iter().map(|hash| hash.to_vec()).collect(),
    }
}

/// What became of an operation, as an answer says it.
pub fn told_verdict(id: OpId, result: SyncResult, refused: Option<&Reject>) -> SyncVerdict {
    SyncVerdict {
        origin: id.origin.as_bytes().into(),
        seq: id.seq,
        result: result.into(),
        reason: refused.map(|reject| reject.reason.code().to_owned()).unwrap_or_default(),
        detail: refused.map(|reject| reject.detail.clone()).unwrap_or_default(),
    }
}
