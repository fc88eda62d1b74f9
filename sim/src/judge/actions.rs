//! Judge 5: a pending action is decided once, and whoever had a say learns the same decision.
//!
//! Invariant: a decision counts as learned by the answer that carried it, be that answer a success or
//! a refusal; an operator who never asked again is owed nothing that could be judged, so the verdict
//! is Unknown rather than pass.
//!
//! Not here: whether the rules asked for the right approvers.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Call, Decision, Operation, Outcome, Ruling},
};

/// All who learned a decision learned the same.
pub const ONE_DECISION: Rule = Rule {
    judge: "actions",
    name: "one-decision",
    source: "requirement D3: exactly one decision wins",
};
/// What is decided is never pending again.
pub const STAYS_DECIDED: Rule = Rule {
    judge: "actions",
    name: "stays-decided",
    source: "requirement D3; design §6: pending actions live in the root only",
};
/// Whoever voted is told.
pub const VOTERS_TOLD: Rule =
    Rule { judge: "actions", name: "voters-told", source: "requirement D3: the other is told" };
/// Nobody approves what they proposed.
pub const NO_SELF_APPROVAL: Rule = Rule {
    judge: "actions",
    name: "no-self-approval",
    source: "requirement D3: self-approval refused",
};
/// An approval needs its approvers, a rejection somebody who rejects.
pub const EARNED: Rule =
    Rule { judge: "actions", name: "earned", source: "requirement D3: n-of-m" };

/// Rules of this judge.
pub const RULES: &[&Rule] =
    &[&ONE_DECISION, &STAYS_DECIDED, &VOTERS_TOLD, &NO_SELF_APPROVAL, &EARNED];

/// All that was asked about one action.
#[derive(Default)]
struct Affair<'c, 'h> {
    proposer: Option<&'h str>,
    needed: u32,
    asked: Vec<(&'h str, &'c Operation<'h>)>,
}

/// The decision that an operation's answer carried.
fn learned(operation: &Operation<'_>) -> Option<Decision> {
    match operation.outcome {
        Some(Outcome::Rejected { decision, .. }) => *decision,
        Some(Outcome::Done(done)) => match &done.answer {
            Answer::Decided { decision } => Some(*decision),
            _ => None,
        },
        _ => None,
    }
}

/// Judges every action.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let mut affairs: BTreeMap<u64, Affair<'_, '_>> = BTreeMap::new();
    for operation in &case.operations {
        match (operation.call, operation.answer()) {
            (Call::Propose { agent, .. }, Some(Answer::Proposed { action, needed })) => {
                let affair = affairs.entry(*action).or_default();
                affair.proposer = Some(agent);
                affair.needed = *needed;
            }
            (
                Call::Approve { agent, action }
                | Call::Reject { agent, action }
                | Call::Observe { agent, action },
                _,
            ) => affairs.entry(*action).or_default().asked.push((agent, operation)),
            _ => {}
        }
    }
    for (action, affair) in &affairs {
        no_self_approval(*action, affair, findings);
        let told = affair.asked.iter().filter_map(|(_, o)| learned(o).map(|d| (*o, d)));
        // The first to learn it: whoever asks after that must hear the same.
        if let Some((first, decision)) = told.min_by_key(|(operation, _)| operation.ended) {
            one_decision(*action, affair, first, decision, findings);
            voters_told(*action, affair, first, decision, findings);
            earned(*action, affair, first, decision, findings);
        }
    }
}

fn no_self_approval(action: u64, affair: &Affair<'_, '_>, findings: &mut Findings) {
    for (agent, operation) in &affair.asked {
        let approves = matches!(operation.call, Call::Approve { .. });
        // Being told the decision of others in answer to it is no acceptance.
        let accepted = operation.done().is_some() && learned(operation).is_none();
        if approves && accepted && affair.proposer == Some(agent) {
            let detail =
                format!("action {action}: its proposer approved it: {}", operation.describe());
            findings.violated(Violation::of(&NO_SELF_APPROVAL, detail).by([operation.id]));
        }
    }
}

