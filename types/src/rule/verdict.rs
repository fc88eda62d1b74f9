//! What the rules say to one request.
//!
//! Invariants: `GOV-1` a pure function of the rule set and the request; `GOV-3` of several verdicts
//! the strictest holds: refuse before escalate before allow, and all escalations together.
//!
//! Not here: whether the rules are fresh enough to be believed, and carrying the verdict out (the
//! node's service).

use std::collections::BTreeSet;

use super::{Approver, NamespacePolicy, Operation, Pii, RuleEffect, RuleId, RuleSet, Settings};
use crate::{AgentId, Kind, Namespace, Scope, Tier, lock::Fence};

/// A request, as far as rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRequest {
    /// Who asks.
    pub agent: AgentId,
    /// What for.
    pub operation: Operation,
    /// Where.
    pub namespace: Namespace,
    /// Kind of the memory, where there is one.
    pub kind: Option<Kind>,
    /// Tier of the memory, where there is one.
    pub tier: Option<Tier>,
    /// Scope of the memory as it will be; checked on writes.
    pub scope: Option<Scope>,
    /// Depth of a reflection as it will be; checked on writes.
    pub reflection_depth: Option<u8>,
    /// Title of the memory; checked on writes against the hot keys.
    pub title: Option<String>,
    /// The fencing token that the request carries; 0 without one.
    pub fence: Fence,
    /// Whether personal data was found in what is to be written.
    pub has_pii: bool,
}

crate::proto_message!(RuleRequest {
    1 => agent,
    2 => operation,
    3 => namespace,
    4 => kind,
    5 => tier,
    6 => scope,
    7 => reflection_depth,
    8 => title,
    9 => fence,
    10 => has_pii,
});

/// Which rule decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An operator rule.
    Rule {
        /// Its name.
        id: RuleId,
        /// Its version.
        version: u64,
    },
    /// A setting of a policy.
    Policy {
        /// Namespace of the policy, the request's own or one above.
        namespace: Namespace,
        /// Its version.
        version: u64,
        /// The setting.
        field: &'static str,
    },
}

/// What is to be done with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Allow,
    /// It may not; the first cause found, policies before operator rules.
    Refuse(Cause),
    /// It waits until all of these have approved.
    Escalate(BTreeSet<Approver>),
}

/// What the rules say to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is to be done with it.
    pub decision: Decision,
    /// Rules that want the caller to be told.
    pub warnings: Vec<RuleId>,
    /// Rules that want it written down.
    pub logged: Vec<RuleId>,
    /// What becomes of personal data here.
    pub pii: Pii,
    /// Version of the rule set that was used.
    pub rules_version: u64,
    /// Version of the nearest policy that was used; 0 without any.
    pub policy_version: u64,
}

impl RuleSet {
    /// Whether a title in a namespace is hot: what has it is written under a fence.
    pub fn is_hot(&self, namespace: &Namespace, title: &str) -> bool {
        self.chain(namespace).iter().any(|policy| is_hot(policy, title))
    }

    /// Holds a request against all policies above it and all operator rules.
    pub fn evaluate(&self, request: &RuleRequest) -> Verdict {
        let chain = self.chain(&request.namespace);
        let mut refusal = policy_refusal(&chain, request);
        let mut approvers = BTreeSet::new();
        let access = nearest(&chain, |settings| settings.access.get(&request.operation));
        approvers.extend(access.map(|(_, access)| access.approver.clone()));
        let (mut warnings, mut logged) = (Vec::new(), Vec::new());
        for rule in self.rules().filter(|rule| rule.matching.fits(request)) {
            match &rule.effect {
                RuleEffect::Refuse => {
                    let cause = Cause::Rule { id: rule.id.clone(), version: rule.version };
                    refusal = refusal.or(Some(cause));
                }
                RuleEffect::Warn => warnings.push(rule.id.clone()),
                RuleEffect::Log => logged.push(rule.id.clone()),
                RuleEffect::Escalate(approver) => {
                    approvers.insert(approver.clone());
                }
            }
        }
        approvers.remove(&Approver::None);
        let decision = match refusal {
            Some(cause) => Decision::Refuse(cause),
            None if approvers.is_empty() => Decision::Allow,
            None => Decision::Escalate(approvers),
        };
        Verdict {
            decision,
            warnings,
            logged,
            pii: nearest(&chain, |settings| settings.pii.as_ref()).map_or(Pii::Allow, |(_, p)| *p),
            rules_version: self.version(),
            policy_version: chain.first().map_or(0, |policy| policy.version),
        }
    }
}

fn is_hot(policy: &NamespacePolicy, title: &str) -> bool {
    policy.settings.hot_keys.iter().any(|pattern| pattern.matches(title))
}

/// A setting's nearest value, own before inherited, and whose it is.
fn nearest<'a, T>(
    chain: &[&'a NamespacePolicy],
    setting: impl Fn(&'a Settings) -> Option<&'a T>,
) -> Option<(&'a NamespacePolicy, &'a T)> {
    chain.iter().find_map(|policy| Some((*policy, setting(&policy.settings)?)))
}

/// The setting that the request breaks, if any.
fn policy_refusal(chain: &[&NamespacePolicy], request: &RuleRequest) -> Option<Cause> {
    let by = |policy: &NamespacePolicy, field| {
        let (namespace, version) = (policy.namespace.clone(), policy.version);
        Some(Cause::Policy { namespace, version, field })
    };
    let access = nearest(chain, |settings| settings.access.get(&request.operation));
    if let Some((policy, access)) = access
        && !access.who.includes(&request.agent)
    {
        return by(policy, "access");
    }
    if request.operation != Operation::Write {
        return None;
    }
    if let Some((policy, scope)) = nearest(chain, |settings| settings.required_scope.as_ref())
        && request.scope.is_some_and(|own| own != *scope)
    {
        return by(policy, "required_scope");
    }
    if let Some((policy, max)) = nearest(chain, |settings| settings.reflection_depth_max.as_ref())
        && request.reflection_depth.is_some_and(|depth| depth > *max)
    {
        return by(policy, "reflection_depth_max");
    }
    if let Some((policy, Pii::Refuse)) = nearest(chain, |settings| settings.pii.as_ref())
        && request.has_pii
    {
        return by(policy, "pii");
    }
    let title = request.title.as_deref()?;
    match chain.iter().find(|policy| is_hot(policy, title)) {
        Some(policy) if request.fence == Fence(0) => by(policy, "hot_keys"),
        _ => None,
    }
}
