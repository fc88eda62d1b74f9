//! Rules, policies and actions as the doors speak of them.
//!
//! Invariant: every text here is parsed by the type of `types::rule` that it stands for.
//!
//! Not here: what they mean.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who may do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessInput {
    /// Patterns of agents' names, separated by commas; empty is nobody.
    #[schema(max_length = 4096)]
    pub who: String,
    /// `none`, `human`, `agent:NAME`, `group:PATH` or `consensus:NUMBER`. Default none.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub approver: Option<String>,
}

/// The policy of a namespace; what is left out is inherited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyInput {
    /// Where it applies, and below.
    #[schema(min_length = 1, max_length = 256)]
    pub namespace: String,
    /// Who may `write`, `read`, `delete`, `promote`, `link` or `export`.
    #[serde(default)]
    pub access: BTreeMap<String, AccessInput>,
    /// Greatest depth of a reflection.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 255)]
    pub reflection_depth_max: Option<u8>,
    /// Scope that every memory here must have.
    #[serde(default)]
    #[schema(max_length = 16)]
    pub required_scope: Option<String>,
    /// Patterns of titles that need a fence when written.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub hot_keys: Vec<String>,
    /// Patterns of places where memories may be kept.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub residency: Vec<String>,
    /// Longest time a memory is kept, in days.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 36525)]
    pub retention_days: Option<u32>,
    /// `allow`, `flag`, `redact` or `refuse` personal data.
    #[serde(default)]
    #[schema(max_length = 16)]
    pub pii: Option<String>,
    /// Version that it replaces, 0 for none; whatever is there when left out.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub expected_version: Option<u64>,
}

/// A policy that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyOut {
    /// Where it applies, and below.
    pub namespace: String,
    /// Its version.
    #[schema(minimum = 0)]
    pub version: u64,
    /// Who may do what.
    pub access: BTreeMap<String, AccessInput>,
    /// Greatest depth of a reflection.
    pub reflection_depth_max: Option<u8>,
    /// Scope that every memory here must have.
    pub required_scope: Option<String>,
    /// Titles that need a fence when written.
    pub hot_keys: Vec<String>,
    /// Places where memories may be kept.
    pub residency: Vec<String>,
    /// Longest time a memory is kept, in days.
    pub retention_days: Option<u32>,
    /// What becomes of personal data.
    pub pii: Option<String>,
}

/// A rule; what is left empty holds for everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleInput {
    /// `write`, `read`, `delete`, `promote`, `link`, `export`.
    #[serde(default)]
    #[schema(max_items = 6)]
    pub operations: Vec<String>,
    /// Glob of namespaces: `*` is one segment, `**` all below.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub namespace: Option<String>,
    /// Pattern of agents' names.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub agent: Option<String>,
    /// Kinds of memories.
    #[serde(default)]
    #[schema(max_items = 32)]
    pub kinds: Vec<String>,
    /// Tiers of memories.
    #[serde(default)]
    #[schema(max_items = 3)]
    pub tiers: Vec<String>,
    /// `refuse`, `warn`, `log` or `escalate:APPROVER`.
    #[schema(max_length = 256)]
    pub effect: String,
    /// Why it exists.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub note: String,
    /// Version that it replaces, 0 for none; whatever is there when left out.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub expected_version: Option<u64>,
}

/// A rule that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleOut {
    /// Its name.
    pub id: String,
    /// Its version.
    #[schema(minimum = 0)]
    pub version: u64,
    /// What requests do; empty is anything.
    pub operations: Vec<String>,
    /// Where.
    pub namespace: Option<String>,
    /// Who asks.
    pub agent: Option<String>,
    /// Kinds of memories; empty is any.
    pub kinds: Vec<String>,
    /// Tiers of memories; empty is any.
    pub tiers: Vec<String>,
    /// What happens.
    pub effect: String,
    /// Why it exists.
    pub note: String,
}

/// All rules and policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RulesOut {
    /// Log index of the last change; 0 before the first.
    #[schema(minimum = 0)]
    pub version: u64,
    /// By namespace.
    pub policies: Vec<PolicyOut>,
    /// In the order in which they are evaluated.
    pub rules: Vec<RuleOut>,
}

/// A change of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionOut {
    /// The version from now on.
    #[schema(minimum = 0)]
    pub version: u64,
}

