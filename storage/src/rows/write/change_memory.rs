//! Changing a memory by its id: fields, tier, archive and deletion.
//!
//! Invariants: `CHG-1` whoever sees a memory may change its fields, tier, links and names; its scope,
//! its legal hold, its archiving and its deletion are its author's and the operator's; `CHG-2` nothing
//! under legal hold is archived or deleted; `CHG-3` a guarded memory is changed only under the same or a
//! later fence, because an earlier one would be overruled everywhere; the operator's changes take the
//! memory's own fence; `CHG-4` who changes one of several records that are shown as one changes what is shown: fields
//! of the one with the smallest id, and of all of them what makes them one, and their end.
//!
//! Not here: storing (`store_memory`), recalls (`others`).

use types::{
    MemoryId, Patch, Payload, Reason, Record, Reject, Tag, Tier, ids::IdRef, op::UpdateBody,
    planted, tags::Dot,
};

use super::{
    group::{Done, Group, Terms},
    quota::Charge,
    store_memory::{check_tags, quota_bytes},
};
use crate::{answer::Applied, rows::row};

/// A change of tier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promotion {
    /// New tier.
    pub(crate) tier: Tier,
    /// Expiry under it, Unix milliseconds.
    pub(crate) expires_at_ms: Option<u64>,
    /// Whether repeated access asked for it.
    pub(crate) automatic: bool,
}

