//! Answers to writes, and the requests that are only writes.
//!
//! Invariant: every write's answer says how durable it is.
//!
//! Not here: what is written (`memory`, `graph`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::{Durability, Reject};
use utoipa::ToSchema;

use super::{
    FilterInput, MemoryDraft, MemoryOut,
    vocabulary::{AgentName, MemoryKey, NamespacePath, TierName, TitleText},
};

/// How durable a write is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DurabilityOut {
    /// Fsynced on this node, with its audit row, before the answer.
    pub fsynced: bool,
    /// Nodes that durably applied it.
    pub acks: u32,
    /// Nodes that had to.
    pub needed: u32,
    /// Pass as `min_position` to read this write on this node.
    pub position: u64,
    /// Pass as `min_position` to read this write on any node; absent where nothing was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl From<Durability> for DurabilityOut {
    fn from(d: Durability) -> Self {
        let Durability { fsynced, acks, needed, position, last } = d;
        Self { fsynced, acks, needed, position, token: last.map(|last| last.to_string()) }
    }
}

/// The result of a write with its durability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Written<T> {
    /// What became of it.
    #[serde(flatten)]
    pub result: T,
    /// How durable it is.
    pub durability: DurabilityOut,
    /// Nodes that durably applied it, this one among them: `durability.acks`, where clients look for it.
    #[serde(default)]
    pub quorum_acks: u32,
    /// Whether this is the remembered answer to an earlier request with the same idempotency key.
    pub replayed: bool,
    /// What rules want the writer to be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl<T> Written<T> {
    /// A result with its durability.
    pub fn new(result: T, durability: Durability, replayed: bool, warnings: Vec<String>) -> Self {
        let quorum_acks = durability.acks;
        Self { result, durability: durability.into(), quorum_acks, replayed, warnings }
    }
}

/// A memory that was created or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryRef {
    /// Its id.
    #[schema(value_type = MemoryKey)]
    pub id: String,
    /// Its version now.
    pub version: u64,
    /// Whether a store was folded into a memory that existed.
    pub merged: bool,
}

/// A link that was created or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkRef {
    /// Its id.
    pub id: String,
}

/// One item's refusal within a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemError {
    /// Stable reason code.
    pub reason: String,
    /// What, why, and the fix.
    pub detail: String,
    /// Machine-readable extras, e.g. `current_version`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

impl From<&Reject> for ItemError {
    fn from(reject: &Reject) -> Self {
        let facts = reject.facts.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        Self {
            reason: reject.reason.code().to_owned(),
            detail: reject.detail.clone(),
            facts: facts.collect(),
        }
    }
}

/// What became of one item of a batch: exactly one of the two is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemResult {
    /// The memory, when it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<MemoryRef>,
    /// The refusal, when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// Many memories at once, at most 1000.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkInput {
    /// The memories.
    #[schema(min_items = 1, max_items = 1000)]
    pub memories: Vec<MemoryDraft>,
    /// Store all or none. Default: each on its own.
    #[serde(default)]
    pub atomic: bool,
}

/// One result per item, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkResult {
    /// The results.
    pub items: Vec<ItemResult>,
    /// How many were stored.
    pub stored: u32,
    /// How many were refused.
    pub refused: u32,
}

/// Which memories to forget. Forgetting archives; the archive can be restored or purged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForgetInput {
    /// Where; required.
    #[schema(value_type = NamespacePath, required)]
    pub namespace: String,
    /// `exact` (default) or `within`.
    #[schema(pattern = "^(exact|within)$")]
    pub namespace_mode: Option<String>,
    /// Glob over titles (`*`, `?`).
    pub title: Option<String>,
    /// Only this tier.
    #[schema(value_type = Option<TierName>)]
    pub tier: Option<String>,
    /// Why; recorded with each.
    #[schema(min_length = 1, max_length = 1024, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    pub reason: Option<String>,
    /// At most so many, 1 to 1000. Default 1000.
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// Only say what would be forgotten. Default true: destroying must be asked for.
    pub dry_run: Option<bool>,
}

/// What was, or would be, forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForgetResult {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Ids concerned.
    pub ids: Vec<String>,
    /// Their titles, in the same order.
    pub titles: Vec<String>,
    /// Whether there are more than one call takes; call again.
    pub more: bool,
}

/// Several memories made into one; the old ones are superseded and archived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsolidateInput {
    /// Ids of the memories to replace, 2 to 100.
    #[schema(value_type = Vec<MemoryKey>, min_items = 2, max_items = 100)]
    pub ids: Vec<String>,
    /// The memory that replaces them.
    pub into: MemoryDraft,
    /// Leave them as they are; the new memory is linked `derived_from` to each.
    #[serde(default)]
    pub keep_sources: bool,
}

/// A candidate text to compare with what is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DuplicateInput {
    /// Its title.
    #[schema(value_type = TitleText)]
    pub title: String,
    /// Its content.
    #[schema(max_length = 65536, pattern = "^[^\\x00]*$")]
    pub content: String,
    /// Where to look. Default `global`.
    #[serde(default)]
    #[schema(value_type = Option<NamespacePath>)]
    pub namespace: Option<String>,
    /// Least similarity, 0 to 1. Default 0.7.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1)]
    pub min_similarity: Option<f64>,
}

/// A stored memory that says nearly the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DuplicateOut {
    /// Share of word shingles in common, 0 to 1.
    pub similarity: f64,
    /// The memory.
    pub memory: MemoryOut,
}

/// Which archived memories to delete for good: by id, or by age.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PurgeInput {
    /// Ids (or prefixes), at most 1000; all of them or none.
    pub ids: Vec<String>,
    /// Without ids: those archived and not changed since before this instant (RFC 3339).
    pub archived_before: Option<String>,
    /// With `archived_before`: what may be taken.
    pub filter: FilterInput,
    /// Why; recorded with each.
    pub reason: Option<String>,
    /// Only say what would be deleted. Default true: destroying must be asked for.
    pub dry_run: Option<bool>,
}

/// What was, or would be, deleted for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeResult {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Ids concerned.
    pub ids: Vec<String>,
}

/// An agent to register or change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentInput {
    /// Its name.
    #[schema(value_type = AgentName)]
    pub agent_id: String,
    /// `org`, `org/unit` or `org/unit/team`; empty for none.
    #[serde(default)]
    #[schema(pattern = "^([A-Za-z0-9_-]{1,128}(/[A-Za-z0-9_-]{1,128}){0,2})?$")]
    pub affiliation: String,
    /// Draw an access token for it; shown once.
    #[serde(default)]
    pub issue_token: bool,
    /// Its Ed25519 public key, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9A-Fa-f]{64}$")]
    pub public_key: Option<String>,
    /// Refuse it everywhere from now on.
    #[serde(default)]
    pub revoked: bool,
}

/// An agent as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentOut {
    /// Its name.
    pub agent_id: String,
    /// Where it belongs.
    pub affiliation: String,
    /// Whether it has an access token.
    pub has_token: bool,
    /// Its public key, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Whether it is refused.
    pub revoked: bool,
    /// The new token; only in the answer that issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What an export may contain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExportInput {
    /// What may be returned.
    pub filter: FilterInput,
    /// Archived memories too.
    pub archived: bool,
}