fn one_decision(
    action: u64,
    affair: &Affair<'_, '_>,
    first: &Operation<'_>,
    decision: Decision,
    findings: &mut Findings,
) {
    for (_, operation) in &affair.asked {
        let at_us = operation.ended_us.unwrap_or(0);
        let (one, two) = (first.describe(), operation.describe());
        if learned(operation).is_some_and(|other| other != decision) {
            let detail = format!("action {action} was decided twice: {one}; {two}");
            let violation = Violation::of(&ONE_DECISION, detail).by([first.id, operation.id]);
            findings.violated(violation.at(at_us));
        }
        let pending = matches!(operation.answer(), Some(Answer::Pending { .. }));
        if pending && first.ended.is_some_and(|ended| ended < operation.invoked) {
            let detail = format!("action {action} was decided and is pending again: {one}; {two}");
            let violation = Violation::of(&STAYS_DECIDED, detail).by([first.id, operation.id]);
            findings.violated(violation.at(at_us));
        }
    }
}

fn voters_told(
    action: u64,
    affair: &Affair<'_, '_>,
    first: &Operation<'_>,
    decision: Decision,
    findings: &mut Findings,
) {
    // A vote that was refused in the log after the decision lost against it.
    let lost = |operation: &Operation<'_>| match operation.outcome {
        Some(Outcome::Rejected { index, .. }) => index.is_some_and(|at| at > decision.index),
        _ => false,
    };
    let votes = affair.asked.iter().filter(|(_, operation)| {
        matches!(operation.call, Call::Approve { .. } | Call::Reject { .. })
            && (!operation.rejected() || lost(operation))
    });
    let voters: BTreeSet<&str> = votes.map(|(agent, _)| *agent).collect();
    for voter in voters {
        let mine = || affair.asked.iter().filter(|(agent, _)| *agent == voter).map(|(_, o)| *o);
        if mine().any(|operation| learned(operation).is_some()) {
            continue;
        }
        let owed = mine().find(|operation| lost(operation));
        let asked_again = mine().any(|operation| {
            matches!(operation.answer(), Some(Answer::Pending { .. }))
                && first.ended.is_some_and(|ended| ended < operation.invoked)
        });
        match owed {
            Some(operation) => {
                let told = operation.describe();
                let detail =
                    format!("action {action} was decided and {voter} was not told: {told}");
                let violation = Violation::of(&VOTERS_TOLD, detail).by([first.id, operation.id]);
                findings.violated(violation.at(operation.ended_us.unwrap_or(0)));
            }
            // That is the other rule's business.
            None if asked_again => {}
            None => {
                let detail = format!(
                    "{voter} had a say in action {action} and never asked what became of it"
                );
                findings.undecided(&VOTERS_TOLD, detail);
            }
        }
    }
}

fn earned(
    action: u64,
    affair: &Affair<'_, '_>,
    first: &Operation<'_>,
    decision: Decision,
    findings: &mut Findings,
) {
    let by = |wanted: fn(&Call) -> bool| -> BTreeSet<&str> {
        let votes = affair.asked.iter().filter(|(agent, operation)| {
            wanted(operation.call)
                && !operation.rejected()
                && affair.proposer != Some(agent)
                && first.ended.is_some_and(|ended| operation.invoked < ended)
        });
        votes.map(|(agent, _)| *agent).collect()
    };
    let missing = match decision.ruling {
        Ruling::Approved => {
            let approvers = by(|call| matches!(call, Call::Approve { .. }));
            let (have, need) = (approvers.len() as u64, u64::from(affair.needed));
            (have < need).then(|| format!("{have} of {need} approvers had spoken"))
        }
        // Its proposer may withdraw it, so anybody's rejection will do.
        Ruling::Rejected => {
            let mut asked = affair.asked.iter();
            let any = asked.any(|(_, operation)| {
                matches!(operation.call, Call::Reject { .. })
                    && (!operation.rejected() || learned(operation).is_some())
            });
            (!any).then(|| "nobody had rejected it".to_owned())
        }
        Ruling::Expired => None,
    };
    if let Some(missing) = missing {
        let detail = format!("action {action}: {} although {missing}", first.describe());
        let violation = Violation::of(&EARNED, detail).by([first.id]);
        findings.violated(violation.at(first.ended_us.unwrap_or(0)));
    }
}
