//! A new memory and a patch, as they travel inside an operation.
//!
//! Invariant: reading goes through the constructors that a request goes through, and `op` runs the
//! same checks, so an operation cannot carry what no door would have accepted.
//!
//! Not here: the operation around them (`op`).

use prost::Message;

use super::parts::{
    DotMessage, EmbeddingMessage, ValidityMessage, audience, id_bytes, ids, metadata,
    metadata_string, number, optional, tag_strings, tags, validity, validity_message,
};
use crate::{
    Content, Invalid, Kind, MemoryId, NewMemory, Patch, Scope, Tier, op::UpdateBody, tags::Dot,
};

/// Everything a writer says about a new memory.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoreMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(string, tag = "3")]
    title: String,
    #[prost(string, tag = "4")]
    content: String,
    #[prost(uint32, tag = "5")]
    tier: u32,
    /// In order, each once.
    #[prost(string, repeated, tag = "6")]
    tags: Vec<String>,
    #[prost(uint32, tag = "7")]
    priority: u32,
    #[prost(uint32, tag = "8")]
    confidence_permille: u32,
    #[prost(string, tag = "9")]
    source: String,
    #[prost(uint32, tag = "10")]
    kind: u32,
    #[prost(uint32, tag = "11")]
    scope: u32,
    #[prost(string, tag = "12")]
    audience: String,
    /// Canonical JSON; empty for the empty object.
    #[prost(string, tag = "13")]
    metadata: String,
    #[prost(uint64, optional, tag = "14")]
    expires_at_ms: Option<u64>,
    #[prost(message, optional, tag = "15")]
    validity: Option<ValidityMessage>,
    #[prost(bool, tag = "16")]
    legal_hold: bool,
    #[prost(string, repeated, tag = "17")]
    pii_flags: Vec<String>,
    #[prost(bytes = "vec", repeated, tag = "18")]
    sources: Vec<Vec<u8>>,
    #[prost(uint32, tag = "19")]
    reflection_depth: u32,
    #[prost(uint32, tag = "20")]
    persona_version: u32,
    #[prost(message, optional, tag = "21")]
    embedding: Option<EmbeddingMessage>,
    #[prost(bool, tag = "22")]
    apart: bool,
}

impl From<&NewMemory> for StoreMessage {
    fn from(new: &NewMemory) -> Self {
        Self {
            id: new.id.as_bytes().to_vec(),
            namespace: new.namespace.as_str().to_owned(),
            title: new.title.as_str().to_owned(),
            content: new.content.as_str().to_owned(),
            tier: new.tier.number().into(),
            tags: tag_strings(&new.tags),
            priority: new.priority.into(),
            confidence_permille: new.confidence_permille.into(),
            source: new.source.clone(),
            kind: new.kind.number().into(),
            scope: new.scope.number().into(),
            audience: new.audience.as_str().to_owned(),
            metadata: metadata_string(&new.metadata),
            expires_at_ms: new.expires_at_ms,
            validity: validity_message(new.validity),
            legal_hold: new.legal_hold,
            pii_flags: tag_strings(&new.pii_flags),
            sources: id_bytes(&new.sources),
            reflection_depth: new.reflection_depth.into(),
            persona_version: new.persona_version,
            embedding: new.embedding.as_ref().map(Into::into),
            apart: new.apart,
        }
    }
}

impl TryFrom<StoreMessage> for NewMemory {
    type Error = Invalid;

    fn try_from(message: StoreMessage) -> Result<Self, Invalid> {
        Ok(Self {
            id: MemoryId::from_slice(&message.id)?,
            namespace: message.namespace.parse()?,
            title: message.title.parse()?,
            content: Content::try_from(message.content)?,
            tier: Tier::from_number(message.tier)?,
            tags: tags(message.tags)?,
            priority: number("priority", message.priority)?,
            confidence_permille: number("confidence", message.confidence_permille)?,
            source: message.source,
            kind: Kind::from_number(message.kind)?,
            scope: Scope::from_number(message.scope)?,
            audience: audience(&message.audience)?,
            metadata: metadata(&message.metadata)?,
            expires_at_ms: message.expires_at_ms,
            validity: validity(message.validity),
            legal_hold: message.legal_hold,
            pii_flags: tags(message.pii_flags)?,
            sources: ids(message.sources)?,
            reflection_depth: number("reflection_depth", message.reflection_depth)?,
            persona_version: message.persona_version,
            embedding: message.embedding.map(Into::into),
            apart: message.apart,
        })
    }
}

/// A scope and the audience it stands for.
#[derive(Clone, PartialEq, Message)]
struct ScopeMessage {
    #[prost(uint32, tag = "1")]
    scope: u32,
    #[prost(string, tag = "2")]
    audience: String,
}

