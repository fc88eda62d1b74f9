//! Storing and changing memories.
//!
//! Invariant: every answer carries the receipt of its write.
//!
//! Not here: the archive.

use std::sync::Arc;

use types::{Invalid, Tier};
use wire::v1;

use super::super::{
    auth::writing,
    convert::{
        bulk_result, draft, memory_change, on_conflict, patch, receipt, some_text, time_in, word,
    },
};
use crate::node::{
    model::{
        MemoryPatch,
        write::{BulkInput, ConsolidateInput},
    },
    service::{Caller, Reply, Service},
};

pub(super) async fn store(
    service: Arc<Service>,
    caller: Caller,
    request: v1::StoreRequest,
) -> Reply<v1::StoreResponse> {
    let caller = writing(caller, request.write)?;
    let draft = draft(request.memory, on_conflict(request.on_conflict)?)?;
    let written = service.store(&caller, draft).await?;
    Ok(v1::StoreResponse {
        change: Some(memory_change(written.result)),
        receipt: receipt(written.durability, written.replayed, written.warnings),
    })
}

pub(super) async fn bulk_store(
    service: Arc<Service>,
    caller: Caller,
    request: v1::BulkStoreRequest,
) -> Reply<v1::BulkStoreResponse> {
    let caller = writing(caller, request.write)?;
    let on_conflict = on_conflict(request.on_conflict)?;
    let memories = request.memories.into_iter().map(|m| draft(Some(m), on_conflict.clone()));
    let input = BulkInput { memories: memories.collect::<Result<_, _>>()?, atomic: request.atomic };
    let written = service.bulk_store(&caller, input).await?;
    Ok(v1::BulkStoreResponse {
        results: written.result.items.into_iter().map(bulk_result).collect(),
        receipt: receipt(written.durability, written.replayed, written.warnings),
    })
}

pub(super) async fn update(
    service: Arc<Service>,
    caller: Caller,
    request: v1::UpdateRequest,
) -> Reply<v1::UpdateResponse> {
    let caller = writing(caller, request.write)?;
    let patch = patch(
        request.memory,
        request.update_mask,
        request.add_tags,
        request.remove_tags,
        request.expected_version,
    )?;
    let written = service.update(&caller, &request.id, patch).await?;
    Ok(v1::UpdateResponse {
        change: Some(memory_change(written.result)),
        receipt: receipt(written.durability, written.replayed, written.warnings),
    })
}

/// With an expiry of its own a promotion is an update of both, because the tier alone decides the
/// expiry of a plain one.
pub(super) async fn promote(
    service: Arc<Service>,
    caller: Caller,
    request: v1::PromoteRequest,
) -> Reply<v1::PromoteResponse> {
    let caller = writing(caller, request.write)?;
    let tier = word::<Tier>(request.tier)?.ok_or_else(|| Invalid::new("tier", "is required"))?;
    let expected_version = request.expected_version;
    let written = match time_in("expires_at", request.expires_at.as_ref())? {
        None => service.promote(&caller, &request.id, &tier, expected_version).await?,
        Some(at) => {
            let patch = MemoryPatch {
                tier: Some(tier),
                expires_at: Some(Some(at)),
                expected_version,
                ..MemoryPatch::default()
            };
            service.update(&caller, &request.id, patch).await?
        }
    };
    Ok(v1::PromoteResponse {
        change: Some(memory_change(written.result)),
        receipt: receipt(written.durability, written.replayed, written.warnings),
    })
}

pub(super) async fn delete(
    service: Arc<Service>,
    caller: Caller,
    request: v1::DeleteRequest,
) -> Reply<v1::DeleteResponse> {
    let caller = writing(caller, request.write)?;
    let why = some_text(request.reason);
    let written = service.delete(&caller, &request.id, why, request.expected_version).await?;
    Ok(v1::DeleteResponse {
        change: Some(memory_change(written.result)),
        receipt: receipt(written.durability, written.replayed, written.warnings),
    })
}

pub(super) async fn consolidate(
    service: Arc<Service>,
    caller: Caller,
    request: v1::ConsolidateRequest,
) -> Reply<v1::ConsolidateResponse> {
    let caller = writing(caller, request.write)?;
    let input = ConsolidateInput {
        ids: request.ids.clone(),
        into: draft(request.memory, None)?,
        keep_sources: request.keep_sources,
    };
    let written = service.consolidate(&caller, input).await?;
    Ok(v1::ConsolidateResponse {
        change: Some(memory_change(written.result)),
        source_ids: request.ids,
        receipt: receipt(written.durability, written.replayed, written.warnings),
    })
}
