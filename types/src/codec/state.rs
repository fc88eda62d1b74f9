//! The state of a record as bytes, without what storage keeps in columns of its own.
//!
//! Nearly every write of a memory sets all its registers at once, so stamps are kept in a table and
//! a register names its place there. Place 0 is the creation, and 0 costs no bytes: a memory nobody
//! has changed pays for one stamp. Nodes are in a table of their own in the same way.
//!
//! Invariant: both tables list their entries in the order of first use, so equal records have equal
//! bytes.
//!
//! Not here: the title, the content and the components of a supplied vector ([`Columns`]).

use std::collections::BTreeSet;

use prost::Message;

use super::{
    CodecError, FORMAT_VERSION, check_canonical, check_version,
    parts::{
        ValidityMessage, audience, id_bytes, ids, metadata_string, number, tag_strings, tags,
        validity, validity_message,
    },
    read,
};
use crate::{
    Content, Expiry, Hlc, Invalid, Kind, Life, MemoryId, Metadata, NodeId, OpId, Ratchet, Record,
    Register, Scope, Stamp, Tier, Title,
    limits::STATE_BYTES_MAX,
    memory::{Embedding, check_confidence, check_priority},
    tags::{Dot, Tags},
};

const MESSAGE: &str = "state";

/// The parts of a record that are not in its state bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// The title.
    pub title: Title,
    /// The content.
    pub content: Content,
    /// Components of the supplied vector; empty when there is none.
    pub embedding_values: Vec<f32>,
}

/// A place in the order of writes; `origin` is a place in the table of nodes.
#[derive(Clone, Copy, PartialEq, Message)]
struct StampEntry {
    #[prost(uint64, tag = "1")]
    fence: u64,
    #[prost(fixed64, tag = "2")]
    hlc: u64,
    #[prost(uint32, tag = "3")]
    origin: u32,
}

/// A number of one node: a slot of a counter or an entry of a version vector.
#[derive(Clone, Copy, PartialEq, Message)]
struct SlotEntry {
    #[prost(uint32, tag = "1")]
    origin: u32,
    #[prost(uint64, tag = "2")]
    value: u64,
}

#[derive(Clone, PartialEq, Message)]
struct DotEntry {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(uint32, tag = "2")]
    origin: u32,
    #[prost(uint64, tag = "3")]
    seq: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct TierRaise {
    #[prost(uint32, tag = "1")]
    tier: u32,
    #[prost(uint32, tag = "2")]
    stamp: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ExpiryRaise {
    /// Absent: never.
    #[prost(uint64, optional, tag = "1")]
    at_ms: Option<u64>,
    #[prost(uint32, tag = "2")]
    stamp: u32,
}

/// Name of the vector whose components are in a column.
#[derive(Clone, PartialEq, Message)]
struct ModelMessage {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(uint32, tag = "3")]
    dimension: u32,
}

