//! Storing a memory: a new one, or folded into the author's own of the same title.
//!
//! Invariants: `STM-1` an id is used once, by a tombstone too; `STM-2` a merge is one operation and
//! keeps the number of tags within its limit; `STM-3` a reflection is deeper than all its sources, and they
//! are visible to its author.
//!
//! Not here: changes by id (`change_memory`).

use std::collections::BTreeSet;

use types::{
    Kind, MemoryId, NewMemory, Patch, Payload, Reason, Record, Reject, Tag,
    limits::TAGS_MAX,
    memory::Embedding,
    op::UpdateBody,
    record::{Expiry, merge_metadata, view::folds},
};

use super::{
    group::{Done, Group, Terms},
    overlay::Entry,
    prepare::Indexed,
    quota::Charge,
};
use crate::{answer::Applied, request::OnConflict, rows::row};

/// Bytes that a quota counts.
pub(crate) fn quota_bytes(title: &str, content: &str) -> u64 {
    (title.len() + content.len()) as u64
}

/// Whether somebody has a title already.
#[derive(Clone, Copy)]
enum Same {
    /// Nobody.
    None,
    /// Only what has expired and was not archived yet.
    Expired,
    /// This memory.
    Live(MemoryId),
}

impl Group<'_> {
    /// Stores a memory.
    pub(crate) fn store(
        &mut self,
        terms: &Terms,
        mut new: NewMemory,
        on_conflict: OnConflict,
        indexed: Option<Box<Indexed>>,
    ) -> Done<Applied> {
        new.check()?;
        self.check_embedding(new.embedding.as_ref())?;
        let title_key =
            row::title_key(&new.namespace, &terms.viewer.agent, &new.audience, &new.title);
        new.apart = on_conflict == OnConflict::New;
        let titled = match new.apart {
            true => Vec::new(),
            false => self.overlay.titled(self.connection, title_key)?,
        };
        let lone = titled.is_empty();
        let same = self.same_title(terms, &new, titled)?;
        // What has expired is not shown again with what takes its title.
        new.apart |= matches!(same, Same::Expired);
        if let Same::Live(id) = same {
            return match on_conflict {
                OnConflict::Error => {
                    let detail =
                        format!("memory {id} has this title; change it, or store with merge");
                    Err(Reject::new(Reason::AlreadyExists, detail).with("id", id).into())
                }
                _ => self.merge(terms, id, new),
            };
        }
        if self.overlay.is_taken(self.connection, new.id)? {
            let detail = format!("id {} is in use; ids are never used twice", new.id);
            return Err(Reject::new(Reason::AlreadyExists, detail).with("id", new.id).into());
        }
        new.reflection_depth = self.reflection_depth(terms, &new)?;
        let bytes_after = quota_bytes(new.title.as_str(), new.content.as_str());
        let charge = Charge { memories: 1, bytes_after, ..Charge::default() };
        self.charge(terms, &terms.viewer.agent, &new.namespace, charge)?;
        let id = new.id;
        let op = self.operation(terms, Payload::Store(Box::new(new)))?;
        let Payload::Store(new) = &op.payload else { unreachable!("it was made a line above") };
        let record = Record::create(&op, new);
        let version = record.version();
        self.head.row += 1;
        let entry = Entry::fresh(self.head.row, self.head.position, record);
        self.overlay.create(title_key, Entry { lone, indexed, ..entry });
        Ok(Applied::Memory { id, version, merged: false })
    }

    /// The author's live memory with this namespace, title and audience; the one with the smallest id if there are several.
    fn same_title(&mut self, terms: &Terms, new: &NewMemory, titled: Vec<MemoryId>) -> Done<Same> {
        if !folds(new.kind) {
            return Ok(Same::None);
        }
        let mut same = Same::None;
        for id in titled {
            let record = self.shown(id)?;
            let expired = record.expires_at_ms().is_some_and(|at| at <= terms.now_ms);
            let is_same = record.is_live()
                && folds(record.kind.value)
                && record.author == terms.viewer.agent
                && record.namespace == new.namespace
                && record.scope.value.1 == new.audience
                && record.title.value == new.title;
            same = match same {
                _ if !is_same => same,
                Same::Live(first) if expired || first < id => same,
                _ if expired => Same::Expired,
                _ => Same::Live(id),
            };
        }
        Ok(same)
    }

    /// Folds `new` into the memory `id`.
    fn merge(&mut self, terms: &Terms, id: MemoryId, new: NewMemory) -> Done<Applied> {
        self.guard(terms, id, None)?;
        let (kind, has_peers) = (new.kind, self.config.has_peers);
        let record = self.shown(id)?;
        let mut patch = fold(&record, new)?;
        if patch.is_empty() && has_peers {
            // Others may not have what is here already: with this they do, or it is not acknowledged.
            patch.kind = Some(kind);
        }
        if patch.is_empty() {
            let version = record.version();
            return Ok(Applied::Memory { id, version, merged: true });
        }
        drop(record);
        self.charge_change(terms, id, &patch)?;
        let text_changed = patch.content.is_some() || !patch.add_tags.is_empty();
        let embedding_changed = patch.embedding.is_some();
        let body = UpdateBody { id, patch, removed_dots: Vec::new() };
        let op = self.operation(terms, Payload::Update(Box::new(body)))?;
        self.apply(id, &op, text_changed || embedding_changed);
        let version = self.shown(id)?.version();
        Ok(Applied::Memory { id, version, merged: true })
    }

    /// One more than the deepest source; 0 for what is no reflection.
    fn reflection_depth(&mut self, terms: &Terms, new: &NewMemory) -> Done<u8> {
        if new.kind != Kind::Reflection {
            return Ok(0);
        }
        if new.sources.contains(&new.id) {
            return Err(Reject::new(Reason::Cycle, "a reflection cannot be its own source").into());
        }
        let mut deepest = 0;
        for source in &new.sources {
            let id = self.seen(terms, &types::ids::IdRef::Full(*source))?;
            deepest = deepest.max(self.entry(id)?.record.reflection_depth);
        }
        let depth = deepest.saturating_add(1);
        if depth > terms.reflection_depth_max {
            let most = terms.reflection_depth_max;
            let detail =
                format!("the reflection would be {depth} deep; at most {most} is allowed here");
            return Err(Reject::new(Reason::ReflectionDepth, detail)
                .with("depth", depth)
                .with("limit", most)
                .into());
        }
        Ok(depth)
    }

    /// Refuses a supplied vector of another space.
    pub(crate) fn check_embedding(&self, embedding: Option<&Embedding>) -> Done<()> {
        let Some(given) = embedding else { return Ok(()) };
        let space = &self.config.space;
        let fits = given.model == space.model
            && given.version == space.version
            && given.values.len() == usize::from(space.dimension);
        if fits {
            return Ok(());
        }
        let detail = format!(
            "the vector is of {} {} with {} components; this store uses {} {} with {}",
            given.model,
            given.version,
            given.values.len(),
            space.model,
            space.version,
            space.dimension
        );
        Err(Reject::new(Reason::EmbeddingMismatch, detail)
            .with("model", &space.model)
            .with("version", &space.version)
            .with("dimension", space.dimension)
            .into())
    }
}

