//! Who holds what, and who waits.
//!
//! Invariants: a key is in the table exactly while it is held, waited for or rests. What is derived
//! (queues, what a session holds and waits for, deadlines) agrees with what is kept.
//!
//! Not here: the decision who is next (`grant`).

use std::collections::{BTreeMap, BTreeSet};

use types::{
    lock::{Fence, LockKey, LockMode, SessionId, WaitId, Want},
    planted,
};

use super::super::{due::Due, effect::Effect, entry::Entry};

/// How one session holds a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Hold {
    pub mode: LockMode,
    pub fence: Fence,
    /// How many releases give it back, from 1.
    pub count: u32,
    pub since_ms: u64,
}

/// One key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Lock {
    pub holders: BTreeMap<SessionId, Hold>,
    /// Until when nobody gets it; 0 when it does not rest.
    pub rests_until_ms: u64,
    /// Waits by age; derived.
    pub queue: BTreeSet<WaitId>,
}

/// A request in the queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Wait {
    pub session: SessionId,
    pub seq: u64,
    /// Everything asked for, by key.
    pub wants: Vec<Want>,
    /// The keys at which it queues: those that its session did not cover already.
    pub needs: BTreeSet<LockKey>,
    pub since_ms: u64,
    pub deadline_ms: u64,
}

impl Wait {
    /// What it wants of the keys at which it queues.
    pub fn needed(&self) -> impl Iterator<Item = &Want> {
        self.wants.iter().filter(|want| self.needs.contains(&want.key))
    }

    /// Whether it counts on a hold of this key.
    pub fn counts_on(&self, key: &LockKey) -> bool {
        !self.needs.contains(key) && self.wants.iter().any(|want| want.key == *key)
    }
}

/// All locks and waits.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Locks {
    pub table: BTreeMap<LockKey, Lock>,
    pub waits: BTreeMap<WaitId, Wait>,
    pub held: BTreeMap<SessionId, BTreeSet<LockKey>>,
    pub waiting: BTreeMap<SessionId, BTreeSet<WaitId>>,
    due_waits: Due<WaitId>,
    due_rests: Due<LockKey>,
    /// Fences are counted from here: `fence-restarts`.
    #[cfg(planted)]
    fence_base: u64,
}

types::proto_message!(Hold { 1 => mode, 2 => fence, 3 => count, 4 => since_ms });
types::proto_message!(Lock { 1 => holders, 2 => rests_until_ms; queue });
types::proto_message!(Wait {
    1 => session,
    2 => seq,
    3 => wants,
    4 => needs,
    5 => since_ms,
    6 => deadline_ms,
});
#[cfg(not(planted))]
types::proto_message!(Locks {
    1 => table,
    2 => waits;
    held, waiting, due_waits, due_rests
});
#[cfg(planted)]
types::proto_message!(Locks {
    1 => table,
    2 => waits;
    held, waiting, due_waits, due_rests, fence_base
});

#[cfg(planted)]
impl Locks {
    /// The state was read from a snapshot of this entry.
    pub fn count_fences_from(&mut self, index: u64) {
        self.fence_base = if planted::is_on("fence-restarts") { index } else { 0 };
    }

    /// The fence of a grant.
    pub fn fence(&self, index: u64) -> Fence {
        Fence(index - self.fence_base)
    }

    /// Somebody who holds the key, if `release-frees-next` is on: its session.
    pub fn some_holder(&self, key: &LockKey) -> Option<SessionId> {
        let holders = &self.table.get(key)?.holders;
        holders.keys().next().copied().filter(|_| planted::is_on("release-frees-next"))
    }
}

/// Removes a member from a set in a map, and the set when it is empty.
fn take_out<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

impl Locks {
    pub fn hold(&self, key: &LockKey, session: SessionId) -> Option<&Hold> {
        self.table.get(key)?.holders.get(&session)
    }

    /// Makes or replaces a hold.
    pub fn put_hold(&mut self, key: &LockKey, session: SessionId, hold: Hold) {
        self.held.entry(session).or_default().insert(key.clone());
        self.table.entry(key.clone()).or_default().holders.insert(session, hold);
    }

    /// Takes a hold away; the key rests for `rest_ms` if it was exclusive.
    pub fn remove_hold(&mut self, key: &LockKey, session: SessionId, rest_ms: u64, now_ms: u64) {
        take_out(&mut self.held, &session, key);
        let Some(lock) = self.table.get_mut(key) else { return };
        let removed = lock.holders.remove(&session);
        if removed.is_some_and(|hold| hold.mode == LockMode::Exclusive) && rest_ms > 0 {
            lock.rests_until_ms = now_ms + rest_ms;
            self.due_rests.insert(lock.rests_until_ms, key.clone());
        }
        self.forget_unused(key);
    }

