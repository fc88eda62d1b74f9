//! Changing the rules: policies of namespaces and operator rules.
//!
//! Invariants: `GOV-2` a child namespace only tightens (checked by [`RuleSet`]); `GOV-6` every change
//! has a greater version, the index of its entry.
//!
//! Not here: what the rules mean (`types::rule`), and enforcing them (every node).
//!
//! [`RuleSet`]: types::rule::RuleSet

use types::{
    Invalid, Namespace, Reason, Reject,
    limits::REASON_BYTES_MAX,
    rule::{NamespacePolicy, OperatorRule, RuleEffect, RuleId, RuleMatch, Settings},
};

use super::{Machine, effect::Effect, entry::Entry, response::Response};

/// Makes or replaces the policy of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutPolicy {
    /// Which namespace.
    pub namespace: Namespace,
    /// What it says.
    pub settings: Settings,
    /// The version that it replaces, 0 for none; `None` replaces whatever is there.
    pub expected_version: Option<u64>,
}

/// Takes the policy of a namespace away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovePolicy {
    /// Which namespace.
    pub namespace: Namespace,
    /// The version that it has; `None` for whatever.
    pub expected_version: Option<u64>,
}

/// Makes or replaces an operator rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutRule {
    /// Its name.
    pub id: RuleId,
    /// Which requests it is about.
    pub matching: RuleMatch,
    /// What happens to them.
    pub effect: RuleEffect,
    /// Why it exists, at most 1024 bytes.
    pub note: String,
    /// As in [`PutPolicy`].
    pub expected_version: Option<u64>,
}

/// Takes an operator rule away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveRule {
    /// Its name.
    pub id: RuleId,
    /// As in [`RemovePolicy`].
    pub expected_version: Option<u64>,
}

types::proto_message!(PutPolicy { 1 => namespace, 2 => settings, 3 => expected_version });
types::proto_message!(RemovePolicy { 1 => namespace, 2 => expected_version });
types::proto_message!(PutRule {
    1 => id,
    2 => matching,
    3 => effect,
    4 => note,
    5 => expected_version,
});
types::proto_message!(RemoveRule { 1 => id, 2 => expected_version });

/// Refuses a change that was decided on another version than the current one; 0 stands for none.
pub(super) fn check_version(expected: Option<u64>, current: u64) -> Result<(), Reject> {
    match expected {
        Some(expected) if expected != current => {
            let detail = format!("version {expected} was expected, {current} is there");
            Err(Reject::new(Reason::VersionConflict, detail).with("current_version", current))
        }
        _ => Ok(()),
    }
}

impl Machine {
    pub(super) fn put_policy(
        &mut self,
        entry: &mut Entry,
        body: &PutPolicy,
    ) -> Result<Response, Reject> {
        let current = self.rules.policy(&body.namespace).map_or(0, |policy| policy.version);
        check_version(body.expected_version, current)?;
        let (namespace, settings) = (body.namespace.clone(), body.settings.clone());
        self.rules.put_policy(NamespacePolicy { namespace, version: entry.index, settings })?;
        Ok(rules_changed(entry, "policy.put", &body.namespace, current))
    }

    pub(super) fn remove_policy(
        &mut self,
        entry: &mut Entry,
        body: &RemovePolicy,
    ) -> Result<Response, Reject> {
        let current = self.rules.policy(&body.namespace).map_or(0, |policy| policy.version);
        check_version(body.expected_version, current)?;
        self.rules.remove_policy(&body.namespace, entry.index)?;
        Ok(rules_changed(entry, "policy.remove", &body.namespace, current))
    }

    pub(super) fn put_rule(
        &mut self,
        entry: &mut Entry,
        body: &PutRule,
    ) -> Result<Response, Reject> {
        if body.note.len() > REASON_BYTES_MAX {
            return Err(
                Invalid::new("note", format!("has at most {REASON_BYTES_MAX} bytes")).into()
            );
        }
        let current = self.rules.rule(&body.id).map_or(0, |rule| rule.version);
        check_version(body.expected_version, current)?;
        self.rules.put_rule(OperatorRule {
            id: body.id.clone(),
            version: entry.index,
            matching: body.matching.clone(),
            effect: body.effect.clone(),
            note: body.note.clone(),
        })?;
        Ok(rules_changed(entry, "rule.put", &body.id, current))
    }

    pub(super) fn remove_rule(
        &mut self,
        entry: &mut Entry,
        body: &RemoveRule,
    ) -> Result<Response, Reject> {
        let current = self.rules.rule(&body.id).map_or(0, |rule| rule.version);
        check_version(body.expected_version, current)?;
        self.rules.remove_rule(&body.id, entry.index)?;
        Ok(rules_changed(entry, "rule.remove", &body.id, current))
    }
}

/// Tells of a change of the rules.
fn rules_changed(
    entry: &mut Entry,
    event_type: &'static str,
    subject: &impl ToString,
    replaced: u64,
) -> Response {
    let version = entry.index;
    let facts = vec![("version", version.to_string()), ("replaced", replaced.to_string())];
    entry.audit(event_type, subject.to_string(), facts);
    entry.effects.push(Effect::RulesChanged { version });
    Response::Version(version)
}
