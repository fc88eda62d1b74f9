//! What this node lets in of what others made: its own depth of reflections, its own quotas, and the rules of its
//! root, if it has one.
//!
//! Invariants: `GAT-1` what a node would refuse its own agents it refuses of others, with the reason that they would
//! get; `GAT-2` a governed node takes nothing before it knows its rules: a message that comes earlier is refused as a
//! whole, and leaves no letter; `GAT-3` one message is judged by one version of the rules; `GAT-4` what a node did
//! to keep house is not held against rules, as on that node.
//!
//! Not here: whom to believe (`federation`), and counting (the store).

use std::sync::Arc;

use federation::{About, Gate, Rules};
use storage::request::QuotaLimits;
use tokio::sync::watch;
use types::{
    AgentId, Op, Payload, Reason, Record, Reject,
    lock::Fence,
    rule::{Operation, RuleRequest, RuleSet},
};

use crate::node::service::govern::{refusal, rules_unknown};

/// What a node lets in of what others made.
pub struct OwnRules {
    /// Greatest depth of reflections.
    pub reflection_depth_max: u8,
    /// Quota of every agent, whichever nodes it writes to.
    pub quota: QuotaLimits,
    /// The rules of its root, once they count; `None` on a node without a root.
    pub rules: Option<watch::Receiver<Option<Arc<RuleSet>>>>,
}

impl Gate for OwnRules {
    fn rules(&self) -> Result<Arc<dyn Rules>, Reject> {
        let rules = match &self.rules {
            None => None,
            Some(rules) => Some(rules.borrow().clone().ok_or_else(rules_unknown)?),
        };
        let rules =
            rules.filter(|set| set.policies().next().is_some() || set.rules().next().is_some());
        Ok(Arc::new(InForce { reflection_depth_max: self.reflection_depth_max, rules }))
    }

    fn quota(&self) -> Option<QuotaLimits> {
        Some(self.quota)
    }
}

/// The rules while one message is taken.
struct InForce {
    reflection_depth_max: u8,
    rules: Option<Arc<RuleSet>>,
}

/// What is done to a memory, as rules are asked about it; `None` for what they have no say in.
fn request(op: &Op, about: Option<&About>) -> Option<RuleRequest> {
    let (operation, about, depth) = match &op.payload {
        Payload::Store(new) => (Operation::Write, About::new(new), Some(new.reflection_depth)),
        Payload::Update(body) => (Operation::Write, about?.clone().patched(&body.patch), None),
        Payload::Restore { .. } | Payload::Alias { .. } => (Operation::Write, about?.clone(), None),
        // Repeated recalls asked for it.
        Payload::Promote { automatic: true, .. } => return None,
        Payload::Promote { tier, .. } => {
            (Operation::Promote, About { tier: *tier, ..about?.clone() }, None)
        }
        Payload::Delete { .. } | Payload::Archive { .. } => {
            (Operation::Delete, about?.clone(), None)
        }
        Payload::Link(_) => (Operation::Link, about?.clone(), None),
        Payload::Unlink { .. } | Payload::LinkValidity { .. } => return None,
        Payload::Access(_) | Payload::Agent(_) => return None,
    };
    Some(asked(op.author.clone(), operation, about, depth, op.fence))
}

fn asked(
    agent: AgentId,
    operation: Operation,
    about: About,
    reflection_depth: Option<u8>,
    fence: u64,
) -> RuleRequest {
    let About { namespace, kind, tier, scope, title, has_pii } = about;
    RuleRequest {
        agent,
        operation,
        namespace,
        kind: Some(kind),
        tier: Some(tier),
        scope: Some(scope),
        reflection_depth,
        title: Some(title),
        fence: Fence(fence),
        has_pii,
    }
}

impl InForce {
    fn check_depth(&self, depth: u8) -> Result<(), Reject> {
        if depth <= self.reflection_depth_max {
            return Ok(());
        }
        let detail = format!(
            "a reflection of depth {depth}; at most {} is let in here",
            self.reflection_depth_max
        );
        let reject = Reject::new(Reason::ReflectionDepth, detail);
        Err(reject.with("limit", self.reflection_depth_max))
    }

    fn check_rules(&self, request: impl FnOnce() -> Option<RuleRequest>) -> Result<(), Reject> {
        let Some(rules) = &self.rules else { return Ok(()) };
        let Some(request) = request() else { return Ok(()) };
        refusal(&rules.evaluate(&request)).map_or(Ok(()), Err)
    }
}

impl Rules for InForce {
    fn look_at_memories(&self) -> bool {
        self.rules.is_some()
    }

    fn lets_in(&self, op: &Op, about: Option<&About>) -> Result<(), Reject> {
        if let Payload::Store(new) = &op.payload {
            self.check_depth(new.reflection_depth)?;
        }
        if op.author == AgentId::node() {
            return Ok(());
        }
        self.check_rules(|| request(op, about))
    }

    fn lets_state_in(&self, record: &Record) -> Result<(), Reject> {
        self.check_depth(record.reflection_depth)?;
        // A tombstone has nothing in it that somebody could have written here.
        if record.deleted.is_some() || record.author == AgentId::node() {
            return Ok(());
        }
        let (agent, depth) = (record.author.clone(), Some(record.reflection_depth));
        let fence = record.updated.fence;
        let about = About::record(record);
        self.check_rules(|| Some(asked(agent, Operation::Write, about, depth, fence)))
    }
}

