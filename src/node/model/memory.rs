//! A memory as a client writes and reads it.
//!
//! Invariant: [`MemoryDraft::into_new`] and [`MemoryPatch::into_patch`] are the only ways from
//! client input to a [`NewMemory`] or [`Patch`], so nothing unvalidated gets past.
//!
//! Not here: ids of new memories and audiences, which the service supplies.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use storage::answer::MemoryView;
use types::{
    Content, Invalid, Kind, MemoryId, Metadata, Namespace, NewMemory, Patch, Scope, Tag, Tier,
    memory::{Embedding, Validity},
};
use utoipa::ToSchema;

use super::{
    time,
    vocabulary::{
        AgentName, FactsObject, InstantText, KindName, MemoryKey, NamespacePath, ScopeName,
        TagText, TierName, TitleText,
    },
};

/// Accepts a missing field, `null` (clear) and a value, and keeps them apart.
pub(crate) fn double<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}

/// A vector computed by the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingInput {
    /// Name of the model; must be the one the node is configured with.
    #[schema(min_length = 1, max_length = 128)]
    pub model: String,
    /// Version of the model.
    #[serde(default)]
    #[schema(max_length = 128)]
    pub version: String,
    /// The components.
    #[schema(min_items = 1, max_items = 4096)]
    pub values: Vec<f32>,
}

impl From<EmbeddingInput> for Embedding {
    fn from(input: EmbeddingInput) -> Self {
        Self { model: input.model, version: input.version, values: input.values }
    }
}

/// A memory to store. Only `title` and `content` are needed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryDraft {
    /// Hierarchical place such as `acme/eng`. Default `global`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamespacePath>)]
    pub namespace: Option<String>,
    /// What it is about, 1 to 512 characters on one line.
    #[schema(value_type = TitleText)]
    pub title: String,
    /// The memory itself, at most 64 KiB.
    #[schema(max_length = 65536, pattern = "^[^\\x00]*$")]
    pub content: String,
    /// `short` (hours), `mid` (days) or `long` (for ever). Default `mid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TierName>)]
    pub tier: Option<String>,
    /// Labels without white space.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<TagText>, max_items = 64)]
    pub tags: Vec<String>,
    /// 1 (least) to 10. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10)]
    pub priority: Option<u8>,
    /// 0 to 1. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub confidence: Option<f64>,
    /// Where it came from, e.g. a URL or a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub source: Option<String>,
    /// `observation` (default), `claim`, `event`, `decision`, `goal`, `plan`, `step`,
    /// `conversation`, `instruction`, `concept`, `entity`, `relation`, `reflection` or `persona`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<KindName>)]
    pub kind: Option<String>,
    /// Who may see it: `private`, `team`, `unit`, `org` or `collective`. Default as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ScopeName>)]
    pub scope: Option<String>,
    /// A JSON object of free-form facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FactsObject>)]
    pub metadata: Option<Value>,
    /// When it expires (RFC 3339). Default by tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub expires_at: Option<String>,
    /// From when it is true (RFC 3339). Default: always has been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub valid_from: Option<String>,
    /// Until when it is true (RFC 3339). Default: still is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub valid_until: Option<String>,
    /// Exempt it from deletion and retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_hold: Option<bool>,
    /// Kinds of personal data in it, e.g. `email`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<TagText>, max_items = 64)]
    pub pii_flags: Vec<String>,
    /// Ids of the memories a reflection was drawn from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<MemoryKey>, max_items = 1000)]
    pub sources: Vec<String>,
    /// Version of a persona.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 4294967295u32)]
    pub persona_version: Option<u32>,
    /// A vector computed by the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<EmbeddingInput>,
    /// When you already have a memory with this namespace, title and scope: `merge` (default) folds
    /// this one into it, `new` keeps both, `error` refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(merge|new|error)$")]
    pub on_conflict: Option<String>,
}

/// Expiry of a memory of a tier stored now, Unix milliseconds; `None` is never.
pub type Expiry<'a> = &'a dyn Fn(Tier) -> Option<u64>;

