//! Who gets what, and when.
//!
//! Invariants: `LOCK-1` mutual exclusion ([`admits`]), `LOCK-2` fences, `LOCK-3` the dead get nothing,
//! `LOCK-4` first in, first out ([`Locks::is_first`]), `LOCK-5` all or nothing, `LOCK-7` rest,
//! `LOCK-8` hand-over in the freeing entry ([`Machine::hand_over`]).
//!
//! Not here: giving back (`release`).

use std::collections::BTreeSet;

use types::{
    Reason, Reject,
    lock::{Fence, LockKey, LockMode, SessionId, WaitId, Want},
    planted,
    root_limits::{
        HOLDERS_PER_KEY_MAX, HOLDS_PER_SESSION_MAX, KEYS_PER_ACQUIRE_MAX, LOCKS_MAX,
        QUEUE_PER_KEY_MAX, REENTRANT_MAX, WAIT_MS_MAX, WAITS_PER_SESSION_MAX,
    },
};

use super::{
    super::{
        Machine,
        command::SessionSeq,
        due::is_reached,
        effect::Effect,
        entry::Entry,
        response::{Grant, Granted, Response, WaitEnded, Waiting},
    },
    Acquire, Lock, Locks, WaitCause,
    table::{Hold, Wait},
};

/// Whether the holders leave room for the session in this mode (`LOCK-1`).
pub(super) fn admits(lock: &Lock, session: SessionId, mode: LockMode) -> bool {
    let others = || lock.holders.iter().filter(|(id, _)| **id != session).map(|(_, hold)| hold);
    if others().count() >= HOLDERS_PER_KEY_MAX {
        return false;
    }
    match mode {
        LockMode::Exclusive => others().next().is_none(),
        LockMode::Shared => others().all(|hold| hold.mode == LockMode::Shared),
        LockMode::Permits { permits, capacity } => {
            let taken = |hold: &Hold| match hold.mode {
                LockMode::Permits { permits, capacity: of } if of == capacity => Some(permits),
                _ => None,
            };
            let sum =
                others().try_fold(permits, |sum, hold| Some(sum.saturating_add(taken(hold)?)));
            sum.is_some_and(|sum| sum <= capacity)
        }
    }
}

impl Locks {
    /// Whether nobody waits for the key before this request; a new one has no place yet (`LOCK-4`).
    fn is_first(&self, key: &LockKey, place: Option<WaitId>) -> bool {
        let head = self.table.get(key).and_then(|lock| lock.queue.first().copied());
        head.is_none() || head == place
    }

    /// Whether the session could have the key now.
    fn can_have(&self, session: SessionId, want: &Want, place: Option<WaitId>) -> bool {
        let is_free = |lock: &Lock| !lock.is_resting() && admits(lock, session, want.mode);
        self.is_first(&want.key, place) && self.table.get(&want.key).is_none_or(is_free)
    }

    /// Whether the session holds the key in a mode that covers the wanted one.
    fn covers(&self, session: SessionId, want: &Want) -> bool {
        self.hold(&want.key, session).is_some_and(|hold| hold.mode.covers(want.mode))
    }
}

impl Lock {
    /// Whether nobody gets it for the time being (`LOCK-7`).
    pub(super) fn is_resting(&self) -> bool {
        self.rests_until_ms > 0
    }
}

impl Machine {
    pub(in super::super) fn acquire(
        &mut self,
        entry: &mut Entry,
        at: SessionSeq,
        body: &Acquire,
    ) -> Result<Response, Reject> {
        let wants = self.checked_wants(at.session, body)?;
        if let Some(deadline_ms) = body.wait_until_ms {
            if is_reached(deadline_ms, entry.now_ms) {
                return Ok(Response::WaitEnded(WaitEnded { cause: WaitCause::TimedOut }));
            }
            if deadline_ms - entry.now_ms > WAIT_MS_MAX {
                let detail = format!("a request waits at most {WAIT_MS_MAX} ms");
                let reject = Reject::new(Reason::InvalidArgument, detail);
                return Err(reject.with("field", "wait_until_ms"));
            }
        }
        let needed = |want: &&Want| !self.locks.covers(at.session, want);
        let needs: Vec<Want> = wants.iter().filter(needed).cloned().collect();
        match needs.iter().find(|want| !self.locks.can_have(at.session, want, None)) {
            None => Ok(Response::Granted(self.grant(entry, at.session, &wants))),
            Some(blocked) => match body.wait_until_ms {
                None => Err(self.busy(&blocked.key, entry.now_ms)),
                Some(deadline_ms) => self.wait(entry, at, wants, &needs, deadline_ms),
            },
        }
    }

