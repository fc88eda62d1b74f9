//! Writing memories: store, bulk, update, promote, delete, forget, archive, consolidate.
//!
//! Invariants: destroying many needs `dry_run: false` in so many words; forgetting archives with a
//! reason before anything can be purged.
//!
//! Not here: reading (`reads`) and links (`links`).

use runtime::{clock, random};
use storage::request::{ForgetQuery, Intent, NamespaceFilter, OnConflict, Reader};
use types::{
    Invalid, LinkId, MemoryId, NewMemory, Patch, Reason, Reject, Relation, Tier,
    ids::IdRef,
    limits::{BULK_MAX, PAGE_MAX, REASON_BYTES_MAX},
    link::NewLink,
    memory::Validity,
};

use super::{
    Caller, Reply, Service, reject,
    write::{Wish, idempotency, memory_of, memory_ref},
};
use crate::node::model::{
    MemoryDraft, MemoryPatch, Written,
    filter::page_limit,
    memory::DraftContext,
    write::{
        BulkInput, BulkResult, ConsolidateInput, ForgetInput, ForgetResult, ItemError, ItemResult,
        MemoryRef,
    },
};

/// Most memories one `consolidate` replaces.
const CONSOLIDATE_MAX: usize = 100;

fn on_conflict(text: Option<&str>) -> Result<OnConflict, Invalid> {
    match text.unwrap_or("merge") {
        "merge" => Ok(OnConflict::Merge),
        "new" => Ok(OnConflict::New),
        "error" => Ok(OnConflict::Error),
        other => Err(Invalid::new(
            "on_conflict",
            format!("unknown value {other:?}; use merge, new or error"),
        )),
    }
}

/// Checks a free-text reason.
pub(super) fn reason(text: Option<String>, default: &str) -> Result<String, Invalid> {
    let text = text.unwrap_or_else(|| default.to_owned());
    if text.is_empty() || text.len() > REASON_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Invalid::new(
            "reason",
            format!("needs 1 to {REASON_BYTES_MAX} bytes on one line"),
        ));
    }
    Ok(text)
}

impl Service {
    /// Validates a draft into a memory with a fresh id.
    pub(crate) fn draft(&self, caller: &Caller, draft: MemoryDraft) -> Result<NewMemory, Invalid> {
        let now_ms = clock::now_unix_ms();
        let context = DraftContext {
            id: MemoryId(random::uuid_v7(now_ms)),
            default_scope: self.settings.default_scope,
            expiry: &|tier| self.settings.expiry(tier, now_ms),
        };
        draft.into_new(&context, |scope| self.audience(&caller.viewer, scope))
    }

    fn store_intent(&self, caller: &Caller, draft: MemoryDraft) -> Result<Intent, Invalid> {
        let on_conflict = on_conflict(draft.on_conflict.as_deref())?;
        Ok(Intent::Store { memory: Box::new(self.draft(caller, draft)?), on_conflict })
    }

    /// Stores one memory.
    ///
    /// # Errors
    /// `invalid_argument`, `already_exists`, `quota_exceeded`, `idempotency_mismatch`,
    /// `embedding_mismatch`, `reflection_depth_exceeded`, `overloaded`, `storage_full`.
    pub async fn store(&self, caller: &Caller, input: MemoryDraft) -> Reply<Written<MemoryRef>> {
        let idempotency = idempotency(caller, "store", &input)?;
        let intent = self.store_intent(caller, input)?;
        let receipt =
            self.commit(caller, Wish { intents: vec![intent], atomic: true, idempotency }).await?;
        Ok(Self::written(&receipt, memory_of(&receipt)?))
    }

