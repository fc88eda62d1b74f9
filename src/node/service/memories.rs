//! Writing memories: store, bulk, update, promote, delete, archive, restore, consolidate.
//!
//! Invariant: a batch answers one result per item, in the order of the items.
//!
//! Not here: reading (`reads`), links (`links`), and destroying many (`forget`, `purge`).

use runtime::{clock, random};
use storage::{
    answer::WriteReceipt,
    request::{Intent, OnConflict, Reader},
};
use types::{
    Invalid, LinkId, MemoryId, NewMemory, Patch, Reason, Reject, Relation, Tier,
    ids::IdRef,
    limits::{BULK_MAX, REASON_BYTES_MAX},
    link::NewLink,
    memory::Validity,
};

use super::{
    Caller, Reply, Service, reject,
    write::{Asked, Plan, memory_ref},
};
use crate::node::model::{
    MemoryDraft, MemoryPatch, Written,
    memory::DraftContext,
    write::{BulkInput, BulkResult, ConsolidateInput, ItemError, ItemResult, MemoryRef},
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
        let asked = Asked::new(caller, "store", &input)?;
        let plan = async { Ok(Plan::one(self.store_intent(caller, input)?)) };
        self.change(asked, plan).await
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
        let asked = Asked::new(caller, "bulk_store", &input)?;
        self.mutate(asked, async { self.plan_bulk(caller, input) }, bulk_result).await
    }

    /// Notes for each item why it was refused before the store saw it.
    fn plan_bulk(&self, caller: &Caller, input: BulkInput) -> Reply<Plan<Vec<Option<ItemError>>>> {
        let BulkInput { memories, atomic } = input;
        let mut intents = Vec::with_capacity(memories.len());
        let mut refused: Vec<Option<Reject>> = Vec::with_capacity(memories.len());
        for (at, draft) in memories.into_iter().enumerate() {
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
        let note = refused.iter().map(|refusal| refusal.as_ref().map(ItemError::from)).collect();
        Ok(Plan { intents, atomic, note })
    }

    /// Changes fields of a memory the caller may see.
    ///
    /// # Errors
    /// `not_found`, `ambiguous_prefix`, `version_conflict`, `forbidden`, `invalid_argument`.
    pub async fn update(
        &self,
        caller: &Caller,
        id: &str,
        mut input: MemoryPatch,
    ) -> Reply<Written<MemoryRef>> {
        let asked = Asked::new(caller, "update", &(id, &input))?;
        let plan = async {
            let id: IdRef = id.parse()?;
            let expected_version = input.expected_version;
            if input.tags.is_some() {
                let reader = Reader::Agent(&caller.viewer);
                let now = self.store.get(reader, id.clone(), clock::now_unix_ms()).await;
                input.replace_tags(&now.map_err(reject)?.tags);
            }
            let mut patch = input.into_patch(|scope| self.audience(&caller.viewer, scope))?;
            if let (Some(tier), None) = (patch.tier, patch.expires_at_ms) {
                patch.expires_at_ms = Some(self.settings.expiry(tier, clock::now_unix_ms()));
            }
            Ok(Plan::one(Intent::Update { id, patch: Box::new(patch), expected_version }))
        };
        self.change(asked, plan).await
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
        let asked = Asked::new(caller, "promote", &(id, tier, expected_version))?;
        let plan = async {
            let tier: Tier = tier.parse()?;
            Ok(Plan::one(Intent::Promote {
                id: id.parse()?,
                tier,
                expires_at_ms: self.settings.expiry(tier, clock::now_unix_ms()),
                automatic: false,
                expected_version,
            }))
        };
        self.change(asked, plan).await
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
        let asked = Asked::new(caller, "delete", &(id, &why, expected_version))?;
        let plan = async {
            let reason = reason(why, "deleted on request")?;
            Ok(Plan::one(Intent::Delete { id: id.parse()?, reason, expected_version }))
        };
        self.change(asked, plan).await
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
        let asked = Asked::new(caller, "archive", &(id, &why))?;
        let plan = async {
            let reason = reason(why, "archived on request")?;
            Ok(Plan::one(Intent::Archive { id: id.parse()?, reason }))
        };
        self.change(asked, plan).await
    }

    /// Takes one memory back from the archive. One that had expired gets its tier's lifetime anew,
    /// or it would be gone again at once.
    ///
    /// # Errors
    /// As [`Service::delete`]; `failed_precondition` when it is not archived.
    pub async fn restore(&self, caller: &Caller, id: &str) -> Reply<Written<MemoryRef>> {
        let asked = Asked::new(caller, "restore", &id)?;
        let plan = async {
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
            Ok(Plan::all(intents))
        };
        self.mutate(asked, plan, |(), receipt| memory_ref(receipt.results.last())).await
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
        let asked = Asked::new(caller, "consolidate", &input)?;
        let plan = async { Ok(Plan::all(self.plan_consolidation(caller, input)?)) };
        self.change(asked, plan).await
    }

    fn plan_consolidation(
        &self,
        caller: &Caller,
        input: ConsolidateInput,
    ) -> Result<Vec<Intent>, Invalid> {
        let relation =
            if input.keep_sources { Relation::DerivedFrom } else { Relation::Supersedes };
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
            if !input.keep_sources {
                intents.push(Intent::Archive {
                    id: IdRef::Full(target),
                    reason: format!("consolidated into {id}"),
                });
            }
        }
        Ok(intents)
    }
}

fn bulk_result(refused: Vec<Option<ItemError>>, receipt: &WriteReceipt) -> Reply<BulkResult> {
    let mut applied = receipt.results.iter();
    let items: Vec<ItemResult> = refused
        .into_iter()
        .map(|refusal| match refusal {
            Some(error) => ItemResult { stored: None, error: Some(error) },
            None => item(memory_ref(applied.next())),
        })
        .collect();
    let stored = items.iter().filter(|i| i.stored.is_some()).count() as u32;
    let refused = items.len() as u32 - stored;
    Ok(BulkResult { items, stored, refused })
}

fn item(result: Reply<MemoryRef>) -> ItemResult {
    match result {
        Ok(stored) => ItemResult { stored: Some(stored), error: None },
        Err(refusal) => ItemResult { stored: None, error: Some(ItemError::from(&refusal)) },
    }
}
