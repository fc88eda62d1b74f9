//! Judge 1: operations of the root are linearizable.
//!
//! Two checks. The log is the order in which the root says that things happened, so wherever an
//! answer carries its log index, the order of indexes must respect real time and explain every answer
//! (cheap, and it looks inside the claim). What the indexes leave open is searched (`search`).
//!
//! Invariants: a key is judged alone, because linearizability is local (Herlihy and Wing 1990); an
//! operation that was Rejected takes part in no order, so an effect of it is explained by nothing.
//!
//! Not here: several keys at once; the store's own tiers, which promise less.

pub mod lock;
pub mod minimal;
pub mod register;
pub mod search;
pub mod set;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use lock::{Lock, LockAnswer, LockCall};
use register::Register;
use search::{Budget, Found, Model, Timed, search};
use set::Set;

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Call, Expiry, Operation, What},
};

/// Some order of the operations on a key explains every answer.
pub const LINEARIZABLE: Rule = Rule {
    judge: "linearizable",
    name: "order",
    source: "requirement D1; Herlihy and Wing, Linearizability, 1990",
};
/// The log is such an order.
pub const LOG_EXPLAINS: Rule = Rule {
    judge: "linearizable",
    name: "log-explains",
    source: "design §4: answers are those of the state machine at their log index",
};
/// An operation that began after another had ended has the greater log index.
pub const LOG_RESPECTS_TIME: Rule = Rule {
    judge: "linearizable",
    name: "log-respects-time",
    source: "requirement D1; ReadIndex: Ongaro, Consensus, 2014, §6.4",
};
/// An entry of the log is one change.
pub const ONE_ENTRY: Rule =
    Rule { judge: "linearizable", name: "one-entry", source: "design §4: one entry, one command" };

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&LINEARIZABLE, &LOG_EXPLAINS, &LOG_RESPECTS_TIME, &ONE_ENTRY];

/// Steps that the search may take for a key with few operations.
const STEPS_MAX: u64 = 2_000_000;
/// Steps that it may take for each of many. What may yet happen is looked at again with every operation, and the longer a
/// run is the more of it there is.
const STEPS_EACH: u64 = 50_000;

/// Judges every key, and the log across keys.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    log_respects_time(case, findings);
    one_change_per_entry(case, findings);
    for (key, operations) in by_key(case, register_key) {
        judge_object(case, findings, &Register, &format!("register {key}"), &operations);
    }
    for (key, operations) in by_key(case, set_key) {
        judge_object(case, findings, &Set, &format!("set {key}"), &operations);
    }
    for (key, operations) in locks(case) {
        judge_object(case, findings, &Lock, &format!("lock {key}"), &operations);
    }
}

fn register_key(call: &Call) -> Option<&str> {
    match call {
        Call::Put { key, .. } | Call::Get { key } | Call::Cas { key, .. } => Some(key),
        _ => None,
    }
}

fn set_key(call: &Call) -> Option<&str> {
    match call {
        Call::Add { key, .. } | Call::Remove { key, .. } | Call::Elements { key } => Some(key),
        _ => None,
    }
}

/// Within an entry, what frees comes before what is granted or written, and reads of the state after
/// the entry come last.
fn place(operation: &Operation<'_>) -> Option<u64> {
    let class = match operation.call {
        Call::Release { .. } | Call::ForceRelease { .. } | Call::CloseSession { .. } => 0,
        Call::Get { .. } | Call::Elements { .. } | Call::GetRules | Call::Observe { .. } => 2,
        // A store that takes fenced writes counts positions of its own.
        Call::GuardedWrite { .. } | Call::GuardedRead { .. } => return None,
        _ => 1,
    };
    operation.done()?.index.map(|index| index.saturating_mul(4) + class)
}