    /// Stores up to 1000 memories. Unless `atomic`, a bad item is refused alone.
    ///
    /// # Errors
    /// As [`Service::store`]; `too_large` over 1000 items.
    pub async fn bulk_store(
        &self,
        caller: &Caller,
        input: BulkInput,
    ) -> Reply<Written<BulkResult>> {
        let count = input.memories.len();
        if count == 0 || count > BULK_MAX {
            return Err(Reject::new(
                Reason::TooLarge,
                format!(
                    "memories: needs 1 to {BULK_MAX} items, got {count}; send several requests"
                ),
            )
            .with("field", "memories"));
        }
        let idempotency = idempotency(caller, "bulk_store", &input)?;
        let atomic = input.atomic;
        let mut intents = Vec::with_capacity(count);
        let mut refused: Vec<Option<Reject>> = Vec::with_capacity(count);
        for (at, draft) in input.memories.into_iter().enumerate() {
            match self.store_intent(caller, draft) {
                Ok(intent) => {
                    intents.push(intent);
                    refused.push(None);
                }
                Err(invalid) if atomic => return Err(Reject::from(invalid).with("item", at)),
                Err(invalid) => refused.push(Some(invalid.into())),
            }
        }
        if intents.is_empty() {
            return Err(refused.into_iter().flatten().next().unwrap_or_else(|| {
                Reject::new(Reason::InvalidArgument, "memories: nothing to store")
            }));
        }
        let receipt = self.commit(caller, Wish { intents, atomic, idempotency }).await?;
        let mut applied = receipt.results.iter();
        let items: Vec<ItemResult> = refused
            .into_iter()
            .map(|refusal| item(refusal.map_or_else(|| memory_ref(applied.next()), Err)))
            .collect();
        let stored = items.iter().filter(|i| i.stored.is_some()).count() as u32;
        let refused = items.len() as u32 - stored;
        Ok(Self::written(&receipt, BulkResult { items, stored, refused }))
    }

    /// Changes fields of a memory the caller may see.
    ///
    /// # Errors
    /// `not_found`, `ambiguous_prefix`, `version_conflict`, `forbidden`, `invalid_argument`.
    pub async fn update(
        &self,
        caller: &Caller,
        id: &str,
        input: MemoryPatch,
    ) -> Reply<Written<MemoryRef>> {
        let idempotency = idempotency(caller, "update", &(id, &input))?;
        let id: IdRef = id.parse()?;
        let expected_version = input.expected_version;
        let mut input = input;
        if input.tags.is_some() {
            let reader = Reader::Agent(&caller.viewer);
            let now = self.store.get(reader, id.clone(), clock::now_unix_ms()).await;
            input.replace_tags(&now.map_err(reject)?.tags);
        }
        let mut patch = input.into_patch(|scope| self.audience(&caller.viewer, scope))?;
        if let (Some(tier), None) = (patch.tier, patch.expires_at_ms) {
            patch.expires_at_ms = Some(self.settings.expiry(tier, clock::now_unix_ms()));
        }
        let intent = Intent::Update { id, patch: Box::new(patch), expected_version };
        let receipt =
            self.commit(caller, Wish { intents: vec![intent], atomic: true, idempotency }).await?;
        Ok(Self::written(&receipt, memory_of(&receipt)?))
    }

    /// Changes the tier, and the expiry with it.
    ///
    /// # Errors
    /// As [`Service::update`].
    pub async fn promote(
        &self,
        caller: &Caller,
        id: &str,
        tier: &str,
        expected_version: Option<u64>,
    ) -> Reply<Written<MemoryRef>> {
        let idempotency = idempotency(caller, "promote", &(id, tier))?;
        let tier: Tier = tier.parse()?;
        let intent = Intent::Promote {
            id: id.parse()?,
            tier,
            expires_at_ms: self.settings.expiry(tier, clock::now_unix_ms()),
            automatic: false,
            expected_version,
        };
        let receipt =
            self.commit(caller, Wish { intents: vec![intent], atomic: true, idempotency }).await?;
        Ok(Self::written(&receipt, memory_of(&receipt)?))
    }

