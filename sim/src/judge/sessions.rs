//! Judge 2b: a session that shows signs of life lives.
//!
//! A sign of life that was answered had been taken in before the session ended, and not before it was
//! asked for. From then on the session has its whole time to live, measured by some node's clock; a new
//! leader only adds to it. So an expiry that was seen earlier than the fastest clock allows took the lease
//! away from somebody who had it.
//!
//! Invariant: a sign of life whose answer is not known proves nothing; where clocks jump, nothing does.
//!
//! Not here: sessions that end too late (`bounded`), what they held (`locks`).

use std::collections::BTreeMap;

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Call, Operation, What},
};

/// A session lives for its whole time to live after a sign of life that was answered.
pub const FULL_LEASE: Rule = Rule {
    judge: "sessions",
    name: "full-lease",
    source: "requirement D4; design §5: leases by the leader's clock, and in full after a leader change; Gray and Cheriton, Leases, 1989",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&FULL_LEASE];

/// Readings are whole milliseconds, so a lease may seem this much shorter. Microseconds.
const ROUNDING_US: u64 = 2000;

/// What is known of a session: its time to live, and its last sign of life.
struct Life<'c, 'h> {
    ttl_ms: u64,
    sign: &'c Operation<'h>,
}

/// Judges every expiry.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let Some(fast_ppm) = case.history.header().clock_fast_ppm else { return };
    let mut lives: BTreeMap<u64, Life<'_, '_>> = BTreeMap::new();
    for operation in &case.requests {
        match (operation.call, operation.answer()) {
            (Call::OpenSession { ttl_ms }, Some(Answer::Session { session })) => {
                lives.insert(*session, Life { ttl_ms: *ttl_ms, sign: operation });
            }
            (Call::KeepAlive { session }, Some(_)) => {
                if let Some(life) = lives.get_mut(session) {
                    life.sign = operation;
                }
            }
            _ => {}
        }
    }
    for event in case.history.events() {
        let What::Expired { session, index, node } = &event.what else { continue };
        let Some(Life { ttl_ms, sign }) = lives.get(session) else { continue };
        let rate_ppm = 1_000_000 + u128::from(fast_ppm);
        let least_us = u128::from(*ttl_ms) * 1_000_000_000 / rate_ppm;
        let least_us = u64::try_from(least_us).unwrap_or(u64::MAX);
        let until_us = sign.invoked_us.saturating_add(least_us);
        if event.at_us.saturating_add(ROUNDING_US) < until_us {
            let lived_us = event.at_us.saturating_sub(sign.invoked_us);
            let detail = format!(
                "session {session} with {ttl_ms} ms to live expired at entry {index}, {lived_us} µs after {}",
                sign.describe()
            );
            let violation = Violation::of(&FULL_LEASE, detail).by([sign.id]);
            findings.violated(violation.on([node.as_str()]).at(event.at_us));
        }
    }
}
