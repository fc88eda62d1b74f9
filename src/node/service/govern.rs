//! Holding writes against the rules, before they are committed.
//!
//! Every write of a caller passes here once (`SVC-4`). A refused item keeps its place in the batch, so
//! that an answer that is remembered under its key is given again whatever the rules say now.
//!
//! Invariants: `SVC-7` no write of a governed node is committed under rules that do not count yet: it
//! is refused, to be tried again (fail closed); `SVC-8` a write that the rules refuse names the rule
//! and its version, and one that needs an approval says whose.
//!
//! Not here: reads and exports, and what rules mean (`types::rule`).

use std::sync::Arc;

use consensus::machine::Machine;
use runtime::clock;
use storage::request::{Intent, Reader, Viewer};
use types::{
    NewMemory, Patch, Reason, Reject,
    ids::IdRef,
    lock::Fence,
    rule::{Cause, Decision, Operation, RuleId, RuleRequest, RuleSet, Verdict},
};

use super::{Caller, Reply, Service, locks::deadline};

/// What a batch may do.
pub(super) struct Governed {
    /// The wishes; those refused are replaced by their refusals.
    pub intents: Vec<Intent>,
    /// Greatest depth of a reflection that the policies of this batch allow.
    pub reflection_depth_max: u8,
    /// What rules want the caller to be told.
    pub warnings: Vec<String>,
}

impl Governed {
    fn new(intents: Vec<Intent>, reflection_depth_max: u8) -> Self {
        Self { intents, reflection_depth_max, warnings: Vec::new() }
    }
}

/// A memory as far as rules look at it.
fn of_new(viewer: &Viewer, fence: u64, memory: &NewMemory) -> RuleRequest {
    RuleRequest {
        agent: viewer.agent.clone(),
        operation: Operation::Write,
        namespace: memory.namespace.clone(),
        kind: Some(memory.kind),
        tier: Some(memory.tier),
        scope: Some(memory.scope),
        // Its depth follows from its sources, which the store reads; the limit goes with the batch.
        reflection_depth: None,
        title: Some(memory.title.as_str().to_owned()),
        fence: Fence(fence),
        has_pii: !memory.pii_flags.is_empty(),
    }
}

fn patched(mut request: RuleRequest, patch: &Patch) -> RuleRequest {
    if let Some(title) = &patch.title {
        request.title = Some(title.as_str().to_owned());
    }
    request.kind = patch.kind.or(request.kind);
    request.tier = patch.tier.or(request.tier);
    request.scope = patch.scope.as_ref().map(|(scope, _)| *scope).or(request.scope);
    if let Some(flags) = &patch.pii_flags {
        request.has_pii = !flags.is_empty();
    }
    request
}

/// What the rules refuse, in words that say what to do.
pub(crate) fn refusal(verdict: &Verdict) -> Option<Reject> {
    let version = verdict.rules_version;
    let reject = match &verdict.decision {
        Decision::Allow => return None,
        Decision::Refuse(Cause::Rule { id, version }) => {
            let detail = format!("rule {id} (version {version}) forbids this");
            Reject::new(Reason::Forbidden, detail).with("rule", id).with("version", version)
        }
        Decision::Refuse(Cause::Policy { namespace, version, field }) => {
            let (reason, what) = match *field {
                "hot_keys" => (
                    Reason::FenceTooSmall,
                    "this title is hot: take its lock and send the fence of the grant",
                ),
                "reflection_depth_max" => (Reason::ReflectionDepth, "the reflection is too deep"),
                _ => (Reason::Forbidden, "this is not allowed here"),
            };
            let detail =
                format!("{what} ({field} of the policy of {namespace}, version {version})");
            let rule = format!("{namespace}.{field}");
            Reject::new(reason, detail).with("rule", rule).with("version", version)
        }
        Decision::Escalate(approvers) => {
            let who: Vec<String> = approvers.iter().map(ToString::to_string).collect();
            let who = who.join(", ");
            let detail = format!(
                "this needs the approval of {who}: propose it (POST /api/v1/pending, or `hivemem \
                 pending propose`), and whoever decides does it"
            );
            Reject::new(Reason::ApprovalNeeded, detail).with("approvers", who)
        }
    };
    Some(reject.with("rules_version", version))
}

/// There are rules, and nobody here knows them yet.
pub(crate) fn rules_unknown() -> Reject {
    let detail = "the rules are not confirmed with a leader of the root yet; try again";
    Reject::new(Reason::RulesUnknown, detail).with("retry_after_ms", 500)
}

/// What rules want the caller to be told, in words.
fn warnings(rules: &RuleSet, verdict: &Verdict) -> Vec<String> {
    let words = |id: &RuleId| match rules.rule(id).map(|rule| rule.note.as_str()) {
        None | Some("") => format!("rule {id} warns of this"),
        Some(note) => format!("rule {id}: {note}"),
    };
    verdict.warnings.iter().map(words).collect()
}

