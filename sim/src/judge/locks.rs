//! Judge 2: a lock has one holder, its tokens only grow, and a token outlives its holder.
//!
//! A grant lasts certainly from its log index until something can have ended it: its release or a
//! forced one, the closing of the session, an expiry, each from the moment somebody asked for it,
//! whether or not the answer arrived. Two grants clash if the smaller token had certainly not ended
//! when the greater one was granted. So a slow answer never makes a clash, and a lost one hides none
//! that the others prove.
//!
//! Not here: the order of the queue (`fairness`); whether a guarded write reaches other stores.

use std::collections::BTreeMap;

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Call, Expiry, Mode, Operation, Span, What, greatest_before},
};

/// Exclusive holders are alone, sharing ones are beside sharing ones only.
pub const ONE_HOLDER: Rule = Rule {
    judge: "locks",
    name: "one-holder",
    source: "requirement D4; design §5; Burrows, The Chubby lock service, 2006, §2.4",
};
/// A semaphore gives out no more permits than it has.
pub const PERMITS: Rule = Rule {
    judge: "locks",
    name: "permits",
    source: "requirement D4; design §5: semaphores by permits",
};
/// A later grant has the greater token.
pub const FENCE_GROWS: Rule = Rule {
    judge: "locks",
    name: "fence-grows",
    source: "requirement D4; design §5: the fence is the log index of the grant",
};
/// A store refuses a token smaller than one it has accepted.
pub const FENCE_ENFORCED: Rule = Rule {
    judge: "locks",
    name: "fence-enforced",
    source: "requirement D5; Kleppmann, How to do distributed locking, 2016",
};
/// A read of a hot key never shows an older token than one seen before in the same store.
pub const FENCE_READ: Rule = Rule {
    judge: "locks",
    name: "fence-read",
    source: "requirement D5: the register order puts the fence first",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&ONE_HOLDER, &PERMITS, &FENCE_GROWS, &FENCE_ENFORCED, &FENCE_READ];

/// One holding of one lock, its re-entrances included.
#[derive(Debug)]
pub(super) struct Grant<'c, 'h> {
    pub(super) key: &'h str,
    pub(super) session: u64,
    pub(super) fence: u64,
    pub(super) mode: Mode,
    /// The acquire that was answered first.
    pub(super) acquire: &'c Operation<'h>,
    /// Rank from which it can have been granted.
    pub(super) from: u64,
    /// Ranks by which each of its acquires was answered, ascending.
    answered: Vec<u64>,
}

/// Everything that was granted, by key, smallest token first.
pub(super) fn grants<'c, 'h>(case: &'c Case<'h>) -> BTreeMap<&'h str, Vec<Grant<'c, 'h>>> {
    let mut all: BTreeMap<(&'h str, u64, u64), Grant<'c, 'h>> = BTreeMap::new();
    for acquire in &case.requests {
        let Call::Acquire { session, keys, mode, .. } = acquire.call else { continue };
        let Some(Answer::Granted { fence }) = acquire.answer() else { continue };
        for key in keys {
            let grant = all.entry((key, *fence, *session)).or_insert_with(|| Grant {
                key,
                session: *session,
                fence: *fence,
                mode: *mode,
                acquire,
                from: acquire.invoked,
                answered: Vec::new(),
            });
            grant.from = grant.from.min(acquire.invoked);
            grant.answered.push(acquire.effective());
            if acquire.effective() < grant.acquire.effective() {
                grant.acquire = acquire;
            }
        }
    }
    let mut by_key: BTreeMap<&'h str, Vec<Grant<'c, 'h>>> = BTreeMap::new();
    for mut grant in all.into_values() {
        grant.answered.sort_unstable();
        by_key.entry(grant.key).or_default().push(grant);
    }
    by_key
}

/// Something that may have ended a grant.
#[derive(Clone, Copy, Debug)]
enum End {
    /// At this log index, asked for at this rank.
    Logged { index: u64, asked: u64 },
    /// At or after this rank.
    Asked(u64),
    /// At or after this time, microseconds.
    Lease(u64),
}

impl End {
    /// Whether it can have happened before the other grant.
    fn allows(self, next: &Grant<'_, '_>) -> bool {
        match self {
            Self::Logged { index, asked } => {
                index <= next.fence && asked <= next.acquire.effective()
            }
            Self::Asked(rank) => rank <= next.acquire.effective(),
            Self::Lease(us) => next.acquire.ended_us.is_none_or(|ended_us| us <= ended_us),
        }
    }
}

