//! The memory record as replicas keep it: a join of fields.
//!
//! Invariants: `REC-1` [`Record::join`] is commutative, associative and idempotent; `REC-2` applying
//! the same operations, each any number of times, in any order that starts with a `Store` and keeps
//! every origin's own order, gives the same record, and so does joining records that got them in
//! parts; `REC-3` a deleted record stays deleted whatever arrives; `REC-4` an automatic promotion
//! never lowers a tier and never brings an expiry forward; `REC-5` a tombstone carries nothing of what
//! the memory said: text, labels and vector are erased, their stamps stay so that the join still works.
//!
//! No method looks at a current value to decide whether a write counts: that is what makes the order
//! of arrival irrelevant. Every operation that names the record counts, even when nothing shows.
//!
//! Not here: what is shown of records that share a namespace and title ([`view`]), and storage.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    AgentId, Audience, Content, Kind, MemoryId, Metadata, Namespace, NewMemory, OpId, Scope, Tag,
    Tier, Title, VersionVector,
    counter::Counter,
    memory::{Embedding, Validity},
    op::{Op, Payload, UpdateBody},
    ratchet::Ratchet,
    register::{Register, Stamp},
    tags::Tags,
};

pub mod view;

/// Where a record is in its life. Ordered only for the join of equal stamps, which cannot happen
/// between distinct operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// In use.
    Live,
    /// Forgotten, restorable.
    Archived {
        /// Why.
        reason: String,
    },
}

/// When a memory expires, Unix milliseconds; `None` is never. Ordered by length of life: never is
/// the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry(pub Option<u64>);

impl Ord for Expiry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.is_none(), self.0).cmp(&(other.0.is_none(), other.0))
    }
}

impl PartialOrd for Expiry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A memory with everything replication needs.
///
/// The parts that never change are those of the first `Store`: should two of them carry one id, the
/// one with the smaller stamp decides, on every replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: MemoryId,
    /// Where it belongs; never changes.
    pub namespace: Namespace,
    /// Who wrote it first; never changes.
    pub author: AgentId,
    /// The operation that created it.
    pub created: Stamp,
    /// What it is about.
    pub title: Register<Title>,
    /// The memory itself.
    pub content: Register<Content>,
    /// How long it lives by default: set by a person, raised by repeated access.
    pub tier: Ratchet<Tier>,
    /// Labels.
    pub tags: Tags,
    /// 1 to 10.
    pub priority: Register<u8>,
    /// 0 to 1000.
    pub confidence_permille: Register<u16>,
    /// Where it came from.
    pub source: Register<String>,
    /// What it is.
    pub kind: Register<Kind>,
    /// Who may see it, with the audience that stands for.
    pub scope: Register<(Scope, Audience)>,
    /// Free-form facts.
    pub metadata: Register<Metadata>,
    /// When it expires; an automatic promotion only postpones it.
    pub expiry: Ratchet<Expiry>,
    /// When it is true.
    pub validity: Register<Validity>,
    /// Exempt from deletion and retention.
    pub legal_hold: Register<bool>,
    /// Kinds of personal data in it.
    pub pii_flags: Register<BTreeSet<Tag>>,
    /// Vector supplied by a writer, if any.
    pub embedding: Register<Option<Embedding>>,
    /// Sources of a reflection; never change.
    pub sources: BTreeSet<MemoryId>,
    /// Depth of a reflection; never changes.
    pub reflection_depth: u8,
    /// Version of a persona; never changes.
    pub persona_version: u32,
    /// Whether it is never shown as one with others of its title; never changes.
    pub apart: bool,
    /// Live or archived.
    pub life: Register<Life>,
    /// Deleted for good: a tombstone. The greatest deletion seen. Title, content, tags, source,
    /// metadata, personal-data flags and vector of a tombstone are blank.
    pub deleted: Option<Stamp>,
    /// Recalls that returned it, per origin.
    pub accesses: Counter,
    /// Last recall that returned it, Unix milliseconds; 0 when never.
    pub last_accessed_ms: u64,
    /// Edits per origin; their sum is the version.
    pub edits: Counter,
    /// The last operation of every origin that touched it.
    pub vector: VersionVector,
    /// The greatest stamp of an edit.
    pub updated: Stamp,
}

