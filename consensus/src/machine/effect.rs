//! What the node is told after an entry was applied.
//!
//! Invariant: effects are level-triggered: each says what is, so hearing it twice, or only the last
//! of several, does no harm; who needs more reads the state. Audit events are the exception: each is
//! one row, named by the entry's index and its place in it, so that a repetition is recognised.
//!
//! Not here: carrying them out (the node).

use types::{
    AgentId,
    lock::{ActionId, Fence, LockKey, SessionId},
};

use super::{response::Response, session::EndCause};

/// Something that is so since this entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A lock has these holders; none means that it is free or rests.
    LockChanged {
        /// Which lock.
        key: LockKey,
        /// The greatest fence among the holders; 0 without any.
        fence: Fence,
        /// Who holds it, by session.
        holders: Vec<SessionId>,
    },
    /// A request that waited has its answer.
    WaitOver {
        /// Whose.
        session: SessionId,
        /// Its place in the session's sequence.
        seq: u64,
        /// The answer, which a retry gets too.
        response: Response,
    },
    /// A session is over.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Why.
        cause: EndCause,
    },
    /// The rule set has this version.
    RulesChanged {
        /// Log index of the change.
        version: u64,
    },
    /// The registry of agents has this version.
    AgentsChanged {
        /// Log index of the change.
        version: u64,
    },
    /// An action was proposed, approved or decided: read it.
    ActionChanged {
        /// Which.
        action: ActionId,
        /// Whether it is decided.
        decided: bool,
    },
    /// The registry of members has this version.
    MembersChanged {
        /// Log index of the change.
        version: u64,
    },
    /// The cluster is in this epoch.
    EpochChanged {
        /// The epoch.
        cluster_epoch: u64,
    },
    /// A row for the audit chain.
    Audit(AuditEvent),
}

/// What the audit chain says about an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// Index of the entry.
    pub index: u64,
    /// Place among the entry's audit events, from 0.
    pub ordinal: u32,
    /// The root's time.
    pub at_ms: u64,
    /// Who asked; `node` for what time did.
    pub by: AgentId,
    /// What happened, e.g. `lock.force_release`.
    pub event_type: &'static str,
    /// What it happened to.
    pub subject: String,
    /// More about it, by name.
    pub facts: Vec<(&'static str, String)>,
}
