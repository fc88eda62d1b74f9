//! Governance vocabulary: what policies and operator rules can say, and what they mean for a request.
//!
//! Layout: `pattern` (text with stars), `approver` (who must agree), `policy` (what a namespace
//! asks for, and what contradicts its parent), `operator` (rules that match requests), `set` (all of
//! them at one version), `verdict` (the evaluation).
//!
//! Invariants: `GOV-1` a policy is data; the same rule set and request give the same verdict
//! everywhere. `GOV-2` a child namespace only tightens what its ancestors say. `GOV-3` of several
//! verdicts the strictest holds: refuse before escalate before allow.
//!
//! Not here: deciding on rules and distributing them (the root tier), and acting on a verdict (the
//! node's service).

mod approver;
mod operator;
mod pattern;
mod policy;
mod set;
#[cfg(test)]
mod tests;
mod verdict;

pub use approver::Approver;
pub use operator::{OperatorRule, RuleEffect, RuleId, RuleMatch};
pub use pattern::Pattern;
pub use policy::{Access, Contradiction, NamespacePolicy, Operation, Pii, Settings, Who};
pub use set::RuleSet;
pub use verdict::{Cause, Decision, RuleRequest, Verdict};
