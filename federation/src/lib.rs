//! The roads: peers without a leader that move memories between nodes.
//!
//! | module | what |
//! |---|---|
//! | `admit` | what a receiver believes and lets in |
//! | `engine` | what a peer does: quorum writes, dead letters, catching up; no I/O |
//!
//! Design: `docs/adr/0007-replication.md`. Never here: decisions of the root tier (`consensus`).

pub mod admit;
pub mod engine;