/// Tags 1 to 15 are what a fresh record uses. `*_stamp` are places in the table of stamps.
#[derive(Clone, PartialEq, Message)]
struct StateMessage {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    /// 16 bytes per node.
    #[prost(bytes = "vec", tag = "3")]
    nodes: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    stamps: Vec<StampEntry>,
    #[prost(string, tag = "5")]
    namespace: String,
    #[prost(string, tag = "6")]
    author: String,
    #[prost(uint32, tag = "7")]
    tier: u32,
    #[prost(uint32, tag = "8")]
    priority: u32,
    #[prost(uint32, tag = "9")]
    kind: u32,
    #[prost(uint32, tag = "10")]
    scope: u32,
    #[prost(string, tag = "11")]
    audience: String,
    #[prost(uint32, tag = "12")]
    confidence_permille: u32,
    #[prost(message, repeated, tag = "13")]
    vector: Vec<SlotEntry>,
    #[prost(message, repeated, tag = "14")]
    edits: Vec<SlotEntry>,
    #[prost(message, repeated, tag = "15")]
    tags: Vec<DotEntry>,
    #[prost(message, repeated, tag = "16")]
    removed_tags: Vec<DotEntry>,
    #[prost(string, tag = "17")]
    source: String,
    /// Canonical JSON; empty for the empty object.
    #[prost(string, tag = "18")]
    metadata: String,
    #[prost(uint64, optional, tag = "19")]
    expires_at_ms: Option<u64>,
    #[prost(message, optional, tag = "20")]
    validity: Option<ValidityMessage>,
    #[prost(bool, tag = "21")]
    legal_hold: bool,
    #[prost(string, repeated, tag = "22")]
    pii_flags: Vec<String>,
    #[prost(message, optional, tag = "23")]
    model: Option<ModelMessage>,
    #[prost(bytes = "vec", repeated, tag = "24")]
    sources: Vec<Vec<u8>>,
    #[prost(uint32, tag = "25")]
    reflection_depth: u32,
    #[prost(uint32, tag = "26")]
    persona_version: u32,
    /// Absent: live. Otherwise why it is in the archive.
    #[prost(string, optional, tag = "27")]
    archived: Option<String>,
    #[prost(uint32, optional, tag = "28")]
    deleted_stamp: Option<u32>,
    #[prost(message, repeated, tag = "29")]
    accesses: Vec<SlotEntry>,
    #[prost(uint64, tag = "30")]
    last_accessed_ms: u64,
    #[prost(message, repeated, tag = "31")]
    tier_raises: Vec<TierRaise>,
    #[prost(message, repeated, tag = "32")]
    expiry_raises: Vec<ExpiryRaise>,
    #[prost(uint32, tag = "33")]
    updated_stamp: u32,
    #[prost(uint32, tag = "34")]
    title_stamp: u32,
    #[prost(uint32, tag = "35")]
    content_stamp: u32,
    #[prost(uint32, tag = "36")]
    tier_stamp: u32,
    #[prost(uint32, tag = "37")]
    priority_stamp: u32,
    #[prost(uint32, tag = "38")]
    confidence_stamp: u32,
    #[prost(uint32, tag = "39")]
    source_stamp: u32,
    #[prost(uint32, tag = "40")]
    kind_stamp: u32,
    #[prost(uint32, tag = "41")]
    scope_stamp: u32,
    #[prost(uint32, tag = "42")]
    metadata_stamp: u32,
    #[prost(uint32, tag = "43")]
    expiry_stamp: u32,
    #[prost(uint32, tag = "44")]
    validity_stamp: u32,
    #[prost(uint32, tag = "45")]
    legal_hold_stamp: u32,
    #[prost(uint32, tag = "46")]
    pii_flags_stamp: u32,
    #[prost(uint32, tag = "47")]
    embedding_stamp: u32,
    #[prost(uint32, tag = "48")]
    life_stamp: u32,
    #[prost(bool, tag = "49")]
    apart: bool,
}

/// The tables while a record is written. They are short, so a search through them beats a map.
#[derive(Default)]
struct Tables {
    nodes: Vec<NodeId>,
    stamps: Vec<Stamp>,
}

/// Place of `item` in `table`, where it is added when it is new.
fn place<T: PartialEq>(table: &mut Vec<T>, item: T) -> u32 {
    let at = table.iter().position(|other| *other == item).unwrap_or_else(|| {
        table.push(item);
        table.len() - 1
    });
    at as u32
}

impl Tables {
    fn node(&mut self, node: NodeId) -> u32 {
        place(&mut self.nodes, node)
    }

    fn stamp(&mut self, stamp: Stamp) -> u32 {
        place(&mut self.stamps, stamp)
    }

    fn slots(&mut self, slots: impl Iterator<Item = (NodeId, u64)>) -> Vec<SlotEntry> {
        slots.map(|(origin, value)| SlotEntry { origin: self.node(origin), value }).collect()
    }