/// What storing `new` on top of `record` changes: newest content, union of tags, greater tier and
/// priority, later expiry, metadata key by key.
pub(super) fn fold(record: &Record, new: NewMemory) -> Result<Patch, Reject> {
    let have: BTreeSet<Tag> = record.tags.iter().cloned().collect();
    let add_tags: BTreeSet<Tag> = new.tags.difference(&have).cloned().collect();
    check_tags(have.len() + add_tags.len())?;
    let metadata = merge_metadata(&record.metadata.value, &new.metadata);
    let mut pii_flags = record.pii_flags.value.clone();
    pii_flags.extend(new.pii_flags);
    let expiry = Expiry(new.expires_at_ms).max(record.expiry.value());
    // Fields that stay as they are stay out of the patch, so a concurrent change of them survives.
    Ok(Patch {
        content: changed(new.content, &record.content.value),
        tier: changed(new.tier.max(record.tier()), &record.tier()),
        add_tags,
        priority: changed(new.priority.max(record.priority.value), &record.priority.value),
        confidence_permille: changed(new.confidence_permille, &record.confidence_permille.value),
        source: changed(new.source, &record.source.value).filter(|source| !source.is_empty()),
        kind: changed(new.kind, &record.kind.value),
        metadata: changed(metadata, &record.metadata.value),
        expires_at_ms: changed(expiry.0, &record.expires_at_ms()),
        validity: changed(new.validity, &record.validity.value)
            .filter(|validity| *validity != types::memory::Validity::default()),
        legal_hold: changed(new.legal_hold || record.legal_hold.value, &record.legal_hold.value),
        pii_flags: changed(pii_flags, &record.pii_flags.value),
        embedding: new.embedding.filter(|given| record.embedding.value.as_ref() != Some(given)),
        ..Patch::default()
    })
}

fn changed<T: PartialEq>(new: T, old: &T) -> Option<T> {
    (new != *old).then_some(new)
}

/// Refuses more tags than a memory may have.
pub(crate) fn check_tags(count: usize) -> Result<(), Reject> {
    if count <= TAGS_MAX {
        return Ok(());
    }
    let detail = format!("the memory would have {count} tags; at most {TAGS_MAX}");
    Err(types::Invalid::new("tags", detail).into())
}
