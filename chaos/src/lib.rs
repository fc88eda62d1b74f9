//! The storm: real processes under real faults, which will be judged by the simulator's judges.
//!
//! Today this crate names what it will drive and drives nothing.
//!
//! Invariant: a history is judged by the code that judges the simulation, never by its own.
//!
//! Not here yet: namespaces, nemeses and scenarios.

/// What became of a fault that was to be injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injection {
    /// It is in force.
    Installed,
    /// It was left out, and why.
    Skipped {
        /// The reason, for the report.
        reason: String,
    },
    /// Nobody can say whether it is in force, so the run proves nothing.
    Indeterminate,
}
