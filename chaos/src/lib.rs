//! The storm: real processes under real faults, driven by the simulator's clients and judged by the
//! simulator's judges.
//!
//! | file | what |
//! |---|---|
//! | `cluster` | voters as processes on loopback: founded, killed, stopped, started again |
//! | `nemesis` | faults, each with a look at whether it took hold |
//! | `scenario` | one run: clients, rounds of faults, healing, the last looks |
//! | `figures` | what is measured from a history: time without success, outcomes |
//! | `report` | the files of a run, and its verdict |
//!
//! Invariants: a history is judged by the code that judges the simulation, never by its own; a fault
//! that is not known to have taken hold is not counted as one.
//!
//! Not here: faults of networks and disks, which the simulator has.

pub mod cluster;
pub mod figures;
pub mod nemesis;
pub mod options;
pub mod report;
pub mod scenario;
