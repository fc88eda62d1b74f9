//! Tests of the write side on the real disk and on the disk that fails on purpose.
//!
//! Not here: reads by clients, which the conformance suite covers.

mod durability;
mod events;
mod faults;
mod feeds;
mod fences;
mod filling;
mod forgetting;
mod lives;
mod machine;
mod quotas;
mod rules;
mod times;
mod vectors;
mod views;
mod world;
