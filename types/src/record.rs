//! The memory record as replicas keep it: a join of fields.
//!
//! Invariants: `REC-1` [`Record::join`] is commutative, associative and idempotent; `REC-2` applying
//! the same operations in any causal order gives the same record; `REC-3` a deleted record stays
//! deleted whatever arrives; `REC-4` an automatic promotion never lowers a tier.
//!
//! Not here: the view of records that share a namespace and title, and storage.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    AgentId, Audience, Content, Kind, MemoryId, Metadata, Namespace, NewMemory, OpId, Scope, Tag,
    Tier, Title, VersionVector,
    counter::Counter,
    memory::{Embedding, Validity},
    op::{Op, UpdateBody},
    register::{Register, Stamp},
    tags::Tags,
};

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

/// A memory with everything replication needs.
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
    /// How long it lives by default.
    pub tier: Register<Tier>,
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
    /// When it expires, Unix milliseconds.
    pub expires_at_ms: Register<Option<u64>>,
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
    /// Live or archived.
    pub life: Register<Life>,
    /// Deleted for good: a tombstone. The greatest deletion seen.
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
            tier: Register::new(new.tier, stamp),
            tags,
            priority: Register::new(new.priority, stamp),
            confidence_permille: Register::new(new.confidence_permille, stamp),
            source: Register::new(new.source.clone(), stamp),
            kind: Register::new(new.kind, stamp),
            scope: Register::new((new.scope, new.audience.clone()), stamp),
            metadata: Register::new(new.metadata.clone(), stamp),
            expires_at_ms: Register::new(new.expires_at_ms, stamp),
            validity: Register::new(new.validity, stamp),
            legal_hold: Register::new(new.legal_hold, stamp),
            pii_flags: Register::new(new.pii_flags.clone(), stamp),
            embedding: Register::new(new.embedding.clone(), stamp),
            sources: new.sources.clone(),
            reflection_depth: new.reflection_depth,
            persona_version: new.persona_version,
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

    /// Whether the record is neither archived nor deleted.
    pub fn is_live(&self) -> bool {
        self.deleted.is_none() && self.life.value == Life::Live
    }

    fn touch(&mut self, op: OpId, stamp: Stamp) {
        self.edits.add(op.origin, 1);
        self.vector.raise(op.origin, op.seq);
        self.updated = self.updated.max(stamp);
    }

    /// Applies an update. The caller applies each operation once.
    pub fn update(&mut self, op: &Op, body: &UpdateBody) {
        let stamp = op.stamp();
        let patch = &body.patch;
        offer(&mut self.title, &patch.title, stamp);
        offer(&mut self.content, &patch.content, stamp);
        offer(&mut self.tier, &patch.tier, stamp);
        offer(&mut self.priority, &patch.priority, stamp);
        offer(&mut self.confidence_permille, &patch.confidence_permille, stamp);
        offer(&mut self.source, &patch.source, stamp);
        offer(&mut self.kind, &patch.kind, stamp);
        offer(&mut self.scope, &patch.scope, stamp);
        offer(&mut self.metadata, &patch.metadata, stamp);
        offer(&mut self.expires_at_ms, &patch.expires_at_ms, stamp);
        offer(&mut self.validity, &patch.validity, stamp);
        offer(&mut self.legal_hold, &patch.legal_hold, stamp);
        offer(&mut self.pii_flags, &patch.pii_flags, stamp);
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
        self.touch(op.id, stamp);
    }

    /// Applies a promotion by a person (`automatic` false) or by repeated access.
    pub fn promote(&mut self, op: &Op, tier: Tier, automatic: bool, expires_at_ms: Option<u64>) {
        if automatic && tier <= self.tier.value {
            return;
        }
        self.tier.offer(tier, op.stamp());
        self.expires_at_ms.offer(expires_at_ms, op.stamp());
        self.touch(op.id, op.stamp());
    }

    /// Moves the record into the archive or back.
    pub fn set_life(&mut self, op: &Op, life: Life) {
        self.life.offer(life, op.stamp());
        self.touch(op.id, op.stamp());
    }

    /// Turns the record into a tombstone.
    pub fn delete(&mut self, op: &Op) {
        self.deleted = self.deleted.max(Some(op.stamp()));
        self.touch(op.id, op.stamp());
    }

    /// Counts recalls. Not an edit: the version stays.
    pub fn access(&mut self, op: &Op, count: u32, at_ms: u64) {
        self.accesses.add(op.id.origin, u64::from(count));
        self.last_accessed_ms = self.last_accessed_ms.max(at_ms);
        self.vector.raise(op.id.origin, op.id.seq);
    }

    /// Joins two copies of one record.
    pub fn join(&mut self, other: Record) {
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
        self.expires_at_ms.join(other.expires_at_ms);
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
