//! Judge 3: waiters are granted in the order of the queue, and the dead are granted nothing.
//!
//! A request joins the queue at the log index at which it was queued, or at that of its grant when
//! it never waited. It leaves at the index of its grant or of its refusal. Nobody who joined later
//! may be granted before it has left: a waiter that can't be granted yet is not passed.
//!
//! Invariant: only log indexes are compared, so a slow answer changes nothing; a waiter whose end is
//! unknown accuses nobody.
//!
//! Not here: how long anybody waits.

use std::collections::BTreeMap;

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Call, Operation, Outcome, What},
    locks::grants,
};

/// Nobody is granted a lock before those who asked earlier.
pub const IN_ORDER: Rule =
    Rule { judge: "fairness", name: "in-order", source: "requirement D4: fair queue; design §5" };
/// A session that has ended is granted nothing.
pub const NO_DEAD_WAITER: Rule = Rule {
    judge: "fairness",
    name: "no-dead-waiter",
    source: "design §5: session liveness is checked inside apply",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&IN_ORDER, &NO_DEAD_WAITER];

/// Judges every queue and every session.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    in_order(case, findings);
    no_dead_waiter(case, findings);
}

/// A request's time in a queue, by log index.
struct Stay<'c, 'h> {
    request: &'c Operation<'h>,
    joined: u64,
    left: u64,
    granted: bool,
}

fn in_order(case: &Case<'_>, findings: &mut Findings) {
    let mut queues: BTreeMap<&str, Vec<Stay<'_, '_>>> = BTreeMap::new();
    for (key, grants) in grants(case) {
        for grant in grants {
            let joined = grant.acquire.queued.map_or(grant.fence, |(index, _)| index);
            let (request, left, granted) = (grant.acquire, grant.fence, true);
            queues.entry(key).or_default().push(Stay { request, joined, left, granted });
        }
    }
    for request in &case.requests {
        let Call::Acquire { keys, .. } = request.call else { continue };
        let Some(Outcome::Rejected { index: Some(left), .. }) = request.outcome else { continue };
        let Some((joined, _)) = request.queued else { continue };
        for key in keys {
            let stay = Stay { request, joined, left: *left, granted: false };
            queues.entry(key).or_default().push(stay);
        }
    }
    for (key, mut queue) in queues {
        queue.sort_by_key(|stay| (stay.joined, stay.left, stay.request.id));
        // Of those who joined before, the one who stayed longest.
        let mut patient: Option<&Stay<'_, '_>> = None;
        for together in queue.chunk_by(|a, b| a.joined == b.joined) {
            for stay in together.iter().filter(|stay| stay.granted) {
                if let Some(passed) = patient.filter(|patient| stay.left < patient.left) {
                    report_passed(key, passed, stay, findings);
                }
            }
            patient = patient.into_iter().chain(together).max_by_key(|stay| stay.left);
        }
    }
}

fn report_passed(key: &str, passed: &Stay<'_, '_>, winner: &Stay<'_, '_>, findings: &mut Findings) {
    let (first, second) = (passed.request.describe(), winner.request.describe());
    let detail = format!(
        "lock {key}: {second} joined at {} and passed {first}, which had waited since {}",
        winner.joined, passed.joined
    );
    let violation = Violation::of(&IN_ORDER, detail).by([passed.request.id, winner.request.id]);
    findings.violated(violation.at(winner.request.ended_us.unwrap_or(0)));
}

/// When a session ended.
struct Ended<'c, 'h> {
    index: Option<u64>,
    close: Option<&'c Operation<'h>>,
}

fn no_dead_waiter(case: &Case<'_>, findings: &mut Findings) {
    let mut ended: BTreeMap<u64, Vec<Ended<'_, '_>>> = BTreeMap::new();
    for event in case.history.events() {
        if let What::Expired { session, index, .. } = event.what {
            ended.entry(session).or_default().push(Ended { index: Some(index), close: None });
        }
    }
    for close in &case.requests {
        if let (Call::CloseSession { session }, Some(done)) = (close.call, close.done()) {
            let end = Ended { index: done.index, close: Some(close) };
            ended.entry(*session).or_default().push(end);
        }
    }
    for request in &case.requests {
        let Call::Acquire { session, .. } = request.call else { continue };
        let Some(Answer::Granted { fence }) = request.answer() else { continue };
        for end in ended.get(session).into_iter().flatten() {
            let by_index = end.index.is_some_and(|index| *fence >= index);
            let by_time = end.close.is_some_and(|close| close.precedes(request));
            if by_index || by_time {
                let how = match (end.close, end.index) {
                    (Some(close), _) => close.describe(),
                    (None, index) => format!("expired at {}", index.unwrap_or(0)),
                };
                let detail = format!("session {session}: {how}, and {}", request.describe());
                let involved = end.close.map(|close| close.id);
                let violation = Violation::of(&NO_DEAD_WAITER, detail).by(involved);
                findings.violated(violation.by([request.id]).at(request.ended_us.unwrap_or(0)));
            }
        }
    }
}
