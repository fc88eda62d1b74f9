//! Deleting many archived memories for good.
//!
//! Invariants: only what is archived is taken; nothing is deleted without `dry_run: false` in so many
//! words; memories named by id go together or not at all.
//!
//! Not here: retention by age that nobody asked for (`upkeep`).

use runtime::clock;
use storage::{
    answer::MemoryView,
    request::{Intent, ListQuery, Reader},
};
use types::{
    Invalid, Reason, Reject,
    ids::IdRef,
    limits::{BULK_MAX, PAGE_MAX},
};

use super::{
    Caller, Reply, Service, memories, reject,
    write::{Wish, idempotency},
};
use crate::node::model::{
    Written, time,
    write::{PurgeInput, PurgeResult},
};

impl Service {
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
        let idempotency = idempotency(caller, "purge", &input)?;
        let why = memories::reason(input.reason.clone(), "purged from the archive")?;
        let by_id = !input.ids.is_empty();
        let mut found = match (by_id, &input.archived_before) {
            (true, None) => self.purgeable_by_id(caller, &input.ids).await?,
            (false, Some(before)) => self.purgeable_by_age(caller, &input, before).await?,
            (true, Some(_)) => {
                return Err(Invalid::new("archived_before", "give ids or this, not both").into());
            }
            (false, None) => {
                return Err(Invalid::new("ids", "name memories, or give archived_before").into());
            }
        };
        let mut ids: Vec<String> = found.iter().map(|m| m.id.to_string()).collect();
        let dry_run = input.dry_run.unwrap_or(true);
        if dry_run || found.is_empty() {
            let durability = Self::durability(self.watch_start()).into();
            return Ok(Written {
                result: PurgeResult { dry_run, ids },
                durability,
                replayed: false,
            });
        }
        let intents = found
            .drain(..)
            .map(|m| Intent::Delete {
                id: IdRef::Full(m.id),
                reason: why.clone(),
                // What was restored or edited meanwhile is not what was chosen.
                expected_version: Some(m.version),
            })
            .collect();
        let receipt = self.commit(caller, Wish { intents, atomic: by_id, idempotency }).await?;
        if by_id && let Some(refusal) = receipt.results.iter().find_map(|r| r.as_ref().err()) {
            return Err(refusal.clone());
        }
        let mut done = receipt.results.iter().map(Result::is_ok);
        ids.retain(|_| done.next().unwrap_or(false));
        Ok(Self::written(&receipt, PurgeResult { dry_run, ids }))
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
                    format!("memory {} is not archived; forget it first, or delete it", view.id),
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