/// What guards a title that is hot: no holder of before writes it again, in whichever memory.
fn hot_key(rules: &RuleSet, request: &RuleRequest) -> Option<String> {
    let title = request.title.as_deref().filter(|_| request.operation == Operation::Write)?;
    rules
        .is_hot(&request.namespace, title)
        .then(|| format!("title:{}\u{1f}{title}", request.namespace))
}

/// Tells operators what rules want to be told.
fn note(viewer: &Viewer, request: &RuleRequest, verdict: &Verdict) {
    let (agent, operation) = (&viewer.agent, request.operation);
    for rule in &verdict.warnings {
        tracing::warn!(%rule, %agent, %operation, namespace = %request.namespace, "a rule warns");
    }
    for rule in &verdict.logged {
        tracing::info!(%rule, %agent, %operation, namespace = %request.namespace, "a rule logs");
    }
}

impl Service {
    /// The rules that writes are held against; `None` on a node without a root.
    ///
    /// # Errors
    /// `rules_unknown` (`SVC-7`).
    pub(crate) fn rules_in_force(&self) -> Reply<Option<Arc<RuleSet>>> {
        if !self.governed {
            return Ok(None);
        }
        let rules = self.root().and_then(|root| root.rules().borrow().clone());
        rules.map(Some).ok_or_else(rules_unknown)
    }

    /// Holds a batch against the rules.
    ///
    /// # Errors
    /// `rules_unknown`; `fence_too_small` for a fence that was never granted.
    pub(super) async fn govern(&self, caller: &Caller, intents: Vec<Intent>) -> Reply<Governed> {
        let depth = self.settings.reflection_depth_max;
        let Some(rules) = self.rules_in_force()? else {
            return Ok(Governed::new(intents, depth));
        };
        self.check_fence(caller).await?;
        if rules.policies().next().is_none() && rules.rules().next().is_none() {
            return Ok(Governed::new(intents, depth));
        }
        let mut governed = Governed::new(Vec::with_capacity(intents.len()), depth);
        for (at, intent) in intents.into_iter().enumerate() {
            let mut key = None;
            let refused = match self.request_of(caller, &intent).await? {
                None => None,
                Some(request) => {
                    let verdict = rules.evaluate(&request);
                    note(&caller.viewer, &request, &verdict);
                    key = hot_key(&rules, &request);
                    for warning in warnings(&rules, &verdict) {
                        if !governed.warnings.contains(&warning) {
                            governed.warnings.push(warning);
                        }
                    }
                    let chain = rules.chain(&request.namespace);
                    let limit = chain.iter().find_map(|p| p.settings.reflection_depth_max);
                    if matches!(intent, Intent::Store { .. }) {
                        governed.reflection_depth_max =
                            governed.reflection_depth_max.min(limit.unwrap_or(depth));
                    }
                    refusal(&verdict)
                }
            };
            governed.intents.push(match (refused, key) {
                (Some(refused), _) => Intent::Refuse(Box::new(refused.with("item", at))),
                (None, Some(key)) => Intent::Guarded { keys: vec![key], intent: Box::new(intent) },
                (None, None) => intent,
            });
        }
        Ok(governed)
    }

    /// A fence is the index of an entry: one that lies ahead of the log was never granted, and would
    /// shut everybody else out of what it is written to.
    async fn check_fence(&self, caller: &Caller) -> Reply<()> {
        let Some(root) = self.root().filter(|_| caller.fence > 0) else { return Ok(()) };
        if caller.fence <= root.look(Machine::applied) {
            return Ok(());
        }
        // This member may be behind the one that granted it.
        let applied = root.read(deadline(caller), Machine::applied).await?;
        if caller.fence <= applied {
            return Ok(());
        }
        let detail = format!("fence {} was never granted", caller.fence);
        Err(Reject::new(Reason::InvalidArgument, detail).with("field", "fence"))
    }

