//! The roads: peers without a leader, which will move memories between nodes.
//!
//! Today this crate holds the words of that exchange and nothing that acts: a single node has no
//! peers. What will travel is the operation, which every change on a node already is.
//!
//! Invariant: an entry of a version vector claims a gap-free prefix of its origin's operations.
//!
//! Not here yet: quorum writes, catch-up, digests and dead letters. Never here: decisions of the
//! root tier (`consensus`).

pub use types::{Op, OpId, VersionVector};
