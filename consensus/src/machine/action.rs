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
    limits::{REASON_BYTES_MAX, TITLE_CHARS_MAX},
    lock::ActionId,
    root_limits::{
        ACTION_KIND_BYTES_MAX, ACTION_PAYLOAD_BYTES_MAX, ACTION_TTL_MS_MAX, ACTIONS_DECIDED_KEPT,
        ACTIONS_PENDING_MAX, APPROVERS_MAX, DECISIONS_KEPT,
    },
    rule::{Approver, Cause, Decision, RuleRequest},
};

use super::{
    Machine,
    due::Due,
    effect::Effect,
    entry::Entry,
    response::{ActionAnswer, Response},
};

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
types::proto_message!(Actions { 1 => whole, 2 => decisions; pending, due });

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

    /// Lets go of the oldest decided actions, and of the oldest decisions.
    fn forget(&mut self) {
        let decided = self.whole.len() - self.pending.len();
        if decided > ACTIONS_DECIDED_KEPT {
            let oldest = self.oldest(|actions, id| actions.whole.contains_key(id));
            oldest.map(|id| self.whole.remove(&id));
        }
        if self.decisions.len() > DECISIONS_KEPT {
            let oldest = self.oldest(|_, _| true);
            oldest.map(|id| self.decisions.remove(&id));
        }
    }

    /// The action that was decided first, among those kept in a way.
    fn oldest(&self, kept: impl Fn(&Self, &ActionId) -> bool) -> Option<ActionId> {
        let kept = self.decisions.iter().filter(|(id, _)| kept(self, id));
        kept.min_by_key(|(id, decided)| (decided.index, **id)).map(|(id, _)| *id)
    }

    /// Makes what is derived, after a snapshot was read.
    pub fn rebuild(&mut self) {
        for (id, action) in self.whole.iter().filter(|(_, action)| action.decided.is_none()) {
            self.pending.insert(*id);
            self.due.insert(action.expires_ms, *id);
        }
    }

    /// Whether what is kept agrees with itself (`ACT-1`).
    pub fn is_sound(&self) -> bool {
        let agrees = |(id, action): (&ActionId, &Action)| {
            action.decided.as_ref() == self.decisions.get(id)
                && action.decided.is_none() == self.pending.contains(id)
        };
        self.due.len() == self.pending.len()
            && self.whole.iter().all(agrees)
            && self.pending.iter().all(|id| self.whole.contains_key(id))
            && self.pending.len() <= ACTIONS_PENDING_MAX
            && self.whole.len() - self.pending.len() <= ACTIONS_DECIDED_KEPT
            && self.decisions.len() <= DECISIONS_KEPT
    }
}

/// Tells who comes too late what was decided.
fn already(id: ActionId, decided: &Decided) -> Reject {
    let Decided { outcome, index, by } = decided;
    let detail = format!("action {id} was {} at {index} by {by}", outcome.as_str());
    Reject::new(Reason::AlreadyDecided, detail)
        .with("action", id)
        .with("outcome", outcome.as_str())
        .with("decided_at", index)
        .with("decided_by", by)
}

impl Machine {
    pub(super) fn propose(
        &mut self,
        entry: &mut Entry,
        body: &Propose,
    ) -> Result<Response, Reject> {
        body.check(&entry.by)?;
        let verdict = self.rules.evaluate(&body.request);
        let mut approvers = match verdict.decision {
            Decision::Allow => BTreeSet::new(),
            Decision::Escalate(approvers) => approvers,
            Decision::Refuse(cause) => return Err(forbidden(&cause, verdict.rules_version)),
        };
        if body.asked != Approver::None {
            approvers.insert(body.asked.clone());
        }
        if approvers.is_empty() {
            let detail = "the rules ask for no approval: do it directly, or name an approver";
            let reject = Reject::new(Reason::FailedPrecondition, detail);
            return Err(reject.with("rules_version", verdict.rules_version));
        }
        if approvers.len() > APPROVERS_MAX {
            let detail =
                format!("{} rules escalate it; at most {APPROVERS_MAX} may", approvers.len());
            return Err(Reject::new(Reason::TooLarge, detail).with("limit", APPROVERS_MAX));
        }
        if self.actions.pending.len() >= ACTIONS_PENDING_MAX {
            let detail = format!("{ACTIONS_PENDING_MAX} actions wait for a decision");
            return Err(Reject::new(Reason::Overloaded, detail).with("limit", ACTIONS_PENDING_MAX));
        }
        let id = ActionId(entry.index);
        let needed: Vec<String> = approvers.iter().map(ToString::to_string).collect();
        let action = Action {
            proposer: entry.by.clone(),
            kind: body.kind.clone(),
            request: body.request.clone(),
            payload: body.payload.clone(),
            approvers,
            rules_version: verdict.rules_version,
            proposed_ms: entry.now_ms,
            expires_ms: entry.now_ms + body.ttl_ms,
            approvals: BTreeMap::new(),
            decided: None,
            note: String::new(),
        };
        let answer = action.answer(id);
        self.actions.pending.insert(id);
        self.actions.due.insert(action.expires_ms, id);
        self.actions.whole.insert(id, action);
        let facts = vec![("kind", body.kind.clone()), ("needs", needed.join(","))];
        entry.audit("action.propose", id, facts);
        entry.effects.push(Effect::ActionChanged { action: id, decided: false });
        Ok(answer)
    }

