//! What a client may conclude from an answer.
//!
//! Invariant: a door answers with exactly one of Done, Rejected or Unknown; a timeout after the
//! request was sent is Unknown, never Rejected.
//!
//! Not here: the mapping to status codes (`wire::errors`).

use crate::{OpId, Reject};

/// The three-way result of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It happened, and with this result.
    Done(T),
    /// It did not happen and will not.
    Rejected(Reject),
    /// It may have happened, or may yet; retry with the same idempotency key to find out.
    Unknown {
        /// What is known, in one sentence.
        detail: String,
    },
}

/// How durable an acknowledged write is (requirement B5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durability {
    /// The write and its audit row were fsynced on this node before the answer.
    pub fsynced: bool,
    /// Nodes that durably applied the write, this one included.
    pub acks: u32,
    /// Nodes that had to.
    pub needed: u32,
    /// This node's change position that contains the write; pass it as `min_position` to read it here.
    pub position: u64,
    /// The last operation that the write made, if it made any: its name means the same on every node.
    pub last: Option<OpId>,
}
