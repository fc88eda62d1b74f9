//! The law: the root tier, where a Raft group will decide on rules and hot keys.
//!
//! Today this crate holds the words of that tier and nothing that acts: a single node decides alone.
//!
//! Invariant: a fencing token is the log index of its grant, so tokens of one key only grow.
//!
//! Not here yet: the state machine, the log and the group. Never here: peers that move memories
//! (`federation`).

pub mod log;
pub mod raft;

pub use types::{
    lock::{Fence, LockMode},
    rule::{Approver, NamespacePolicy},
};
