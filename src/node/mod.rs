//! One node: the service and the background work around a store.
//!
//! Not here: doors and process life.

pub mod accesses;
pub mod model;
pub mod recall;
pub mod service;
mod start;
mod upkeep;
mod vectors;

pub(crate) use start::database;
pub use start::{Node, StartError, open_store};
