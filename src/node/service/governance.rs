//! Rules, policies and actions that wait for an approval, decided by the root.
//!
//! Invariants: `SVC-5` everything is sent in the caller's own name; `SVC-9` rules and policies are changed
//! by operators only; who may decide an action is for the root to say.
//!
//! Not here: enforcing rules (`govern`), and carrying out what was approved: whoever proposed it does.

use consensus::machine::{
    Action, Body, Decide, Machine, Propose, PutPolicy, PutRule, RemovePolicy, RemoveRule, Response,
};
use types::{
    Reason, Reject,
    codec::fields::Opaque,
    lock::{ActionId, Fence},
    rule::{
        Access, Approver, NamespacePolicy, OperatorRule, RuleMatch, RuleRequest, RuleSet, Settings,
    },
};
use wire::errors::{Verdict, row};

use super::{
    Caller, Reply, Service,
    govern::refusal,
    locks::{deadline, unexpected},
};
use crate::node::model::governance::{
    AccessInput, ActionInput, ActionOut, DecideInput, PolicyInput, PolicyOut, RequestInput,
    RuleInput, RuleOut, RulesOut, VerdictOut, VersionOut,
};

/// How long an action waits unless its proposer says.
const ACTION_TTL_MS: u64 = 24 * 60 * 60 * 1000;

