//! What a peer has refused.
//!
//! Not here: when it is tried again (`federation`), where it is kept (`storage`).

use crate::{OpId, Reason};

/// An operation of this node that a peer has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which.
    pub id: OpId,
    /// Why, as the peer said last.
    pub reason: Reason,
    /// What the peer said last.
    pub detail: String,
    /// How often it was refused.
    pub tries: u32,
    /// First refusal, Unix milliseconds.
    pub first_ms: u64,
    /// Next try, Unix milliseconds; `None` in quarantine.
    pub next_ms: Option<u64>,
}
