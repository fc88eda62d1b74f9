//! What a run prints: one JSON object on one line.
//!
//! Invariant: everything in it is decided by the seed, so two runs print the same line.
//!
//! Not here: wall-clock figures (the launcher adds them).

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use runtime::disk::faulty::FaultyDisk;
use serde_json::{Value, json};

use crate::{
    judge::{
        Violation,
        stores::{Ending, Stores},
    },
    options::{Options, Scenario},
};

/// The result of a run.
pub struct Report {
    /// What the seed decided.
    pub options: Options,
    /// What clients did.
    pub history: Stores,
    /// What the judges found; `Err` when the world did not heal.
    pub verdict: Result<Vec<Violation>, String>,
    /// How often each fault struck.
    pub faults: BTreeMap<String, u64>,
    /// Simulated seconds.
    pub simulated_seconds: f64,
    /// Hash of every operation of the disk and of every byte left on it.
    pub disk_fingerprint: u64,
}

/// Counters of a disk's faults.
pub fn disk_faults(disk: &FaultyDisk) -> BTreeMap<String, u64> {
    let stats = disk.stats();
    let mut all: BTreeMap<String, u64> =
        stats.faults.iter().map(|(name, n)| ((*name).to_string(), *n)).collect();
    all.insert("lost_effects".to_owned(), stats.lost_effects);
    all
}

impl Report {
    /// Whether nothing was violated and the world healed.
    pub fn passed(&self) -> bool {
        self.verdict.as_ref().is_ok_and(Vec::is_empty)
    }

    /// The line. Its fingerprint covers the trace, the disk and everything clients did and learned.
    pub fn line(&self) -> Value {
        let mut history = DefaultHasher::new();
        format!("{:?}", self.history).hash(&mut history);
        let trace = runtime::sim::fingerprint();
        let fingerprint =
            format!("{:016x}-{:016x}-{:016x}", trace.hash, self.disk_fingerprint, history.finish());
        let count = |wanted: fn(&Ending) -> bool| {
            self.history.operations.iter().filter(|o| wanted(&o.ending)).count()
        };
        let name = Scenario::ALL.iter().find(|(_, s)| *s == self.options.scenario).map(|(n, _)| *n);
        let verdict = match &self.verdict {
            Ok(found) if found.is_empty() => json!("pass"),
            Ok(found) => json!(found.iter().map(|v| v.to_string()).collect::<Vec<_>>()),
            Err(problem) => json!([format!("liveness: {problem}")]),
        };
        json!({
            "seed": self.options.seed,
            "scenario": name,
            "verdict": verdict,
            "acknowledged": count(|e| matches!(e, Ending::Acknowledged { .. })),
            "refused": count(|e| matches!(e, Ending::Refused { .. })),
            "unknown": count(|e| matches!(e, Ending::Unknown)),
            "faults": self.faults,
            "simulated_seconds": (self.simulated_seconds * 1000.0).round() / 1000.0,
            "fingerprint": fingerprint,
        })
    }
}
