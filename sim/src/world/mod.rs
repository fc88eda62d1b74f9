//! The world: simulated machines that run the real node, and the means to hurt them.
//!
//! | module | what |
//! |---|---|
//! | `machine` | one machine |
//! | `fleet` | several, looked after together |
//! | `root` | a fleet whose nodes are a root |
//! | `peers` | a fleet whose nodes are peers of each other |
//!
//! Invariants: `WLD-1` what survives a restart is the disk and nothing else; `WLD-2` a power cut
//! happens inside an effect of the disk, never politely between two; `WLD-3` the machine is started
//! again whenever it has died, until the run is over.
//!
//! Not here: clients and verdicts.

pub mod fleet;
mod machine;
pub mod peers;
pub mod root;

pub use machine::{API_KEY, Machine, NODE_ADDRESS, OPERATOR_KEY};
