//! The verdict: all judges over one history.
//!
//! Invariant: every judge is heard, whatever the others found; one broken promise is a Fail, and only
//! without any does an undecided rule make the verdict Unknown.
//!
//! Not here: the judge of durability, which reads another record (`stores`).

use std::fmt;

use super::{
    Case, Findings, History, Rule, Undecided, Violation, acknowledged, actions, bounded, chains,
    converge, deleted, durability, exactly_once, fairness, linearizable, liveness, locks, raft,
    rules, scopes, sessions, updates,
};

/// What is to be thought of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every promise was kept.
    Pass,
    /// These were broken.
    Fail(Vec<Violation>),
    /// None is known to be broken, and these could not be decided.
    Unknown(Vec<Undecided>),
}

/// A judge: it looks at the case and notes what it finds.
type Judge = fn(&Case<'_>, &mut Findings);

/// All judges with their rules.
const JUDGES: &[(Judge, &[&Rule])] = &[
    (linearizable::judge, linearizable::RULES),
    (locks::judge, locks::RULES),
    (sessions::judge, sessions::RULES),
    (fairness::judge, fairness::RULES),
    (exactly_once::judge, exactly_once::RULES),
    (actions::judge, actions::RULES),
    (rules::judge, rules::RULES),
    (raft::judge, raft::RULES),
    (acknowledged::judge, acknowledged::RULES),
    (converge::judge, converge::RULES),
    (deleted::judge, deleted::RULES),
    (updates::judge, updates::RULES),
    (scopes::judge, scopes::RULES),
    (chains::judge, chains::RULES),
    (bounded::judge, bounded::RULES),
    (liveness::judge, liveness::RULES),
];

/// All rules, in the order of their judges; that of the stores last.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    let of_histories = JUDGES.iter().flat_map(|(_, rules)| rules.iter().copied());
    of_histories.chain([&durability::STORED])
}

/// Hears every judge.
pub fn findings(history: &History) -> Findings {
    let case = Case::of(history);
    let mut findings = Findings::default();
    for (judge, _) in JUDGES {
        judge(&case, &mut findings);
    }
    findings
}

/// Hears every judge and concludes.
pub fn judge(history: &History) -> Verdict {
    let findings = findings(history);
    if !findings.violations.is_empty() {
        Verdict::Fail(findings.violations)
    } else if !findings.undecided.is_empty() {
        Verdict::Unknown(findings.undecided)
    } else {
        Verdict::Pass
    }
}

/// How many findings a verdict's text tells; the first ones say what the matter is.
const TOLD_MAX: usize = 20;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => write!(f, "pass"),
            Self::Fail(violations) => {
                write!(f, "fail")?;
                tell(f, violations, |f, violation| write!(f, "\n  {violation}"))
            }
            Self::Unknown(undecided) => {
                write!(f, "unknown")?;
                tell(f, undecided, |f, undecided| {
                    let Rule { judge, name, .. } = undecided.rule;
                    write!(f, "\n  {judge}/{name}: {}", undecided.detail)
                })
            }
        }
    }
}

/// Writes the first findings, and how many there are besides.
fn tell<T>(
    f: &mut fmt::Formatter<'_>,
    findings: &[T],
    one: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    findings.iter().take(TOLD_MAX).try_for_each(|finding| one(f, finding))?;
    match findings.len().saturating_sub(TOLD_MAX) {
        0 => Ok(()),
        more => write!(f, "\n  and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_tells_the_first_findings_and_counts_the_rest() {
        let undecided = |number: usize| Undecided {
            rule: &durability::STORED,
            detail: format!("finding {number}"),
        };
        let few = Verdict::Unknown((1..=TOLD_MAX).map(undecided).collect()).to_string();
        assert!(few.ends_with(&format!("finding {TOLD_MAX}")), "{few}");
        let many = Verdict::Unknown((0..200_000).map(undecided).collect()).to_string();
        assert!(many.contains("finding 0\n"), "{many}");
        assert!(many.ends_with("\n  and 199980 more"), "{many}");
    }
}