    pub(super) fn decide(&mut self, entry: &mut Entry, body: &Decide) -> Result<Response, Reject> {
        if body.note.len() > REASON_BYTES_MAX {
            return Err(
                Invalid::new("note", format!("has at most {REASON_BYTES_MAX} bytes")).into()
            );
        }
        let id = body.action;
        let action = self.actions.undecided(id)?;
        let is_own = action.proposer == entry.by;
        if is_own && body.approve {
            let detail = format!("{} proposed action {id} and can't approve it", entry.by);
            return Err(Reject::new(Reason::Forbidden, detail).with("action", id));
        }
        if !is_own && !self.may_decide(&entry.by, action) {
            let detail = format!("{} is none of those who decide action {id}", entry.by);
            return Err(Reject::new(Reason::Forbidden, detail).with("action", id));
        }
        if body.approve
            && !action.approvals.contains_key(&entry.by)
            && !self.would_help(&entry.by, action)
        {
            let detail =
                format!("what {} could approve of action {id} is approved already", entry.by);
            return Err(Reject::new(Reason::FailedPrecondition, detail).with("action", id));
        }
        match (body.approve, is_own) {
            (true, _) => self.approve(entry, id, &body.note),
            (false, true) => self.settle(entry, id, ActionState::Withdrawn, &body.note),
            (false, false) => self.settle(entry, id, ActionState::Rejected, &body.note),
        }
        match self.actions.whole.get(&id) {
            Some(action) => Ok(action.answer(id)),
            None => Ok(Response::done()),
        }
    }

    /// Whether the agent's word counts towards any of what the action needs (`ACT-2`).
    fn may_decide(&self, agent: &AgentId, action: &Action) -> bool {
        self.agents.active(agent).is_some_and(|known| {
            action.approvers.iter().any(|a| a.admits(agent, &known.affiliation, known.human))
        })
    }

    fn approve(&mut self, entry: &mut Entry, id: ActionId, note: &str) {
        let Some(action) = self.actions.whole.get_mut(&id) else { return };
        if action.approvals.contains_key(&entry.by) {
            return;
        }
        action.approvals.insert(entry.by.clone(), entry.index);
        entry.audit("action.approve", id, vec![("note", note.to_owned())]);
        if self.is_satisfied(id) {
            self.settle(entry, id, ActionState::Approved, note);
        } else {
            entry.effects.push(Effect::ActionChanged { action: id, decided: false });
        }
    }

    /// Whether every requirement has enough approvals.
    fn is_satisfied(&self, id: ActionId) -> bool {
        let Some(action) = self.actions.whole.get(&id) else { return false };
        action.approvers.iter().all(|approver| self.is_met(approver, action))
    }

    /// Whether a requirement has enough approvals of agents that still count.
    fn is_met(&self, approver: &Approver, action: &Action) -> bool {
        let counting = action.approvals.keys().filter_map(|agent| self.agents.active(agent));
        let admitted =
            counting.filter(|a| approver.admits(&a.agent, &a.affiliation, a.human)).count();
        admitted as u64 >= u64::from(approver.needed())
    }

    /// Whether the agent's approval counts towards a requirement that is not met: others are not kept,
    /// which bounds how many an action can have.
    fn would_help(&self, agent: &AgentId, action: &Action) -> bool {
        let unmet = action.approvers.iter().filter(|approver| !self.is_met(approver, action));
        self.agents.active(agent).is_some_and(|known| {
            unmet.into_iter().any(|a| a.admits(agent, &known.affiliation, known.human))
        })
    }

    /// Decides an action (`ACT-1`).
    fn settle(&mut self, entry: &mut Entry, id: ActionId, outcome: ActionState, note: &str) {
        let Some(action) = self.actions.whole.get_mut(&id) else { return };
        assert!(action.decided.is_none(), "ACT-1: action {id} is decided again");
        let by = match outcome {
            ActionState::Expired => AgentId::node(),
            _ => entry.by.clone(),
        };
        let decided = Decided { outcome, index: entry.index, by: by.clone() };
        action.decided = Some(decided.clone());
        action.note = note.to_owned();
        self.actions.due.remove(action.expires_ms, &id);
        self.actions.pending.remove(&id);
        self.actions.decisions.insert(id, decided);
        self.actions.forget();
        let facts = vec![("outcome", outcome.as_str().to_owned()), ("note", note.to_owned())];
        entry.audit_by(by, "action.decide", id, facts);
        entry.effects.push(Effect::ActionChanged { action: id, decided: true });
    }

    /// Ends actions whose time has come.
    pub(super) fn expire_actions(&mut self, entry: &mut Entry) {
        for id in self.actions.due.take(entry.now_ms) {
            self.settle(entry, id, ActionState::Expired, "");
        }
    }

    /// `AGT-1`: what a revoked agent approved does not count, what it proposed is withdrawn.
    pub(super) fn forget_approvals(&mut self, entry: &mut Entry, agent: &AgentId) {
        let pending: Vec<ActionId> = self.actions.pending.iter().copied().collect();
        for id in pending {
            let Some(action) = self.actions.whole.get_mut(&id) else { continue };
            if action.proposer == *agent {
                self.settle(entry, id, ActionState::Withdrawn, "its proposer was revoked");
            } else if action.approvals.remove(agent).is_some() {
                entry.effects.push(Effect::ActionChanged { action: id, decided: false });
            }
        }
    }
}

/// Says which rule forbids what was proposed.
fn forbidden(cause: &Cause, rules_version: u64) -> Reject {
    let (rule, version) = match cause {
        Cause::Rule { id, version } => (format!("rule {id}"), version),
        Cause::Policy { namespace, version, field } => {
            (format!("{field} of the policy of {namespace}"), version)
        }
    };
    let detail = format!("{rule} forbids it, and no approval can change that");
    Reject::new(Reason::Forbidden, detail)
        .with("rule", rule)
        .with("version", version)
        .with("rules_version", rules_version)
}
