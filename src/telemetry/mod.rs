//! What a node tells about itself: metrics, readiness, logs, spans.
//!
//! Invariant: nothing here contains the content of a memory, and nothing here is sent anywhere but to the collector of
//! spans that the operator has set; a scraper or a terminal fetches the rest.
//!
//! Not here: what is measured (doors and the store).

mod exposition;
pub mod health;
#[cfg(feature = "host")]
pub mod log;
pub mod metrics;
#[cfg(feature = "host")]
pub mod otlp;
pub mod peers;
pub mod spans;
