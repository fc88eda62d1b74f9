//! `hivemem.v1.GovernanceService`: rules, policies, and actions that wait for an approval.
//!
//! Not here: who may decide (the root), and enforcing rules (`node::service`).

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::{Request, Response, Status};
use types::{Invalid, Reason, Reject};
use wire::{
    errors::status,
    v1::{self, governance_service_server::GovernanceService},
};

use super::{
    Answer, Door, auth,
    convert::{registry, some_text},
    place,
};
use crate::node::{
    model::governance::{
        AccessInput, ActionInput, ActionOut, DecideInput, PolicyInput, PolicyOut, RequestInput,
        RotateKeyInput, RuleInput, RuleOut, RulesOut, VersionOut,
    },
    service::{Caller, Credentials, Reply, Service},
};

/// The service over the shared door.
pub(super) struct Governance(pub Arc<Door>);

fn required<T>(field: &'static str, value: Option<T>) -> Reply<T> {
    value.ok_or_else(|| Invalid::new(field, "is required").into())
}

fn small(field: &'static str, number: Option<u32>) -> Reply<Option<u8>> {
    let small = |number| u8::try_from(number).map_err(|_| Invalid::new(field, "needs 0 to 255"));
    Ok(number.map(small).transpose()?)
}

fn version(out: VersionOut) -> v1::RulesVersion {
    v1::RulesVersion { version: out.version }
}

fn policy_input(policy: v1::Policy, expected_version: Option<u64>) -> Reply<PolicyInput> {
    let access = policy.access.into_iter().map(|(operation, access)| {
        let v1::PolicyAccess { who, approver } = access;
        (operation, AccessInput { who, approver: some_text(approver) })
    });
    Ok(PolicyInput {
        namespace: policy.namespace,
        access: access.collect(),
        reflection_depth_max: small("reflection_depth_max", policy.reflection_depth_max)?,
        required_scope: some_text(policy.required_scope),
        hot_keys: policy.hot_keys,
        residency: policy.residency,
        retention_days: policy.retention_days,
        pii: some_text(policy.pii),
        expected_version,
    })
}

fn policy(out: PolicyOut) -> v1::Policy {
    let access = out.access.into_iter().map(|(operation, access)| {
        let AccessInput { who, approver } = access;
        (operation, v1::PolicyAccess { who, approver: approver.unwrap_or_default() })
    });
    v1::Policy {
        namespace: out.namespace,
        version: out.version,
        access: access.collect(),
        reflection_depth_max: out.reflection_depth_max.map(u32::from),
        required_scope: out.required_scope.unwrap_or_default(),
        hot_keys: out.hot_keys,
        residency: out.residency,
        retention_days: out.retention_days,
        pii: out.pii.unwrap_or_default(),
    }
}

fn rule_input(rule: v1::Rule, expected_version: Option<u64>) -> RuleInput {
    RuleInput {
        operations: rule.operations,
        namespace: some_text(rule.namespace),
        agent: some_text(rule.agent),
        kinds: rule.kinds,
        tiers: rule.tiers,
        effect: rule.effect,
        note: rule.note,
        expected_version,
    }
}

fn rule(out: RuleOut) -> v1::Rule {
    v1::Rule {
        id: out.id,
        version: out.version,
        operations: out.operations,
        namespace: out.namespace.unwrap_or_default(),
        agent: out.agent.unwrap_or_default(),
        kinds: out.kinds,
        tiers: out.tiers,
        effect: out.effect,
        note: out.note,
    }
}

fn rules(out: RulesOut) -> v1::Rules {
    v1::Rules {
        version: out.version,
        policies: out.policies.into_iter().map(policy).collect(),
        rules: out.rules.into_iter().map(rule).collect(),
    }
}

fn request_input(request: v1::EvaluateRequest) -> Reply<RequestInput> {
    Ok(RequestInput {
        agent_id: some_text(request.agent_id),
        operation: request.operation,
        namespace: request.namespace,
        kind: some_text(request.kind),
        tier: some_text(request.tier),
        scope: some_text(request.scope),
        reflection_depth: small("reflection_depth", request.reflection_depth)?,
        title: request.title,
        fence: request.fence,
        has_pii: request.has_pii,
    })
}

