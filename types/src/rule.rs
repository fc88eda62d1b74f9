//! Governance vocabulary: what a namespace policy can say.
//!
//! Invariant: a policy is data; the same policy and request give the same verdict everywhere.
//!
//! Not here: deciding and distributing policies (the root tier), which is why there is no evaluator.

use crate::{Namespace, NamespaceGlob, Scope};

/// Who must approve an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approver {
    /// Nobody.
    None,
    /// A person.
    Human,
    /// One named agent.
    Agent(crate::AgentId),
    /// So many distinct approvers.
    Consensus {
        /// How many.
        needed: u32,
    },
}

/// The rules of one namespace and those below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacePolicy {
    /// Where it applies.
    pub namespace: Namespace,
    /// Version in the root's log; newer replaces older.
    pub version: u64,
    /// Who must approve a promotion.
    pub promote: Approver,
    /// Greatest depth of a reflection.
    pub reflection_depth_max: u8,
    /// Scope that every memory here must have, if any.
    pub required_scope: Option<Scope>,
    /// Keys that need a fence.
    pub hot_keys: Vec<NamespaceGlob>,
}
