//! The roads: peers without a leader that move memories between nodes.
//!
//! | module | what |
//! |---|---|
//! | `engine` | what a peer does: quorum writes, dead letters, catching up; no I/O |
//! | `admit` | what a receiver believes and lets in; no I/O |
//! | `members` | who belongs, and by which keys it is known |
//! | `compare` | which ranges of what two nodes hold differ; no I/O |
//! | `sealed`, `convert`, `convert_state` | signed messages, and what they mean |
//! | `exchange` | taking and telling operations, against the store |
//! | `driver` | the loop around the engine, and what other nodes call |
//!
//! Design: `docs/adr/0007-replication.md`, `docs/adr/0008-forgetting.md`. Never here: decisions of the root tier (`consensus`).

pub mod admit;
mod compare;
mod convert;
mod convert_state;
pub mod driver;
pub mod engine;
mod exchange;
pub mod members;
pub mod sealed;

pub use exchange::{About, Gate, Rules};