    /// The keys asked for, in order, if they can be asked for at all.
    fn checked_wants(&self, session: SessionId, body: &Acquire) -> Result<Vec<Want>, Reject> {
        let mut wants = body.wants.clone();
        wants.sort();
        let repeats = wants.windows(2).any(|pair| pair[0].key == pair[1].key);
        if wants.is_empty() || wants.len() > KEYS_PER_ACQUIRE_MAX || repeats {
            let detail = format!("ask for 1 to {KEYS_PER_ACQUIRE_MAX} distinct keys");
            return Err(Reject::new(Reason::InvalidArgument, detail).with("field", "keys"));
        }
        for want in &wants {
            want.mode.check()?;
            self.check_use(session, want)?;
        }
        let own = self.locks.held.get(&session).map_or(0, BTreeSet::len);
        let waited = self.locks.waiting.get(&session).into_iter().flatten();
        let waited: usize =
            waited.map(|id| self.locks.waits.get(id).map_or(0, |w| w.wants.len())).sum();
        if own + waited + wants.len() > HOLDS_PER_SESSION_MAX {
            let detail =
                format!("a session holds and waits for at most {HOLDS_PER_SESSION_MAX} keys");
            return Err(
                Reject::new(Reason::Overloaded, detail).with("limit", HOLDS_PER_SESSION_MAX)
            );
        }
        if self.locks.table.len() + wants.len() > LOCKS_MAX {
            let detail = format!("at most {LOCKS_MAX} locks are in use at a time");
            return Err(Reject::new(Reason::Overloaded, detail).with("limit", LOCKS_MAX));
        }
        Ok(wants)
    }

    /// Whether the key is used in a way that the wanted mode can join, now or later.
    fn check_use(&self, session: SessionId, want: &Want) -> Result<(), Reject> {
        let Some(lock) = self.locks.table.get(&want.key) else { return Ok(()) };
        let refuse = |detail: String| {
            Err(Reject::new(Reason::FailedPrecondition, detail).with("key", &want.key))
        };
        let queued = || lock.queue.iter().filter_map(|id| self.locks.waits.get(id));
        if queued().any(|wait| wait.session == session) {
            return refuse(format!("this session waits for {} already", want.key));
        }
        if lock.holders.get(&session).is_some_and(|hold| hold.count >= REENTRANT_MAX) {
            return refuse(format!("{} is held {REENTRANT_MAX} times already", want.key));
        }
        let asked = queued().flat_map(|wait| wait.wants.iter().filter(|w| w.key == want.key));
        let modes = lock.holders.values().map(|hold| hold.mode).chain(asked.map(|w| w.mode));
        let plural = |mode: &LockMode| *mode != LockMode::Exclusive;
        match modes.filter(plural).find(|mode| plural(&want.mode) && !mode.is_alike(want.mode)) {
            Some(other) => refuse(format!("{} is in use as {other}, not {}", want.key, want.mode)),
            None => Ok(()),
        }
    }

    /// Why a key can't be had now.
    fn busy(&self, key: &LockKey, now_ms: u64) -> Reject {
        let reject = Reject::new(Reason::LockBusy, format!("{key} is not free")).with("key", key);
        let Some(lock) = self.locks.table.get(key) else { return reject };
        if lock.is_resting() {
            let left = lock.rests_until_ms - now_ms;
            return reject.with("retry_after_ms", left);
        }
        match lock.holders.iter().max_by_key(|(_, hold)| hold.fence) {
            Some((holder, hold)) => reject.with("holder", holder).with("current_fence", hold.fence),
            None => reject,
        }
    }

    /// Puts a request into the queues.
    fn wait(
        &mut self,
        entry: &mut Entry,
        at: SessionSeq,
        wants: Vec<Want>,
        needs: &[Want],
        deadline_ms: u64,
    ) -> Result<Response, Reject> {
        let overloaded = |detail: String| Err(Reject::new(Reason::Overloaded, detail));
        if self.locks.waiting.get(&at.session).map_or(0, BTreeSet::len) >= WAITS_PER_SESSION_MAX {
            return overloaded(format!("a session waits at most {WAITS_PER_SESSION_MAX} times"));
        }
        let is_full = |want: &&Want| {
            self.locks
                .table
                .get(&want.key)
                .is_some_and(|lock| lock.queue.len() >= QUEUE_PER_KEY_MAX)
        };
        if let Some(want) = needs.iter().find(is_full) {
            return overloaded(format!("{QUEUE_PER_KEY_MAX} requests wait for {}", want.key));
        }
        self.locks.check_no_cycle(at.session, needs)?;
        let wait = WaitId(entry.index);
        self.locks.enqueue(
            wait,
            Wait {
                session: at.session,
                seq: at.seq,
                wants,
                needs: needs.iter().map(|want| want.key.clone()).collect(),
                since_ms: entry.now_ms,
                deadline_ms,
            },
        );
        Ok(Response::Waiting(Waiting { wait, deadline_ms }))
    }