    /// Deletes a memory for good; leaves a tombstone and the audit row.
    ///
    /// # Errors
    /// As [`Service::update`], and `legal_hold`.
    pub async fn delete(
        &self,
        caller: &Caller,
        id: &str,
        why: Option<String>,
        expected_version: Option<u64>,
    ) -> Reply<Written<MemoryRef>> {
        let idempotency = idempotency(caller, "delete", &(id, &why))?;
        let intent = Intent::Delete {
            id: id.parse()?,
            reason: reason(why, "deleted on request")?,
            expected_version,
        };
        let receipt =
            self.commit(caller, Wish { intents: vec![intent], atomic: true, idempotency }).await?;
        Ok(Self::written(&receipt, memory_of(&receipt)?))
    }

    /// Moves one memory into the archive.
    ///
    /// # Errors
    /// As [`Service::delete`].
    pub async fn archive(
        &self,
        caller: &Caller,
        id: &str,
        why: Option<String>,
    ) -> Reply<Written<MemoryRef>> {
        let intent =
            Intent::Archive { id: id.parse()?, reason: reason(why, "archived on request")? };
        let receipt = self.commit(caller, Wish::one(intent)).await?;
        Ok(Self::written(&receipt, memory_of(&receipt)?))
    }

    /// Takes one memory back from the archive. One that had expired gets its tier's lifetime anew,
    /// or it would be gone again at once.
    ///
    /// # Errors
    /// As [`Service::delete`]; `failed_precondition` when it is not archived.
    pub async fn restore(&self, caller: &Caller, id: &str) -> Reply<Written<MemoryRef>> {
        let now_ms = clock::now_unix_ms();
        let reader = Reader::Agent(&caller.viewer);
        let view = self.store.get(reader, id.parse()?, now_ms).await.map_err(reject)?;
        let id = IdRef::Full(view.id);
        let mut intents = vec![Intent::Restore { id: id.clone() }];
        if view.expires_at_ms.is_some_and(|at| at <= now_ms) {
            let expires_at_ms = Some(self.settings.expiry(view.tier, now_ms));
            let patch = Box::new(Patch { expires_at_ms, ..Patch::default() });
            intents.push(Intent::Update { id, patch, expected_version: None });
        }
        let receipt =
            self.commit(caller, Wish { intents, atomic: true, idempotency: None }).await?;
        Ok(Self::written(&receipt, memory_ref(receipt.results.last())?))
    }

    /// Deletes an archived memory for good.
    ///
    /// # Errors
    /// As [`Service::delete`]; `failed_precondition` when it is not archived.
    pub async fn purge(&self, caller: &Caller, id: &str) -> Reply<Written<MemoryRef>> {
        let id_ref: IdRef = id.parse()?;
        let view = self
            .store
            .get(Reader::Agent(&caller.viewer), id_ref, clock::now_unix_ms())
            .await
            .map_err(reject)?;
        if view.archived_reason.is_none() {
            return Err(Reject::new(
                Reason::FailedPrecondition,
                format!(
                    "memory {} is not archived; forget or archive it first, or delete it",
                    view.id
                ),
            ));
        }
        self.delete(
            caller,
            &view.id.to_string(),
            Some("purged from the archive".into()),
            Some(view.version),
        )
        .await
    }