/// What a draft cannot know by itself.
pub struct DraftContext<'a> {
    /// The new memory's id.
    pub id: MemoryId,
    /// Scope when the draft names none.
    pub default_scope: Scope,
    /// Gives a tier its lifetime.
    pub expiry: Expiry<'a>,
}

pub(crate) fn tags(input: &[String]) -> Result<BTreeSet<Tag>, Invalid> {
    input.iter().map(|t| t.parse()).collect()
}

pub(crate) fn permille(confidence: f64) -> Result<u16, Invalid> {
    if !(0.0..=1.0).contains(&confidence) {
        return Err(Invalid::new("confidence", format!("needs 0 to 1, got {confidence}")));
    }
    Ok((confidence * 1000.0).round() as u16)
}

impl MemoryDraft {
    /// Validates everything; `audience` resolves the scope.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field that breaks a rule.
    pub fn into_new(
        self,
        context: &DraftContext<'_>,
        audience: impl FnOnce(Scope) -> Result<types::Audience, Invalid>,
    ) -> Result<NewMemory, Invalid> {
        let scope =
            self.scope.as_deref().map(str::parse).transpose()?.unwrap_or(context.default_scope);
        let mut new = NewMemory::new(
            context.id,
            self.title.parse()?,
            Content::try_from(self.content)?,
            audience(scope)?,
        );
        new.scope = scope;
        if let Some(namespace) = &self.namespace {
            new.namespace = namespace.parse()?;
        }
        if let Some(tier) = &self.tier {
            new.tier = tier.parse()?;
        }
        if let Some(kind) = &self.kind {
            new.kind = kind.parse()?;
        }
        new.tags = tags(&self.tags)?;
        new.priority = self.priority.unwrap_or(new.priority);
        new.confidence_permille = self.confidence.map(permille).transpose()?.unwrap_or(1000);
        new.source = self.source.unwrap_or_default();
        new.metadata =
            self.metadata.as_ref().map(Metadata::try_from).transpose()?.unwrap_or_default();
        new.expires_at_ms = match &self.expires_at {
            Some(at) => Some(time::from_text("expires_at", at)?),
            None => (context.expiry)(new.tier),
        };
        new.validity = Validity {
            from_ms: time::from_option("valid_from", self.valid_from.as_deref())?,
            until_ms: time::from_option("valid_until", self.valid_until.as_deref())?,
        };
        new.legal_hold = self.legal_hold.unwrap_or(false);
        new.pii_flags = tags(&self.pii_flags).map_err(|e| Invalid::new("pii_flags", e.problem))?;
        new.sources = self
            .sources
            .iter()
            .map(|id| id.parse().map_err(|e: Invalid| Invalid::new("sources", e.problem)))
            .collect::<Result<_, _>>()?;
        new.persona_version = self.persona_version.unwrap_or(0);
        new.embedding = self.embedding.map(Into::into);
        new.check()?;
        Ok(new)
    }
}