    /// Gives the session all it wants. `LOCK-2`: what it did not hold like this already gets the index
    /// of this entry as its fence.
    fn grant(&mut self, entry: &mut Entry, session: SessionId, wants: &[Want]) -> Granted {
        let live =
            self.sessions.live.get(&session).filter(|s| !is_reached(s.expires_ms, entry.now_ms));
        let planted = planted::is_on("expired-waiter-granted");
        assert!(live.is_some() || planted, "LOCK-3: session {session} gets a lock after its end");
        let lease_ms = live.map_or(0, |live| live.expires_ms - entry.now_ms);
        let grants = wants.iter().map(|want| self.grant_one(entry, session, want)).collect();
        Granted { grants, lease_ms }
    }

    fn grant_one(&mut self, entry: &mut Entry, session: SessionId, want: &Want) -> Grant {
        let key = want.key.clone();
        let before = self.locks.hold(&key, session).cloned();
        let count = before.as_ref().map_or(0, |hold| hold.count) + 1;
        let hold = match before.filter(|hold| hold.mode.covers(want.mode)) {
            Some(hold) => Hold { count, ..hold },
            None => {
                entry.changed_keys.insert(key.clone());
                let lock = self.locks.table.get(&key);
                let greatest = lock.and_then(|lock| lock.holders.values().map(|h| h.fence).max());
                assert!(greatest <= Some(Fence(entry.index)), "LOCK-2: {key} at {}", entry.index);
                let admitted =
                    lock.is_none_or(|l| !l.is_resting() && admits(l, session, want.mode));
                assert!(admitted, "LOCK-1: {key} is granted beside its holders");
                #[cfg(not(planted))]
                let fence = Fence(entry.index);
                #[cfg(planted)]
                let fence = self.locks.fence(entry.index);
                Hold { mode: want.mode, fence, count, since_ms: entry.now_ms }
            }
        };
        let fence = hold.fence;
        self.locks.put_hold(&key, session, hold);
        Grant { key, fence, count }
    }

    /// Grants whoever can now be granted, after something about these keys has changed (`LOCK-8`).
    /// The outcome does not depend on the order of keys: a request that could be granted stays so
    /// until it is, because nobody can pass it.
    pub(in super::super) fn hand_over(&mut self, entry: &mut Entry, mut keys: BTreeSet<LockKey>) {
        while let Some(key) = keys.pop_first() {
            while let Some(id) = self.next_for(&key) {
                let Some(wait) = self.locks.dequeue(id) else { break };
                keys.extend(wait.needs.iter().cloned());
                let granted = self.grant(entry, wait.session, &wait.wants);
                self.answer_wait(entry, &wait, Response::Granted(granted));
            }
        }
    }

    /// The head of the key's queue, if it can have everything it needs.
    fn next_for(&self, key: &LockKey) -> Option<WaitId> {
        let id = *self.locks.table.get(key)?.queue.first()?;
        let wait = self.locks.waits.get(&id)?;
        let can = wait.needed().all(|want| self.locks.can_have(wait.session, want, Some(id)));
        can.then_some(id)
    }

    /// Ends a wait without a grant.
    pub(in super::super) fn end_wait(&mut self, entry: &mut Entry, id: WaitId, cause: WaitCause) {
        let Some(wait) = self.locks.dequeue(id) else { return };
        self.answer_wait(entry, &wait, Response::WaitEnded(WaitEnded { cause }));
        entry.to_hand_over.extend(wait.needs);
    }

    /// Makes the final answer the one that a retry gets, and tells the node.
    fn answer_wait(&mut self, entry: &mut Entry, wait: &Wait, response: Response) {
        if let Some(session) = self.sessions.live.get_mut(&wait.session) {
            session.window.replace(wait.seq, &response);
        }
        let (session, seq) = (wait.session, wait.seq);
        entry.effects.push(Effect::WaitOver { session, seq, response });
    }
}
