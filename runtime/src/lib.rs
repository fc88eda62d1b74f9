//! The ground every other crate stands on: time, tasks, randomness and disk, real or simulated.
//!
//! This is the only crate that knows `cfg(madsim)`. A node written against it runs unchanged on
//! the operating system and inside the simulator, where one seed decides everything it can observe.
//!
//! | module | real world | simulated world |
//! |---|---|---|
//! | [`clock`] | monotonic and wall clock of the system | one warped clock per node |
//! | [`task`], [`blocking`], [`worker`] | tokio tasks, its blocking pool, one thread per writer | tasks of the simulator, work done inline |
//! | [`parallel`] | a second thread | one after the other |
//! | [`random`] | the system's entropy | the run's seeded generator |
//! | [`disk`] | files | an in-memory disk that fails on purpose |
//! | [`fatal`] | abort | kill of one simulated node |
//! | [`link`] | nothing | resets of connections |
//! | [`process`] | figures of the process | none |
//! | `raft` (feature) | all of these for the Raft library | the same |
//! | [`signal`] | SIGINT and SIGTERM | never |
//! | [`span`] | stages of a request that is traced | the same |
//! | [`trace`] | nothing | the run's fingerprint |
//!
//! Invariants:
//! * Nothing here decides differently in the two worlds; only the source of time, chance, threads
//!   and bytes differs.
//! * Every wait that costs simulated time is awaited, never blocked on: the simulator has one
//!   thread.
//!
//! Deliberately not here: sockets (the `wire` crate opens them through tokio's names, which the
//! simulator provides under the same paths), SQLite (`storage`), and any policy.

// The ban on clocks, threads and tasks points here: this is where they are allowed.
#![allow(clippy::disallowed_methods)]

pub mod blocking;
pub mod clock;
pub mod disk;
pub mod fatal;
pub mod link;
pub mod parallel;
pub mod process;
#[cfg(feature = "raft")]
pub mod raft;
pub mod random;
pub mod signal;
#[cfg(madsim)]
pub mod sim;
pub mod span;
pub mod task;
pub mod trace;
pub mod worker;
