//! Deleting archived memories for good.
//!
//! Invariants: only what is archived is taken; nothing is deleted without `dry_run: false` in so many
//! words; memories named by id go together or not at all.
//!
//! Not here: retention by age that nobody asked for (`upkeep`).

use runtime::clock;
use storage::{
    answer::{MemoryView, WriteReceipt},
    request::{Intent, ListQuery, Reader},
};
use types::{
    Invalid, Reason, Reject,
    ids::IdRef,
    limits::{BULK_MAX, PAGE_MAX},
};

use super::{
    Caller, Reply, Service, memories, reject,
    write::{Asked, Plan},
};
use crate::node::model::{
    Written, time,
    write::{MemoryRef, PurgeInput, PurgeResult},
};

/// The reason recorded when none is given.
const PURGED: &str = "purged from the archive";

/// What was chosen; what was restored or edited meanwhile is not that.
fn delete(memory: &MemoryView, why: &str) -> Intent {
    Intent::Delete {
        id: IdRef::Full(memory.id),
        reason: why.to_owned(),
        expected_version: Some(memory.version),
    }
}

fn purged(mut ids: Vec<String>, receipt: &WriteReceipt) -> Reply<PurgeResult> {
    let mut done = receipt.results.iter().map(Result::is_ok);
    ids.retain(|_| done.next().unwrap_or(false));
    Ok(PurgeResult { dry_run: false, ids })
}

fn ids_of(memories: &[MemoryView]) -> Vec<String> {
    memories.iter().map(|memory| memory.id.to_string()).collect()
}

impl Service {
    /// Deletes an archived memory for good.
    ///
    /// # Errors
    /// As [`Service::delete`]; `failed_precondition` when it is not archived.
    pub async fn purge(&self, caller: &Caller, id: &str) -> Reply<Written<MemoryRef>> {
        let asked = Asked::new(caller, "purge_one", &id)?;
        let plan = async {
            let found = self.purgeable_by_id(caller, &[id.to_owned()]).await?;
            Ok(Plan::all(found.iter().map(|memory| delete(memory, PURGED)).collect()))
        };
        self.change(asked, plan).await
    }

    /// Deletes archived memories for good, by id or by age; at most 1000 per call.
    ///
    /// # Errors
    /// `not_found`, `failed_precondition` when one is not archived, `legal_hold`, `forbidden`,
    /// `invalid_argument`.
    pub async fn purge_many(
        &self,
        caller: &Caller,
        input: PurgeInput,
    ) -> Reply<Written<PurgeResult>> {
        let why = memories::reason(input.reason.clone(), PURGED)?;
        if input.dry_run.unwrap_or(true) {
            let ids = ids_of(&self.purgeable(caller, &input).await?);
            let durability = Self::unchanged(self.watch_start());
            let result = PurgeResult { dry_run: true, ids };
            return Ok(Written::new(result, durability, false, Vec::new()));
        }
        let asked = Asked::new(caller, "purge", &input)?;
        let plan = async {
            let found = self.purgeable(caller, &input).await?;
            let intents = found.iter().map(|memory| delete(memory, &why)).collect();
            Ok(Plan { intents, atomic: !input.ids.is_empty(), note: ids_of(&found) })
        };
        self.mutate(asked, plan, purged).await
    }

    async fn purgeable(&self, caller: &Caller, input: &PurgeInput) -> Reply<Vec<MemoryView>> {
        match (!input.ids.is_empty(), &input.archived_before) {
            (true, None) => self.purgeable_by_id(caller, &input.ids).await,
            (false, Some(before)) => self.purgeable_by_age(caller, input, before).await,
            (true, Some(_)) => {
                Err(Invalid::new("archived_before", "give ids or this, not both").into())
            }
            (false, None) => {
                Err(Invalid::new("ids", "name memories, or give archived_before").into())
            }
        }
    }

    async fn purgeable_by_id(&self, caller: &Caller, ids: &[String]) -> Reply<Vec<MemoryView>> {
        if ids.len() > BULK_MAX {
            return Err(Reject::new(
                Reason::TooLarge,
                format!(
                    "ids: at most {BULK_MAX} of them, got {}; send several requests",
                    ids.len()
                ),
            )
            .with("field", "ids"));
        }
        let reader = Reader::Agent(&caller.viewer);
        let mut found: Vec<MemoryView> = Vec::with_capacity(ids.len());
        for id in ids {
            let view = self.store.get(reader, id.parse()?, clock::now_unix_ms()).await;
            let view = view.map_err(reject)?;
            if view.archived_reason.is_none() {
                return Err(Reject::new(
                    Reason::FailedPrecondition,
                    format!(
                        "memory {} is not archived; forget or archive it first, or delete it",
                        view.id
                    ),
                )
                .with("id", view.id));
            }
            if !found.iter().any(|known| known.id == view.id) {
                found.push(view);
            }
        }
        Ok(found)
    }

    /// Archiving is an edit, so what was last edited before an instant was archived before it.
    async fn purgeable_by_age(
        &self,
        caller: &Caller,
        input: &PurgeInput,
        before: &str,
    ) -> Reply<Vec<MemoryView>> {
        let before_ms = time::from_text("archived_before", before)?;
        let mut filter = input.filter.to_filter()?;
        filter.include_invalid = true;
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let query = ListQuery {
                filter: filter.clone(),
                archived: true,
                after,
                limit: PAGE_MAX,
                now_ms: clock::now_unix_ms(),
            };
            let page = self.store.list(Reader::Agent(&caller.viewer), query).await;
            let page = page.map_err(reject)?;
            let old = page.items.into_iter().filter(|m| m.updated_at_ms < before_ms);
            found.extend(old.take(BULK_MAX - found.len()));
            match page.next {
                Some(next) if found.len() < BULK_MAX => after = Some(next),
                _ => return Ok(found),
            }
        }
    }
}
