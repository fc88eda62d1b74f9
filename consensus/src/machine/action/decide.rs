//! Proposing, approving, rejecting: how an action comes to its decision.
//!
//! Invariants: `ACT-1` an action is decided once, by the first entry that suffices ([`Machine::settle`]);
//! `ACT-2` nobody approves what they proposed, and a revoked agent's approval does not count.
//!
//! Not here: how actions are kept.

use std::collections::{BTreeMap, BTreeSet};

use types::{
    AgentId, Invalid, Reason, Reject,
    limits::REASON_BYTES_MAX,
    lock::ActionId,
    root_limits::{ACTIONS_PENDING_MAX, APPROVERS_MAX},
    rule::{Approver, Cause, Decision},
};

use super::{
    super::{Machine, effect::Effect, entry::Entry, response::Response},
    Action, ActionState, Decide, Decided, Propose,
};

/// Tells who comes too late what was decided.
pub(super) fn already(id: ActionId, decided: &Decided) -> Reject {
    let Decided { outcome, index, by } = decided;
    let detail = format!("action {id} was {} at {index} by {by}", outcome.as_str());
    Reject::new(Reason::AlreadyDecided, detail)
        .with("action", id)
        .with("outcome", outcome.as_str())
        .with("decided_at", index)
        .with("decided_by", by)
}

impl Machine {
    pub(in super::super) fn propose(
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

    pub(in super::super) fn decide(
        &mut self,
        entry: &mut Entry,
        body: &Decide,
    ) -> Result<Response, Reject> {
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
        self.actions.put_decision(id, decided);
        let facts = vec![("outcome", outcome.as_str().to_owned()), ("note", note.to_owned())];
        entry.audit_by(by, "action.decide", id, facts);
        entry.effects.push(Effect::ActionChanged { action: id, decided: true });
    }

    /// Ends actions whose time has come.
    pub(in super::super) fn expire_actions(&mut self, entry: &mut Entry) {
        for id in self.actions.due.take(entry.now_ms) {
            self.settle(entry, id, ActionState::Expired, "");
        }
    }

    /// `AGT-1`: what a revoked agent approved does not count, what it proposed is withdrawn.
    pub(in super::super) fn forget_approvals(&mut self, entry: &mut Entry, agent: &AgentId) {
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
