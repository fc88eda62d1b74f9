//! Actions that wait for somebody's approval.
//!
//! An action is proposed with the request it stands for; the rules of that moment say who must agree,
//! and a later change of rules does not change it. It is decided once: approved when everyone asked
//! for has agreed, rejected by the first who could have approved and does not want to, withdrawn by its
//! proposer (or by the proposer's revocation), or expired. One rejection decides, also against a
//! consensus: what somebody entitled objects to should not pass quietly.
//!
//! Decided actions are kept whole for the last [`ACTIONS_DECIDED_KEPT`], and as id and decision for the
//! last [`DECISIONS_KEPT`]; who decides again is told the decision. What is older stands in the
//! audit chain.
//!
//! Invariants: `ACT-1` an action is decided once, by the first entry that suffices, and expires only
//! undecided; `ACT-2` nobody approves what they proposed, and a revoked agent's approval does not count.
//!
//! Not here: carrying out what was approved, and reading the payload.

use std::collections::{BTreeMap, BTreeSet};

use types::{
    AgentId, Invalid, Reason, Reject,
    codec::fields::Opaque,
    limits::TITLE_CHARS_MAX,
    lock::ActionId,
    root_limits::{
        ACTION_KIND_BYTES_MAX, ACTION_PAYLOAD_BYTES_MAX, ACTION_TTL_MS_MAX, ACTIONS_DECIDED_KEPT,
        ACTIONS_PENDING_MAX, DECISIONS_KEPT,
    },
    rule::{Approver, RuleRequest},
};

use self::decide::already;
use super::{
    due::Due,
    response::{ActionAnswer, Response},
};

mod decide;

/// Proposes an action; its id is the index of the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propose {
    /// What it is, e.g. `memory.promote`: 1 to 64 bytes.
    pub kind: String,
    /// The request that it stands for; its agent is the proposer.
    pub request: RuleRequest,
    /// What is to be done, for whoever carries it out.
    pub payload: Opaque,
    /// Who must approve besides those whom the rules name.
    pub asked: Approver,
    /// How long it waits, in milliseconds, at most
    /// [`ACTION_TTL_MS_MAX`](types::root_limits::ACTION_TTL_MS_MAX).
    pub ttl_ms: u64,
}

/// Approves or rejects an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decide {
    /// Which.
    pub action: ActionId,
    /// Whether it should be done.
    pub approve: bool,
    /// Why, at most 1024 bytes.
    pub note: String,
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionState {
    /// Everyone asked for has agreed.
    Approved = 1,
    /// Somebody entitled did not.
    Rejected = 2,
    /// Its time ran out.
    Expired = 3,
    /// Its proposer took it back, or was revoked.
    Withdrawn = 4,
}

impl ActionState {
    /// The stored number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The state with this number.
    ///
    /// # Errors
    /// [`Invalid`] for a number that no state has.
    pub fn from_number(number: u32) -> Result<Self, Invalid> {
        match number {
            1 => Ok(Self::Approved),
            2 => Ok(Self::Rejected),
            3 => Ok(Self::Expired),
            4 => Ok(Self::Withdrawn),
            _ => Err(Invalid::new("outcome", format!("unknown value {number}"))),
        }
    }

    /// The state in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What it is.
    pub outcome: ActionState,
    /// Log index of the entry that decided.
    pub index: u64,
    /// Whose word decided; `node` when time did.
    pub by: AgentId,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Who proposed it.
    pub proposer: AgentId,
    /// What it is.
    pub kind: String,
    /// The request that it stands for.
    pub request: RuleRequest,
    /// What is to be done.
    pub payload: Opaque,
    /// Who must approve: all of these.
    pub approvers: BTreeSet<Approver>,
    /// Version of the rules that said so.
    pub rules_version: u64,
    /// When it was proposed, by the root's time.
    pub proposed_ms: u64,
    /// When it expires undecided, by the root's time.
    pub expires_ms: u64,
    /// Who has approved, and at which index.
    pub approvals: BTreeMap<AgentId, u64>,
    /// The decision, once there is one.
    pub decided: Option<Decided>,
    /// What whoever decided had to say.
    pub note: String,
}

/// All actions.
#[derive(Clone, Debug, Default)]
pub(super) struct Actions {
    /// Undecided and lately decided ones.
    pub whole: BTreeMap<ActionId, Action>,
    /// Decisions of those whose whole is gone, and of those that are still whole.
    pub decisions: BTreeMap<ActionId, Decided>,
    pub pending: BTreeSet<ActionId>,
    due: Due<ActionId>,
    /// Decided ones that are whole, by the entry that decided; derived.
    whole_by_age: BTreeSet<(u64, ActionId)>,
    /// All decisions, by the entry that decided; derived.
    by_age: BTreeSet<(u64, ActionId)>,
}