/// A change to some fields. A missing field stays; `null` clears `expires_at`, `valid_from` and
/// `valid_until`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryPatch {
    /// New title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TitleText>)]
    pub title: Option<String>,
    /// New content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 65536, pattern = "^[^\\x00]*$")]
    pub content: Option<String>,
    /// New tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TierName>)]
    pub tier: Option<String>,
    /// New tags in place of those it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<TagText>>, max_items = 64)]
    pub tags: Option<Vec<String>>,
    /// Tags to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<TagText>, max_items = 64)]
    pub add_tags: Vec<String>,
    /// Tags to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<TagText>, max_items = 64)]
    pub remove_tags: Vec<String>,
    /// New priority, 1 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10)]
    pub priority: Option<u8>,
    /// New confidence, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub confidence: Option<f64>,
    /// New source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub source: Option<String>,
    /// New kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<KindName>)]
    pub kind: Option<String>,
    /// New scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ScopeName>)]
    pub scope: Option<String>,
    /// New metadata, replacing the old object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FactsObject>)]
    pub metadata: Option<Value>,
    /// New expiry (RFC 3339); `null` is never.
    #[serde(default, deserialize_with = "double", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub expires_at: Option<Option<String>>,
    /// From when it is true (RFC 3339); `null` is always. Sets both ends of the validity.
    #[serde(default, deserialize_with = "double", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub valid_from: Option<Option<String>>,
    /// Until when it is true (RFC 3339); `null` is for ever. Sets both ends of the validity.
    #[serde(default, deserialize_with = "double", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub valid_until: Option<Option<String>>,
    /// New legal hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_hold: Option<bool>,
    /// New personal-data flags, replacing the old ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<TagText>>, max_items = 64)]
    pub pii_flags: Option<Vec<String>>,
    /// A vector computed by the client for the new text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<EmbeddingInput>,
    /// Refuse unless this is the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub expected_version: Option<u64>,
}

impl MemoryPatch {
    /// Turns `tags` into what has to be added to and removed from the tags the memory has now.
    pub fn replace_tags(&mut self, now: &[Tag]) {
        let Some(wanted) = self.tags.take() else { return };
        let gone = now.iter().map(Tag::to_string).filter(|tag| !wanted.contains(tag));
        self.remove_tags.extend(gone);
        self.add_tags.extend(wanted);
    }

    /// Validates everything; `audience` resolves a new scope.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field that breaks a rule.
    pub fn into_patch(
        self,
        audience: impl FnOnce(Scope) -> Result<types::Audience, Invalid>,
    ) -> Result<Patch, Invalid> {
        let scope: Option<Scope> = self.scope.as_deref().map(str::parse).transpose()?;
        let end =
            |field, end: Option<Option<String>>| time::from_option(field, end.flatten().as_deref());
        let validity = match (&self.valid_from, &self.valid_until) {
            (None, None) => None,
            _ => Some(Validity {
                from_ms: end("valid_from", self.valid_from.clone())?,
                until_ms: end("valid_until", self.valid_until.clone())?,
            }),
        };
        let patch = Patch {
            title: self.title.as_deref().map(str::parse).transpose()?,
            content: self.content.map(Content::try_from).transpose()?,
            tier: self.tier.as_deref().map(str::parse::<Tier>).transpose()?,
            add_tags: tags(&self.add_tags)?,
            remove_tags: tags(&self.remove_tags)?,
            priority: self.priority,
            confidence_permille: self.confidence.map(permille).transpose()?,
            source: self.source,
            kind: self.kind.as_deref().map(str::parse::<Kind>).transpose()?,
            scope: scope.map(|s| audience(s).map(|a| (s, a))).transpose()?,
            metadata: self.metadata.as_ref().map(Metadata::try_from).transpose()?,
            expires_at_ms: match self.expires_at {
                None => None,
                Some(at) => Some(time::from_option("expires_at", at.as_deref())?),
            },
            validity,
            legal_hold: self.legal_hold,
            pii_flags: self.pii_flags.as_deref().map(tags).transpose()?,
            embedding: self.embedding.map(Into::into),
        };
        patch.check()?;
        Ok(patch)
    }
}