fn timed<C, A>(operation: &Operation<'_>, call: C, answer: Option<A>) -> Timed<C, A> {
    let place = place(operation);
    let (invoked, effective) = (operation.invoked, operation.effective());
    Timed { id: operation.id, invoked, effective, place, call, answer }
}

type Parts<'h, C, A> = BTreeMap<&'h str, Vec<Timed<C, A>>>;

fn by_key<'h>(case: &Case<'h>, key: impl Fn(&Call) -> Option<&str>) -> Parts<'h, Call, Answer> {
    let mut parts: Parts<'h, Call, Answer> = BTreeMap::new();
    for operation in case.requests.iter().filter(|operation| !operation.rejected()) {
        if let Some(key) = key(operation.call) {
            let part = timed(operation, operation.call.clone(), operation.answer().cloned());
            parts.entry(key).or_default().push(part);
        }
    }
    parts
}

/// The operations that concern each lock, the ends of sessions included.
fn locks<'h>(case: &Case<'h>) -> Parts<'h, LockCall, LockAnswer> {
    let mut parts: Parts<'h, LockCall, LockAnswer> = BTreeMap::new();
    let mut sessions: BTreeMap<&'h str, BTreeSet<u64>> = BTreeMap::new();
    for operation in case.requests.iter().filter(|operation| !operation.rejected()) {
        let answer = match operation.answer() {
            None => None,
            Some(Answer::Granted { fence }) => Some(LockAnswer::Granted { fence: *fence }),
            Some(Answer::Released { held }) => Some(LockAnswer::Released { held: *held }),
            Some(_) => Some(LockAnswer::Ok),
        };
        let (call, keys) = match operation.call {
            Call::Acquire { session, keys, mode, .. } => {
                (LockCall::Acquire { session: *session, mode: *mode }, keys.as_slice())
            }
            Call::Release { session, keys, fence } => {
                (LockCall::Release { session: *session, fence: *fence }, keys.as_slice())
            }
            Call::ForceRelease { key, fence } => {
                (LockCall::Force { fence: *fence }, std::slice::from_ref(key))
            }
            _ => continue,
        };
        for key in keys {
            if let LockCall::Acquire { session, .. } = call {
                sessions.entry(key).or_default().insert(session);
            }
            let part = timed(operation, call.clone(), answer.clone());
            parts.entry(key).or_default().push(part);
        }
    }
    for (key, sessions) in sessions {
        let ends = sessions.iter().flat_map(|session| ends(case, *session));
        parts.entry(key).or_default().extend(ends);
    }
    parts
}

/// How a session may have ended: by being closed, by an expiry that was seen, or by one that was not.
fn ends(case: &Case<'_>, session: u64) -> Vec<Timed<LockCall, LockAnswer>> {
    let call = LockCall::End { session };
    let closes = case.requests.iter().filter(|operation| {
        matches!(operation.call, Call::CloseSession { session: s } if *s == session)
            && !operation.rejected()
    });
    let told = |operation: &Operation<'_>| operation.done().map(|_| LockAnswer::Ok);
    let mut ends: Vec<_> = closes.map(|close| timed(close, call.clone(), told(close))).collect();
    // Whatever a session was granted, it was alive at some time after asking for it.
    let alive = case.requests.iter().filter(|operation| {
        matches!(operation.call, Call::Acquire { session: s, .. } if *s == session)
            && operation.done().is_some()
    });
    let alive = alive.map(|operation| operation.invoked).max().unwrap_or(0);
    for (position, event) in case.history.events().iter().enumerate() {
        if let What::Expired { session: expired, index, .. } = event.what
            && expired == session
        {
            // The first node to show it showed it after it happened.
            let effective = case.history.rank(position);
            let place = Some(index.saturating_mul(4));
            let (call, answer) = (call.clone(), Some(LockAnswer::Ok));
            let invoked = alive.min(effective);
            ends.push(Timed { id: 0, invoked, effective, place, call, answer });
            break;
        }
    }
    if case.history.header().expiry != Expiry::Recorded {
        let (effective, place, answer) = (u64::MAX, None, None);
        ends.push(Timed { id: 0, invoked: alive, effective, place, call, answer });
    }
    ends
}