fn action(out: ActionOut) -> v1::PendingAction {
    v1::PendingAction {
        id: out.id,
        kind: out.kind,
        proposer: out.proposer,
        operation: out.operation,
        namespace: out.namespace,
        title: out.title,
        payload: out.payload,
        approvers: out.approvers,
        approvals: out.approvals,
        rules_version: out.rules_version,
        proposed_ms: out.proposed_ms,
        expires_ms: out.expires_ms,
        state: out.state,
        decided_by: out.decided_by.unwrap_or_default(),
        decided_at: out.decided_at.unwrap_or_default(),
        note: out.note,
    }
}

fn actions(out: Vec<ActionOut>) -> v1::ListActionsResponse {
    v1::ListActionsResponse { actions: out.into_iter().map(action).collect() }
}

async fn evaluate(
    service: Arc<Service>,
    caller: Caller,
    request: v1::EvaluateRequest,
) -> Reply<v1::EvaluateResponse> {
    let out = service.evaluate(&caller, &request_input(request)?).await?;
    Ok(v1::EvaluateResponse {
        decision: out.decision,
        detail: out.detail,
        warnings: out.warnings,
        logged: out.logged,
        pii: out.pii,
        rules_version: out.rules_version,
    })
}

async fn propose(
    service: Arc<Service>,
    caller: Caller,
    request: v1::ProposeActionRequest,
) -> Reply<v1::PendingAction> {
    let input = ActionInput {
        kind: request.kind,
        request: request_input(required("request", request.request)?)?,
        payload: request.payload,
        asked: some_text(request.asked),
        ttl_ms: request.ttl_ms,
    };
    service.propose_action(&caller, &input).await.map(action)
}

/// One open watch.
struct Watch {
    door: Arc<Door>,
    credentials: Credentials,
    changes: watch::Receiver<u64>,
    shown: Option<Vec<ActionOut>>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// All that waits, as soon as that has changed.
    async fn next(&mut self) -> Reply<Vec<ActionOut>> {
        loop {
            self.changes.borrow_and_update();
            self.door.service.authenticate(&self.credentials)?;
            let pending = self.door.service.pending_known()?;
            if self.shown.as_ref() != Some(&pending) {
                self.shown = Some(pending.clone());
                return Ok(pending);
            }
            tokio::select! {
                () = self.door.settings.shutdown.cancelled() => {
                    return Err(Reject::new(Reason::Stopping, "the node is stopping"));
                }
                // The sender lives as long as the root that the service holds.
                changed = self.changes.changed() => drop(changed),
            }
        }
    }
}

#[tonic::async_trait]
impl GovernanceService for Governance {
    type WatchActionsStream = BoxStream<'static, Result<v1::ListActionsResponse, Status>>;

