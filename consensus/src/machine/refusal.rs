//! Refusals that concern more people than the one who was refused: rows for the audit chain.
//!
//! Invariant: a refusal is told when it is decided, not when its kept answer is given again.
//!
//! Not here: refusing; a second founding, which members try by themselves when they start together.

use types::{Reason, Reject};

use super::{command::Body, entry::Entry};

/// The audited command, if this refusal of it matters: a contradiction to a rule above, a say that
/// somebody does not have, a node or a founder from another time.
fn matters(body: &Body, reason: Reason) -> Option<&'static str> {
    let name = match body {
        Body::PutPolicy(_) => "policy.put",
        Body::RemovePolicy(_) => "policy.remove",
        Body::PutRule(_) => "rule.put",
        Body::RemoveRule(_) => "rule.remove",
        Body::Propose(_) => "action.propose",
        Body::Decide(_) => "action.decide",
        Body::ForceRelease(_) => "lock.force_release",
        Body::RegisterAgent(_) => "agent.register",
        Body::RevokeAgent(_) => "agent.revoke",
        Body::PutMember(_) => "member.put",
        Body::RegisterBoot(_) => "node.boot",
        _ => return None,
    };
    let concerns_others = matches!(
        reason,
        Reason::AgentRevoked | Reason::Forbidden | Reason::PolicyConflict | Reason::StaleEpoch
    );
    concerns_others.then_some(name)
}

/// Tells of a refusal that matters.
pub(super) fn tell(entry: &mut Entry, body: &Body, reject: &Reject) {
    if let Some(name) = matters(body, reject.reason) {
        let facts =
            vec![("reason", reject.reason.code().to_owned()), ("detail", reject.detail.clone())];
        entry.audit("refused", name, facts);
    }
}
