//! One node: the service and the background work around a store.

pub mod model;
