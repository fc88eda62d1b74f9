//! What the clients of a single node stored and what its final scan found: the record that the
//! judge `durability` reads.
//!
//! Invariant: a store whose answer never came, or came as a timeout after sending, is Unknown and
//! stays so: it may have happened or may yet.
//!
//! Not here: the history of the root tier (`history`), faults (the report has them).

use std::collections::BTreeMap;

/// How a store ended, as its client saw it.
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
pub struct Store {
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

/// Everything that the judge of durability looks at, but for the scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stores {
    /// Stores in the order they began.
    pub operations: Vec<Store>,
    /// Acknowledged memories that the very next recall did not return.
    pub missed_recalls: Vec<String>,
}
