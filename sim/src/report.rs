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
        Findings, History, Violation, converge,
        history::{Outcome, What},
        stores::{Ending, Stores},
    },
    options::{Options, Scenario},
    schedule::Strike,
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

/// The result of a run of several machines.
pub struct FleetReport {
    /// Sizes over the hours, where somebody watched them.
    pub soak: Option<Value>,
    /// Decides everything.
    pub seed: u64,
    /// What the run is about.
    pub scenario: &'static str,
    /// What the seed decided, to be shown.
    pub options: String,
    /// How many nodes there were in the beginning, by what they are called, and of clients.
    pub shape: Vec<(&'static str, u64)>,
    /// What was done to the world.
    pub strikes: Vec<Strike>,
    /// Everything that was recorded; `None` when it is no history.
    pub history: Option<History>,
    /// What the judges found.
    pub findings: Findings,
    /// Why the run did not come to its end, if it did not.
    pub problem: Option<String>,
    /// How often each fault took hold.
    pub faults: BTreeMap<String, u64>,
    /// Simulated seconds.
    pub simulated_seconds: f64,
    /// Hashes of every operation of each disk and of every byte left on it.
    pub fingerprints: Vec<u64>,
}

impl FleetReport {
    /// Whether nothing was violated and the run came to its end.
    pub fn passed(&self) -> bool {
        self.findings.violations.is_empty() && self.problem.is_none()
    }

    /// The verdict: `pass`, `unknown`, or what is wrong.
    fn verdict(&self) -> Value {
        let violations = self.findings.violations.iter().map(ToString::to_string);
        let wrong: Vec<String> = violations.chain(self.problem.clone()).collect();
        match (wrong.is_empty(), self.findings.undecided.is_empty()) {
            (false, _) => json!(wrong),
            (true, false) => json!("unknown"),
            (true, true) => json!("pass"),
        }
    }

    fn fingerprint(&self) -> String {
        let mut rest = DefaultHasher::new();
        self.fingerprints.hash(&mut rest);
        if let Some(history) = &self.history {
            history.to_lines().hash(&mut rest);
        }
        format!("{:016x}-{:016x}", runtime::sim::fingerprint().hash, rest.finish())
    }

    /// The line. Its fingerprint covers the trace, the disks and the whole history.
    pub fn line(&self) -> Value {
        let events = self.history.as_ref().map(History::events).unwrap_or_default();
        let count = |wanted: fn(&Outcome) -> bool| {
            let wanted = |what: &What| match what {
                What::Complete { outcome, .. } => wanted(outcome),
                _ => false,
            };
            events.iter().filter(|event| wanted(&event.what)).count()
        };
        let undecided = self.findings.undecided.iter();
        let mut line = json!({
            "seed": self.seed,
            "scenario": self.scenario,
            "verdict": self.verdict(),
            "undecided": undecided.map(|u| format!("{}/{}: {}", u.rule.judge, u.rule.name, u.detail))
                .collect::<Vec<_>>(),
            "strikes": self.strikes.len(),
            "schedule": self.strikes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "events": events.len(),
            "acknowledged": count(|outcome| matches!(outcome, Outcome::Done(_))),
            "refused": count(|outcome| matches!(outcome, Outcome::Rejected { .. })),
            "unknown": count(|outcome| matches!(outcome, Outcome::Unknown { .. })),
            "faults": self.faults,
            "simulated_seconds": (self.simulated_seconds * 1000.0).round() / 1000.0,
            "fingerprint": self.fingerprint(),
        });
        if let Some(soak) = &self.soak {
            line["soak"] = soak.clone();
        }
        let took_us = self.history.as_ref().and_then(converge::took_us);
        let converged = took_us.map(|took_us| ("converged_ms", took_us / 1000));
        for (name, number) in self.shape.iter().copied().chain(converged) {
            line[name] = json!(number);
        }
        line
    }
}