fn parsed<T: std::str::FromStr<Err = types::Invalid>, C: FromIterator<T>>(
    texts: &[String],
) -> Result<C, types::Invalid> {
    texts.iter().map(|text| text.parse()).collect()
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

fn settings(input: &PolicyInput) -> Reply<Settings> {
    let access = |(operation, access): (&String, &AccessInput)| {
        let approver = access.approver.as_deref().unwrap_or("none").parse()?;
        Ok((operation.parse()?, Access { who: access.who.parse()?, approver }))
    };
    Ok(Settings {
        access: input.access.iter().map(access).collect::<Reply<_>>()?,
        reflection_depth_max: input.reflection_depth_max,
        required_scope: input.required_scope.as_deref().map(str::parse).transpose()?,
        hot_keys: parsed(&input.hot_keys)?,
        residency: parsed(&input.residency)?,
        retention_days: input.retention_days,
        pii: input.pii.as_deref().map(str::parse).transpose()?,
    })
}

fn policy_out(policy: &NamespacePolicy) -> PolicyOut {
    let settings = &policy.settings;
    let access = settings.access.iter().map(|(operation, access)| {
        let approver = (access.approver != Approver::None).then(|| access.approver.to_string());
        (operation.to_string(), AccessInput { who: access.who.to_string(), approver })
    });
    PolicyOut {
        namespace: policy.namespace.to_string(),
        version: policy.version,
        access: access.collect(),
        reflection_depth_max: settings.reflection_depth_max,
        required_scope: settings.required_scope.map(|scope| scope.to_string()),
        hot_keys: texts(&settings.hot_keys),
        residency: texts(&settings.residency),
        retention_days: settings.retention_days,
        pii: settings.pii.map(|pii| pii.to_string()),
    }
}

fn rule_out(rule: &OperatorRule) -> RuleOut {
    RuleOut {
        id: rule.id.to_string(),
        version: rule.version,
        operations: texts(&rule.matching.operations),
        namespace: rule.matching.namespace.as_ref().map(|glob| glob.as_str().to_owned()),
        agent: rule.matching.agent.as_ref().map(ToString::to_string),
        kinds: texts(&rule.matching.kinds),
        tiers: texts(&rule.matching.tiers),
        effect: rule.effect.to_string(),
        note: rule.note.clone(),
    }
}

fn rules_out(rules: &RuleSet) -> RulesOut {
    RulesOut {
        version: rules.version(),
        policies: rules.policies().map(policy_out).collect(),
        rules: rules.rules().map(rule_out).collect(),
    }
}

fn request(caller: &Caller, input: &RequestInput) -> Reply<RuleRequest> {
    let agent = match &input.agent_id {
        Some(agent) => agent.parse()?,
        None => caller.viewer.agent.clone(),
    };
    Ok(RuleRequest {
        agent,
        operation: input.operation.parse()?,
        namespace: input.namespace.parse()?,
        kind: input.kind.as_deref().map(str::parse).transpose()?,
        tier: input.tier.as_deref().map(str::parse).transpose()?,
        scope: input.scope.as_deref().map(str::parse).transpose()?,
        reflection_depth: input.reflection_depth,
        title: input.title.clone(),
        fence: Fence(input.fence),
        has_pii: input.has_pii,
    })
}

fn action_out(id: ActionId, action: &Action) -> ActionOut {
    let decided = action.decided.as_ref();
    ActionOut {
        id: id.0,
        kind: action.kind.clone(),
        proposer: action.proposer.to_string(),
        operation: action.request.operation.to_string(),
        namespace: action.request.namespace.to_string(),
        title: action.request.title.clone(),
        payload: String::from_utf8_lossy(&action.payload.0).into_owned(),
        approvers: texts(&action.approvers),
        approvals: texts(action.approvals.keys()),
        rules_version: action.rules_version,
        proposed_ms: action.proposed_ms,
        expires_ms: action.expires_ms,
        state: decided.map_or("pending", |decided| decided.outcome.as_str()).to_owned(),
        decided_by: decided.map(|decided| decided.by.to_string()),
        decided_at: decided.map(|decided| decided.index),
        note: action.note.clone(),
    }
}

/// What is read back after something was decided. That it cannot be read is no refusal of what was
/// decided, so a reason that says so is replaced by one that leaves the outcome open.
pub(super) fn read_back<T>(read: Reply<T>) -> Reply<T> {
    read.map_err(|refused| match row(refused.reason).verdict {
        Verdict::Unknown => refused,
        Verdict::Rejected => {
            let Reject { reason, detail, .. } = refused;
            let detail = format!("this may be decided, but cannot be read ({reason}: {detail})");
            Reject::new(Reason::OutcomeUnknown, detail)
        }
    })
}

fn no_action(id: u64) -> Reject {
    Reject::new(Reason::NotFound, format!("there is no action {id}, or it was long ago"))
}

impl Service {
    async fn version(&self, caller: &Caller, body: Body) -> Reply<VersionOut> {
        caller.require_operator()?;
        match self.ask_root(caller, body).await? {
            Response::Version(version) => Ok(VersionOut { version }),
            other => Err(unexpected(&other)),
        }
    }

    /// All rules and policies as they are now; `local`: as this member knows them, without asking
    /// anybody, also when there is no majority.
    ///
    /// # Errors
    /// What [`Root::read`](crate::root::Root::read) says.
    pub async fn rules(&self, caller: &Caller, local: bool) -> Reply<RulesOut> {
        let rules = |machine: &Machine| rules_out(machine.rules());
        let root = self.need_root()?;
        match local {
            true => Ok(root.look(rules)),
            false => root.read(deadline(caller), rules).await,
        }
    }

    /// Makes or replaces a rule. For operators.
    ///
    /// # Errors
    /// `forbidden`, `invalid_argument`, `version_conflict`.
    pub async fn put_rule(
        &self,
        caller: &Caller,
        id: &str,
        input: &RuleInput,
    ) -> Reply<VersionOut> {
        let matching = RuleMatch {
            operations: parsed(&input.operations)?,
            namespace: input.namespace.as_deref().map(str::parse).transpose()?,
            agent: input.agent.as_deref().map(str::parse).transpose()?,
            kinds: parsed(&input.kinds)?,
            tiers: parsed(&input.tiers)?,
        };
        let body = Body::PutRule(PutRule {
            id: id.parse()?,
            matching,
            effect: input.effect.parse()?,
            note: input.note.clone(),
            expected_version: input.expected_version,
        });
        self.version(caller, body).await
    }

    /// Takes a rule away. For operators.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `version_conflict`.
    pub async fn remove_rule(
        &self,
        caller: &Caller,
        id: &str,
        expected_version: Option<u64>,
    ) -> Reply<VersionOut> {
        let body = Body::RemoveRule(RemoveRule { id: id.parse()?, expected_version });
        self.version(caller, body).await
    }

    /// Makes or replaces the policy of a namespace. For operators.
    ///
    /// # Errors
    /// `forbidden`, `invalid_argument`, `version_conflict`, `policy_conflict`.
    pub async fn put_policy(&self, caller: &Caller, input: &PolicyInput) -> Reply<VersionOut> {
        let body = Body::PutPolicy(PutPolicy {
            namespace: input.namespace.parse()?,
            settings: settings(input)?,
            expected_version: input.expected_version,
        });
        self.version(caller, body).await
    }

    /// Takes a policy away. For operators.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `version_conflict`.
    pub async fn remove_policy(
        &self,
        caller: &Caller,
        namespace: &str,
        expected_version: Option<u64>,
    ) -> Reply<VersionOut> {
        let namespace = namespace.parse()?;
        let body = Body::RemovePolicy(RemovePolicy { namespace, expected_version });
        self.version(caller, body).await
    }

    /// What the rules would say to a request.
    ///
    /// # Errors
    /// `invalid_argument`, and what [`Root::read`](crate::root::Root::read) says.
    pub async fn evaluate(&self, caller: &Caller, input: &RequestInput) -> Reply<VerdictOut> {
        let request = request(caller, input)?;
        let root = self.need_root()?;
        let verdict = root.read(deadline(caller), |m| m.rules().evaluate(&request)).await?;
        let refused = refusal(&verdict);
        Ok(VerdictOut {
            decision: match &refused {
                None => "allow",
                Some(refused) if refused.reason == Reason::ApprovalNeeded => "escalate",
                Some(_) => "refuse",
            }
            .to_owned(),
            detail: refused.map(|refused| refused.detail).unwrap_or_default(),
            warnings: texts(&verdict.warnings),
            logged: texts(&verdict.logged),
            pii: verdict.pii.to_string(),
            rules_version: verdict.rules_version,
        })
    }

    /// Proposes an action.
    ///
    /// # Errors
    /// `invalid_argument`, `forbidden` by a rule, `failed_precondition` when nobody need approve it.
    pub async fn propose_action(&self, caller: &Caller, input: &ActionInput) -> Reply<ActionOut> {
        let body = Body::Propose(Propose {
            kind: input.kind.clone(),
            request: request(caller, &input.request)?,
            payload: Opaque(input.payload.clone().into_bytes()),
            asked: input.asked.as_deref().unwrap_or("none").parse()?,
            ttl_ms: input.ttl_ms.unwrap_or(ACTION_TTL_MS),
        });
        match self.ask_root(caller, body).await? {
            Response::Action(answer) => read_back(self.action(caller, answer.action.0).await),
            other => Err(unexpected(&other)),
        }
    }

    /// Approves an action, or rejects it.
    ///
    /// # Errors
    /// `already_decided`, `forbidden`, `not_found`.
    pub async fn decide_action(
        &self,
        caller: &Caller,
        id: u64,
        approve: bool,
        input: &DecideInput,
    ) -> Reply<ActionOut> {
        let note = input.note.clone();
        let body = Body::Decide(Decide { action: ActionId(id), approve, note });
        self.ask_root(caller, body).await?;
        read_back(self.action(caller, id).await)
    }

    /// One action.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn action(&self, caller: &Caller, id: u64) -> Reply<ActionOut> {
        let find = |machine: &Machine| {
            machine.action(ActionId(id)).map(|action| action_out(ActionId(id), action))
        };
        let found = self.need_root()?.read(deadline(caller), find).await?;
        found.ok_or_else(|| no_action(id))
    }

    /// Actions that wait for a decision, oldest first.
    ///
    /// # Errors
    /// What [`Root::read`](crate::root::Root::read) says.
    pub async fn pending_actions(&self, caller: &Caller) -> Reply<Vec<ActionOut>> {
        self.need_root()?.read(deadline(caller), pending).await
    }

    /// As [`Service::pending_actions`], as far as this member knows, without asking anybody: for
    /// watchers, who are told when it changes.
    ///
    /// # Errors
    /// `unimplemented` on a node that is no member.
    pub fn pending_known(&self) -> Reply<Vec<ActionOut>> {
        Ok(self.need_root()?.look(pending))
    }
}

fn pending(machine: &Machine) -> Vec<ActionOut> {
    machine.pending_actions().map(|(id, action)| action_out(id, action)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_is_not_refused_because_it_cannot_be_read() {
        for reason in [Reason::NotLeader, Reason::Stopping, Reason::NotFound] {
            let read: Reply<()> = read_back(Err(Reject::new(reason, "why")));
            let refused = read.expect_err("it could not be read");
            assert_eq!(row(refused.reason).verdict, Verdict::Unknown, "{reason}");
            assert!(refused.detail.contains(reason.code()), "{refused}");
        }
        let late = Reject::new(Reason::DeadlineExceeded, "late");
        assert_eq!(read_back::<()>(Err(late.clone())), Err(late));
        assert_eq!(read_back(Ok(1)), Ok(1));
    }
}
