//! The node's monotonic clock in the type of the standard library, for libraries (hyper) whose
//! timers speak only that.
//!
//! Invariant: differences between two readings on one node are those of [`Instant`].
//!
//! Not here: comparing with a reading that somebody took from the standard library directly.

use std::sync::OnceLock;
use std::time::Instant as StdInstant;

use super::Instant;

/// Reads this node's monotonic clock as a `std` instant.
pub fn now_std() -> StdInstant {
    // Where it is anchored does not matter: only readings of this function are compared.
    static ANCHOR: OnceLock<StdInstant> = OnceLock::new();
    *ANCHOR.get_or_init(StdInstant::now) + (Instant::now() - Instant(0))
}
