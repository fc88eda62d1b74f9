//! Small messages and conversions that every encoding uses.
//!
//! Invariant: absence and the default value are told apart wherever the value type tells them apart.
//!
//! Not here: whole messages.

use std::{collections::BTreeSet, str::FromStr};

use prost::Message;

use crate::{
    Audience, Hlc, Invalid, MemoryId, Metadata, NodeId, OpId, Stamp, Tag, VersionVector,
    memory::{Embedding, Validity},
    tags::Dot,
};

/// A span of validity.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ValidityMessage {
    #[prost(uint64, optional, tag = "1")]
    pub from_ms: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub until_ms: Option<u64>,
}

/// A supplied vector; `values` stays empty where they are kept in a column.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EmbeddingMessage {
    #[prost(string, tag = "1")]
    pub model: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(float, repeated, tag = "3")]
    pub values: Vec<f32>,
}

/// An addition of a tag.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DotMessage {
    #[prost(string, tag = "1")]
    pub tag: String,
    #[prost(bytes = "vec", tag = "2")]
    pub origin: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub seq: u64,
}

/// One entry of a version vector.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EntryMessage {
    #[prost(bytes = "vec", tag = "1")]
    pub origin: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
}

/// The place of a write in the order of all writes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StampMessage {
    #[prost(uint64, tag = "1")]
    pub fence: u64,
    #[prost(fixed64, tag = "2")]
    pub hlc: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub origin: Vec<u8>,
}

impl From<&Stamp> for StampMessage {
    fn from(stamp: &Stamp) -> Self {
        Self {
            fence: stamp.fence,
            hlc: stamp.hlc.as_u64(),
            origin: stamp.origin.as_bytes().to_vec(),
        }
    }
}

impl TryFrom<StampMessage> for Stamp {
    type Error = Invalid;

    fn try_from(message: StampMessage) -> Result<Self, Invalid> {
        Ok(Self {
            fence: message.fence,
            hlc: Hlc::from_u64(message.hlc),
            origin: NodeId::from_slice(&message.origin)?,
        })
    }
}

impl From<Validity> for ValidityMessage {
    fn from(validity: Validity) -> Self {
        Self { from_ms: validity.from_ms, until_ms: validity.until_ms }
    }
}

impl From<ValidityMessage> for Validity {
    fn from(message: ValidityMessage) -> Self {
        Self { from_ms: message.from_ms, until_ms: message.until_ms }
    }
}

/// A span that is open at both ends is left out.
pub(super) fn validity_message(validity: Validity) -> Option<ValidityMessage> {
    (validity != Validity::default()).then(|| validity.into())
}

pub(super) fn validity(message: Option<ValidityMessage>) -> Validity {
    message.map(Validity::from).unwrap_or_default()
}

impl From<&Embedding> for EmbeddingMessage {
    fn from(embedding: &Embedding) -> Self {
        Self {
            model: embedding.model.clone(),
            version: embedding.version.clone(),
            values: embedding.values.clone(),
        }
    }
}

impl From<EmbeddingMessage> for Embedding {
    fn from(message: EmbeddingMessage) -> Self {
        Self { model: message.model, version: message.version, values: message.values }
    }
}

impl From<&Dot> for DotMessage {
    fn from((tag, op): &Dot) -> Self {
        Self { tag: tag.as_str().to_owned(), origin: op.origin.as_bytes().to_vec(), seq: op.seq }
    }
}

impl TryFrom<DotMessage> for Dot {
    type Error = Invalid;

    fn try_from(message: DotMessage) -> Result<Self, Invalid> {
        let op = OpId { origin: NodeId::from_slice(&message.origin)?, seq: message.seq };
        Ok((message.tag.parse()?, op))
    }
}

pub(super) fn vector_message(vector: &VersionVector) -> Vec<EntryMessage> {
    vector
        .iter()
        .map(|(origin, seq)| EntryMessage { origin: origin.as_bytes().to_vec(), seq })
        .collect()
}

pub(super) fn vector(entries: Vec<EntryMessage>) -> Result<VersionVector, Invalid> {
    entries.into_iter().map(|entry| Ok((NodeId::from_slice(&entry.origin)?, entry.seq))).collect()
}

pub(super) fn tag_strings(tags: &BTreeSet<Tag>) -> Vec<String> {
    tags.iter().map(|tag| tag.as_str().to_owned()).collect()
}

pub(super) fn tags(strings: Vec<String>) -> Result<BTreeSet<Tag>, Invalid> {
    strings.iter().map(|text| text.parse()).collect()
}

pub(super) fn id_bytes(ids: &BTreeSet<MemoryId>) -> Vec<Vec<u8>> {
    ids.iter().map(|id| id.as_bytes().to_vec()).collect()
}

pub(super) fn ids(list: Vec<Vec<u8>>) -> Result<BTreeSet<MemoryId>, Invalid> {
    list.iter().map(|bytes| MemoryId::from_slice(bytes)).collect()
}

/// The empty object, by far the most common one, costs nothing.
pub(super) fn metadata_string(metadata: &Metadata) -> String {
    if metadata.is_empty() { String::new() } else { metadata.as_str().to_owned() }
}

pub(super) fn metadata(text: &str) -> Result<Metadata, Invalid> {
    if text.is_empty() { Ok(Metadata::empty()) } else { text.parse() }
}

/// Parses optional text.
pub(super) fn optional<T: FromStr<Err = Invalid>>(
    text: Option<String>,
) -> Result<Option<T>, Invalid> {
    text.map(|text| text.parse()).transpose()
}

/// A number that the type in memory must hold.
pub(super) fn number<T: TryFrom<u32>>(field: &'static str, number: u32) -> Result<T, Invalid> {
    number.try_into().map_err(|_| Invalid::new(field, format!("{number} is out of range")))
}

/// A part that must be there.
pub(super) fn required<T>(field: &'static str, part: Option<T>) -> Result<T, Invalid> {
    part.ok_or_else(|| Invalid::new(field, "is missing"))
}

/// Exactly 32 bytes: a hash or a public key.
pub(super) fn key32(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], Invalid> {
    bytes.try_into().map_err(|_| Invalid::new(field, format!("has 32 bytes, got {}", bytes.len())))
}

/// An audience as one that could have been made here.
pub(super) fn audience(text: &str) -> Result<Audience, Invalid> {
    text.parse()
}
