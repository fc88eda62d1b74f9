//! One run: everything a seed decides, from boot to verdict.
//!
//! Invariant: exactly one run per process, because libraries keep process-wide counters.
//!
//! | file | what |
//! |---|---|
//! | `node` | one node that stores and recalls |
//! | `fleet` | what the runs of several machines have in common |
//! | `root` | the voters of a root |
//! | `peers` | peers, and whether they come to agree |
//! | `soak` | peers for hours: the sizes of everything that they keep |
//!
//! Not here: many runs (`main`'s launcher).

mod fleet;
pub mod node;
pub mod peers;
pub mod root;
mod soak;

pub use fleet::Choice;
