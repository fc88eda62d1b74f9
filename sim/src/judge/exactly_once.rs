//! Judge 4: what carries a session and a sequence number happens once.
//!
//! Who has a say in an action is told how it stands when the answer is given, so two answers to one say may
//! differ; the judge `actions` compares them.
//!
//! Invariant: attempts that never reached the log say nothing; a refusal after the answer (the session
//! is gone by then) is no second answer.
//!
//! Not here: effects that show twice in what clients read (`linearizable` sees those).

use std::collections::BTreeMap;

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Operation, Outcome, RaftStep, Request, What},
};

/// Every attempt is told the same.
pub const ONE_ANSWER: Rule = Rule {
    judge: "exactly_once",
    name: "one-answer",
    source: "requirement D6; Ongaro, Consensus, 2014, §6.3",
};
/// One entry of the log executes it.
pub const ONE_EXECUTION: Rule = Rule {
    judge: "exactly_once",
    name: "one-execution",
    source: "requirement D6; design §4: sessions deduplicate by (session, seq)",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&ONE_ANSWER, &ONE_EXECUTION];

/// Judges every request.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let mut attempts: BTreeMap<Request, Vec<&Operation<'_>>> = BTreeMap::new();
    for operation in &case.operations {
        if let Some(request) = operation.request {
            attempts.entry(request).or_default().push(operation);
        }
    }
    for (request, attempts) in &attempts {
        one_answer(*request, attempts, findings);
    }
    one_execution(case, &attempts, findings);
}

/// Whether an answer shows an action as it stands.
fn is_a_view(answer: &Answer) -> bool {
    matches!(answer, Answer::Pending { .. } | Answer::Decided { .. })
}

/// Whether two answers say the same. How many nodes have a memory may have changed meanwhile.
fn is_same(one: &Answer, other: &Answer) -> bool {
    match (one, other) {
        (Answer::Stored { id: one, .. }, Answer::Stored { id: other, .. }) => one == other,
        _ => one == other,
    }
}

fn one_answer(request: Request, attempts: &[&Operation<'_>], findings: &mut Findings) {
    let Request { session, seq } = request;
    let Some(first) = attempts.first() else { return };
    if attempts.iter().any(|attempt| attempt.call != first.call) {
        let detail = format!("the attempts of session {session} seq {seq} ask different things");
        findings.undecided(&ONE_ANSWER, detail);
        return;
    }
    let mut told = attempts.iter().filter(|attempt| attempt.done().is_some());
    let Some(done) = told.next() else { return };
    let answer = done.done();
    let index = answer.and_then(|done| done.index);
    let differs = |attempt: &&&Operation<'_>| match attempt.outcome {
        Some(Outcome::Done(other)) => answer.is_some_and(|answer| {
            let elsewhere = answer.index.zip(other.index).is_some_and(|(a, b)| a != b);
            let differs = !is_same(&answer.answer, &other.answer);
            differs && !(is_a_view(&answer.answer) && is_a_view(&other.answer)) || elsewhere
        }),
        // The log said no, and later it said yes.
        Some(Outcome::Rejected { index: Some(refused), .. }) => {
            index.is_some_and(|index| *refused < index)
        }
        _ => false,
    };
    if let Some(other) = attempts.iter().find(differs) {
        let (one, two) = (done.describe(), other.describe());
        let detail = format!("session {session} seq {seq} was told {one} and {two}");
        let violation = Violation::of(&ONE_ANSWER, detail).by([done.id, other.id]);
        findings.violated(violation.at(done.ended_us.max(other.ended_us).unwrap_or(0)));
    }
}

fn one_execution(
    case: &Case<'_>,
    attempts: &BTreeMap<Request, Vec<&Operation<'_>>>,
    findings: &mut Findings,
) {
    let mut executed: BTreeMap<Request, (u64, &str)> = BTreeMap::new();
    for event in case.history.events() {
        let What::Raft { node, step } = &event.what else { continue };
        let RaftStep::Applied { index, request: Some(request), executed: true, .. } = step else {
            continue;
        };
        let (before, by) = *executed.entry(*request).or_insert((*index, node.as_str()));
        if before != *index {
            let Request { session, seq } = request;
            let detail = format!(
                "session {session} seq {seq} was executed by entry {before} ({by}) and by {index} ({node})"
            );
            let operations = attempts.get(request).into_iter().flatten().map(|o| o.id);
            let violation = Violation::of(&ONE_EXECUTION, detail).by(operations);
            findings.violated(violation.on([by, node.as_str()]).at(event.at_us));
        }
    }
}
