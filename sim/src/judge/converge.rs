//! Judge 7, first part: soon after the last fault all peers show the same to who may see it.
//!
//! Invariant: peers are compared pairwise, by what both may see and must have.
//!
//! Not here: which value is the right one (`updates`, `deleted`, `acknowledged`).

use super::{
    Case, Findings, History, Rule, Violation,
    history::{Federation, Seen, What},
    replicas::{Replicas, Shown},
};

/// In the end all show the same.
pub const SAME: Rule = Rule {
    judge: "converge",
    name: "same",
    source: "requirement C4: merge is a join; simulation, judge 7: identical digests",
};
/// They do so in time.
pub const IN_TIME: Rule = Rule {
    judge: "converge",
    name: "in-time",
    source: "simulation, judge 7: within the bound after the healing",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&SAME, &IN_TIME];

/// Differences that a violation tells of.
const TOLD_MAX: usize = 3;

/// Time from when the last fault was over and the last change before was answered until all peers showed
/// the same, microseconds; `None` when they never did, or nobody looked.
pub fn took_us(history: &History) -> Option<u64> {
    let mut from_us = None;
    for event in history.events() {
        match &event.what {
            What::Healed => from_us = Some(event.at_us),
            What::Complete { .. } if from_us.is_some() => from_us = Some(event.at_us),
            What::Converged => return Some(event.at_us - from_us?),
            _ => {}
        }
    }
    None
}

/// Judges the last looks, and the time until the first agreement.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let Some(replicas) = Replicas::of(case) else { return };
    for node in &replicas.unseen {
        findings.undecided(&SAME, format!("nobody could look at what {node} has in the end"));
    }
    let all: Vec<(&&str, &Shown<'_>)> = replicas.shown.iter().collect();
    for pair in all.windows(2) {
        let [(one, ours), (other, theirs)] = pair else { continue };
        compare(replicas.federation, (one, ours), (other, theirs), findings);
    }
    if replicas.shown.len() > 2
        && let (Some((one, ours)), Some((other, theirs))) = (all.first(), all.last())
    {
        compare(replicas.federation, (one, ours), (other, theirs), findings);
    }
    in_time(case, replicas.federation, findings);
}

fn in_time(case: &Case<'_>, federation: &Federation, findings: &mut Findings) {
    let Some((_, healed_us)) = case.healed() else { return };
    let complete = case.history.events().last().is_some_and(|event| event.what == What::End);
    let bound_us = federation.converge_us;
    match took_us(case.history) {
        Some(took_us) if took_us > bound_us => {
            let detail = format!("the peers agreed after {took_us} µs; the bound is {bound_us} µs");
            findings.violated(Violation::of(&IN_TIME, detail).at(healed_us + took_us));
        }
        None if complete => {
            let detail = format!("the peers never agreed; the bound is {bound_us} µs");
            findings.violated(Violation::of(&IN_TIME, detail).at(case.end_us()));
        }
        None => findings.undecided(&IN_TIME, "the recording has no end".to_owned()),
        Some(_) => {}
    }
}

/// What a reader needs to know of a difference.
fn difference(id: &str, ours: Option<&&Seen>, theirs: Option<&&Seen>) -> Option<String> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours == theirs => None,
        (Some(ours), Some(theirs)) => Some(format!("{id} is {ours:?} and {theirs:?}")),
        (Some(_), None) => Some(format!("{id} is only on the first")),
        (None, Some(_)) => Some(format!("{id} is only on the second")),
        (None, None) => None,
    }
}

fn compare(
    federation: &Federation,
    (one, ours): (&str, &Shown<'_>),
    (other, theirs): (&str, &Shown<'_>),
    findings: &mut Findings,
) {
    let owed = |seen: &&&Seen| federation.must_have(one, seen) && federation.must_have(other, seen);
    let ids = ours.iter().chain(theirs).filter(|(_, seen)| owed(seen)).map(|(id, _)| *id);
    let ids: std::collections::BTreeSet<&str> = ids.collect();
    let differences: Vec<String> =
        ids.iter().filter_map(|id| difference(id, ours.get(id), theirs.get(id))).collect();
    if differences.is_empty() {
        return;
    }
    let told = differences.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join("; ");
    let detail = format!("{one} and {other} differ in {} memories: {told}", differences.len());
    findings.violated(Violation::of(&SAME, detail).on([one, other]));
}
