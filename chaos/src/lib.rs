//! The storm: real processes under real faults, driven by the simulator's clients and judged by the
//! simulator's judges.
//!
//! | file | what |
//! |---|---|
//! | `hive` | a cluster as `hivemem up` makes it |
//! | `network`, `disk` | what is between nodes and below them, made to fail |
//! | `nemesis` | faults, each with a look at whether it took hold |
//! | `storm` | one run: clients, rounds of faults, healing, the last looks |
//! | `checks`, `campaign` | scripts with a table; everything from a file |
//! | `soak`, `plot` | hours of load: what processes take, drawn |
//! | `figures` | what is measured from a history: time without success, outcomes |
//! | `report` | the files of a run, and its verdict |
//!
//! Invariants: a history is judged by the code that judges the simulation, never by its own; a fault
//! that is not known to have taken hold is not counted as one.
//!
//! Not here: what is promised (`sim::judge`).

pub mod campaign;
pub mod checks;
pub(crate) mod database;
pub mod disk;
pub mod figures;
pub mod hive;
pub mod nemesis;
pub mod network;
pub mod options;
pub mod plot;
pub mod report;
pub mod samples;
pub mod soak;
pub mod storm;