#[cfg(test)]
mod tests {
    use types::{
        Hlc, MemoryId, NewMemory, NodeId, OpId, Patch, VersionVector,
        op::UpdateBody,
        rule::{OperatorRule, RuleMatch},
    };

    use super::*;

    fn op(author: &str, payload: Payload) -> Op {
        let id = OpId { origin: NodeId(uuid::Uuid::nil()), seq: 1 };
        let (hlc, author) = (Hlc::from_u64(1 << 30), author.parse().expect("an agent"));
        Op { id, hlc, author, fence: 0, context: VersionVector::default(), payload }
    }

    fn new() -> NewMemory {
        let (title, content) = ("one".parse().expect("a title"), "all".parse().expect("content"));
        let namespace = "acme/eng".parse().expect("a namespace");
        let everyone = types::Audience::everyone();
        NewMemory {
            namespace,
            ..NewMemory::new(MemoryId(uuid::Uuid::nil()), title, content, everyone)
        }
    }

    fn rule(namespace: &str, operation: Operation) -> RuleSet {
        let mut rules = RuleSet::default();
        let namespace = Some(namespace.parse().expect("a glob"));
        let matching =
            RuleMatch { operations: [operation].into(), namespace, ..RuleMatch::default() };
        let (id, effect) = ("no".parse().expect("an id"), "refuse".parse().expect("an effect"));
        let rule = OperatorRule { id, version: 7, matching, effect, note: String::new() };
        rules.put_rule(rule).expect("a rule");
        rules
    }

    fn gate(rules: Option<RuleSet>) -> (watch::Sender<Option<Arc<RuleSet>>>, OwnRules) {
        let (sender, receiver) = watch::channel(rules.map(Arc::new));
        let quota = QuotaLimits::default();
        (sender, OwnRules { reflection_depth_max: 2, quota, rules: Some(receiver) })
    }

    fn reason(told: Result<(), Reject>) -> Option<Reason> {
        told.err().map(|reject| reject.reason)
    }

    #[test]
    fn rules_are_held_against_what_others_made() {
        let (_keeps, gate) = gate(Some(rule("acme/**", Operation::Write)));
        let rules = gate.rules().expect("known");
        let (stored, about) = (op("ann", Payload::Store(Box::new(new()))), About::new(&new()));
        assert_eq!(reason(rules.lets_in(&stored, None)), Some(Reason::Forbidden), "GAT-1");
        let body = UpdateBody {
            id: MemoryId(uuid::Uuid::nil()),
            patch: Patch { priority: Some(2), ..Patch::default() },
            removed_dots: Vec::new(),
        };
        let updated = op("ann", Payload::Update(Box::new(body)));
        assert!(rules.look_at_memories());
        assert_eq!(reason(rules.lets_in(&updated, Some(&about))), Some(Reason::Forbidden));
        let elsewhere = About { namespace: "other".parse().expect("one"), ..about.clone() };
        assert_eq!(reason(rules.lets_in(&updated, Some(&elsewhere))), None);
        // What is not here the store refuses by itself.
        assert_eq!(reason(rules.lets_in(&updated, None)), None);
        let id = MemoryId(uuid::Uuid::nil());
        let deleted = |author| op(author, Payload::Delete { id, reason: String::new() });
        assert_eq!(reason(rules.lets_in(&deleted("ann"), Some(&about))), None);
        let kept = op("node", Payload::Store(Box::new(new())));
        assert_eq!(reason(rules.lets_in(&kept, None)), None, "GAT-4");
        let Payload::Store(new) = &stored.payload else { unreachable!("a store") };
        let record = Record::create(&stored, new);
        assert_eq!(reason(rules.lets_state_in(&record)), Some(Reason::Forbidden));
    }

    #[test]
    fn nothing_is_judged_under_rules_that_are_not_known() {
        let (sender, gate) = gate(None);
        let refused = gate.rules().err().map(|reject| reject.reason);
        assert_eq!(refused, Some(Reason::RulesUnknown), "GAT-2");
        sender.send(Some(Arc::default())).expect("heard");
        let known = gate.rules().expect("known");
        assert!(!known.look_at_memories(), "an empty set has no say");
        // One message keeps its rules while others come.
        sender.send(Some(Arc::new(rule("**", Operation::Write)))).expect("heard");
        let stored = op("ann", Payload::Store(Box::new(new())));
        assert_eq!(reason(known.lets_in(&stored, None)), None, "GAT-3");
        let next = gate.rules().expect("known");
        assert_eq!(reason(next.lets_in(&stored, None)), Some(Reason::Forbidden), "GAT-3");
    }

    #[test]
    fn a_reflection_that_is_too_deep_stays_out_of_a_node_without_a_root() {
        let quota = QuotaLimits::default();
        let gate = OwnRules { reflection_depth_max: 2, quota, rules: None };
        let rules = gate.rules().expect("none are needed");
        let deep = |reflection_depth| {
            op("ann", Payload::Store(Box::new(NewMemory { reflection_depth, ..new() })))
        };
        assert_eq!(reason(rules.lets_in(&deep(2), None)), None);
        assert_eq!(reason(rules.lets_in(&deep(3), None)), Some(Reason::ReflectionDepth));
    }
}
