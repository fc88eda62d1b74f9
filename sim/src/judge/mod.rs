//! Judges: one file each, over one history.
//!
//! Invariant: a judge is a pure function of the history and the final scan.
//!
//! Not here: collecting them.

pub mod durability;
pub mod history;

pub use history::{Ending, History, Operation, Scan};

/// What a judge found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which judge.
    pub judge: &'static str,
    /// What was promised and what happened.
    pub detail: String,
}
