//! Judge 15: after the last fault there is soon a leader, and every operation ends.
//!
//! A leader is seen by its election, by an index that is newly committed, or by an answer that
//! carries a log index or tells of a change that only a leader makes. A root is condemned only if somebody asked it after the last fault, early
//! enough, and nothing of the kind was seen in time: one that nobody asks may well have a leader.
//!
//! Not here: how long operations take while there are faults; they must only end.

use super::{
    Case, Findings, Rule, Violation,
    history::{Call, Operation, Outcome, RaftStep, What},
};

/// There is a leader soon after the last fault.
pub const LEADER: Rule = Rule {
    judge: "liveness",
    name: "leader",
    source: "requirement D1: a leader at most 2 s after healing",
};
/// Every operation ends.
pub const ENDS: Rule =
    Rule { judge: "liveness", name: "ends", source: "design §2: answered, refused or given up" };
/// Once there is a leader again, operations are answered in time, one way or the other.
pub const ANSWERS: Rule = Rule {
    judge: "liveness",
    name: "answers",
    source: "requirement D1: Unknown needs a fault, and there is none",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&LEADER, &ENDS, &ANSWERS];

/// Judges the time after the last fault.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let events = case.history.events();
    let complete = events.last().is_some_and(|event| event.what == What::End);
    if complete {
        for operation in case.operations.iter().filter(|operation| operation.ended.is_none()) {
            let detail = format!("{} never ended", operation.describe());
            let violation = Violation::of(&ENDS, detail).by([operation.id]);
            findings.violated(violation.on([operation.node]).at(case.end_us()));
        }
    } else if !case.operations.is_empty() {
        findings.undecided(&ENDS, "the recording has no end".to_owned());
    }
    match case.healed() {
        Some((rank, healed_us)) => {
            leader(case, rank, healed_us, findings);
            answers(case, healed_us, complete, findings);
        }
        None if events.iter().any(|event| matches!(event.what, What::Fault { .. })) => {
            findings.undecided(&LEADER, "the faults were never over".to_owned());
        }
        None => {}
    }
}

/// Time of the first sign of a leader after the healing, microseconds.
fn first_sign_us(case: &Case<'_>, rank: u64) -> Option<u64> {
    let mut committed = 0;
    let mut first: Option<u64> = None;
    for (position, event) in case.history.events().iter().enumerate() {
        let What::Raft { step, .. } = &event.what else { continue };
        let sign = match step {
            RaftStep::Leader { .. } => true,
            RaftStep::Committed { index, .. } if *index > committed => {
                committed = *index;
                true
            }
            _ => false,
        };
        if sign && case.history.rank(position) >= rank {
            first = Some(event.at_us);
            break;
        }
    }
    let answered = case
        .operations
        .iter()
        .filter(|operation| operation.invoked >= rank && shows_leader(operation));
    first.into_iter().chain(answered.filter_map(|operation| operation.ended_us)).min()
}

/// The log index that an answer carries, be it yes or no.
fn place(operation: &Operation<'_>) -> Option<u64> {
    match operation.outcome? {
        Outcome::Done(done) => done.index,
        Outcome::Rejected { index, .. } => *index,
        Outcome::Unknown { .. } => None,
    }
}

/// Whether nobody but a leader can have answered that.
fn shows_leader(operation: &Operation<'_>) -> bool {
    let changed = matches!(
        operation.call,
        Call::OpenSession { .. }
            | Call::KeepAlive { .. }
            | Call::CloseSession { .. }
            | Call::Release { .. }
            | Call::ForceRelease { .. }
    );
    place(operation).is_some() || changed && matches!(operation.outcome, Some(Outcome::Done(_)))
}

fn leader(case: &Case<'_>, rank: u64, healed_us: u64, findings: &mut Findings) {
    if case.history.header().voters.is_empty() {
        return;
    }
    let leader_us = case.history.header().bounds.leader_us;
    let deadline_us = healed_us.saturating_add(leader_us);
    let sign_us = first_sign_us(case, rank);
    if sign_us.is_some_and(|sign_us| sign_us <= deadline_us) {
        return;
    }
    let in_vain: Vec<u64> = case
        .operations
        .iter()
        .filter(|operation| {
            operation.invoked >= rank
                && operation.invoked_us <= healed_us.saturating_add(leader_us / 2)
                && !matches!(operation.call, Call::GuardedWrite { .. } | Call::GuardedRead { .. })
        })
        .map(|operation| operation.id)
        .collect();
    if in_vain.is_empty() || case.end_us() < deadline_us {
        findings.undecided(&LEADER, "nobody asked the root in time after healing".to_owned());
        return;
    }
    let sign = sign_us.map_or_else(
        || "never came".to_owned(),
        |sign_us| format!("came {} µs after healing", sign_us - healed_us),
    );
    let detail = format!("the first sign of a leader {sign}");
    findings.violated(Violation::of(&LEADER, detail).by(in_vain).at(deadline_us));
}

fn answers(case: &Case<'_>, healed_us: u64, complete: bool, findings: &mut Findings) {
    let bounds = case.history.header().bounds;
    let from_us = healed_us.saturating_add(bounds.leader_us);
    let federation = case.history.header().federation.as_ref();
    // Nobody takes what is refused of an agent, so whoever needs others for it hears of no end.
    let refused = |operation: &Operation<'_>| match (operation.call, federation) {
        (Call::Store { agent, .. }, Some(federation)) => federation.refused_agents.contains(agent),
        _ => false,
    };
    let asked = case.operations.iter().filter(|o| o.invoked_us >= from_us);
    for operation in asked.filter(|operation| !refused(operation)) {
        let waits_ms = match operation.call {
            Call::Acquire { wait_ms, .. } => wait_ms.unwrap_or(0),
            _ => 0,
        };
        let allowed_us = bounds.operation_us.saturating_add(waits_ms.saturating_mul(1000));
        let end_us = operation.ended_us.or(complete.then(|| case.end_us()));
        let took_us = end_us.map_or(0, |end_us| end_us - operation.invoked_us);
        let unknown = matches!(operation.outcome, Some(Outcome::Unknown { .. }));
        if took_us > allowed_us || unknown {
            let detail = format!("{} after {took_us} µs without a fault", operation.describe());
            let violation = Violation::of(&ANSWERS, detail).by([operation.id]);
            findings.violated(violation.on([operation.node]).at(case.end_us()));
        }
    }
}