    fn dots(&mut self, dots: &BTreeSet<Dot>) -> Vec<DotEntry> {
        dots.iter()
            .map(|(tag, op)| DotEntry {
                tag: tag.as_str().to_owned(),
                origin: self.node(op.origin),
                seq: op.seq,
            })
            .collect()
    }

    fn stamp_entries(&mut self) -> Vec<StampEntry> {
        let Self { nodes, stamps } = self;
        stamps
            .iter()
            .map(|stamp| StampEntry {
                fence: stamp.fence,
                hlc: stamp.hlc.as_u64(),
                origin: place(nodes, stamp.origin),
            })
            .collect()
    }
}

/// The state of a record: everything but its [`Columns`].
pub fn encode_state(record: &Record) -> Vec<u8> {
    let mut tables = Tables::default();
    // Place 0, which costs nothing.
    tables.stamp(record.created);
    let mut message = values(record, &mut tables);
    stamps(record, &mut tables, &mut message);
    message.stamps = tables.stamp_entries();
    message.nodes = tables.nodes.iter().flat_map(|node| *node.as_bytes()).collect();
    message.encode_to_vec()
}

fn values(record: &Record, tables: &mut Tables) -> StateMessage {
    let (scope, audience) = &record.scope.value;
    let (tags, removed_tags) = record.tags.parts();
    StateMessage {
        version: FORMAT_VERSION,
        id: record.id.as_bytes().to_vec(),
        namespace: record.namespace.as_str().to_owned(),
        author: record.author.as_str().to_owned(),
        tier: record.tier.parts().0.value.number().into(),
        priority: record.priority.value.into(),
        kind: record.kind.value.number().into(),
        scope: scope.number().into(),
        audience: audience.as_str().to_owned(),
        confidence_permille: record.confidence_permille.value.into(),
        vector: tables.slots(record.vector.iter()),
        edits: tables.slots(record.edits.iter()),
        tags: tables.dots(tags),
        removed_tags: tables.dots(removed_tags),
        source: record.source.value.clone(),
        metadata: metadata_string(&record.metadata.value),
        expires_at_ms: record.expiry.parts().0.value.0,
        validity: validity_message(record.validity.value),
        legal_hold: record.legal_hold.value,
        pii_flags: tag_strings(&record.pii_flags.value),
        model: record.embedding.value.as_ref().map(|embedding| ModelMessage {
            model: embedding.model.clone(),
            version: embedding.version.clone(),
            dimension: embedding.values.len() as u32,
        }),
        sources: id_bytes(&record.sources),
        reflection_depth: record.reflection_depth.into(),
        persona_version: record.persona_version,
        archived: match &record.life.value {
            Life::Live => None,
            Life::Archived { reason } => Some(reason.clone()),
        },
        accesses: tables.slots(record.accesses.iter()),
        last_accessed_ms: record.last_accessed_ms,
        apart: record.apart,
        ..StateMessage::default()
    }
}

fn stamps(record: &Record, tables: &mut Tables, message: &mut StateMessage) {
    message.updated_stamp = tables.stamp(record.updated);
    message.deleted_stamp = record.deleted.map(|stamp| tables.stamp(stamp));
    message.title_stamp = tables.stamp(record.title.stamp);
    message.content_stamp = tables.stamp(record.content.stamp);
    let (tier, raises) = record.tier.parts();
    message.tier_stamp = tables.stamp(tier.stamp);
    message.tier_raises = raises
        .iter()
        .map(|(tier, at)| TierRaise { tier: tier.number().into(), stamp: tables.stamp(*at) })
        .collect();
    message.priority_stamp = tables.stamp(record.priority.stamp);
    message.confidence_stamp = tables.stamp(record.confidence_permille.stamp);
    message.source_stamp = tables.stamp(record.source.stamp);
    message.kind_stamp = tables.stamp(record.kind.stamp);
    message.scope_stamp = tables.stamp(record.scope.stamp);
    message.metadata_stamp = tables.stamp(record.metadata.stamp);
    let (expiry, raises) = record.expiry.parts();
    message.expiry_stamp = tables.stamp(expiry.stamp);
    message.expiry_raises = raises
        .iter()
        .map(|(expiry, at)| ExpiryRaise { at_ms: expiry.0, stamp: tables.stamp(*at) })
        .collect();
    message.validity_stamp = tables.stamp(record.validity.stamp);
    message.legal_hold_stamp = tables.stamp(record.legal_hold.stamp);
    message.pii_flags_stamp = tables.stamp(record.pii_flags.stamp);
    message.embedding_stamp = tables.stamp(record.embedding.stamp);
    message.life_stamp = tables.stamp(record.life.stamp);
}