    /// Puts a request into the queues of the keys it needs.
    pub fn enqueue(&mut self, id: WaitId, wait: Wait) {
        for key in &wait.needs {
            self.table.entry(key.clone()).or_default().queue.insert(id);
        }
        self.waiting.entry(wait.session).or_default().insert(id);
        self.due_waits.insert(wait.deadline_ms, id);
        self.waits.insert(id, wait);
    }

    /// Takes a request out of all queues.
    pub fn dequeue(&mut self, id: WaitId) -> Option<Wait> {
        let wait = self.waits.remove(&id)?;
        self.due_waits.remove(wait.deadline_ms, &id);
        take_out(&mut self.waiting, &wait.session, &id);
        for key in &wait.needs {
            if let Some(lock) = self.table.get_mut(key) {
                lock.queue.remove(&id);
            }
            self.forget_unused(key);
        }
        Some(wait)
    }

    fn forget_unused(&mut self, key: &LockKey) {
        let is_unused = |lock: &Lock| {
            lock.holders.is_empty() && lock.queue.is_empty() && lock.rests_until_ms == 0
        };
        if self.table.get(key).is_some_and(is_unused) {
            self.table.remove(key);
        }
    }

    /// Frees everything a session holds and waits for; the keys that others may now get. Exclusive
    /// ones rest for `rest_ms` (`LOCK-7`).
    pub fn drop_session(
        &mut self,
        session: SessionId,
        entry: &mut Entry,
        rest_ms: u64,
    ) -> BTreeSet<LockKey> {
        let mut freed = BTreeSet::new();
        for id in self.waiting.get(&session).cloned().unwrap_or_default() {
            if planted::is_on("expired-waiter-granted") {
                break;
            }
            freed.extend(self.dequeue(id).map(|wait| wait.needs).unwrap_or_default());
        }
        for key in self.held.get(&session).cloned().unwrap_or_default() {
            self.remove_hold(&key, session, rest_ms, entry.now_ms);
            entry.changed_keys.insert(key.clone());
            freed.insert(key);
        }
        freed
    }

    /// Waits whose deadline has come.
    pub fn take_due_waits(&mut self, now_ms: u64) -> Vec<WaitId> {
        self.due_waits.take(now_ms)
    }

    /// Ends the rest of keys whose delay is over; those keys.
    pub fn take_rested(&mut self, now_ms: u64) -> BTreeSet<LockKey> {
        let rested: BTreeSet<LockKey> = self.due_rests.take(now_ms).into_iter().collect();
        for key in &rested {
            if let Some(lock) = self.table.get_mut(key) {
                lock.rests_until_ms = 0;
            }
            self.forget_unused(key);
        }
        rested
    }

    /// What the node is told about a key.
    pub fn changed(&self, key: LockKey) -> Effect {
        let holders = self.table.get(&key).map(|lock| &lock.holders);
        let fences = holders.into_iter().flatten().map(|(_, hold)| hold.fence);
        let fence = fences.max().unwrap_or_default();
        let holders = holders.into_iter().flatten().map(|(session, _)| *session).collect();
        Effect::LockChanged { key, fence, holders }
    }

    pub fn next_ms(&self) -> Option<u64> {
        [self.due_waits.next_ms(), self.due_rests.next_ms()].into_iter().flatten().min()
    }

    /// Makes what is derived, after a snapshot was read.
    pub fn rebuild(&mut self) {
        for (key, lock) in &self.table {
            for session in lock.holders.keys() {
                self.held.entry(*session).or_default().insert(key.clone());
            }
            if lock.rests_until_ms > 0 {
                self.due_rests.insert(lock.rests_until_ms, key.clone());
            }
        }
        for (id, wait) in std::mem::take(&mut self.waits) {
            self.enqueue(id, wait);
        }
    }

    /// Whether what is derived agrees with what is kept, and nothing unused is kept.
    pub fn is_sound(&self) -> bool {
        let holds: usize = self.table.values().map(|lock| lock.holders.len()).sum();
        let queued: usize = self.table.values().map(|lock| lock.queue.len()).sum();
        let rests = self.table.values().filter(|lock| lock.rests_until_ms > 0).count();
        holds == self.held.values().map(BTreeSet::len).sum::<usize>()
            && queued == self.waits.values().map(|wait| wait.needs.len()).sum::<usize>()
            && self.waits.len() == self.waiting.values().map(BTreeSet::len).sum::<usize>()
            && self.waits.len() == self.due_waits.len()
            && rests == self.due_rests.len()
            && self.table.values().all(|lock| {
                !lock.holders.is_empty() || !lock.queue.is_empty() || lock.rests_until_ms > 0
            })
    }
}
