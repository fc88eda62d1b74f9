//! Sessions: who is alive, and the sequence of what each has asked.
//!
//! A session belongs to one agent and lives until its TTL has passed without a keep-alive. Locks hang
//! on it: when it ends, its locks are free and its waits are gone. A keep-alive renews it; other
//! commands don't, so that a client that lost its keep-alive loop is noticed.
//!
//! Invariants: `SES-1` (by `dedup`); `SES-2` a session lives while the time has not reached its
//! expiry; `SES-3` a leader change gives every session its full TTL, and ends none.
//!
//! Not here: what is held (`lock`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use types::{
    AgentId, Invalid, Reason, Reject,
    lock::SessionId,
    planted,
    root_limits::{
        LOCK_DELAY_MS_MAX, SESSION_TTL_MS_MAX, SESSION_TTL_MS_MIN, SESSIONS_ENDED_KEPT,
        SESSIONS_MAX, SESSIONS_PER_AGENT_MAX,
    },
};

use super::{
    Machine,
    command::SessionSeq,
    dedup::{Lookup, Window},
    due::Due,
    effect::Effect,
    entry::Entry,
    response::{Response, SessionOpened},
};

/// Opens a session; its id is the index of the entry. A retry without an identity opens another,
/// which expires by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// How long it lives without a keep-alive, in milliseconds; see
    /// [`SESSION_TTL_MS_MIN`] and [`SESSION_TTL_MS_MAX`].
    pub ttl_ms: u64,
    /// How long its exclusive locks rest when it is lost, in milliseconds, 0 to
    /// [`LOCK_DELAY_MS_MAX`]: time for its holder to notice.
    pub lock_delay_ms: u64,
}

/// Gives a session its full TTL again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Which.
    pub session: SessionId,
}

/// Ends a session; its locks are free at once, without a delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseSession {
    /// Which.
    pub session: SessionId,
}

macro_rules! end_causes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $text:literal),+ $(,)?) => {
        /// Why a session is over.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum EndCause { $($(#[$doc])* $variant = $number),+ }

        impl EndCause {
            /// The stored number.
            pub fn number(self) -> u8 {
                self as u8
            }

            /// The cause with this number.
            ///
            /// # Errors
            /// [`Invalid`] for a number that no cause has.
            pub fn from_number(number: u32) -> Result<Self, Invalid> {
                match number {
                    $($number => Ok(Self::$variant),)+
                    _ => Err(Invalid::new("cause", format!("unknown value {number}"))),
                }
            }

            /// The cause in a word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

end_causes! {
    /// Its TTL has passed.
    Expired = 1 "expired",
    /// Its client closed it.
    Closed = 2 "closed",
    /// Its agent was revoked.
    Revoked = 3 "revoked",
}

impl EndCause {
    /// Whether the client may still believe that it holds its locks.
    pub(super) fn is_loss(self) -> bool {
        self != EndCause::Closed
    }
}

/// A live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub agent: AgentId,
    pub ttl_ms: u64,
    pub lock_delay_ms: u64,
    pub opened_ms: u64,
    pub expires_ms: u64,
    pub window: Window,
}

/// What is remembered of a session that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ended {
    session: SessionId,
    cause: EndCause,
    at_ms: u64,
}

/// All sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    pub live: BTreeMap<SessionId, Session>,
    ended: VecDeque<Ended>,
    due: Due<SessionId>,
    per_agent: BTreeMap<AgentId, BTreeSet<SessionId>>,
}

/// A session, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub session: SessionId,
    /// Whose it is.
    pub agent: AgentId,
    /// How long it lives without a keep-alive, in milliseconds.
    pub ttl_ms: u64,
    /// How long ago it was opened, in milliseconds of the root's time.
    pub age_ms: u64,
    /// How long it still lives, in milliseconds.
    pub left_ms: u64,
    /// How many keys it holds.
    pub held: u64,
    /// How many of its requests wait.
    pub waiting: u64,
}

impl SessionView {
    /// The same, so many milliseconds after the entry that it was taken behind.
    #[must_use]
    pub fn after(mut self, passed_ms: u64) -> Self {
        self.age_ms = self.age_ms.saturating_add(passed_ms);
        self.left_ms = self.left_ms.saturating_sub(passed_ms);
        self
    }
}

