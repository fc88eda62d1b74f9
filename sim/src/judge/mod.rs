//! Judges: one file each, over one history. The simulator and real clusters are judged by this code.
//!
//! Invariants: `JDG-1` a verdict is a pure function of the history: no clock, randomness, I/O or hash
//! order; `JDG-2` no true history is condemned: what a judge can't know it counts in favour of the
//! accused, and says Unknown when nothing decidable is left; `JDG-3` a violation names its rule and
//! the operations it needs.
//!
//! Not here: collecting histories (the worlds), the rules that need every memory of every node.

pub mod acknowledged;
pub mod actions;
pub mod bounded;
pub mod chains;
pub mod converge;
pub mod deleted;
pub mod durability;
pub mod exactly_once;
pub mod fairness;
#[cfg(test)]
mod fixtures;
pub mod history;
pub mod linearizable;
pub mod liveness;
pub mod locks;
pub mod raft;
pub mod replicas;
pub mod rules;
pub mod scopes;
pub mod sessions;
pub mod stores;
#[cfg(test)]
mod tests;
pub mod timeline;
pub mod updates;
pub mod verdict;
pub mod views;

use std::fmt;

pub use history::{Case, History};
pub use verdict::{Verdict, judge};

/// One thing that is promised.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which judge watches over it.
    pub judge: &'static str,
    /// Its name within the judge.
    pub name: &'static str,
    /// Where the promise is made, or the theorem it comes from.
    pub source: &'static str,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub rule: &'static Rule,
    /// What was promised and what happened.
    pub detail: String,
    /// The operations without which it would not be one, smallest number first.
    pub operations: Vec<u64>,
    /// The nodes concerned.
    pub nodes: Vec<String>,
    /// When it became visible, microseconds of the observer's clock.
    pub at_us: Option<u64>,
}

impl Violation {
    /// A violation that concerns no particular operation or node.
    pub fn of(rule: &'static Rule, detail: String) -> Self {
        Self { rule, detail, operations: Vec::new(), nodes: Vec::new(), at_us: None }
    }

    /// The same, of these operations.
    #[must_use]
    pub fn by(mut self, operations: impl IntoIterator<Item = u64>) -> Self {
        self.operations.extend(operations);
        self.operations.sort_unstable();
        self.operations.dedup();
        self
    }

    /// The same, on these nodes.
    #[must_use]
    pub fn on<'n>(mut self, nodes: impl IntoIterator<Item = &'n str>) -> Self {
        self.nodes.extend(nodes.into_iter().map(str::to_owned));
        self.nodes.sort_unstable();
        self.nodes.dedup();
        self
    }

    /// The same, visible at this time.
    #[must_use]
    pub fn at(mut self, at_us: u64) -> Self {
        self.at_us = Some(at_us);
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {}", self.rule.judge, self.rule.name, self.detail)
    }
}

/// Why a rule could not be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// Which rule.
    pub rule: &'static Rule,
    /// What is missing.
    pub detail: String,
}

/// What the judges found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// Rules that could not be decided.
    pub undecided: Vec<Undecided>,
}

impl Findings {
    /// Notes a broken promise.
    pub fn violated(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// Notes a rule that could not be decided.
    pub fn undecided(&mut self, rule: &'static Rule, detail: String) {
        self.undecided.push(Undecided { rule, detail });
    }
}