    async fn put_policy(&self, call: Request<v1::PutPolicyRequest>) -> Answer<v1::RulesVersion> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::PutPolicyRequest| async move {
            let policy = required("policy", request.policy)?;
            let input = policy_input(policy, request.expected_version)?;
            service.put_policy(&caller, &input).await.map(version)
        };
        self.0.call(call, run).await
    }

    async fn remove_policy(
        &self,
        call: Request<v1::RemovePolicyRequest>,
    ) -> Answer<v1::RulesVersion> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RemovePolicyRequest| async move {
            let v1::RemovePolicyRequest { namespace, expected_version } = request;
            service.remove_policy(&caller, &namespace, expected_version).await.map(version)
        };
        self.0.call(call, run).await
    }

    async fn put_rule(&self, call: Request<v1::PutRuleRequest>) -> Answer<v1::RulesVersion> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::PutRuleRequest| async move {
            let mut rule = required("rule", request.rule)?;
            let id = std::mem::take(&mut rule.id);
            let input = rule_input(rule, request.expected_version);
            service.put_rule(&caller, &id, &input).await.map(version)
        };
        self.0.call(call, run).await
    }

    async fn remove_rule(&self, call: Request<v1::RemoveRuleRequest>) -> Answer<v1::RulesVersion> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RemoveRuleRequest| async move {
            let v1::RemoveRuleRequest { id, expected_version } = request;
            service.remove_rule(&caller, &id, expected_version).await.map(version)
        };
        self.0.call(call, run).await
    }

    async fn get_rules(&self, call: Request<v1::GetRulesRequest>) -> Answer<v1::Rules> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::GetRulesRequest| async move {
            service.rules(&caller, request.local).await.map(rules)
        };
        self.0.call(call, run).await
    }

    async fn evaluate(&self, call: Request<v1::EvaluateRequest>) -> Answer<v1::EvaluateResponse> {
        self.0.call(call, evaluate).await
    }

    async fn propose(&self, call: Request<v1::ProposeActionRequest>) -> Answer<v1::PendingAction> {
        self.0.call(call, propose).await
    }

    async fn approve(&self, call: Request<v1::DecideActionRequest>) -> Answer<v1::PendingAction> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::DecideActionRequest| async move {
            let v1::DecideActionRequest { id, note } = request;
            service.decide_action(&caller, id, true, &DecideInput { note }).await.map(action)
        };
        self.0.call(call, run).await
    }

    async fn reject(&self, call: Request<v1::DecideActionRequest>) -> Answer<v1::PendingAction> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::DecideActionRequest| async move {
            let v1::DecideActionRequest { id, note } = request;
            service.decide_action(&caller, id, false, &DecideInput { note }).await.map(action)
        };
        self.0.call(call, run).await
    }

    async fn list_actions(
        &self,
        call: Request<v1::ListActionsRequest>,
    ) -> Answer<v1::ListActionsResponse> {
        let run = |service: Arc<Service>, caller: Caller, _: v1::ListActionsRequest| async move {
            service.pending_actions(&caller).await.map(actions)
        };
        self.0.call(call, run).await
    }

    async fn get_action(&self, call: Request<v1::GetActionRequest>) -> Answer<v1::PendingAction> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::GetActionRequest| async move {
            service.action(&caller, request.id).await.map(action)
        };
        self.0.call(call, run).await
    }

    async fn watch_actions(
        &self,
        call: Request<v1::ListActionsRequest>,
    ) -> Answer<Self::WatchActionsStream> {
        let credentials = auth::credentials(call.metadata(), call.extensions());
        let credentials = credentials.map_err(|refusal| status(&refusal))?;
        let door = self.0.clone();
        let open = |service: Arc<Service>, _: Caller, _: v1::ListActionsRequest| async move {
            let place = place(&door.streams, "watches")?;
            let changes = service.need_root()?.changes();
            Ok(Watch { door, credentials, changes, shown: None, _place: place })
        };
        let watch = self.0.attend(call, open).await.map_err(|refusal| status(&refusal))?;
        let answers = stream::unfold(Some(watch), |watch| async {
            let mut watch = watch?;
            match watch.next().await {
                Ok(pending) => Some((Ok(actions(pending)), Some(watch))),
                Err(refusal) => Some((Err(status(&refusal)), None)),
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn register_agent(
        &self,
        call: Request<v1::RegisterRootAgentRequest>,
    ) -> Answer<v1::RootAgent> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RegisterRootAgentRequest| async move {
            service
                .register_with_root(&caller, &registry::input(request))
                .await
                .map(registry::agent)
        };
        self.0.call(call, run).await
    }

    async fn rotate_agent_key(
        &self,
        call: Request<v1::RotateRootAgentKeyRequest>,
    ) -> Answer<v1::RootAgent> {
        let run = |service: Arc<Service>,
                   caller: Caller,
                   request: v1::RotateRootAgentKeyRequest| async move {
            let v1::RotateRootAgentKeyRequest { agent_id, public_key } = request;
            let input = RotateKeyInput { public_key: hex::encode(public_key) };
            service.rotate_with_root(&caller, &agent_id, &input).await.map(registry::agent)
        };
        self.0.call(call, run).await
    }

    async fn revoke_agent(
        &self,
        call: Request<v1::RevokeRootAgentRequest>,
    ) -> Answer<v1::RootAgent> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RevokeRootAgentRequest| async move {
            let v1::RevokeRootAgentRequest { agent_id, reason } = request;
            service.revoke_with_root(&caller, &agent_id, &reason).await.map(registry::agent)
        };
        self.0.call(call, run).await
    }

    async fn list_agents(
        &self,
        call: Request<v1::ListRootAgentsRequest>,
    ) -> Answer<v1::ListRootAgentsResponse> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::ListRootAgentsRequest| async move {
            let agents = service.root_agents(&caller, &request.after, request.limit).await?;
            let agents = agents.into_iter().map(registry::agent).collect();
            Ok(v1::ListRootAgentsResponse { agents })
        };
        self.0.call(call, run).await
    }
}
