//! Who holds a lock, since when, and who waits for it.
//!
//! Invariant: what is shown is the state after the last entry; ages are by the root's time, which
//! stands still between entries.
//!
//! Not here: anything that changes.

use types::{
    AgentId,
    lock::{Fence, LockKey, LockMode, SessionId, WaitId},
};

use super::super::Machine;

/// Everything about one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockExplanation {
    /// Which.
    pub key: LockKey,
    /// Who holds it, by session.
    pub holders: Vec<HolderView>,
    /// Who waits, next first.
    pub queue: Vec<WaiterView>,
    /// How long it still rests after a lost session, in milliseconds; 0 when it does not.
    pub rests_ms: u64,
}

/// One holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderView {
    /// Its session.
    pub session: SessionId,
    /// Whose session that is.
    pub agent: AgentId,
    /// How it holds the lock.
    pub mode: LockMode,
    /// By which grant.
    pub fence: Fence,
    /// How many releases give it back.
    pub count: u32,
    /// Since when, in milliseconds of the root's time.
    pub age_ms: u64,
    /// How long its session still lives without a keep-alive, in milliseconds.
    pub session_left_ms: u64,
}

/// One waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterView {
    /// Its place.
    pub wait: WaitId,
    /// Its session.
    pub session: SessionId,
    /// Whose session that is.
    pub agent: AgentId,
    /// How it wants the lock.
    pub mode: LockMode,
    /// Since when it waits, in milliseconds of the root's time.
    pub age_ms: u64,
    /// How long it still waits, in milliseconds.
    pub left_ms: u64,
    /// The other keys that it needs at the same time.
    pub with: Vec<LockKey>,
}

impl LockExplanation {
    /// The same, so many milliseconds after the entry that it was taken behind.
    #[must_use]
    pub fn after(mut self, passed_ms: u64) -> Self {
        for holder in &mut self.holders {
            holder.age_ms = holder.age_ms.saturating_add(passed_ms);
            holder.session_left_ms = holder.session_left_ms.saturating_sub(passed_ms);
        }
        for waiter in &mut self.queue {
            waiter.age_ms = waiter.age_ms.saturating_add(passed_ms);
            waiter.left_ms = waiter.left_ms.saturating_sub(passed_ms);
        }
        self.rests_ms = self.rests_ms.saturating_sub(passed_ms);
        self
    }
}

impl Machine {
    /// Who holds the lock, and who waits for it. A lock of which nothing is known is free.
    pub fn explain(&self, key: &LockKey) -> LockExplanation {
        let lock = self.locks.table.get(key);
        let now_ms = self.time_ms;
        LockExplanation {
            key: key.clone(),
            holders: self.holders(key),
            queue: self.queue(key),
            rests_ms: lock.map_or(0, |lock| lock.rests_until_ms.saturating_sub(now_ms)),
        }
    }

    fn holders(&self, key: &LockKey) -> Vec<HolderView> {
        let holders = self.locks.table.get(key).into_iter().flat_map(|lock| &lock.holders);
        let view = |(session, hold): (&SessionId, &super::table::Hold)| {
            let live = self.sessions.live.get(session)?;
            Some(HolderView {
                session: *session,
                agent: live.agent.clone(),
                mode: hold.mode,
                fence: hold.fence,
                count: hold.count,
                age_ms: self.time_ms - hold.since_ms,
                session_left_ms: live.expires_ms - self.time_ms,
            })
        };
        holders.filter_map(view).collect()
    }

    fn queue(&self, key: &LockKey) -> Vec<WaiterView> {
        let queue = self.locks.table.get(key).into_iter().flat_map(|lock| &lock.queue);
        let view = |id: &WaitId| {
            let wait = self.locks.waits.get(id)?;
            let want = wait.wants.iter().find(|want| want.key == *key)?;
            Some(WaiterView {
                wait: *id,
                session: wait.session,
                agent: self.sessions.live.get(&wait.session)?.agent.clone(),
                mode: want.mode,
                age_ms: self.time_ms - wait.since_ms,
                left_ms: wait.deadline_ms - self.time_ms,
                with: wait.needs.iter().filter(|other| *other != key).cloned().collect(),
            })
        };
        queue.filter_map(view).collect()
    }

    /// All keys that are held, waited for or rest, in order.
    pub fn lock_keys(&self) -> impl Iterator<Item = &LockKey> {
        self.locks.table.keys()
    }
}
