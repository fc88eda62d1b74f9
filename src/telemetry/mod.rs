//! What a node tells about itself: metrics, readiness, logs.
//!
//! Invariant: nothing here contains the content of a memory, and nothing here is sent anywhere; a
//! scraper or a terminal fetches it.
//!
//! Not here: what is measured (doors and the store).

mod exposition;
pub mod health;
#[cfg(feature = "host")]
pub mod log;
pub mod metrics;
pub mod peers;