types::proto_vocabulary!(EndCause);
types::proto_message!(OpenSession { 1 => ttl_ms, 2 => lock_delay_ms });
types::proto_message!(KeepAlive { 1 => session });
types::proto_message!(CloseSession { 1 => session });
types::proto_message!(Session {
    1 => agent,
    2 => ttl_ms,
    3 => lock_delay_ms,
    4 => opened_ms,
    5 => expires_ms,
    6 => window,
});
types::proto_message!(Ended { 1 => session, 2 => cause, 3 => at_ms });
types::proto_message!(Sessions { 1 => live, 2 => ended; due, per_agent });

impl Sessions {
    pub fn get(&self, id: SessionId) -> Result<&Session, Reject> {
        self.live.get(&id).ok_or_else(|| self.gone(id))
    }

    /// Why there is no such session.
    fn gone(&self, id: SessionId) -> Reject {
        match self.ended.iter().rev().find(|ended| ended.session == id) {
            Some(ended) => {
                let detail = format!(
                    "session {id} {} at {}; its locks are gone, open another",
                    ended.cause.as_str(),
                    ended.at_ms
                );
                Reject::new(Reason::SessionExpired, detail).with("session", id)
            }
            None => Reject::new(Reason::NotFound, format!("there is no session {id}")),
        }
    }

    /// The live session, if it is the agent's own.
    fn own(&self, by: &AgentId, id: SessionId) -> Result<&Session, Reject> {
        let session = self.get(id)?;
        if session.agent != *by {
            return Err(Reject::new(Reason::Forbidden, format!("session {id} is another agent's")));
        }
        Ok(session)
    }

    pub fn look_up(&self, by: &AgentId, at: SessionSeq, hash: &[u8; 32]) -> Result<Lookup, Reject> {
        self.own(by, at.session)?.window.look_up(at.seq, hash)
    }

    /// Keeps the answer, unless the command ended its own session.
    pub fn remember(&mut self, at: SessionSeq, hash: [u8; 32], response: Response) {
        if let Some(session) = self.live.get_mut(&at.session) {
            session.window.remember(at.seq, hash, response);
        }
    }

    /// Sessions whose time has come.
    pub fn take_due(&mut self, now_ms: u64) -> BTreeSet<SessionId> {
        self.due.take(now_ms).into_iter().collect()
    }

    /// `SES-3`.
    pub fn renew_all(&mut self, now_ms: u64) {
        let all: Vec<SessionId> = self.live.keys().copied().collect();
        for id in all {
            if planted::is_on("leader-change-shortens-lease") {
                self.halve(id, now_ms);
                continue;
            }
            self.renew(id, now_ms);
        }
    }

    /// Takes half of what is left from a session: `leader-change-shortens-lease`.
    fn halve(&mut self, id: SessionId, now_ms: u64) {
        let Some(session) = self.live.get_mut(&id) else { return };
        self.due.remove(session.expires_ms, &id);
        session.expires_ms = now_ms + session.expires_ms.saturating_sub(now_ms).div_ceil(2);
        self.due.insert(session.expires_ms, id);
    }

    /// Gives a live session its full TTL from now.
    fn renew(&mut self, id: SessionId, now_ms: u64) -> Option<SessionOpened> {
        let session = self.live.get_mut(&id)?;
        self.due.remove(session.expires_ms, &id);
        session.expires_ms = now_ms + session.ttl_ms;
        self.due.insert(session.expires_ms, id);
        let (ttl_ms, expires_ms) = (session.ttl_ms, session.expires_ms);
        Some(SessionOpened { session: id, ttl_ms, expires_ms })
    }

    fn insert(&mut self, id: SessionId, session: Session) {
        self.due.insert(session.expires_ms, id);
        self.per_agent.entry(session.agent.clone()).or_default().insert(id);
        self.live.insert(id, session);
    }

    fn remove(&mut self, id: SessionId, cause: EndCause, at_ms: u64) -> Option<Session> {
        let session = self.live.remove(&id)?;
        self.due.remove(session.expires_ms, &id);
        if let Some(own) = self.per_agent.get_mut(&session.agent) {
            own.remove(&id);
            if own.is_empty() {
                self.per_agent.remove(&session.agent);
            }
        }
        self.ended.push_back(Ended { session: id, cause, at_ms });
        if self.ended.len() > SESSIONS_ENDED_KEPT {
            self.ended.pop_front();
        }
        Some(session)
    }

