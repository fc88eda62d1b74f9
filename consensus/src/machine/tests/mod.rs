//! Tests of the whole machine: scripts with the answers they must get, random histories, and a
//! model written from the other end.

mod bounds;
mod codec;
mod history;
mod liveness;
mod model;
mod nodes;
mod properties;
mod script;
mod snapshots;
