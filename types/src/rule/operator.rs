//! Rules that operators lay over the policies: what a request must look like, and what then happens.
//!
//! Invariant: a rule without a condition on something holds for every value of it; a rule can only
//! add to what policies ask for.
//!
//! Not here: the order of several rules' verdicts (`verdict`).

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::{Approver, Operation, Pattern, RuleRequest};
use crate::{
    Invalid, Kind, NamespaceGlob, Tier,
    codec::fields::{Element, Fields, Message, Wire, put_number},
    root_limits::RULE_ID_BYTES_MAX,
};

/// Name of an operator rule, 1 to 64 letters, digits and `-_.`; rules are held against a request in
/// the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(String);

impl RuleId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RuleId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if text.is_empty() || text.len() > RULE_ID_BYTES_MAX || !text.bytes().all(allowed) {
            let problem = format!("needs 1 to {RULE_ID_BYTES_MAX} letters, digits or '-_.'");
            return Err(Invalid::new("rule_id", problem));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Which requests a rule is about; what is left empty holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleMatch {
    /// What the request does.
    pub operations: BTreeSet<Operation>,
    /// Where.
    pub namespace: Option<NamespaceGlob>,
    /// Who asks.
    pub agent: Option<Pattern>,
    /// Kind of the memory; a request that has none does not fit.
    pub kinds: BTreeSet<Kind>,
    /// Tier of the memory; a request that has none does not fit.
    pub tiers: BTreeSet<Tier>,
}

impl RuleMatch {
    /// Whether the request is one of those meant.
    pub fn fits(&self, request: &RuleRequest) -> bool {
        (self.operations.is_empty() || self.operations.contains(&request.operation))
            && self.namespace.as_ref().is_none_or(|glob| glob.matches(&request.namespace))
            && self.agent.as_ref().is_none_or(|agent| agent.matches(request.agent.as_str()))
            && (self.kinds.is_empty()
                || request.kind.is_some_and(|kind| self.kinds.contains(&kind)))
            && (self.tiers.is_empty()
                || request.tier.is_some_and(|tier| self.tiers.contains(&tier)))
    }
}

/// What happens to a request that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleEffect {
    /// It is refused.
    Refuse,
    /// It is done, and the caller is told.
    Warn,
    /// It is done, and written down.
    Log,
    /// It waits for an approval.
    Escalate(Approver),
}

impl fmt::Display for RuleEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleEffect::Refuse => f.write_str("refuse"),
            RuleEffect::Warn => f.write_str("warn"),
            RuleEffect::Log => f.write_str("log"),
            RuleEffect::Escalate(approver) => write!(f, "escalate:{approver}"),
        }
    }
}

impl FromStr for RuleEffect {
    type Err = Invalid;

    /// Reads the form that is shown.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match (text, text.split_once(':')) {
            ("refuse", _) => Ok(RuleEffect::Refuse),
            ("warn", _) => Ok(RuleEffect::Warn),
            ("log", _) => Ok(RuleEffect::Log),
            (_, Some(("escalate", approver))) => {
                let effect = RuleEffect::Escalate(approver.parse()?);
                effect.check()?;
                Ok(effect)
            }
            _ => Err(Invalid::new("effect", "use refuse, warn, log or escalate:APPROVER")),
        }
    }
}

impl RuleEffect {
    /// Checks the approver.
    ///
    /// # Errors
    /// [`Invalid`] for an escalation to nobody.
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            RuleEffect::Escalate(Approver::None) => {
                Err(Invalid::new("effect", "an escalation needs somebody who decides"))
            }
            RuleEffect::Escalate(approver) => approver.check(),
            _ => Ok(()),
        }
    }
}

/// One operator rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorRule {
    /// Its name.
    pub id: RuleId,
    /// Log index of its last change in the root.
    pub version: u64,
    /// Which requests it is about.
    pub matching: RuleMatch,
    /// What happens to them.
    pub effect: RuleEffect,
    /// Why it exists, for people.
    pub note: String,
}

/// Fields: 1 kind (1 refuse, 2 warn, 3 log), 2 approver of an escalation.
impl Message for RuleEffect {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            RuleEffect::Refuse => put_number(1, 1, out),
            RuleEffect::Warn => put_number(1, 2, out),
            RuleEffect::Log => put_number(1, 3, out),
            RuleEffect::Escalate(approver) => approver.put(2, out),
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Invalid> {
        let effect = match (fields.take(1)?, fields.take(2)?) {
            (Some(Wire::Number(1)), None) => RuleEffect::Refuse,
            (Some(Wire::Number(2)), None) => RuleEffect::Warn,
            (Some(Wire::Number(3)), None) => RuleEffect::Log,
            (None, Some(approver)) => RuleEffect::Escalate(Approver::get(approver)?),
            _ => return Err(Invalid::new("effect", "is of an unknown kind")),
        };
        effect.check()?;
        Ok(effect)
    }
}

crate::proto_element!(RuleEffect);
crate::proto_text!(RuleId);
crate::proto_message!(RuleMatch {
    1 => operations,
    2 => namespace,
    3 => agent,
    4 => kinds,
    5 => tiers,
});
crate::proto_message!(OperatorRule {
    1 => id,
    2 => version,
    3 => matching,
    4 => effect,
    5 => note,
});
