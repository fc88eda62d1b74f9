//! Forgetting, and what can be done with what was forgotten.
//!
//! Invariant: a dry run has no receipt, because nothing was written.
//!
//! Not here: deleting a single memory (`write`).

use std::sync::Arc;

use types::{Invalid, Reason, Tier};
use wire::v1;

use super::super::{
    auth::{reading, writing},
    convert::{
        filter, list as page, memory, memory_change, receipt, selector, some_count, some_text,
        time_in, word,
    },
};
use crate::node::{
    model::write::{ForgetInput, PurgeInput},
    service::{Caller, Reply, Service},
};

pub(super) async fn forget(
    service: Arc<Service>,
    caller: Caller,
    request: v1::ForgetRequest,
) -> Reply<v1::ForgetResponse> {
    let caller = writing(caller, request.write)?;
    let (namespace, mode) = selector(request.namespace)
        .ok_or_else(|| Invalid::new("namespace", "is required: exactly or within"))?;
    let input = ForgetInput {
        namespace,
        namespace_mode: Some(mode.to_owned()),
        title: some_text(request.title_glob),
        tier: word::<Tier>(request.tier)?,
        reason: some_text(request.reason),
        limit: some_count(request.limit),
        dry_run: Some(request.dry_run),
    };
    let written = service.forget(&caller, input).await?;
    let mut memories = Vec::with_capacity(written.result.ids.len());
    for id in &written.result.ids {
        match service.get(&caller, id).await {
            Ok(found) => memories.push(memory(found)),
            // Purged by someone else since.
            Err(refusal) if refusal.reason == Reason::NotFound => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let receipt = receipt(written.durability, written.replayed, written.warnings);
    Ok(v1::ForgetResponse { memories, receipt: receipt.filter(|_| !request.dry_run) })
}

pub(super) async fn list(
    service: Arc<Service>,
    caller: Caller,
    request: v1::ArchiveListRequest,
) -> Reply<v1::ArchiveListResponse> {
    let input = page(request.filter, request.page_size, request.page_token)?;
    reading(&service, &caller, request.read).await?;
    let page = service.list(&caller, &input, true).await?;
    Ok(v1::ArchiveListResponse {
        memories: page.items.into_iter().map(memory).collect(),
        next_page_token: page.next.unwrap_or_default(),
    })
}

pub(super) async fn restore(
    service: Arc<Service>,
    caller: Caller,
    request: v1::RestoreRequest,
) -> Reply<v1::RestoreResponse> {
    let caller = writing(caller, request.write)?;
    let written = service.restore(&caller, &request.id).await?;
    Ok(v1::RestoreResponse {
        change: Some(memory_change(written.result)),
        receipt: receipt(written.durability, written.replayed, written.warnings),
    })
}

pub(super) async fn purge(
    service: Arc<Service>,
    caller: Caller,
    request: v1::PurgeRequest,
) -> Reply<v1::PurgeResponse> {
    let caller = writing(caller, request.write)?;
    let place = v1::MemoryFilter { namespace: request.namespace, ..Default::default() };
    let input = PurgeInput {
        ids: request.ids,
        archived_before: time_in("archived_before", request.archived_before.as_ref())?,
        filter: filter(Some(place))?,
        reason: some_text(request.reason),
        dry_run: Some(request.dry_run),
    };
    let written = service.purge_many(&caller, input).await?;
    let receipt = receipt(written.durability, written.replayed, written.warnings);
    Ok(v1::PurgeResponse { ids: written.result.ids, receipt: receipt.filter(|_| !request.dry_run) })
}