    /// What the rules are asked about an intent; `None` for what they have no say in, and for what
    /// the store will not find.
    async fn request_of(&self, caller: &Caller, intent: &Intent) -> Reply<Option<RuleRequest>> {
        let (id, operation) = match intent {
            Intent::Store { memory, .. } => {
                return Ok(Some(of_new(&caller.viewer, caller.fence, memory)));
            }
            Intent::Update { id, patch, .. } => {
                let request = self.request_by_id(caller, id.clone(), Operation::Write).await?;
                return Ok(request.map(|request| patched(request, patch)));
            }
            Intent::Restore { id } | Intent::Alias { id, .. } => (id.clone(), Operation::Write),
            Intent::Promote { id, .. } => (id.clone(), Operation::Promote),
            Intent::Delete { id, .. } | Intent::Archive { id, .. } => {
                (id.clone(), Operation::Delete)
            }
            Intent::Link(link) => (IdRef::Full(link.source), Operation::Link),
            // A link is taken back by its own id; that is its author's, as the store makes sure.
            Intent::Unlink { .. } | Intent::LinkValidity { .. } => return Ok(None),
            Intent::Access(_) | Intent::Agent(_) | Intent::Refuse(_) => return Ok(None),
            // What the root decided, told by the node.
            Intent::Event(_) | Intent::Covered { .. } | Intent::Guarded { .. } => return Ok(None),
            // What peers said; the rules were asked where it was said, and on the way in.
            Intent::Take(_) | Intent::Pass(_) | Intent::Vouch(_) => return Ok(None),
            // The node's own dealings with them.
            Intent::KeepLetter { .. } | Intent::DropLetter { .. } | Intent::Nonce { .. } => {
                return Ok(None);
            }
            Intent::Join(_) | Intent::Drop(_) | Intent::CoverFeed(_) | Intent::Forget(_) => {
                return Ok(None);
            }
            Intent::SpeakAs(_) => return Ok(None),
        };
        let mut request = self.request_by_id(caller, id, operation).await?;
        if let (Some(request), Intent::Promote { tier, .. }) = (&mut request, intent) {
            request.tier = Some(*tier);
        }
        Ok(request)
    }

    async fn request_by_id(
        &self,
        caller: &Caller,
        id: IdRef,
        operation: Operation,
    ) -> Reply<Option<RuleRequest>> {
        let now_ms = clock::now_unix_ms();
        let found = self.store.get(Reader::Agent(&caller.viewer), id.clone(), now_ms).await;
        let found = match found {
            // What an operator may change without seeing it, the rules see all the same.
            Err(_) if caller.viewer.operator => self.store.get(Reader::Operator, id, now_ms).await,
            found => found,
        };
        // The store says why it does not find it.
        let Ok(memory) = found else { return Ok(None) };
        Ok(Some(RuleRequest {
            agent: caller.viewer.agent.clone(),
            operation,
            namespace: memory.namespace,
            kind: Some(memory.kind),
            tier: Some(memory.tier),
            scope: Some(memory.scope),
            reflection_depth: None,
            title: Some(memory.title),
            fence: Fence(caller.fence),
            has_pii: !memory.pii_flags.is_empty(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use types::rule::{OperatorRule, RuleEffect, RuleMatch};

    use super::*;

    fn request(operation: Operation) -> RuleRequest {
        RuleRequest {
            agent: "ann".parse().expect("an agent"),
            operation,
            namespace: "acme/eng".parse().expect("a namespace"),
            kind: None,
            tier: None,
            scope: None,
            reflection_depth: None,
            title: None,
            fence: Fence(0),
            has_pii: false,
        }
    }

    fn rules(effect: &str) -> RuleSet {
        let mut rules = RuleSet::default();
        let rule = OperatorRule {
            id: "no-writes".parse().expect("a rule id"),
            version: 7,
            matching: RuleMatch { operations: [Operation::Write].into(), ..RuleMatch::default() },
            effect: effect.parse::<RuleEffect>().expect("an effect"),
            note: String::new(),
        };
        rules.put_rule(rule).expect("a rule");
        rules
    }

    #[test]
    fn refusals_name_the_rule_and_its_version() {
        let refused = refusal(&rules("refuse").evaluate(&request(Operation::Write)));
        let refused = refused.expect("SVC-8");
        assert_eq!(refused.reason, Reason::Forbidden);
        assert_eq!((refused.fact("rule"), refused.fact("version")), (Some("no-writes"), Some("7")));
        assert_eq!(refusal(&rules("refuse").evaluate(&request(Operation::Delete))), None);
        assert_eq!(refusal(&rules("warn").evaluate(&request(Operation::Write))), None);
    }

    #[test]
    fn a_warning_says_which_rule_and_why() {
        let mut warning = rules("warn");
        let verdict = warning.evaluate(&request(Operation::Write));
        assert_eq!(warnings(&warning, &verdict), ["rule no-writes warns of this"]);
        let mut rule = warning.rule(&"no-writes".parse().expect("an id")).expect("it").clone();
        rule.note = "we are moving house".into();
        warning.put_rule(rule).expect("a rule");
        assert_eq!(warnings(&warning, &verdict), ["rule no-writes: we are moving house"]);
        let silent = rules("log");
        assert!(warnings(&silent, &silent.evaluate(&request(Operation::Write))).is_empty());
    }

    #[test]
    fn what_needs_an_approval_says_whose() {
        let refused = refusal(&rules("escalate:human").evaluate(&request(Operation::Write)));
        let refused = refused.expect("SVC-8");
        assert_eq!(refused.reason, Reason::ApprovalNeeded);
        assert_eq!(refused.fact("approvers"), Some("human"));
    }
}
