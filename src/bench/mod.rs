//! `hivemem bench`: what this machine does with this build, measured on generated memories.
//!
//! Every figure comes with what it depends on: parameters, seed, processor time, memory, and the fsync latency of
//! the same disk in the same run.
//!
//! Invariants: the same seed generates the same memories and questions on every machine; nothing is
//! measured while the store is being filled.
//!
//! Not here: verdicts. A figure is compared with a goal by whoever reads it.

pub mod data;
mod machine;
mod quorum;
mod report;
mod run;
mod through;

pub use quorum::{QuorumPlan, QuorumReport, quorum};
pub use report::Report;
pub use run::{Plan, Work, run};
pub use through::Through;