/// Reads the state of a record whose other parts are `columns`.
///
/// Metadata must be a JSON object; that it is in canonical form is believed, because it was when the
/// bytes were made, and proving it again would cost more than the rest.
///
/// # Errors
/// [`CodecError`] naming the field.
pub fn decode_state(bytes: &[u8], columns: Columns) -> Result<Record, CodecError> {
    let message: StateMessage = read(MESSAGE, bytes, STATE_BYTES_MAX)?;
    check_version(MESSAGE, message.version)?;
    let record = State::new(message)
        .and_then(|state| state.record(columns))
        .map_err(|invalid| CodecError::invalid(MESSAGE, invalid))?;
    check_canonical(MESSAGE, bytes, &encode_state(&record))?;
    Ok(record)
}

/// A message whose tables are read.
struct State {
    message: StateMessage,
    nodes: Vec<NodeId>,
    stamps: Vec<Stamp>,
}

impl State {
    fn new(message: StateMessage) -> Result<Self, Invalid> {
        let nodes = message
            .nodes
            .chunks(16)
            .map(NodeId::from_slice)
            .collect::<Result<Vec<NodeId>, Invalid>>()?;
        let stamps = message
            .stamps
            .iter()
            .map(|entry| {
                Ok(Stamp {
                    fence: entry.fence,
                    hlc: Hlc::from_u64(entry.hlc),
                    origin: look_up("nodes", &nodes, entry.origin)?,
                })
            })
            .collect::<Result<Vec<Stamp>, Invalid>>()?;
        Ok(Self { message, nodes, stamps })
    }

    fn stamp(&self, at: u32) -> Result<Stamp, Invalid> {
        look_up("stamps", &self.stamps, at)
    }

    fn register<T>(&self, value: T, at: u32) -> Result<Register<T>, Invalid> {
        Ok(Register::new(value, self.stamp(at)?))
    }

    fn slots<C: FromIterator<(NodeId, u64)>>(&self, slots: &[SlotEntry]) -> Result<C, Invalid> {
        slots
            .iter()
            .map(|slot| Ok((look_up("nodes", &self.nodes, slot.origin)?, slot.value)))
            .collect()
    }

    fn dots(&self, dots: &[DotEntry]) -> Result<BTreeSet<Dot>, Invalid> {
        dots.iter()
            .map(|dot| {
                let origin = look_up("nodes", &self.nodes, dot.origin)?;
                Ok((dot.tag.parse()?, OpId { origin, seq: dot.seq }))
            })
            .collect()
    }

    fn tier(&self) -> Result<Ratchet<Tier>, Invalid> {
        let message = &self.message;
        let set = self.register(Tier::from_number(message.tier)?, message.tier_stamp)?;
        let raises = message
            .tier_raises
            .iter()
            .map(|raise| Ok((Tier::from_number(raise.tier)?, self.stamp(raise.stamp)?)))
            .collect::<Result<Vec<_>, Invalid>>()?;
        Ok(Ratchet::from_parts(set, raises))
    }

