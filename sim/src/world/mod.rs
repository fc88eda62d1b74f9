//! The world: a simulated machine that runs the real node, and the means to hurt it.
//!
//! Invariants: `WLD-1` what survives a restart is the disk and nothing else; `WLD-2` a power cut
//! happens inside an effect of the disk, never politely between two; `WLD-3` the machine is started
//! again whenever it has died, until the run is over.
//!
//! Not here: clients and verdicts.

mod machine;
pub mod root;

pub use machine::{API_KEY, Machine, NODE_ADDRESS, OPERATOR_KEY};
