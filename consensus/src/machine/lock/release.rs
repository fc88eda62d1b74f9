//! Giving locks back, and taking them away.
//!
//! Invariants: `LOCK-9` only a holder gives up a hold, and only by naming its fence, so a release that
//! arrives again can't free the next holder; `LOCK-5` a release of several keys happens for all or
//! for none; `LOCK-8` the next waiter is granted in the same entry.
//!
//! Not here: the end of a session (`session`).

use std::collections::BTreeSet;

use types::{
    Reason, Reject,
    limits::REASON_BYTES_MAX,
    lock::{LockKey, SessionId, WaitId},
    planted,
    root_limits::KEYS_PER_ACQUIRE_MAX,
};

use super::{
    super::{
        Machine,
        command::SessionSeq,
        entry::Entry,
        response::{Response, WaitEnded},
    },
    CancelWait, ForceRelease, Held, Release, WaitCause,
    table::Hold,
};

impl Machine {
    pub(in super::super) fn release(
        &mut self,
        entry: &mut Entry,
        at: SessionSeq,
        body: &Release,
    ) -> Result<Response, Reject> {
        let keys: BTreeSet<&LockKey> = body.locks.iter().map(|held| &held.key).collect();
        if keys.is_empty() || keys.len() != body.locks.len() || keys.len() > KEYS_PER_ACQUIRE_MAX {
            let detail = format!("give back 1 to {KEYS_PER_ACQUIRE_MAX} distinct keys");
            return Err(Reject::new(Reason::InvalidArgument, detail).with("field", "keys"));
        }
        #[cfg(not(planted))]
        let of = |_: &Self, _: &LockKey| at.session;
        #[cfg(planted)]
        let of = |it: &Self, key: &LockKey| it.locks.some_holder(key).unwrap_or(at.session);
        for held in &body.locks {
            self.check_held(of(self, &held.key), held)?;
        }
        for held in &body.locks {
            self.release_one(entry, of(self, &held.key), &held.key);
        }
        self.hand_over_freed(entry);
        Ok(Response::done())
    }

    /// The hold that is named (`LOCK-9`).
    fn check_held(&self, session: SessionId, held: &Held) -> Result<&Hold, Reject> {
        let (key, fence) = (&held.key, held.fence);
        let Some(hold) = self.locks.hold(key, session) else {
            let detail = format!("session {session} does not hold {key}");
            return Err(Reject::new(Reason::NotHolder, detail).with("key", key));
        };
        if fence == hold.fence || planted::is_on("release-frees-next") {
            return Ok(hold);
        }
        let (reason, word) = match fence < hold.fence {
            true => (Reason::FenceTooSmall, "before"),
            false => (Reason::NotHolder, "after"),
        };
        let detail = format!("{key} is held by fence {}; {fence} is from {word} that", hold.fence);
        Err(Reject::new(reason, detail).with("key", key).with("current_fence", hold.fence))
    }

    /// Takes one from a hold's count, and the hold away with the last.
    fn release_one(&mut self, entry: &mut Entry, session: SessionId, key: &LockKey) {
        match self.locks.hold(key, session).cloned() {
            Some(hold) if hold.count > 1 => {
                self.locks.put_hold(key, session, Hold { count: hold.count - 1, ..hold });
            }
            _ => self.remove_hold(entry, session, key),
        }
    }

    /// Takes a hold away, and with it the waits of the same session that counted on it.
    fn remove_hold(&mut self, entry: &mut Entry, session: SessionId, key: &LockKey) {
        self.locks.remove_hold(key, session, 0, entry.now_ms);
        entry.changed_keys.insert(key.clone());
        entry.to_hand_over.insert(key.clone());
        let own: Vec<WaitId> =
            self.locks.waiting.get(&session).into_iter().flatten().copied().collect();
        for id in own {
            if self.locks.waits.get(&id).is_some_and(|wait| wait.counts_on(key)) {
                self.end_wait(entry, id, WaitCause::HoldLost);
            }
        }
    }

    pub(in super::super) fn cancel_wait(
        &mut self,
        entry: &mut Entry,
        at: SessionSeq,
        body: &CancelWait,
    ) -> Result<Response, Reject> {
        let own = self.locks.waiting.get(&at.session).into_iter().flatten();
        let found = own
            .copied()
            .find(|id| self.locks.waits.get(id).is_some_and(|wait| wait.seq == body.seq));
        if let Some(id) = found {
            self.end_wait(entry, id, WaitCause::Cancelled);
            self.hand_over_freed(entry);
            return Ok(Response::WaitEnded(WaitEnded { cause: WaitCause::Cancelled }));
        }
        // It does not wait (any more): its own answer says what became of it.
        let answer = self.answer(at.session, body.seq).cloned();
        answer.ok_or_else(|| {
            Reject::new(Reason::NotFound, format!("nothing is known of request {}", body.seq))
        })
    }

    pub(in super::super) fn force_release(
        &mut self,
        entry: &mut Entry,
        body: &ForceRelease,
    ) -> Result<Response, Reject> {
        if body.reason.is_empty() || body.reason.len() > REASON_BYTES_MAX {
            let detail = format!("a force-release needs a reason of 1 to {REASON_BYTES_MAX} bytes");
            return Err(Reject::new(Reason::InvalidArgument, detail).with("field", "reason"));
        }
        let (key, fence) = (&body.key, body.fence);
        let holders = self.locks.table.get(key).map(|lock| &lock.holders);
        let taken: Vec<SessionId> = holders
            .into_iter()
            .flatten()
            .filter(|(_, hold)| hold.fence == fence)
            .map(|(session, _)| *session)
            .collect();
        if taken.is_empty() {
            let current = holders.into_iter().flatten().map(|(_, hold)| hold.fence).max();
            let detail = format!("nobody holds {key} by fence {fence}");
            return Err(match current {
                Some(current) if fence < current => {
                    let reject = Reject::new(Reason::FenceTooSmall, detail);
                    reject.with("key", key).with("current_fence", current)
                }
                _ => Reject::new(Reason::NotHolder, detail).with("key", key),
            });
        }
        for session in &taken {
            self.remove_hold(entry, *session, key);
        }
        let sessions: Vec<String> = taken.iter().map(ToString::to_string).collect();
        let facts = vec![
            ("fence", fence.to_string()),
            ("sessions", sessions.join(",")),
            ("reason", body.reason.clone()),
        ];
        entry.audit("lock.force_release", key, facts);
        self.hand_over_freed(entry);
        Ok(Response::done())
    }

    /// Hands over what this entry has freed.
    pub(in super::super) fn hand_over_freed(&mut self, entry: &mut Entry) {
        let freed = std::mem::take(&mut entry.to_hand_over);
        self.hand_over(entry, freed);
    }
}
