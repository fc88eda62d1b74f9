//! All policies and operator rules at one version: what every node enforces by itself.
//!
//! Invariants: `GOV-2` no policy in the set contradicts an ancestor's, whatever the order in which
//! they came and went; `GOV-6` the version is the log index of the last change, and a change of a
//! rule set makes it greater.
//!
//! Not here: who may change rules, and the way to the tiers below.

use std::collections::BTreeMap;

use super::{NamespacePolicy, OperatorRule, RuleId};
use crate::{
    Namespace, Reason, Reject,
    codec::{
        CodecError,
        fields::{decode, encode},
    },
    root_limits::{POLICIES_MAX, RULE_SET_BYTES_MAX, RULES_MAX},
};

/// The rules of the whole fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    version: u64,
    policies: BTreeMap<Namespace, NamespacePolicy>,
    rules: BTreeMap<RuleId, OperatorRule>,
}

crate::proto_message!(RuleSet { 1 => version, 2 => policies, 3 => rules });

impl RuleSet {
    /// Log index of the last change; 0 for the set without any rule.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All policies, by namespace.
    pub fn policies(&self) -> impl Iterator<Item = &NamespacePolicy> {
        self.policies.values()
    }

    /// The policy of exactly this namespace.
    pub fn policy(&self, namespace: &Namespace) -> Option<&NamespacePolicy> {
        self.policies.get(namespace)
    }

    /// All operator rules, in the order in which they are evaluated.
    pub fn rules(&self) -> impl Iterator<Item = &OperatorRule> {
        self.rules.values()
    }

    /// The operator rule of this name.
    pub fn rule(&self, id: &RuleId) -> Option<&OperatorRule> {
        self.rules.get(id)
    }

    /// The policies that a namespace is under, its own first.
    pub fn chain(&self, namespace: &Namespace) -> Vec<&NamespacePolicy> {
        namespace.with_ancestors().filter_map(|above| self.policies.get(&above)).collect()
    }

    /// Makes a policy, or replaces the one of the same namespace.
    ///
    /// # Errors
    /// [`Reject`] when it is not valid, contradicts an ancestor, is contradicted by a descendant,
    /// or is one too many. Nothing was changed.
    pub fn put_policy(&mut self, policy: NamespacePolicy) -> Result<(), Reject> {
        policy.settings.check()?;
        let is_new = !self.policies.contains_key(&policy.namespace);
        if is_new && self.policies.len() >= POLICIES_MAX {
            return Err(full("policies", POLICIES_MAX));
        }
        self.check_against_family(&policy)?;
        self.version = policy.version;
        self.policies.insert(policy.namespace.clone(), policy);
        Ok(())
    }

    /// Takes a policy away; what it said is no longer inherited. Since tightening is transitive, what
    /// remains can't contradict.
    ///
    /// # Errors
    /// [`Reject`] when there is none.
    pub fn remove_policy(&mut self, namespace: &Namespace, version: u64) -> Result<(), Reject> {
        if self.policies.remove(namespace).is_none() {
            return Err(Reject::new(Reason::NotFound, format!("{namespace} has no policy")));
        }
        self.version = version;
        Ok(())
    }

    /// Makes an operator rule, or replaces the one of the same name.
    ///
    /// # Errors
    /// [`Reject`] when it is not valid or one too many. Nothing was changed.
    pub fn put_rule(&mut self, rule: OperatorRule) -> Result<(), Reject> {
        rule.effect.check()?;
        if !self.rules.contains_key(&rule.id) && self.rules.len() >= RULES_MAX {
            return Err(full("operator rules", RULES_MAX));
        }
        self.version = rule.version;
        self.rules.insert(rule.id.clone(), rule);
        Ok(())
    }

    /// Takes an operator rule away.
    ///
    /// # Errors
    /// [`Reject`] when there is none.
    pub fn remove_rule(&mut self, id: &RuleId, version: u64) -> Result<(), Reject> {
        if self.rules.remove(id).is_none() {
            return Err(Reject::new(Reason::NotFound, format!("there is no rule {id}")));
        }
        self.version = version;
        Ok(())
    }

    /// `GOV-2`: the policy tightens its ancestors' and is tightened by its descendants'.
    fn check_against_family(&self, policy: &NamespacePolicy) -> Result<(), Reject> {
        for above in self.chain(&policy.namespace) {
            if above.namespace != policy.namespace {
                contradiction(policy, above)?;
            }
        }
        let below = self.policies.values().filter(|other| {
            other.namespace != policy.namespace && other.namespace.is_within(&policy.namespace)
        });
        below.into_iter().try_for_each(|child| contradiction(child, policy))
    }

    /// Checks `GOV-2` over the whole set.
    ///
    /// # Errors
    /// [`Reject`] naming the pair that contradicts.
    pub fn check(&self) -> Result<(), Reject> {
        self.policies.values().try_for_each(|policy| self.check_against_family(policy))
    }

    /// The bytes that tiers below receive.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`RuleSet::encode`] made.
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode("rule_set", bytes, RULE_SET_BYTES_MAX)
    }
}

fn full(what: &str, limit: usize) -> Reject {
    let detail = format!("there are {limit} {what} already; remove one first");
    Reject::new(Reason::Overloaded, detail).with("limit", limit)
}

/// Refuses a child that says less than its parent.
fn contradiction(child: &NamespacePolicy, parent: &NamespacePolicy) -> Result<(), Reject> {
    let Some(found) = child.settings.contradicts(&parent.settings) else { return Ok(()) };
    let (child, parent) = (&child.namespace, &parent.namespace);
    let detail = format!(
        "{child} contradicts {parent}: {}: {}; a child may only tighten",
        found.field, found.problem
    );
    Err(Reject::new(Reason::PolicyConflict, detail)
        .with("field", found.field)
        .with("child", child)
        .with("parent", parent))
}