impl Record {
    /// The record that a `Store` operation creates.
    pub fn create(op: &Op, new: &NewMemory) -> Self {
        let stamp = op.stamp();
        let mut tags = Tags::default();
        for tag in &new.tags {
            tags.add(tag.clone(), op.id);
        }
        let mut record = Self {
            id: new.id,
            namespace: new.namespace.clone(),
            author: op.author.clone(),
            created: stamp,
            title: Register::new(new.title.clone(), stamp),
            content: Register::new(new.content.clone(), stamp),
            tier: Ratchet::new(new.tier, stamp),
            tags,
            priority: Register::new(new.priority, stamp),
            confidence_permille: Register::new(new.confidence_permille, stamp),
            source: Register::new(new.source.clone(), stamp),
            kind: Register::new(new.kind, stamp),
            scope: Register::new((new.scope, new.audience.clone()), stamp),
            metadata: Register::new(new.metadata.clone(), stamp),
            expiry: Ratchet::new(Expiry(new.expires_at_ms), stamp),
            validity: Register::new(new.validity, stamp),
            legal_hold: Register::new(new.legal_hold, stamp),
            pii_flags: Register::new(new.pii_flags.clone(), stamp),
            embedding: Register::new(new.embedding.clone(), stamp),
            sources: new.sources.clone(),
            reflection_depth: new.reflection_depth,
            persona_version: new.persona_version,
            apart: new.apart,
            life: Register::new(Life::Live, stamp),
            deleted: None,
            accesses: Counter::default(),
            last_accessed_ms: 0,
            edits: Counter::default(),
            vector: VersionVector::default(),
            updated: stamp,
        };
        record.touch(op.id, stamp);
        record
    }

    /// Edits so far, all origins together; what `expected_version` is compared with.
    pub fn version(&self) -> u64 {
        self.edits.total()
    }

    /// How long it lives by default.
    pub fn tier(&self) -> Tier {
        self.tier.value()
    }

