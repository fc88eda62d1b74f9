//! Archiving what a pattern names.
//!
//! Invariants: nothing is archived without `dry_run: false` in so many words; forgetting archives
//! with a reason before anything can be purged; a dry run writes nothing, so no key remembers it.
//!
//! Not here: deleting for good (`purge`).

use runtime::clock;
use storage::{
    answer::{MemoryView, WriteReceipt},
    request::{ForgetQuery, Intent, NamespaceFilter, Reader},
};
use types::{Invalid, ids::IdRef, limits::PAGE_MAX};

use super::{
    Caller, Reply, Service,
    memories::reason,
    reject,
    write::{Asked, Plan},
};
use crate::node::model::{
    Written,
    filter::page_limit,
    write::{ForgetInput, ForgetResult},
};

fn query(input: &ForgetInput, at_most: usize) -> Result<ForgetQuery, Invalid> {
    let namespace = input.namespace.parse()?;
    Ok(ForgetQuery {
        namespace: match input.namespace_mode.as_deref().unwrap_or("exact") {
            "exact" => NamespaceFilter::Exactly(namespace),
            "within" => NamespaceFilter::Within(namespace),
            other => {
                return Err(Invalid::new(
                    "namespace_mode",
                    format!("unknown value {other:?}; use exact or within"),
                ));
            }
        },
        title_glob: input.title.clone(),
        tier: input.tier.as_deref().map(str::parse).transpose()?,
        limit: at_most as u32 + 1,
        now_ms: clock::now_unix_ms(),
    })
}

impl Service {
    /// Archives what a pattern names, or says what it would archive.
    ///
    /// # Errors
    /// `invalid_argument`; per-item refusals leave the item out.
    pub async fn forget(
        &self,
        caller: &Caller,
        input: ForgetInput,
    ) -> Reply<Written<ForgetResult>> {
        let why = reason(input.reason.clone(), "forgotten on request")?;
        if input.dry_run.unwrap_or(true) {
            let (found, more) = self.named(caller, &input).await?;
            let durability = Self::unchanged(self.watch_start());
            let (result, warnings) = (of(&found, true, more), Vec::new());
            return Ok(Written::new(result, durability, false, warnings));
        }
        let asked = Asked::new(caller, "forget", &input)?;
        let plan = async {
            let (found, more) = self.named(caller, &input).await?;
            let archive = |id| Intent::Archive { id: IdRef::Full(id), reason: why.clone() };
            let intents = found.iter().map(|memory| archive(memory.id)).collect();
            Ok(Plan { intents, atomic: false, note: of(&found, false, more) })
        };
        self.mutate(asked, plan, forgotten).await
    }

    /// What the pattern names, and whether there is more than one call takes.
    async fn named(&self, caller: &Caller, input: &ForgetInput) -> Reply<(Vec<MemoryView>, bool)> {
        let at_most = page_limit(Some(input.limit.unwrap_or(PAGE_MAX)), PAGE_MAX)? as usize;
        let query = query(input, at_most)?;
        let found = self.store.forgettable(Reader::Agent(&caller.viewer), query).await;
        let mut found = found.map_err(reject)?;
        let more = found.len() > at_most;
        found.truncate(at_most);
        Ok((found, more))
    }
}

fn of(memories: &[MemoryView], dry_run: bool, more: bool) -> ForgetResult {
    let memories = memories.iter();
    let (ids, titles) = memories.map(|m| (m.id.to_string(), m.title.clone())).unzip();
    ForgetResult { dry_run, ids, titles, more }
}

/// Leaves out what was refused.
fn forgotten(named: ForgetResult, receipt: &WriteReceipt) -> Reply<ForgetResult> {
    let pairs = named.ids.into_iter().zip(named.titles).zip(&receipt.results);
    let (ids, titles) = pairs.filter(|(_, done)| done.is_ok()).map(|(pair, _)| pair).unzip();
    Ok(ForgetResult { ids, titles, ..named })
}
