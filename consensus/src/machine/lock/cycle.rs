//! Deadlock: sessions that wait for each other in a circle.
//!
//! A session waits for another when one of its requests, at one of the keys it needs, stands right
//! behind the other's request, or finds the other among holders that leave it no room. A session is
//! one party: what its threads do among themselves is not seen here, so a circle that only exists
//! because two threads share a session is refused too.
//!
//! Invariant: `LOCK-6` there is no circle after any entry. Only a new request can add a way from its
//! session to others, so checking each new request suffices; what else changes (grants, releases,
//! ends) only takes ways away or turns a place in the queue into a hold of the same session.
//!
//! Not here: resolving a deadlock; none can come to be.

use std::collections::{BTreeMap, BTreeSet};

use types::{
    Reason, Reject,
    lock::{LockKey, SessionId, WaitId, Want},
};

use super::{Locks, grant::admits};

/// How many keys of a circle a refusal names.
const KEYS_NAMED: usize = 8;

impl Locks {
    /// Refuses a new request of `session` that would close a circle.
    pub(super) fn check_no_cycle(&self, session: SessionId, needs: &[Want]) -> Result<(), Reject> {
        if !self.held.contains_key(&session) && !self.waiting.contains_key(&session) {
            return Ok(());
        }
        match self.way(self.blockers(session, needs, None), session) {
            None => Ok(()),
            Some(keys) => {
                let more = if keys.len() > KEYS_NAMED { " -> …" } else { "" };
                let named: Vec<&str> = keys.iter().take(KEYS_NAMED).map(LockKey::as_str).collect();
                let named = format!("{}{more}", named.join(" -> "));
                let detail =
                    format!("waiting would be for ever: {named}; release one of them first");
                Err(Reject::new(Reason::Cycle, detail).with("keys", named))
            }
        }
    }

    /// Who stands in the way of a request, and at which key. `place` is its place in the queues; a new
    /// request stands behind everyone.
    fn blockers(
        &self,
        session: SessionId,
        needs: &[Want],
        place: Option<WaitId>,
    ) -> Vec<(SessionId, LockKey)> {
        let mut found = Vec::new();
        for want in needs {
            let Some(lock) = self.table.get(&want.key) else { continue };
            let before = match place {
                Some(id) => lock.queue.range(..id).next_back(),
                None => lock.queue.last(),
            };
            let ahead = before.and_then(|id| self.waits.get(id)).map(|wait| wait.session);
            found.extend(ahead.map(|session| (session, want.key.clone())));
            if !admits(lock, session, want.mode) {
                found.extend(lock.holders.keys().map(|holder| (*holder, want.key.clone())));
            }
        }
        found.retain(|(other, _)| *other != session);
        found
    }

    /// The keys along a way from any of `first` to `goal`, if there is one.
    fn way(&self, first: Vec<(SessionId, LockKey)>, goal: SessionId) -> Option<Vec<LockKey>> {
        let mut from: BTreeMap<SessionId, (Option<SessionId>, LockKey)> = BTreeMap::new();
        let mut open: Vec<(Option<SessionId>, SessionId, LockKey)> =
            first.into_iter().map(|(next, key)| (None, next, key)).collect();
        while let Some((previous, here, key)) = open.pop() {
            if from.contains_key(&here) {
                continue;
            }
            from.insert(here, (previous, key));
            if here == goal {
                return Some(keys_to(&from, goal));
            }
            for id in self.waiting.get(&here).into_iter().flatten() {
                let Some(wait) = self.waits.get(id) else { continue };
                let needs: Vec<Want> = wait.needed().cloned().collect();
                let next = self.blockers(here, &needs, Some(*id));
                open.extend(next.into_iter().map(|(next, key)| (Some(here), next, key)));
            }
        }
        None
    }

    /// A session that waits for itself by way of others, if there is one (`LOCK-6` is broken then).
    pub(in super::super) fn deadlocked(&self) -> Option<SessionId> {
        let sessions: BTreeSet<SessionId> = self.waiting.keys().copied().collect();
        sessions.into_iter().find(|session| {
            let ids = self.waiting.get(session).into_iter().flatten();
            let first = ids.flat_map(|id| {
                let wait = self.waits.get(id);
                let needs: Vec<Want> = wait.into_iter().flat_map(|w| w.needed().cloned()).collect();
                self.blockers(*session, &needs, Some(*id))
            });
            self.way(first.collect(), *session).is_some()
        })
    }
}

/// The keys along the way that was taken to `goal`.
fn keys_to(
    from: &BTreeMap<SessionId, (Option<SessionId>, LockKey)>,
    goal: SessionId,
) -> Vec<LockKey> {
    let mut keys = Vec::new();
    let mut at = Some(goal);
    while let Some((previous, key)) = at.and_then(|session| from.get(&session)) {
        keys.push(key.clone());
        at = *previous;
    }
    keys.reverse();
    keys
}
