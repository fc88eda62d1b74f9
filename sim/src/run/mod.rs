//! One run: everything a seed decides, from boot to verdict.
//!
//! Invariant: exactly one run per process, because libraries keep process-wide counters.
//!
//! | file | what |
//! |---|---|
//! | `node` | one node that stores and recalls |
//! | `root` | the voters of a root |
//!
//! Not here: many runs (`main`'s launcher).

pub mod node;
pub mod root;
