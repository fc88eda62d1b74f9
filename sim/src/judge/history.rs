//! What clients did and learned, in the order in which it began.
//!
//! Invariant: an operation whose answer never came, or came as a timeout after sending, is Unknown
//! and stays so: it may have happened or may yet.
//!
//! Not here: faults (the report has them).

use std::collections::BTreeMap;

/// How an operation ended, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Acknowledged with this memory id.
    Acknowledged {
        /// The id.
        id: String,
    },
    /// Refused: it did not happen.
    Refused {
        /// The stable reason code.
        reason: String,
    },
    /// Nobody knows.
    Unknown,
}

/// One store, all attempts under one idempotency key together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its idempotency key, which is also its title.
    pub key: String,
    /// What was stored.
    pub content: String,
    /// Attempts made.
    pub attempts: u32,
    /// How it ended.
    pub ending: Ending,
}

/// A memory found by the final scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// Its content.
    pub content: String,
    /// Whether a recall of its title returned it.
    pub recalled: bool,
}

/// The state after everything has healed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Memories by title; more than one under a title when a retry was applied twice.
    pub memories: BTreeMap<String, Vec<Found>>,
    /// Whether the audit chain holds.
    pub chain_holds: bool,
    /// Rows of the audit chain.
    pub chain_rows: u64,
    /// What the node's own check found.
    pub findings: Vec<String>,
}

/// Everything the judges look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Operations in the order they began.
    pub operations: Vec<Operation>,
    /// Acknowledged memories that the very next recall did not return.
    pub missed_recalls: Vec<String>,
}