/// A request, as far as rules look at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestInput {
    /// Who asks. Default: the caller.
    #[serde(default)]
    #[schema(max_length = 128)]
    pub agent_id: Option<String>,
    /// `write`, `read`, `delete`, `promote`, `link` or `export`.
    #[schema(max_length = 16)]
    pub operation: String,
    /// Where.
    #[schema(min_length = 1, max_length = 256)]
    pub namespace: String,
    /// Kind of the memory.
    #[serde(default)]
    #[schema(max_length = 32)]
    pub kind: Option<String>,
    /// Tier of the memory.
    #[serde(default)]
    #[schema(max_length = 16)]
    pub tier: Option<String>,
    /// Scope of the memory.
    #[serde(default)]
    #[schema(max_length = 16)]
    pub scope: Option<String>,
    /// Depth of a reflection.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 255)]
    pub reflection_depth: Option<u8>,
    /// Title of the memory.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub title: Option<String>,
    /// Fencing token that comes with it.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub fence: u64,
    /// Whether personal data is in it.
    #[serde(default)]
    pub has_pii: bool,
}

/// What the rules say to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerdictOut {
    /// `allow`, `refuse` or `escalate`.
    pub decision: String,
    /// Why not, when not.
    pub detail: String,
    /// Rules that warn.
    pub warnings: Vec<String>,
    /// Rules that log.
    pub logged: Vec<String>,
    /// What becomes of personal data.
    pub pii: String,
    /// Version of the rules.
    #[schema(minimum = 0)]
    pub rules_version: u64,
}

/// An action to propose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionInput {
    /// What it is, e.g. `memory.promote`.
    #[schema(min_length = 1, max_length = 64)]
    pub kind: String,
    /// The request that it stands for; its agent is the caller.
    pub request: RequestInput,
    /// What is to be done, for whoever carries it out.
    #[serde(default)]
    #[schema(max_length = 8192)]
    pub payload: String,
    /// Who must approve besides those whom the rules name. Default none.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub asked: Option<String>,
    /// How long it waits, in milliseconds. Default a day.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2592000000i64)]
    pub ttl_ms: Option<u64>,
}

/// Why an action is approved or rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideInput {
    /// Why.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub note: String,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActionOut {
    /// Its number.
    #[schema(minimum = 0)]
    pub id: u64,
    /// What it is.
    pub kind: String,
    /// Who proposed it.
    pub proposer: String,
    /// What the request does.
    pub operation: String,
    /// Where.
    pub namespace: String,
    /// Title of the memory it is about.
    pub title: Option<String>,
    /// What is to be done.
    pub payload: String,
    /// Who must approve: all of these.
    pub approvers: Vec<String>,
    /// Who has approved.
    pub approvals: Vec<String>,
    /// Version of the rules that said so.
    #[schema(minimum = 0)]
    pub rules_version: u64,
    /// When it was proposed, in milliseconds of the root's time.
    #[schema(minimum = 0)]
    pub proposed_ms: u64,
    /// When it expires undecided.
    #[schema(minimum = 0)]
    pub expires_ms: u64,
    /// `pending`, `approved`, `rejected`, `expired` or `withdrawn`.
    pub state: String,
    /// Whose word decided.
    pub decided_by: Option<String>,
    /// Log index of the decision.
    pub decided_at: Option<u64>,
    /// What whoever decided had to say.
    pub note: String,
}

/// An agent whose approvals shall count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RootAgentInput {
    /// Its name.
    #[schema(min_length = 1, max_length = 128)]
    pub agent_id: String,
    /// `org`, `org/unit` or `org/unit/team`; empty for an agent on its own.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub affiliation: String,
    /// Whether it is a person.
    #[serde(default)]
    pub human: bool,
    /// Its Ed25519 public key, hexadecimal, if it signs for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9A-Fa-f]{64}$")]
    pub public_key: Option<String>,
}

/// The key that an agent signs with from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKeyInput {
    /// The new Ed25519 public key, hexadecimal.
    #[schema(pattern = "^[0-9A-Fa-f]{64}$")]
    pub public_key: String,
}

/// Why an agent is shut out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeInput {
    /// Why.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
}

/// An agent as the root knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootAgentOut {
    /// Its name.
    pub agent_id: String,
    /// Where it belongs.
    pub affiliation: String,
    /// Whether it is a person.
    pub human: bool,
    /// Whether it is shut out.
    pub revoked: bool,
    /// Its public key, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Keys before the current one, newest last; they verify what they signed.
    pub past_keys: Vec<String>,
    /// Log index of its last change.
    pub version: u64,
}