/// A new expiry; without a time it is taken away.
#[derive(Clone, Copy, PartialEq, Message)]
struct ExpiryMessage {
    #[prost(uint64, optional, tag = "1")]
    at_ms: Option<u64>,
}

/// A whole new set of flags, possibly empty.
#[derive(Clone, PartialEq, Message)]
struct FlagsMessage {
    #[prost(string, repeated, tag = "1")]
    flags: Vec<String>,
}

/// A partial change; what is absent stays.
#[derive(Clone, PartialEq, Message)]
pub(super) struct UpdateMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, optional, tag = "2")]
    title: Option<String>,
    #[prost(string, optional, tag = "3")]
    content: Option<String>,
    #[prost(uint32, optional, tag = "4")]
    tier: Option<u32>,
    #[prost(string, repeated, tag = "5")]
    add_tags: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    remove_tags: Vec<String>,
    #[prost(uint32, optional, tag = "7")]
    priority: Option<u32>,
    #[prost(uint32, optional, tag = "8")]
    confidence_permille: Option<u32>,
    #[prost(string, optional, tag = "9")]
    source: Option<String>,
    #[prost(uint32, optional, tag = "10")]
    kind: Option<u32>,
    #[prost(message, optional, tag = "11")]
    scope: Option<ScopeMessage>,
    /// Canonical JSON; empty for the empty object.
    #[prost(string, optional, tag = "12")]
    metadata: Option<String>,
    #[prost(message, optional, tag = "13")]
    expiry: Option<ExpiryMessage>,
    #[prost(message, optional, tag = "14")]
    validity: Option<ValidityMessage>,
    #[prost(bool, optional, tag = "15")]
    legal_hold: Option<bool>,
    #[prost(message, optional, tag = "16")]
    pii_flags: Option<FlagsMessage>,
    #[prost(message, optional, tag = "17")]
    embedding: Option<EmbeddingMessage>,
    /// Dots that the removals have seen, in the order the origin listed them.
    #[prost(message, repeated, tag = "18")]
    removed_dots: Vec<DotMessage>,
}

impl From<&UpdateBody> for UpdateMessage {
    fn from(body: &UpdateBody) -> Self {
        let patch = &body.patch;
        Self {
            id: body.id.as_bytes().to_vec(),
            title: patch.title.as_ref().map(|title| title.as_str().to_owned()),
            content: patch.content.as_ref().map(|content| content.as_str().to_owned()),
            tier: patch.tier.map(|tier| tier.number().into()),
            add_tags: tag_strings(&patch.add_tags),
            remove_tags: tag_strings(&patch.remove_tags),
            priority: patch.priority.map(Into::into),
            confidence_permille: patch.confidence_permille.map(Into::into),
            source: patch.source.clone(),
            kind: patch.kind.map(|kind| kind.number().into()),
            scope: patch.scope.as_ref().map(|(scope, audience)| ScopeMessage {
                scope: scope.number().into(),
                audience: audience.as_str().to_owned(),
            }),
            metadata: patch.metadata.as_ref().map(metadata_string),
            expiry: patch.expires_at_ms.map(|at_ms| ExpiryMessage { at_ms }),
            validity: patch.validity.map(Into::into),
            legal_hold: patch.legal_hold,
            pii_flags: patch.pii_flags.as_ref().map(|set| FlagsMessage { flags: tag_strings(set) }),
            embedding: patch.embedding.as_ref().map(Into::into),
            removed_dots: body.removed_dots.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<UpdateMessage> for UpdateBody {
    type Error = Invalid;

    fn try_from(message: UpdateMessage) -> Result<Self, Invalid> {
        let scope =
            |part: ScopeMessage| Ok((Scope::from_number(part.scope)?, audience(&part.audience)?));
        let patch = Patch {
            title: optional(message.title)?,
            content: message.content.map(Content::try_from).transpose()?,
            tier: message.tier.map(Tier::from_number).transpose()?,
            add_tags: tags(message.add_tags)?,
            remove_tags: tags(message.remove_tags)?,
            priority: message.priority.map(|n| number("priority", n)).transpose()?,
            confidence_permille: message
                .confidence_permille
                .map(|n| number("confidence", n))
                .transpose()?,
            source: message.source,
            kind: message.kind.map(Kind::from_number).transpose()?,
            scope: message.scope.map(scope).transpose()?,
            metadata: message.metadata.map(|text| metadata(&text)).transpose()?,
            expires_at_ms: message.expiry.map(|expiry| expiry.at_ms),
            validity: message.validity.map(Into::into),
            legal_hold: message.legal_hold,
            pii_flags: message.pii_flags.map(|set| tags(set.flags)).transpose()?,
            embedding: message.embedding.map(Into::into),
        };
        let removed_dots =
            message.removed_dots.into_iter().map(Dot::try_from).collect::<Result<_, _>>()?;
        Ok(Self { id: MemoryId::from_slice(&message.id)?, patch, removed_dots })
    }
}
