//! What applying one entry collects on its way.
//!
//! Invariant: effects stand in the order in which things happened; locks that changed follow, each
//! once, by key.
//!
//! Not here: the state.

use std::collections::BTreeSet;

use types::{AgentId, lock::LockKey};

use super::{
    command::SessionSeq,
    effect::{AuditEvent, Effect},
    response::Response,
};

/// What came of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The answer to whoever proposed it.
    pub response: Response,
    /// What every node is told.
    pub effects: Vec<Effect>,
    /// The place in a session's sequence that the command named, and whether it was executed rather
    /// than recognised; `None` if it named none or its session is not open.
    pub seen: Option<(SessionSeq, bool)>,
}

/// An entry while it is applied.
#[derive(Debug)]
pub(super) struct Entry {
    pub index: u64,
    /// The machine's time, not the leader's reading.
    pub now_ms: u64,
    /// Who asked.
    pub by: AgentId,
    pub effects: Vec<Effect>,
    /// Locks whose holders changed.
    pub changed_keys: BTreeSet<LockKey>,
    /// Keys that somebody may get now, until they are handed over.
    pub to_hand_over: BTreeSet<LockKey>,
    pub seen: Option<(SessionSeq, bool)>,
    audited: u32,
}

impl Entry {
    pub fn new(index: u64, now_ms: u64) -> Self {
        Self {
            index,
            now_ms,
            by: AgentId::node(),
            effects: Vec::new(),
            changed_keys: BTreeSet::new(),
            to_hand_over: BTreeSet::new(),
            seen: None,
            audited: 0,
        }
    }

    /// Adds a row for the audit chain, of whoever asked.
    pub fn audit(
        &mut self,
        event_type: &'static str,
        subject: impl ToString,
        facts: Vec<(&'static str, String)>,
    ) {
        self.audit_by(self.by.clone(), event_type, subject, facts);
    }

    /// Adds a row for what somebody else did, or time.
    pub fn audit_by(
        &mut self,
        by: AgentId,
        event_type: &'static str,
        subject: impl ToString,
        facts: Vec<(&'static str, String)>,
    ) {
        let (index, at_ms, ordinal) = (self.index, self.now_ms, self.audited);
        self.audited += 1;
        let subject = subject.to_string();
        self.effects.push(Effect::Audit(AuditEvent {
            index,
            ordinal,
            at_ms,
            by,
            event_type,
            subject,
            facts,
        }));
    }
}
