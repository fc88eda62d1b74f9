//! The law: the root tier, where a Raft group decides on rules and hot keys.
//!
//! Layout: `machine` (what a decided entry does, pure), `log` (where entries are kept), `raft` (the
//! group that decides their order), `steps` (what watchers are told).
//!
//! Invariant: a fencing token is the log index of its grant, so tokens of one key only grow.
//!
//! Never here: peers that move memories (`federation`).

pub mod log;
pub mod machine;
pub mod raft;
pub mod steps;

pub use types::{
    lock::{Fence, LockMode},
    rule::{Approver, NamespacePolicy},
};
