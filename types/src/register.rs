//! Last-writer-wins registers and the total order that decides them.
//!
//! Source: Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data
//! Types" (2011), §3.2.1.
//!
//! Invariants: `LWW-1` the order `(fence, hlc, origin)` is total over distinct operations, so a tie
//! cannot be broken by arrival; `LWW-2` offering values in any order, any number of times, leaves
//! the same register.
//!
//! Not here: which fields are registers (`record`).

use crate::{Hlc, NodeId};

/// The place of a write in the order of all writes. The derived order compares the fields from top
/// to bottom: a guarded write beats every unguarded one, and a paused lock holder loses for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Fencing token of the lock the write was made under; 0 without one.
    pub fence: u64,
    /// When.
    pub hlc: Hlc,
    /// By whom; breaks ties, because one origin never issues an HLC twice.
    pub origin: NodeId,
}

/// A value and the write that set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register<T> {
    /// Current value.
    pub value: T,
    /// The write that set it.
    pub stamp: Stamp,
}

impl<T> Register<T> {
    /// A register set by `stamp`.
    pub fn new(value: T, stamp: Stamp) -> Self {
        Self { value, stamp }
    }

    /// Takes `value` if `stamp` is the greater; says whether it did.
    pub fn offer(&mut self, value: T, stamp: Stamp) -> bool {
        let wins = stamp > self.stamp;
        if wins {
            *self = Self { value, stamp };
        }
        wins
    }

    /// Joins two copies of one register.
    pub fn join(&mut self, other: Self) {
        self.offer(other.value, other.stamp);
    }
}