types::proto_vocabulary!(ActionState);
types::proto_message!(Propose { 1 => kind, 2 => request, 3 => payload, 4 => asked, 5 => ttl_ms });
types::proto_message!(Decide { 1 => action, 2 => approve, 3 => note });
types::proto_message!(Decided { 1 => outcome, 2 => index, 3 => by });
types::proto_message!(Action {
    1 => proposer,
    2 => kind,
    3 => request,
    4 => payload,
    5 => approvers,
    6 => rules_version,
    7 => proposed_ms,
    8 => expires_ms,
    9 => approvals,
    10 => decided,
    11 => note,
});
types::proto_message!(Actions { 1 => whole, 2 => decisions; pending, due, whole_by_age, by_age });

impl Propose {
    fn check(&self, by: &AgentId) -> Result<(), Invalid> {
        if self.kind.is_empty() || self.kind.len() > ACTION_KIND_BYTES_MAX {
            return Err(Invalid::new("kind", format!("needs 1 to {ACTION_KIND_BYTES_MAX} bytes")));
        }
        if self.payload.0.len() > ACTION_PAYLOAD_BYTES_MAX {
            return Err(Invalid::new(
                "payload",
                format!("has at most {ACTION_PAYLOAD_BYTES_MAX} bytes"),
            ));
        }
        if self.ttl_ms == 0 || self.ttl_ms > ACTION_TTL_MS_MAX {
            return Err(Invalid::new("ttl_ms", format!("use 1 to {ACTION_TTL_MS_MAX} ms")));
        }
        if self.request.agent != *by {
            return Err(Invalid::new("request", "is another agent's than the proposer's"));
        }
        if self.request.title.as_ref().is_some_and(|title| title.len() > 4 * TITLE_CHARS_MAX) {
            return Err(Invalid::new("title", format!("has at most {TITLE_CHARS_MAX} characters")));
        }
        self.asked.check()
    }
}

impl Action {
    fn answer(&self, action: ActionId) -> Response {
        let approvals = self.approvals.keys().cloned().collect();
        Response::Action(ActionAnswer { action, approvals, decided: self.decided.clone() })
    }
}

impl Actions {
    /// The action, if it can still be decided (`ACT-1`).
    fn undecided(&self, id: ActionId) -> Result<&Action, Reject> {
        if let Some(decided) = self.decisions.get(&id) {
            return Err(already(id, decided));
        }
        self.whole.get(&id).ok_or_else(|| {
            Reject::new(Reason::NotFound, format!("there is no action {id}, or it was long ago"))
        })
    }

    pub fn next_ms(&self) -> Option<u64> {
        self.due.next_ms()
    }

    /// Writes a decision down, and lets go of the oldest whole actions and the oldest decisions.
    fn put_decision(&mut self, id: ActionId, decided: Decided) {
        self.pending.remove(&id);
        self.whole_by_age.insert((decided.index, id));
        self.by_age.insert((decided.index, id));
        self.decisions.insert(id, decided);
        if self.whole_by_age.len() > ACTIONS_DECIDED_KEPT {
            self.whole_by_age.pop_first().and_then(|(_, oldest)| self.whole.remove(&oldest));
        }
        if self.by_age.len() > DECISIONS_KEPT {
            self.by_age.pop_first().and_then(|(_, oldest)| self.decisions.remove(&oldest));
        }
    }

    /// Makes what is derived, after a snapshot was read.
    pub fn rebuild(&mut self) {
        for (id, action) in &self.whole {
            match &action.decided {
                Some(decided) => {
                    self.whole_by_age.insert((decided.index, *id));
                }
                None => {
                    self.pending.insert(*id);
                    self.due.insert(action.expires_ms, *id);
                }
            }
        }
        self.by_age = self.decisions.iter().map(|(id, decided)| (decided.index, *id)).collect();
    }

    /// Whether what is kept agrees with itself (`ACT-1`).
    pub fn is_sound(&self) -> bool {
        let agrees = |(id, action): (&ActionId, &Action)| {
            action.decided.as_ref() == self.decisions.get(id)
                && action.decided.is_none() == self.pending.contains(id)
        };
        self.due.len() == self.pending.len()
            && self.by_age.len() == self.decisions.len()
            && self.whole_by_age.len() + self.pending.len() == self.whole.len()
            && self.whole.iter().all(agrees)
            && self.pending.iter().all(|id| self.whole.contains_key(id))
            && self.pending.len() <= ACTIONS_PENDING_MAX
            && self.whole.len() - self.pending.len() <= ACTIONS_DECIDED_KEPT
            && self.decisions.len() <= DECISIONS_KEPT
    }
}
