//! What must be true of every state, checked over the whole of it.
//!
//! Each check bears the name of its invariant in [`machine`](super). A snapshot is checked when it is
//! restored, and tests check after every entry; the code that keeps an invariant asserts it at its
//! decision, where that costs nothing.
//!
//! Invariant: a check reads only; it uses what is kept, and says what is derived is right.
//!
//! Not here: what relates one state to the next (`ROOT-2`, `SES-1`, `LOCK-2` over time): tests.

use std::fmt;

use thiserror::Error;
use types::{
    Hlc,
    lock::{LockMode, WaitId},
};

use super::{
    Machine,
    due::is_reached,
    lock::{Lock, Locks},
};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{invariant}: {detail}")]
pub struct Broken {
    /// Its name, e.g. `LOCK-1`.
    pub invariant: &'static str,
    /// Where.
    pub detail: String,
}

fn ensure(holds: bool, invariant: &'static str, detail: impl fmt::Display) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { invariant, detail: detail.to_string() }) }
}

impl Machine {
    /// Checks every invariant of a single state.
    ///
    /// # Errors
    /// [`Broken`] naming the first that does not hold.
    pub fn check(&self) -> Result<(), Broken> {
        self.check_sessions()?;
        self.check_locks()?;
        self.check_waits()?;
        ensure(self.rules.check().is_ok(), "GOV-2", "a policy contradicts one above it")?;
        ensure(self.rules.version() <= self.applied, "GOV-6", self.rules.version())?;
        self.check_agents()?;
        ensure(self.actions.is_sound(), "ACT-1", "actions and decisions disagree")?;
        let founded = self.members.cluster.is_some();
        ensure(founded || self.members.nodes.is_empty(), "MEM-1", "members without a cluster")?;
        ensure(founded || self.epochs.boots.is_empty(), "MEM-1", "boots without a cluster")
    }

    fn check_sessions(&self) -> Result<(), Broken> {
        ensure(self.sessions.is_sound() && self.requests.is_sound(), "SES-1", "tables disagree")?;
        for (id, session) in &self.sessions.live {
            let lives = !is_reached(session.expires_ms, self.time_ms);
            ensure(lives, "SES-2", format_args!("session {id} outlived its expiry"))?;
            let past = id.0 <= self.applied && session.opened_ms <= self.time_ms;
            ensure(past, "ROOT-2", format_args!("session {id} is of the future"))?;
        }
        ensure(self.time_ms <= Hlc::WALL_MS_MAX, "ROOT-2", "a time that no clock gives")
    }

    fn check_locks(&self) -> Result<(), Broken> {
        ensure(self.locks.is_sound(), "LOCK-1", "tables disagree")?;
        for (key, lock) in &self.locks.table {
            ensure(is_exclusive(lock), "LOCK-1", format_args!("holders of {key}"))?;
            let rests = lock.rests_until_ms;
            ensure(rests == 0 || lock.holders.is_empty(), "LOCK-7", format_args!("{key} rests"))?;
            ensure(rests == 0 || !is_reached(rests, self.time_ms), "LOCK-7", key)?;
            for (session, hold) in &lock.holders {
                let lives = self.sessions.live.contains_key(session);
                ensure(lives, "LOCK-3", format_args!("{key} is held by dead session {session}"))?;
                let known = hold.fence.0 > 0 && hold.fence.0 <= self.applied && hold.count > 0;
                ensure(known, "LOCK-2", format_args!("{key} has fence {}", hold.fence))?;
                ensure(hold.since_ms <= self.time_ms, "ROOT-2", key)?;
            }
        }
        Ok(())
    }

    fn check_waits(&self) -> Result<(), Broken> {
        for (id, wait) in &self.locks.waits {
            let lives = self.sessions.live.contains_key(&wait.session);
            ensure(lives, "LOCK-3", format_args!("wait {id} of a dead session"))?;
            let open = !is_reached(wait.deadline_ms, self.time_ms) && wait.since_ms <= self.time_ms;
            ensure(open, "LOCK-3", format_args!("wait {id} outlived its deadline"))?;
            ensure(id.0 <= self.applied, "ROOT-2", format_args!("wait {id} is of the future"))?;
            let covered = wait.wants.iter().filter(|want| wait.counts_on(&want.key));
            for want in covered {
                let hold = self.locks.hold(&want.key, wait.session);
                let covers = hold.is_some_and(|hold| hold.mode.covers(want.mode));
                ensure(covers, "LOCK-6", format_args!("wait {id} counts on {}", want.key))?;
            }
            let first = wait.needs.iter().all(|key| is_head(&self.locks, key, *id));
            let free = first && self.could_be_granted(*id);
            ensure(!free, "LOCK-8", format_args!("wait {id} could have been granted"))?;
        }
        let deadlocked = self.locks.deadlocked();
        ensure(deadlocked.is_none(), "LOCK-6", format_args!("deadlock of {deadlocked:?}"))
    }

    /// Whether all that a wait at the head of its queues needs is free.
    fn could_be_granted(&self, id: WaitId) -> bool {
        let Some(wait) = self.locks.waits.get(&id) else { return false };
        wait.needed().all(|want| {
            let Some(lock) = self.locks.table.get(&want.key) else { return true };
            let mut with = lock.clone();
            let hold = with.holders.remove(&wait.session);
            let fence = hold.map_or_else(Default::default, |hold| hold.fence);
            let asked =
                super::lock::Hold { mode: want.mode, fence, count: 1, since_ms: self.time_ms };
            with.holders.insert(wait.session, asked);
            lock.rests_until_ms == 0 && is_exclusive(&with)
        })
    }

    fn check_agents(&self) -> Result<(), Broken> {
        for session in self.sessions.live.values() {
            let allowed = self.agents.check_not_revoked(&session.agent).is_ok();
            ensure(allowed, "AGT-1", format_args!("a session of {}", session.agent))?;
        }
        for (id, action) in &self.actions.whole {
            ensure(!action.approvals.contains_key(&action.proposer), "ACT-2", id)?;
            let counted = action.decided.is_some()
                || action.approvals.keys().all(|agent| self.agents.active(agent).is_some());
            ensure(counted, "ACT-2", format_args!("action {id} counts a revoked agent"))?;
            let waits = action.decided.is_some() || !is_reached(action.expires_ms, self.time_ms);
            ensure(waits, "ACT-1", format_args!("action {id} outlived its expiry"))?;
        }
        Ok(())
    }
}

fn is_head(locks: &Locks, key: &types::lock::LockKey, id: WaitId) -> bool {
    locks.table.get(key).and_then(|lock| lock.queue.first()) == Some(&id)
}

/// `LOCK-1`, said in other words than those by which locks are granted.
fn is_exclusive(lock: &Lock) -> bool {
    let modes: Vec<LockMode> = lock.holders.values().map(|hold| hold.mode).collect();
    let permits = |mode: &LockMode| match mode {
        LockMode::Permits { permits, capacity } => Some((*permits, *capacity)),
        _ => None,
    };
    let semaphore: Option<Vec<(u32, u32)>> = modes.iter().map(permits).collect();
    modes.len() <= 1
        || modes.iter().all(|mode| *mode == LockMode::Shared)
        || semaphore.is_some_and(|taken| {
            let sum: u32 = taken.iter().map(|(permits, _)| permits).sum();
            taken.iter().all(|(_, capacity)| *capacity == taken[0].1 && sum <= *capacity)
        })
}