fn judge_object<M: Model>(
    case: &Case<'_>,
    findings: &mut Findings,
    model: &M,
    object: &str,
    operations: &[Timed<M::Call, M::Answer>],
) {
    let mut condemn = |rule: &'static Rule, by_place: bool| {
        let blamed = minimal::blame(model, operations, by_place);
        let blamed: Vec<u64> = blamed.into_iter().filter(|id| *id != 0).collect();
        let words: Vec<String> =
            blamed.iter().filter_map(|id| case.operation(*id)).map(Operation::describe).collect();
        let detail = format!("{object}: no order explains {}", words.join("; "));
        let seen_us = blamed.iter().filter_map(|id| case.operation(*id)?.ended_us).max();
        findings.violated(Violation::of(rule, detail).by(blamed).at(seen_us.unwrap_or(0)));
    };
    let steps = STEPS_MAX.max(STEPS_EACH * operations.len() as u64);
    let mut certain = operations.iter().filter(|operation| !operation.pending());
    if certain.any(|operation| operation.place.is_some()) {
        match search(model, operations, true, &mut Budget(steps)) {
            // An order that agrees with the log is an order: nothing is left to search for.
            Found::Order(_) => return,
            Found::Nothing => condemn(&LOG_EXPLAINS, true),
            Found::Undecided => {
                findings.undecided(&LOG_EXPLAINS, format!("{object}: {steps} steps used up"));
                return;
            }
        }
    }
    match search(model, operations, false, &mut Budget(steps)) {
        Found::Order(_) => {}
        Found::Nothing => condemn(&LINEARIZABLE, false),
        Found::Undecided => {
            findings.undecided(&LINEARIZABLE, format!("{object}: {steps} steps used up"));
        }
    }
}

/// Across all keys: what began later has no smaller index.
fn log_respects_time(case: &Case<'_>, findings: &mut Findings) {
    let mut placed: Vec<(u64, &Operation<'_>)> =
        case.requests.iter().filter_map(|o| place(o).map(|place| (place, o))).collect();
    placed.sort_by_key(|(place, operation)| (*place, operation.id));
    // Of everything with a smaller place, the operation that began last.
    let mut latest: Option<&Operation<'_>> = None;
    for entry in placed.chunk_by(|a, b| a.0 == b.0) {
        for (_, operation) in entry {
            let Some(before) = latest.filter(|before| operation.precedes(before)) else { continue };
            let (late, early) = (before.describe(), operation.describe());
            let detail = format!("{late} began after {early} had ended and comes first in the log");
            let violation = Violation::of(&LOG_RESPECTS_TIME, detail);
            let at_us = before.ended_us.max(operation.ended_us).unwrap_or(0);
            findings.violated(violation.by([before.id, operation.id]).at(at_us));
        }
        let all = latest.into_iter().chain(entry.iter().map(|(_, operation)| *operation));
        latest = all.max_by_key(|operation| operation.invoked);
    }
}

fn one_change_per_entry(case: &Case<'_>, findings: &mut Findings) {
    let mut changes: BTreeMap<u64, &Operation<'_>> = BTreeMap::new();
    for operation in &case.requests {
        // An entry that frees a lock also grants it to whoever waits.
        if matches!(operation.call, Call::Acquire { .. }) {
            continue;
        }
        let Some(place) = place(operation).filter(|place| place % 4 < 2) else { continue };
        if let Some(other) = changes.insert(place / 4, operation) {
            let (one, two) = (other.describe(), operation.describe());
            let detail = format!("{one} and {two} are both entry {}", place / 4);
            findings.violated(Violation::of(&ONE_ENTRY, detail).by([other.id, operation.id]));
        }
    }
}
