//! The house: the daemon and the command line around the node.
//!
//! Invariants: every door is a thin face of one [`node::service::Service`]; the simulator starts the same
//! [`node::Node`] that `main` starts.
//!
//! Not here: storage, wire formats, consensus and federation, each in its own crate.

pub mod api;
pub mod embed;
pub mod node;
pub mod telemetry;
