//! One node: the service and the background work around a store.

pub mod accesses;
pub mod model;
pub mod recall;
pub mod service;