    pub fn of_agent(&self, agent: &AgentId) -> BTreeSet<SessionId> {
        self.per_agent.get(agent).cloned().unwrap_or_default()
    }

    pub fn next_ms(&self) -> Option<u64> {
        self.due.next_ms()
    }

    /// Makes what is derived, after a snapshot was read.
    pub fn rebuild(&mut self) {
        for (id, session) in &self.live {
            self.due.insert(session.expires_ms, *id);
            self.per_agent.entry(session.agent.clone()).or_default().insert(*id);
        }
    }

    /// Whether what is derived agrees with what is kept.
    pub fn is_sound(&self) -> bool {
        let counted: usize = self.per_agent.values().map(BTreeSet::len).sum();
        self.due.len() == self.live.len()
            && counted == self.live.len()
            && self.ended.len() <= SESSIONS_ENDED_KEPT
            && self.live.values().all(|session| session.window.is_sound())
    }
}

impl Machine {
    pub(super) fn open_session(
        &mut self,
        entry: &mut Entry,
        body: &OpenSession,
    ) -> Result<Response, Reject> {
        let ttl = SESSION_TTL_MS_MIN..=SESSION_TTL_MS_MAX;
        if !ttl.contains(&body.ttl_ms) {
            let problem = format!("use {} to {} ms", ttl.start(), ttl.end());
            return Err(Invalid::new("ttl_ms", problem).into());
        }
        if body.lock_delay_ms > LOCK_DELAY_MS_MAX {
            let problem = format!("use at most {LOCK_DELAY_MS_MAX} ms");
            return Err(Invalid::new("lock_delay_ms", problem).into());
        }
        let own = self.sessions.per_agent.get(&entry.by).map_or(0, BTreeSet::len);
        if own >= SESSIONS_PER_AGENT_MAX || self.sessions.live.len() >= SESSIONS_MAX {
            let detail = "too many sessions are open; close some or let them expire";
            return Err(Reject::new(Reason::Overloaded, detail));
        }
        let (session, ttl_ms) = (SessionId(entry.index), body.ttl_ms);
        let expires_ms = entry.now_ms + ttl_ms;
        self.sessions.insert(
            session,
            Session {
                agent: entry.by.clone(),
                ttl_ms,
                lock_delay_ms: body.lock_delay_ms,
                opened_ms: entry.now_ms,
                expires_ms,
                window: Window::default(),
            },
        );
        Ok(Response::Session(SessionOpened { session, ttl_ms, expires_ms }))
    }

    pub(super) fn keep_alive(
        &mut self,
        entry: &mut Entry,
        body: &KeepAlive,
    ) -> Result<Response, Reject> {
        self.sessions.own(&entry.by, body.session)?;
        let renewed = self.sessions.renew(body.session, entry.now_ms);
        renewed.map(Response::Session).ok_or_else(|| self.sessions.gone(body.session))
    }

    pub(super) fn close_session(
        &mut self,
        entry: &mut Entry,
        body: &CloseSession,
    ) -> Result<Response, Reject> {
        self.sessions.own(&entry.by, body.session)?;
        self.end_sessions(entry, &[body.session].into(), EndCause::Closed);
        Ok(Response::done())
    }

    /// Ends sessions together: first none of them lives any more, then their locks are handed over,
    /// so that nothing passes from one to another (`LOCK-3`).
    pub(super) fn end_sessions(
        &mut self,
        entry: &mut Entry,
        ids: &BTreeSet<SessionId>,
        cause: EndCause,
    ) {
        for id in ids {
            let Some(session) = self.sessions.remove(*id, cause, entry.now_ms) else { continue };
            let rest_ms = if cause.is_loss() { session.lock_delay_ms } else { 0 };
            let freed = self.locks.drop_session(*id, entry, rest_ms);
            entry.to_hand_over.extend(freed);
            entry.effects.push(Effect::SessionEnded { session: *id, cause });
        }
        self.hand_over_freed(entry);
    }
}