    fn expiry(&self) -> Result<Ratchet<Expiry>, Invalid> {
        let message = &self.message;
        let set = self.register(Expiry(message.expires_at_ms), message.expiry_stamp)?;
        let raises = message
            .expiry_raises
            .iter()
            .map(|raise| Ok((Expiry(raise.at_ms), self.stamp(raise.stamp)?)))
            .collect::<Result<Vec<_>, Invalid>>()?;
        Ok(Ratchet::from_parts(set, raises))
    }

    fn embedding(&mut self, values: Vec<f32>) -> Result<Option<Embedding>, Invalid> {
        let model = self.message.model.take();
        let dimension = model.as_ref().map_or(0, |model| model.dimension as usize);
        if dimension != values.len() {
            return Err(Invalid::new(
                "embedding",
                format!("has {dimension} components, its column {}", values.len()),
            ));
        }
        Ok(model.map(|ModelMessage { model, version, .. }| Embedding { model, version, values }))
    }

    fn life(&mut self) -> Life {
        self.message.archived.take().map_or(Life::Live, |reason| Life::Archived { reason })
    }

    fn record(mut self, columns: Columns) -> Result<Record, Invalid> {
        let embedding = self.embedding(columns.embedding_values)?;
        let life = self.life();
        let texts = (
            std::mem::take(&mut self.message.source),
            std::mem::take(&mut self.message.metadata),
            std::mem::take(&mut self.message.pii_flags),
            std::mem::take(&mut self.message.sources),
        );
        let (source, metadata, pii_flags, sources) = texts;
        let m = &self.message;
        let scope = (Scope::from_number(m.scope)?, audience(&m.audience)?);
        let (priority, confidence) =
            (number("priority", m.priority)?, number("confidence", m.confidence_permille)?);
        check_priority(priority)?;
        check_confidence(confidence)?;
        Ok(Record {
            id: MemoryId::from_slice(&m.id)?,
            namespace: m.namespace.parse()?,
            author: m.author.parse()?,
            created: self.stamp(0)?,
            title: self.register(columns.title, m.title_stamp)?,
            content: self.register(columns.content, m.content_stamp)?,
            tier: self.tier()?,
            tags: Tags::from_parts(self.dots(&m.tags)?, self.dots(&m.removed_tags)?),
            priority: self.register(priority, m.priority_stamp)?,
            confidence_permille: self.register(confidence, m.confidence_stamp)?,
            source: self.register(source, m.source_stamp)?,
            kind: self.register(Kind::from_number(m.kind)?, m.kind_stamp)?,
            scope: self.register(scope, m.scope_stamp)?,
            metadata: self.register(Metadata::from_canonical(metadata)?, m.metadata_stamp)?,
            expiry: self.expiry()?,
            validity: self.register(validity(m.validity), m.validity_stamp)?,
            legal_hold: self.register(m.legal_hold, m.legal_hold_stamp)?,
            pii_flags: self.register(tags(pii_flags)?, m.pii_flags_stamp)?,
            embedding: self.register(embedding, m.embedding_stamp)?,
            sources: ids(sources)?,
            reflection_depth: number("reflection_depth", m.reflection_depth)?,
            persona_version: m.persona_version,
            apart: m.apart,
            life: self.register(life, m.life_stamp)?,
            deleted: m.deleted_stamp.map(|at| self.stamp(at)).transpose()?,
            accesses: self.slots(&m.accesses)?,
            last_accessed_ms: m.last_accessed_ms,
            edits: self.slots(&m.edits)?,
            vector: self.slots(&m.vector)?,
            updated: self.stamp(m.updated_stamp)?,
        })
    }
}

fn look_up<T: Copy>(field: &'static str, table: &[T], at: u32) -> Result<T, Invalid> {
    table
        .get(at as usize)
        .copied()
        .ok_or_else(|| Invalid::new(field, format!("place {at} of a table of {}", table.len())))
}
