//! The dream: a whole node on a simulated machine, and the judge of what happened.
//!
//! [`judge`] is pure and serves both worlds, the simulator and real clusters; so does [`workload`],
//! which knows its world through `runtime` and `wire` alone. The simulated world itself exists only in
//! the simulator's own build (`cargo sim`, see `main`).
//!
//! Invariants: a run is decided by its seed alone; a verdict is decided by the history alone.
//!
//! Not here: real processes (`chaos`).

pub mod judge;
#[cfg(madsim)]
pub mod options;
#[cfg(madsim)]
pub mod report;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod schedule;
#[cfg(madsim)]
pub mod strike;
pub mod workload;
#[cfg(madsim)]
pub mod world;