/// A memory as a client reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemoryOut {
    /// Its id (UUIDv7).
    #[schema(value_type = MemoryKey)]
    pub id: String,
    /// Where it belongs.
    #[schema(value_type = NamespacePath)]
    pub namespace: String,
    /// What it is about.
    pub title: String,
    /// The memory itself.
    pub content: String,
    /// SHA-256 of the content, hexadecimal.
    pub content_sha256: String,
    /// `short`, `mid` or `long`.
    #[schema(value_type = TierName)]
    pub tier: String,
    /// Labels, sorted.
    #[schema(value_type = Vec<TagText>)]
    pub tags: Vec<String>,
    /// 1 to 10.
    pub priority: u8,
    /// 0 to 1.
    pub confidence: f64,
    /// Where it came from; may be empty.
    pub source: String,
    /// What it is.
    #[schema(value_type = KindName)]
    pub kind: String,
    /// Who may see it.
    #[schema(value_type = ScopeName)]
    pub scope: String,
    /// Who wrote it first.
    #[schema(value_type = AgentName)]
    pub agent_id: String,
    /// Free-form facts.
    #[schema(value_type = FactsObject)]
    pub metadata: Value,
    /// Edits so far; also the ETag.
    pub version: u64,
    /// Recalls that returned it.
    pub access_count: u64,
    /// When it was created.
    #[schema(value_type = InstantText)]
    pub created_at: String,
    /// When it was last edited.
    #[schema(value_type = InstantText)]
    pub updated_at: String,
    /// When a recall last returned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub last_accessed_at: Option<String>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub expires_at: Option<String>,
    /// From when it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub valid_from: Option<String>,
    /// Until when it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<InstantText>)]
    pub valid_until: Option<String>,
    /// Exempt from deletion and retention.
    pub legal_hold: bool,
    /// Kinds of personal data in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pii_flags: Vec<String>,
    /// Fencing token of its last guarded write; 0 without one.
    pub fence: u64,
    /// Hybrid logical clock of the last edit, `milliseconds.counter`.
    pub hlc: String,
    /// Last operation of every node that touched it.
    pub version_vector: BTreeMap<String, u64>,
    /// Depth of a reflection; 0 otherwise.
    #[serde(default)]
    pub reflection_depth: u8,
    /// Sources of a reflection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Version of a persona; 0 otherwise.
    #[serde(default)]
    pub persona_version: u32,
    /// Why it is in the archive; absent when it is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_reason: Option<String>,
    /// Change position of its last change on this node.
    #[serde(default)]
    pub position: u64,
    /// Ids of the other memories with this title by this author that are shown as this one, because nodes that
    /// had not heard of each other made them. Each of them stands for this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<MemoryKey>)]
    pub other_ids: Vec<String>,
}

impl From<MemoryView> for MemoryOut {
    fn from(view: MemoryView) -> Self {
        let text = |ms: u64| (ms > 0).then(|| time::to_text(ms));
        Self {
            id: view.id.to_string(),
            namespace: view.namespace.to_string(),
            title: view.title,
            content: view.content,
            content_sha256: hex::encode(view.content_sha256),
            tier: view.tier.to_string(),
            tags: view.tags.iter().map(Tag::to_string).collect(),
            priority: view.priority,
            confidence: f64::from(view.confidence_permille) / 1000.0,
            source: view.source,
            kind: view.kind.to_string(),
            scope: view.scope.to_string(),
            agent_id: view.author.to_string(),
            metadata: view.metadata.to_value(),
            version: view.version,
            access_count: view.access_count,
            created_at: time::to_text(view.created_at_ms),
            updated_at: time::to_text(view.updated_at_ms),
            last_accessed_at: text(view.last_accessed_at_ms),
            expires_at: view.expires_at_ms.map(time::to_text),
            valid_from: view.validity.from_ms.map(time::to_text),
            valid_until: view.validity.until_ms.map(time::to_text),
            legal_hold: view.legal_hold,
            pii_flags: view.pii_flags.iter().map(Tag::to_string).collect(),
            fence: view.fence,
            hlc: view.hlc.to_string(),
            version_vector: view.vector.iter().map(|(n, s)| (n.to_string(), s)).collect(),
            reflection_depth: view.reflection_depth,
            sources: view.sources.iter().map(MemoryId::to_string).collect(),
            persona_version: view.persona_version,
            archived_reason: view.archived_reason,
            position: view.position,
            other_ids: view.other_ids.iter().map(MemoryId::to_string).collect(),
        }
    }
}

/// A namespace named by a client, or the global one.
pub(crate) fn namespace_or_global(text: Option<&str>) -> Result<Namespace, Invalid> {
    text.map_or_else(|| Ok(Namespace::global()), str::parse)
}