    /// When it expires, Unix milliseconds; `None` is never.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.expiry.value().0
    }

    /// Whether the record is neither archived nor deleted.
    pub fn is_live(&self) -> bool {
        self.deleted.is_none() && self.life.value == Life::Live
    }

    /// Applies whatever `op` says about this record; says whether there was anything new in it.
    ///
    /// An operation that the record has already, or that names another memory, changes nothing.
    pub fn apply(&mut self, op: &Op) -> bool {
        if op.payload.memory().is_some_and(|id| id != self.id) {
            return false;
        }
        match &op.payload {
            Payload::Store(new) => self.store_again(op, new),
            Payload::Update(body) => self.update(op, body),
            Payload::Promote { tier, automatic, expires_at_ms, .. } => {
                self.promote(op, *tier, *automatic, *expires_at_ms)
            }
            Payload::Delete { .. } => self.delete(op),
            Payload::Archive { reason, .. } => {
                self.set_life(op, Life::Archived { reason: reason.clone() })
            }
            Payload::Restore { .. } => self.set_life(op, Life::Live),
            Payload::Access(accessed) => accessed
                .iter()
                .find(|entry| entry.id == self.id)
                .is_some_and(|entry| self.access(op, entry.count, entry.at_ms)),
            Payload::Link(_)
            | Payload::Unlink { .. }
            | Payload::LinkValidity { .. }
            | Payload::Alias { .. }
            | Payload::Agent(_) => false,
        }
    }

    /// Notes that `op` touched the record; says whether that is news. Every origin's operations
    /// arrive in their order, so one number per origin tells.
    fn note(&mut self, op: OpId) -> bool {
        let news = !self.vector.contains(op);
        self.vector.raise(op.origin, op.seq);
        news
    }

    fn touch(&mut self, op: OpId, stamp: Stamp) -> bool {
        let news = self.note(op);
        if news {
            self.edits.add(op.origin, 1);
            self.updated = self.updated.max(stamp);
        }
        news
    }

    /// Applies a `Store` of an id that is here already; says whether it was new.
    pub fn store_again(&mut self, op: &Op, new: &NewMemory) -> bool {
        if !self.touch(op.id, op.stamp()) {
            return false;
        }
        let mut fresh = Self::create(op, new);
        // Counted above; a slot is joined by maximum, which would lose one of two edits.
        fresh.edits = Counter::default();
        self.join(fresh);
        true
    }

    /// Applies an update; says whether it was new.
    pub fn update(&mut self, op: &Op, body: &UpdateBody) -> bool {
        let stamp = op.stamp();
        if !self.touch(op.id, stamp) {
            return false;
        }
        let patch = &body.patch;
        offer(&mut self.title, &patch.title, stamp);
        offer(&mut self.content, &patch.content, stamp);
        offer(&mut self.priority, &patch.priority, stamp);
        offer(&mut self.confidence_permille, &patch.confidence_permille, stamp);
        offer(&mut self.source, &patch.source, stamp);
        offer(&mut self.kind, &patch.kind, stamp);
        offer(&mut self.scope, &patch.scope, stamp);
        offer(&mut self.metadata, &patch.metadata, stamp);
        offer(&mut self.validity, &patch.validity, stamp);
        offer(&mut self.legal_hold, &patch.legal_hold, stamp);
        offer(&mut self.pii_flags, &patch.pii_flags, stamp);
        if let Some(tier) = patch.tier {
            self.tier.set(tier, stamp);
        }
        if let Some(expires_at_ms) = patch.expires_at_ms {
            self.expiry.set(Expiry(expires_at_ms), stamp);
        }
        if let Some(embedding) = &patch.embedding {
            self.embedding.offer(Some(embedding.clone()), stamp);
        } else if patch.content.is_some() || patch.title.is_some() {
            // A supplied vector describes the text it came with, not a later one.
            self.embedding.offer(None, stamp);
        }
        self.tags.remove(body.removed_dots.iter().cloned());
        for tag in &patch.add_tags {
            self.tags.add(tag.clone(), op.id);
        }
        self.erase_if_deleted();
        true
    }

    /// Applies a promotion by a person (`automatic` false) or by repeated access; says whether it
    /// was new.
    pub fn promote(
        &mut self,
        op: &Op,
        tier: Tier,
        automatic: bool,
        expires_at_ms: Option<u64>,
    ) -> bool {
        let stamp = op.stamp();
        if !self.touch(op.id, stamp) {
            return false;
        }
        if automatic {
            self.tier.raise(tier, stamp);
            self.expiry.raise(Expiry(expires_at_ms), stamp);
        } else {
            self.tier.set(tier, stamp);
            self.expiry.set(Expiry(expires_at_ms), stamp);
        }
        true
    }

    /// Moves the record into the archive or back; says whether the operation was new.
    pub fn set_life(&mut self, op: &Op, life: Life) -> bool {
        let news = self.touch(op.id, op.stamp());
        if news {
            self.life.offer(life, op.stamp());
        }
        news
    }

    /// Turns the record into a tombstone; says whether the operation was new.
    pub fn delete(&mut self, op: &Op) -> bool {
        let news = self.touch(op.id, op.stamp());
        if news {
            self.deleted = self.deleted.max(Some(op.stamp()));
            self.erase_if_deleted();
        }
        news
    }

    /// Counts recalls; says whether the operation was new. Not an edit: the version stays.
    pub fn access(&mut self, op: &Op, count: u32, at_ms: u64) -> bool {
        let news = self.note(op.id);
        if news {
            self.accesses.add(op.id.origin, u64::from(count));
            self.last_accessed_ms = self.last_accessed_ms.max(at_ms);
        }
        news
    }

    /// Joins two copies of one record.
    pub fn join(&mut self, other: Record) {
        if other.created < self.created {
            self.namespace = other.namespace;
            self.author = other.author;
            self.created = other.created;
            self.sources = other.sources;
            self.reflection_depth = other.reflection_depth;
            self.persona_version = other.persona_version;
            self.apart = other.apart;
        }
        self.title.join(other.title);
        self.content.join(other.content);
        self.tier.join(other.tier);
        self.tags.join(&other.tags);
        self.priority.join(other.priority);
        self.confidence_permille.join(other.confidence_permille);
        self.source.join(other.source);
        self.kind.join(other.kind);
        self.scope.join(other.scope);
        self.metadata.join(other.metadata);
        self.expiry.join(other.expiry);
        self.validity.join(other.validity);
        self.legal_hold.join(other.legal_hold);
        self.pii_flags.join(other.pii_flags);
        self.embedding.join(other.embedding);
        self.life.join(other.life);
        self.deleted = self.deleted.max(other.deleted);
        self.accesses.join(&other.accesses);
        self.last_accessed_ms = self.last_accessed_ms.max(other.last_accessed_ms);
        self.edits.join(&other.edits);
        self.vector.join(&other.vector);
        self.updated = self.updated.max(other.updated);
        self.erase_if_deleted();
    }

    /// Keeps `REC-5`, whichever of a deletion and a text came first.
    fn erase_if_deleted(&mut self) {
        if self.deleted.is_none() {
            return;
        }
        self.title.value = Title::erased();
        self.content.value = Content::default();
        self.tags = Tags::default();
        self.source.value = String::new();
        self.metadata.value = Metadata::empty();
        self.pii_flags.value = BTreeSet::new();
        self.embedding.value = None;
    }
}

fn offer<T: Clone>(register: &mut Register<T>, value: &Option<T>, stamp: Stamp) {
    if let Some(value) = value {
        register.offer(value.clone(), stamp);
    }
}

/// Merges metadata key by key: fields of `newer` win (used when a store meets its own title again).
pub fn merge_metadata(older: &Metadata, newer: &Metadata) -> Metadata {
    let fields = |m: &Metadata| match m.to_value() {
        serde_json::Value::Object(fields) => fields.into_iter().collect::<BTreeMap<_, _>>(),
        _ => BTreeMap::new(),
    };
    let mut merged = fields(older);
    merged.extend(fields(newer));
    let value = serde_json::Value::Object(merged.into_iter().collect());
    // Over the size limit the newer object alone is kept: it was valid by itself.
    Metadata::try_from(&value).unwrap_or_else(|_| newer.clone())
}

#[cfg(test)]
mod tests;