impl Group<'_> {
    /// Changes fields.
    pub(crate) fn update(
        &mut self,
        terms: &Terms,
        id: &IdRef,
        patch: Patch,
        expected_version: Option<u64>,
    ) -> Done<Applied> {
        patch.check()?;
        self.check_embedding(patch.embedding.as_ref())?;
        let id = self.seen(terms, id)?;
        self.guard(terms, id, expected_version)?;
        if patch.scope.is_some() || patch.legal_hold.is_some() {
            self.must_own(terms, id, "its scope and its legal hold")?;
        }
        let members = self.members(id)?;
        let record = self.shown(id)?;
        must_be_live(&record)?;
        let removed_dots: Vec<Dot> =
            patch.remove_tags.iter().flat_map(|tag| record.tags.dots(tag)).cloned().collect();
        let stays =
            |tag: &&Tag| !patch.remove_tags.contains(*tag) && !patch.add_tags.contains(*tag);
        check_tags(record.tags.iter().filter(stays).count() + patch.add_tags.len())?;
        drop(record);
        let text_changed = patch.title.is_some()
            || patch.content.is_some()
            || patch.embedding.is_some()
            || !patch.add_tags.is_empty()
            || !removed_dots.is_empty();
        self.charge_change(terms, id, &patch)?;
        let retitled = patch.title.is_some() || patch.scope.is_some();
        let common = Patch {
            title: patch.title.clone(),
            scope: patch.scope.clone(),
            kind: patch.kind,
            ..Patch::default()
        };
        let body = UpdateBody { id, patch, removed_dots };
        self.change(terms, id, Payload::Update(Box::new(body)), text_changed)?;
        for member in members.iter().filter(|member| **member != id && !common.is_empty()) {
            self.charge_change(terms, *member, &common)?;
            let body = UpdateBody { id: *member, patch: common.clone(), removed_dots: Vec::new() };
            self.change(terms, *member, Payload::Update(Box::new(body)), true)?;
        }
        for member in members.into_iter().filter(|_| retitled) {
            let key = row::key_of(&self.entry(member)?.record);
            self.overlay.retitled(key, member);
        }
        self.memory_applied(id)
    }

    /// Changes the tier.
    pub(crate) fn promote(
        &mut self,
        terms: &Terms,
        id: &IdRef,
        promotion: Promotion,
        expected_version: Option<u64>,
    ) -> Done<Applied> {
        let id = self.seen(terms, id)?;
        self.guard(terms, id, expected_version)?;
        must_be_live(&*self.shown(id)?)?;
        let Promotion { tier, expires_at_ms, automatic } = promotion;
        self.change(terms, id, Payload::Promote { id, tier, automatic, expires_at_ms }, false)?;
        self.memory_applied(id)
    }

    /// Deletes for good.
    pub(crate) fn delete(
        &mut self,
        terms: &Terms,
        id: &IdRef,
        reason: String,
        expected_version: Option<u64>,
    ) -> Done<Applied> {
        let id = self.seen(terms, id)?;
        self.guard(terms, id, expected_version)?;
        self.must_own(terms, id, "its deletion")?;
        self.must_not_be_held(id)?;
        let version = self.shown(id)?.version();
        let mut members = self.members(id)?;
        if planted::is_on("one-of-view-deleted") {
            members.truncate(1);
        }
        let changed = members.len() as u64;
        for id in members {
            let record = &self.entry(id)?.record;
            let (author, namespace) = (record.author.clone(), record.namespace.clone());
            let bytes_before =
                quota_bytes(record.title.value.as_str(), record.content.value.as_str());
            let charge = Charge { bytes_before, ..Charge::default() };
            self.charge(terms, &author, &namespace, charge)?;
            self.change(terms, id, Payload::Delete { id, reason: reason.clone() }, true)?;
        }
        Ok(Applied::Memory { id, version: version + changed, merged: false })
    }

    /// Moves into the archive.
    pub(crate) fn archive(&mut self, terms: &Terms, id: &IdRef, reason: String) -> Done<Applied> {
        let id = self.seen(terms, id)?;
        self.guard(terms, id, None)?;
        self.must_own(terms, id, "its archiving")?;
        self.must_not_be_held(id)?;
        let record = self.shown(id)?;
        must_be_live(&record)?;
        let version = record.version();
        drop(record);
        let members = self.members(id)?;
        let changed = members.len() as u64;
        for id in members {
            self.change(terms, id, Payload::Archive { id, reason: reason.clone() }, true)?;
        }
        Ok(Applied::Memory { id, version: version + changed, merged: false })
    }

    /// Takes back from the archive. What expired before no longer expires: it was asked for again.
    pub(crate) fn restore(&mut self, terms: &Terms, id: &IdRef) -> Done<Applied> {
        let id = self.seen(terms, id)?;
        self.guard(terms, id, None)?;
        self.must_own(terms, id, "its archiving")?;
        let record = &self.entry(id)?.record;
        if record.is_live() {
            let detail = format!("memory {id} is not archived");
            return Err(Reject::new(Reason::FailedPrecondition, detail).into());
        }
        let expired = record.expires_at_ms().is_some_and(|at| at <= terms.now_ms);
        self.change(terms, id, Payload::Restore { id }, true)?;
        let key = row::key_of(&self.entry(id)?.record);
        self.overlay.retitled(key, id);
        if expired {
            let patch = Patch { expires_at_ms: Some(None), ..Patch::default() };
            let body = UpdateBody { id, patch, removed_dots: Vec::new() };
            self.change(terms, id, Payload::Update(Box::new(body)), false)?;
        }
        self.memory_applied(id)
    }

    fn change(
        &mut self,
        terms: &Terms,
        id: MemoryId,
        payload: Payload,
        text_changed: bool,
    ) -> Done<()> {
        let fence = self.shown(id)?.updated.fence;
        let op = if terms.viewer.operator && terms.fence < fence {
            // The operator and the node's upkeep hold no lock; under a smaller fence than the last
            // write's their change would count for nothing.
            self.operation(&Terms { fence, ..terms.clone() }, payload)?
        } else {
            self.operation(terms, payload)?
        };
        self.apply(id, &op, text_changed);
        Ok(())
    }

    fn memory_applied(&mut self, id: MemoryId) -> Done<Applied> {
        let id = self.face(id)?;
        let version = self.shown(id)?.version();
        Ok(Applied::Memory { id, version, merged: false })
    }

    /// Refuses a wrong version and a fence that is too small (`CHG-3`).
    pub(crate) fn guard(
        &mut self,
        terms: &Terms,
        id: MemoryId,
        expected_version: Option<u64>,
    ) -> Done<()> {
        let record = self.shown(id)?;
        let version = record.version();
        if expected_version.is_some_and(|expected| expected != version) {
            let detail = format!("memory {id} is at version {version}; read it again and retry");
            return Err(Reject::new(Reason::VersionConflict, detail)
                .with("current_version", version)
                .into());
        }
        let fence = record.updated.fence;
        if terms.fence < fence && !terms.viewer.operator {
            let detail =
                format!("memory {id} was written under fence {fence}; take the lock again");
            return Err(Reject::new(Reason::FenceTooSmall, detail)
                .with("current_fence", fence)
                .into());
        }
        Ok(())
    }

    /// Charges for the bytes by which a patch makes a memory longer or shorter.
    pub(crate) fn charge_change(&mut self, terms: &Terms, id: MemoryId, patch: &Patch) -> Done<()> {
        if patch.title.is_none() && patch.content.is_none() {
            return Ok(());
        }
        let record = &self.entry(id)?.record;
        let (author, namespace) = (record.author.clone(), record.namespace.clone());
        let (title, content) = (&record.title.value, &record.content.value);
        let bytes_before = quota_bytes(title.as_str(), content.as_str());
        let title = patch.title.as_ref().unwrap_or(title);
        let content = patch.content.as_ref().unwrap_or(content);
        let bytes_after = quota_bytes(title.as_str(), content.as_str());
        let charge = Charge { bytes_before, bytes_after, ..Charge::default() };
        self.charge(terms, &author, &namespace, charge)
    }

    fn must_own(&mut self, terms: &Terms, id: MemoryId, what: &str) -> Done<()> {
        let author = &self.entry(id)?.record.author;
        if terms.viewer.operator || *author == terms.viewer.agent {
            return Ok(());
        }
        let detail = format!("only the author {author} or an operator decides on {what}");
        Err(Reject::new(Reason::Forbidden, detail).into())
    }

    fn must_not_be_held(&mut self, id: MemoryId) -> Done<()> {
        if !self.shown(id)?.legal_hold.value {
            return Ok(());
        }
        let detail = format!("memory {id} is under legal hold; release the hold first");
        Err(Reject::new(Reason::LegalHold, detail).into())
    }
}

fn must_be_live(record: &Record) -> Result<(), Reject> {
    if record.is_live() {
        return Ok(());
    }
    let detail = format!("memory {} is archived; restore it first", record.id);
    Err(Reject::new(Reason::FailedPrecondition, detail))
}