/// What ends grants, as far as the history tells.
struct Ends<'c, 'h> {
    case: &'c Case<'h>,
    /// Ends of whole sessions.
    sessions: BTreeMap<u64, Vec<End>>,
}

impl<'c, 'h> Ends<'c, 'h> {
    fn of(case: &'c Case<'h>) -> Self {
        let mut sessions: BTreeMap<u64, Vec<End>> = BTreeMap::new();
        for operation in case.requests.iter().filter(|operation| !operation.rejected()) {
            if let Call::CloseSession { session } = operation.call {
                sessions.entry(*session).or_default().push(end_by(operation));
            }
        }
        for event in case.history.events() {
            if let What::Expired { session, index, .. } = event.what {
                sessions.entry(session).or_default().push(End::Logged { index, asked: 0 });
            }
        }
        Self { case, sessions }
    }

    /// Everything that may have ended the grant.
    fn ends(&self, grant: &Grant<'_, '_>) -> Vec<End> {
        let mut ends = self.sessions.get(&grant.session).cloned().unwrap_or_default();
        if let Expiry::ByLease { drift_ppm } = self.case.history.header().expiry {
            ends.push(End::Lease(self.lease_end_us(grant.session, drift_ppm)));
        }
        let mut released = 0;
        for operation in self.case.requests.iter().filter(|operation| !operation.rejected()) {
            match operation.call {
                Call::ForceRelease { key, fence } if key == grant.key && *fence == grant.fence => {
                    ends.push(end_by(operation));
                }
                Call::Release { session, keys, fence }
                    if *session == grant.session
                        && *fence == grant.fence
                        && keys.iter().any(|key| key == grant.key) =>
                {
                    released += 1;
                    // Acquired twice, it takes two releases to be free.
                    let acquired =
                        grant.answered.iter().take_while(|at| **at < operation.invoked).count();
                    if released >= acquired {
                        ends.push(end_by(operation));
                    }
                }
                _ => {}
            }
        }
        ends
    }

    /// Until when a session certainly lived, microseconds: its last confirmed sign of life and the
    /// time to live, measured by a clock as fast as clocks may be.
    fn lease_end_us(&self, session: u64, drift_ppm: u32) -> u64 {
        let mut ttl_us = None;
        let mut alive_us = 0;
        for operation in &self.case.requests {
            match (operation.call, operation.answer()) {
                (Call::OpenSession { ttl_ms }, Some(Answer::Session { session: opened }))
                    if *opened == session =>
                {
                    ttl_us = Some(ttl_ms.saturating_mul(1000));
                }
                (Call::KeepAlive { session: kept }, Some(_)) if *kept == session => {}
                _ => continue,
            }
            alive_us = alive_us.max(operation.invoked_us);
        }
        let slow_ppm = 1_000_000_u64.saturating_sub(u64::from(drift_ppm));
        let lease_us = u128::from(ttl_us.unwrap_or(0)) * u128::from(slow_ppm) / 1_000_000;
        alive_us.saturating_add(u64::try_from(lease_us).unwrap_or(u64::MAX))
    }
}

fn end_by(operation: &Operation<'_>) -> End {
    match operation.done().and_then(|done| done.index) {
        Some(index) => End::Logged { index, asked: operation.invoked },
        None => End::Asked(operation.invoked),
    }
}

/// Judges every lock and every hot key.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let ends = Ends::of(case);
    for grants in grants(case).values() {
        holders(&ends, grants, findings);
        tokens(grants, findings);
    }
    guarded(case, findings);
}

