//! Lock vocabulary: keys, modes and fencing tokens.
//!
//! Invariant: a fencing token is the log index of its grant, so tokens of one key only grow.
//!
//! Not here: granting (the root's state machine) and enforcing (`storage`).

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// By one session.
    Exclusive,
    /// By any number of sessions, none of them exclusive.
    Shared,
}

/// A fencing token: greater means granted later. 0 is no token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);