    /// Archives what a pattern names, or says what it would archive.
    ///
    /// # Errors
    /// `invalid_argument`; per-item refusals leave the item out.
    pub async fn forget(
        &self,
        caller: &Caller,
        input: ForgetInput,
    ) -> Reply<Written<ForgetResult>> {
        let idempotency = idempotency(caller, "forget", &input)?;
        let namespace = input.namespace.parse()?;
        let at_most = page_limit(Some(input.limit.unwrap_or(PAGE_MAX)), PAGE_MAX)? as usize;
        let query = ForgetQuery {
            namespace: match input.namespace_mode.as_deref().unwrap_or("exact") {
                "exact" => NamespaceFilter::Exactly(namespace),
                "within" => NamespaceFilter::Within(namespace),
                other => {
                    return Err(Invalid::new(
                        "namespace_mode",
                        format!("unknown value {other:?}; use exact or within"),
                    )
                    .into());
                }
            },
            title_glob: input.title,
            tier: input.tier.as_deref().map(str::parse).transpose()?,
            limit: at_most as u32 + 1,
            now_ms: clock::now_unix_ms(),
        };
        let why = reason(input.reason, "forgotten on request")?;
        let mut found =
            self.store.forgettable(Reader::Agent(&caller.viewer), query).await.map_err(reject)?;
        let more = found.len() > at_most;
        found.truncate(at_most);
        let dry_run = input.dry_run.unwrap_or(true);
        if dry_run || found.is_empty() {
            let position = *self.position.borrow();
            let result = forgotten(dry_run, found.iter().map(|m| (m.id, m.title.as_str())), more);
            return Ok(Written {
                result,
                durability: Self::durability(position).into(),
                replayed: false,
            });
        }
        let intents = found
            .iter()
            .map(|m| Intent::Archive { id: IdRef::Full(m.id), reason: why.clone() })
            .collect();
        let receipt = self.commit(caller, Wish { intents, atomic: false, idempotency }).await?;
        let done = found
            .iter()
            .zip(&receipt.results)
            .filter(|(_, result)| result.is_ok())
            .map(|(m, _)| (m.id, m.title.as_str()));
        Ok(Self::written(&receipt, forgotten(false, done, more)))
    }

    /// Stores one memory in place of several, which it supersedes and which are archived, unless
    /// they are to be kept.
    ///
    /// # Errors
    /// As [`Service::store`] and [`Service::delete`]; nothing changes unless all of it can.
    pub async fn consolidate(
        &self,
        caller: &Caller,
        input: ConsolidateInput,
    ) -> Reply<Written<MemoryRef>> {
        let count = input.ids.len();
        if !(2..=CONSOLIDATE_MAX).contains(&count) {
            return Err(Invalid::new(
                "ids",
                format!("needs 2 to {CONSOLIDATE_MAX} memories, got {count}"),
            )
            .into());
        }
        let idempotency = idempotency(caller, "consolidate", &input)?;
        let keep_sources = input.keep_sources;
        let relation = if keep_sources { Relation::DerivedFrom } else { Relation::Supersedes };
        let new = self.draft(caller, input.into)?;
        let id = new.id;
        let mut intents =
            vec![Intent::Store { memory: Box::new(new), on_conflict: OnConflict::New }];
        for old in &input.ids {
            let target: MemoryId = old.parse()?;
            let link = NewLink {
                id: LinkId(random::uuid_v7(clock::now_unix_ms())),
                source: id,
                target,
                relation,
                validity: Validity::default(),
            };
            intents.push(Intent::Link(link.normalise()?));
            if !keep_sources {
                intents.push(Intent::Archive {
                    id: IdRef::Full(target),
                    reason: format!("consolidated into {id}"),
                });
            }
        }
        let receipt = self.commit(caller, Wish { intents, atomic: true, idempotency }).await?;
        if let Some(refusal) = receipt.results.iter().find_map(|r| r.as_ref().err()) {
            return Err(refusal.clone());
        }
        Ok(Self::written(&receipt, memory_of(&receipt)?))
    }
}

fn item(result: Reply<MemoryRef>) -> ItemResult {
    match result {
        Ok(stored) => ItemResult { stored: Some(stored), error: None },
        Err(refusal) => ItemResult { stored: None, error: Some(ItemError::from(&refusal)) },
    }
}

fn forgotten<'a>(
    dry_run: bool,
    memories: impl Iterator<Item = (MemoryId, &'a str)>,
    more: bool,
) -> ForgetResult {
    let (ids, titles) = memories.map(|(id, title)| (id.to_string(), title.to_owned())).unzip();
    ForgetResult { dry_run, ids, titles, more }
}
