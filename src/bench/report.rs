//! What a measurement prints: JSON, one object.

use serde::Serialize;

/// Percentiles of a latency, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    /// Half are quicker.
    pub p50: u64,
    /// 95 of 100 are quicker.
    pub p95: u64,
    /// 99 of 100 are quicker.
    pub p99: u64,
    /// The slowest.
    pub max: u64,
}

impl Percentiles {
    /// Of samples in any order.
    pub fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let at = |share: usize| {
            let last = samples.len().saturating_sub(1);
            samples.get((samples.len() * share / 100).min(last)).copied().unwrap_or(0)
        };
        Self { p50: at(50), p95: at(95), p99: at(99), max: samples.last().copied().unwrap_or(0) }
    }
}

/// One measurement with everything it depends on.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was measured.
    pub bench: &'static str,
    /// Version of the build.
    pub version: &'static str,
    /// Commit of the build, when known.
    pub commit: &'static str,
    /// Whether the build is optimised.
    pub optimised: bool,
    /// Memories in the store when the measurement began.
    pub memories: u64,
    /// Concurrent clients.
    pub clients: u32,
    /// By which way they came: `process`, `grpc` or `http`.
    pub through: &'static str,
    /// Seed of the data.
    pub seed: u64,
    /// Seconds measured.
    pub seconds: f64,
    /// Operations done.
    pub operations: u64,
    /// Operations refused or failed.
    pub errors: u64,
    /// Operations per second.
    pub per_second: f64,
    /// Latency of an operation, microseconds.
    pub latency_micros: Percentiles,
    /// Processor time per operation, microseconds; clients included.
    pub cpu_micros_per_operation: f64,
    /// Private resident memory at the end, bytes.
    pub private_bytes: u64,
    /// Latency of a 4 KiB write with fdatasync on the same disk, microseconds.
    pub fsync_micros: Percentiles,
    /// Further figures by name.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub extra: std::collections::BTreeMap<&'static str, f64>,
}