/// At each grant: who else certainly held the lock.
fn holders(ends: &Ends<'_, '_>, grants: &[Grant<'_, '_>], findings: &mut Findings) {
    let mut held: Vec<(&Grant<'_, '_>, Vec<End>)> = Vec::new();
    for grant in grants {
        held.retain(|(_, ends)| !ends.iter().any(|end| end.allows(grant)));
        let others = || held.iter().map(|(other, _)| *other);
        let excluded = |other: &&Grant<'_, '_>| {
            // A smaller token that was asked for later is the business of the other rule.
            other.from <= grant.acquire.effective()
                && other.session != grant.session
                && !matches!(
                    (other.mode, grant.mode),
                    (Mode::Shared, Mode::Shared) | (Mode::Permits { .. }, Mode::Permits { .. })
                )
        };
        for other in others().filter(excluded) {
            let (one, two) = (other.acquire.describe(), grant.acquire.describe());
            let detail = format!("lock {}: {two} was granted while {one} held it", grant.key);
            let at_us = grant.acquire.ended_us.unwrap_or(0);
            let violation = Violation::of(&ONE_HOLDER, detail).at(at_us);
            findings.violated(violation.by([other.acquire.id, grant.acquire.id]));
        }
        if let Mode::Permits { take, of } = grant.mode {
            let taken = |other: &Grant<'_, '_>| match other.mode {
                Mode::Permits { take, .. } => u64::from(take),
                _ => 0,
            };
            let total = u64::from(take) + others().map(taken).sum::<u64>();
            if total > u64::from(of) {
                let (key, fence) = (grant.key, grant.fence);
                let detail =
                    format!("semaphore {key}: {total} of {of} permits were out at fence {fence}");
                let holders = others().filter(|other| taken(other) > 0).map(|o| o.acquire.id);
                let at_us = grant.acquire.ended_us.unwrap_or(0);
                let violation = Violation::of(&PERMITS, detail).by(holders).at(at_us);
                findings.violated(violation.by([grant.acquire.id]));
            }
        }
        held.push((grant, ends.ends(grant)));
    }
}

fn tokens(grants: &[Grant<'_, '_>], findings: &mut Findings) {
    let mut clash = |one: &Grant<'_, '_>, two: &Grant<'_, '_>, what: &str| {
        let (first, second) = (one.acquire.describe(), two.acquire.describe());
        let detail = format!("lock {}: {first} and then {second}: {what}", one.key);
        let at_us = two.acquire.ended_us.unwrap_or(0);
        let violation = Violation::of(&FENCE_GROWS, detail).at(at_us);
        findings.violated(violation.by([one.acquire.id, two.acquire.id]));
    };
    let span = |grant: &Grant<'_, '_>| Span {
        from: grant.from,
        until: grant.acquire.effective(),
        value: grant.fence,
    };
    for (later, before) in greatest_before(&grants.iter().map(span).collect::<Vec<_>>()) {
        let (later, before) = (&grants[later], &grants[before]);
        if later.fence < before.fence {
            clash(before, later, "the token went back");
        }
    }
    // Those who share may be granted by one entry.
    for pair in grants.windows(2) {
        let alone = pair.iter().any(|grant| grant.mode == Mode::Exclusive);
        if pair[0].fence == pair[1].fence && alone {
            clash(&pair[0], &pair[1], "two holders have one token");
        }
    }
}

/// Hot keys, store by store: accepted tokens never go back.
fn guarded(case: &Case<'_>, findings: &mut Findings) {
    let mut seen: BTreeMap<(&str, &str), Vec<(&Operation<'_>, Span)>> = BTreeMap::new();
    for operation in &case.requests {
        let (store, key, value) = match (operation.call, operation.answer()) {
            (Call::GuardedWrite { store, key, fence, .. }, Some(_)) => (store, key, *fence),
            (Call::GuardedRead { store, key }, Some(Answer::Guarded { fence, .. })) => {
                (store, key, *fence)
            }
            _ => continue,
        };
        let span = Span { from: operation.invoked, until: operation.effective(), value };
        seen.entry((store, key)).or_default().push((operation, span));
    }
    for ((store, key), seen) in seen {
        let spans: Vec<Span> = seen.iter().map(|(_, span)| *span).collect();
        for (later, before) in greatest_before(&spans) {
            if spans[later].value >= spans[before].value {
                continue;
            }
            let (later, before) = (seen[later].0, seen[before].0);
            let write = matches!(later.call, Call::GuardedWrite { .. });
            let rule = if write { &FENCE_ENFORCED } else { &FENCE_READ };
            let (first, second) = (before.describe(), later.describe());
            let detail = format!("{key} in {store}: {second}, after {first}");
            let violation = Violation::of(rule, detail).by([before.id, later.id]);
            findings.violated(violation.at(later.ended_us.unwrap_or(0)));
        }
    }
}
