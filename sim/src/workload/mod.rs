//! What clients do: one workload per subject, each recording what it asked and learned.
//!
//! [`root`] speaks to nodes over HTTP through `wire` and to the world through `runtime` alone, so the
//! simulator and real processes are driven by the same code, and judged by the same judges.
//!
//! Invariant: a client never tells more than it knows: an answer that it did not get is Unknown.
//!
//! Not here: faults (the worlds bring them), judging.

pub mod draw;
#[cfg(madsim)]
pub mod memories;
pub mod peers;
pub mod root;

#[cfg(madsim)]
pub use memories::{Client, live};
