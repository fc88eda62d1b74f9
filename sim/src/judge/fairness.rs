//! Judge 3: waiters are granted in the order of the queue, and the dead are granted nothing.
//!
//! A request joins the queue at the log index at which it was queued, or at that of its grant when
//! it would not have waited. It leaves at the index of its grant or of its refusal. Nobody who joined
//! later may be granted before it has left: a waiter that can't be granted yet is not passed. Who would
//! have waited and was not seen in the queue joined at an index that nobody knows, after all that the
//! log was known to have when it asked.
//!
//! Invariant: only log indexes are compared, so a slow answer changes nothing; a waiter whose end or
//! whose place is unknown accuses nobody.
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
    /// The smallest index at which it can have joined.
    earliest: u64,
    /// The greatest.
    latest: u64,
    left: u64,
    granted: bool,
}

/// How far the log was known to have come, by rank: each index that was told, and the greatest of
/// those told before.
struct Known(Vec<(u64, u64)>);

impl Known {
    fn of(case: &Case<'_>) -> Self {
        let told = case.operations.iter().flat_map(|operation| {
            let done = operation.done().and_then(|done| done.index);
            let done = operation.ended.zip(done);
            let queued = operation.queued.map(|(index, rank)| (rank, index));
            done.into_iter().chain(queued)
        });
        let mut told: Vec<(u64, u64)> = told.collect();
        told.sort_unstable();
        let mut greatest = 0;
        for (_, index) in &mut told {
            greatest = greatest.max(*index);
            *index = greatest;
        }
        Self(told)
    }

    /// The greatest index told before this rank.
    fn before(&self, rank: u64) -> u64 {
        let after = self.0.partition_point(|(told, _)| *told < rank);
        after.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

fn in_order(case: &Case<'_>, findings: &mut Findings) {
    let known = Known::of(case);
    let mut queues: BTreeMap<&str, Vec<Stay<'_, '_>>> = BTreeMap::new();
    for (key, grants) in grants(case) {
        for grant in grants {
            let (request, left) = (grant.acquire, grant.fence);
            let waits = matches!(request.call, Call::Acquire { wait_ms: Some(_), .. });
            let (earliest, latest) = match request.queued {
                Some((index, _)) => (index, index),
                None if waits => (left.min(known.before(request.invoked) + 1), left),
                None => (left, left),
            };
            let stay = Stay { request, earliest, latest, left, granted: true };
            queues.entry(key).or_default().push(stay);
        }
    }
    for request in &case.requests {
        let Call::Acquire { keys, .. } = request.call else { continue };
        let Some(Outcome::Rejected { index: Some(left), .. }) = request.outcome else { continue };
        let Some((joined, _)) = request.queued else { continue };
        let (earliest, latest) = (joined, joined);
        for key in keys {
            let stay = Stay { request, earliest, latest, left: *left, granted: false };
            queues.entry(key).or_default().push(stay);
        }
    }
    for (key, queue) in queues {
        in_turn(key, &queue, findings);
    }
}

/// One queue: nobody is granted before one who certainly joined before.
fn in_turn(key: &str, queue: &[Stay<'_, '_>], findings: &mut Findings) {
    let mut by_latest: Vec<&Stay<'_, '_>> = queue.iter().collect();
    by_latest.sort_by_key(|stay| (stay.latest, stay.left, stay.request.id));
    let mut granted: Vec<&Stay<'_, '_>> = queue.iter().filter(|stay| stay.granted).collect();
    granted.sort_by_key(|stay| (stay.earliest, stay.left, stay.request.id));
    let mut before = by_latest.into_iter().peekable();
    // Of those who joined before, the one who stayed longest.
    let mut patient: Option<&Stay<'_, '_>> = None;
    for stay in granted {
        while let Some(earlier) = before.next_if(|earlier| earlier.latest < stay.earliest) {
            patient = patient.into_iter().chain([earlier]).max_by_key(|stay| stay.left);
        }
        if let Some(passed) = patient.filter(|patient| stay.left < patient.left) {
            report_passed(key, passed, stay, findings);
        }
    }
}

fn report_passed(key: &str, passed: &Stay<'_, '_>, winner: &Stay<'_, '_>, findings: &mut Findings) {
    let (first, second) = (passed.request.describe(), winner.request.describe());
    let detail = format!(
        "lock {key}: {second} joined at {} and passed {first}, which had waited since {}",
        winner.earliest, passed.latest
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
