//! One lock as a sequential object: who holds it, how, and under which token.
//!
//! Operations on several keys are judged key by key. That is necessary for a correct multi-key lock
//! and not sufficient: what spans keys is seen by the judge `locks` alone.
//!
//! Invariant: a holder whose token nobody learned may have any; every possibility is a state.
//!
//! Not here: queues (`fairness`) and time (an expiry is an operation like any other).

use std::collections::{BTreeMap, BTreeSet};

use super::search::{Model, Timed};
use crate::judge::history::Mode;

/// The lock of one key, free at first.
#[derive(Clone, Copy, Debug)]
pub struct Lock;

/// What concerns one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields repeat the words of the protocol")]
pub enum LockCall {
    /// A session asks for it.
    Acquire { session: u64, mode: Mode },
    /// A session gives it back.
    Release { session: u64, fence: u64 },
    /// An operator takes it away.
    Force { fence: u64 },
    /// A session ends, closed or expired.
    End { session: u64 },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields repeat the words of the protocol")]
pub enum LockAnswer {
    /// It is held under this token.
    Granted { fence: u64 },
    /// Whether it had been held.
    Released { held: bool },
    /// It is so.
    Ok,
}

/// Somebody who holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    session: u64,
    mode: Mode,
    /// `None` when nobody learned the token.
    fence: Option<u64>,
    /// The greatest token learned before it was granted: an unknown one is not smaller.
    above: u64,
    /// How often the session has acquired it.
    depth: u32,
}

/// The state of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockState {
    holders: Vec<Holder>,
    /// Greatest token learned.
    greatest: u64,
    ended: BTreeSet<u64>,
}

impl LockState {
    /// Whether a session can be granted the lock beside its holders.
    fn admits(&self, mode: Mode) -> bool {
        match mode {
            Mode::Exclusive => self.holders.is_empty(),
            Mode::Shared => self.holders.iter().all(|holder| holder.mode == Mode::Shared),
            Mode::Permits { take, of } => {
                let mut taken = u64::from(take);
                for holder in &self.holders {
                    let Mode::Permits { take, of: same } = holder.mode else { return false };
                    if same != of {
                        return false;
                    }
                    taken += u64::from(take);
                }
                taken <= u64::from(of)
            }
        }
    }

    fn with(&self, holder: Holder) -> Self {
        let mut next = self.clone();
        next.greatest = next.greatest.max(holder.fence.unwrap_or(0));
        next.holders.push(holder);
        next.holders.sort();
        next
    }

    fn without(&self, at: usize) -> Self {
        let mut next = self.clone();
        next.holders.remove(at);
        next
    }

    /// Whether a holder may hold it under this token.
    fn may_be(holder: &Holder, fence: u64) -> bool {
        match holder.fence {
            Some(held) => held == fence,
            // Those who share may have one token.
            None if holder.mode == Mode::Exclusive => fence > holder.above,
            None => fence > 0 && fence >= holder.above,
        }
    }

    fn acquire(&self, session: u64, mode: Mode, fence: Option<u64>) -> Vec<Self> {
        if self.ended.contains(&session) {
            return Vec::new();
        }
        let mut states = Vec::new();
        for (at, held) in self.holders.iter().enumerate().filter(|(_, h)| h.session == session) {
            if held.mode == mode && fence.is_none_or(|fence| Self::may_be(held, fence)) {
                let (fence, depth) = (held.fence.or(fence), held.depth + 1);
                states.push(self.without(at).with(Holder { fence, depth, ..held.clone() }));
            }
        }
        // Those who share may be admitted by one entry and then have one token.
        let together = |fence: u64| {
            mode != Mode::Exclusive && self.holders.iter().any(|held| held.fence == Some(fence))
        };
        let fresh = fence
            .is_none_or(|fence| fence > self.greatest || fence == self.greatest && together(fence));
        if fresh && self.admits(mode) {
            let above = self.greatest;
            states.push(self.with(Holder { session, mode, fence, above, depth: 1 }));
        }
        states
    }

    /// The states after somebody gave up the token, once for each holder that may have meant.
    fn give_up(&self, fence: u64, session: Option<u64>, wholly: bool) -> Vec<Self> {
        let meant = |holder: &Holder| {
            session.is_none_or(|session| session == holder.session) && Self::may_be(holder, fence)
        };
        let mut states = Vec::new();
        for (at, held) in self.holders.iter().enumerate().filter(|(_, holder)| meant(holder)) {
            let mut rest = self.without(at);
            rest.greatest = rest.greatest.max(fence);
            if wholly || held.depth == 1 {
                states.push(rest);
            } else {
                let fence = Some(fence);
                states.push(rest.with(Holder { depth: held.depth - 1, fence, ..held.clone() }));
            }
        }
        states
    }

