//! The house: the daemon and the command line around the node.
//!
//! Invariants: every door is a thin face of one [`node::service::Service`]; the simulator starts the same
//! [`node::Node`] and the same [`doors`] that `main` starts.
//!
//! Not here: storage, wire formats, consensus and federation, each in its own crate.

// The futures of the consensus library, inside those of the doors, are deeper than the default.
#![recursion_limit = "256"]

pub mod api;
#[cfg(feature = "host")]
pub mod bench;
#[cfg(feature = "host")]
pub mod cli;
pub mod config;
pub mod doors;
pub mod embed;
mod gather;
pub mod identity;
#[cfg(feature = "host")]
pub mod local;
pub mod node;
pub mod peers;
#[cfg(feature = "host")]
pub mod pki;
pub mod root;
mod secure;
pub mod telemetry;