    /// Whether a session or anybody certainly holds it under the token.
    fn certain(&self, fence: u64, session: Option<u64>) -> bool {
        let mut holders = self.holders.iter();
        holders.any(|h| h.fence == Some(fence) && session.is_none_or(|s| s == h.session))
    }
}

/// Whether a grant may only be understood as that of a lock which its session held already.
fn is_older(
    grant: &Timed<LockCall, LockAnswer>,
    operations: &[Timed<LockCall, LockAnswer>],
) -> bool {
    let (LockCall::Acquire { mode, .. }, Some(LockAnswer::Granted { fence })) =
        (&grant.call, &grant.answer)
    else {
        return false;
    };
    let greater_before = operations.iter().any(|other| {
        let theirs = match (&other.call, &other.answer) {
            (_, Some(LockAnswer::Granted { fence })) => fence,
            (LockCall::Release { fence, .. } | LockCall::Force { fence }, Some(_)) => fence,
            _ => return false,
        };
        theirs >= fence && other.id != grant.id && other.invoked <= grant.effective
    });
    greater_before || matches!(mode, Mode::Permits { .. })
}

impl Model for Lock {
    type State = LockState;
    type Call = LockCall;
    type Answer = LockAnswer;

    fn initial(&self) -> LockState {
        LockState::default()
    }

    fn step(
        &self,
        state: &LockState,
        call: &LockCall,
        answer: Option<&LockAnswer>,
    ) -> Vec<LockState> {
        let (fence, session, wholly) = match (call, answer) {
            (LockCall::Acquire { session, mode }, None) => {
                return state.acquire(*session, *mode, None);
            }
            (LockCall::Acquire { session, mode }, Some(LockAnswer::Granted { fence })) => {
                return state.acquire(*session, *mode, Some(*fence));
            }
            // An end that nobody saw explains nothing unless it takes something from its session.
            (LockCall::End { session }, None)
                if state.holders.iter().all(|holder| holder.session != *session) =>
            {
                return vec![state.clone()];
            }
            (LockCall::End { session }, _) => {
                let mut next = state.clone();
                next.holders.retain(|holder| holder.session != *session);
                next.ended.insert(*session);
                return vec![next];
            }
            (LockCall::Release { session, fence }, _) => (*fence, Some(*session), false),
            (LockCall::Force { fence }, _) => (*fence, None, true),
            _ => return Vec::new(),
        };
        let mut states = Vec::new();
        if !matches!(answer, Some(LockAnswer::Released { held: false })) {
            states = state.give_up(fence, session, wholly);
        }
        let idle = !matches!(answer, Some(LockAnswer::Released { held: true }));
        if idle && !state.certain(fence, session) {
            states.push(state.clone());
        }
        states
    }

    /// A grant that nobody learned of explains two things: that a session gave the lock back more often
    /// than it was told to hold it, and that it was told of a holding older than it could be by itself
    /// or beside others. What may have ended a grant matters if there was one.
    fn matters(&self, operations: &[Timed<LockCall, LockAnswer>]) -> Vec<bool> {
        let mut told: BTreeMap<(u64, u64), i64> = BTreeMap::new();
        for operation in operations {
            match (&operation.call, &operation.answer) {
                (LockCall::Acquire { session, .. }, Some(LockAnswer::Granted { fence })) => {
                    *told.entry((*session, *fence)).or_default() += 1;
                }
                (
                    LockCall::Release { session, fence },
                    Some(LockAnswer::Released { held: true }),
                ) => *told.entry((*session, *fence)).or_default() -= 1,
                _ => {}
            }
        }
        let again = operations.iter().filter(|operation| is_older(operation, operations));
        let again = again.filter_map(|operation| match operation.call {
            LockCall::Acquire { session, .. } => Some(session),
            _ => None,
        });
        let over = told.iter().filter(|(_, left)| **left < 0).map(|((session, _), _)| *session);
        let hidden: BTreeSet<u64> = over.chain(again).collect();
        let holds = |session: &u64| {
            hidden.contains(session) || told.keys().any(|(holder, _)| holder == session)
        };
        let matters = |operation: &Timed<LockCall, LockAnswer>| match &operation.call {
            LockCall::Acquire { session, .. } => hidden.contains(session),
            LockCall::Release { session, fence } => {
                hidden.contains(session) || told.contains_key(&(*session, *fence))
            }
            LockCall::Force { fence } => {
                !hidden.is_empty() || told.keys().any(|(_, held)| held == fence)
            }
            LockCall::End { session } => holds(session),
        };
        operations.iter().map(matters).collect()
    }

    fn pure(&self, _: &LockCall, answer: Option<&LockAnswer>) -> bool {
        matches!(answer, Some(LockAnswer::Released { held: false }))
    }
}
