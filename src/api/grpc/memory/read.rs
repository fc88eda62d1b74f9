//! Reading memories.
//!
//! Invariant: the node is made as fresh as the caller asks before anything is read.
//!
//! Not here: recall, links.

use std::sync::Arc;

use wire::v1;

use super::super::{
    auth::reading,
    convert::{change, conflict, filter, list as page, memory, some_count, some_text, time_in},
};
use crate::node::{
    model::{TimelineInput, write::DuplicateInput},
    service::{Caller, Reply, Service},
};

pub(super) async fn get(
    service: Arc<Service>,
    caller: Caller,
    request: v1::GetRequest,
) -> Reply<v1::GetResponse> {
    reading(&service, &caller, request.read).await?;
    let found = service.get(&caller, &request.id).await?;
    Ok(v1::GetResponse { memory: Some(memory(found)) })
}

pub(super) async fn list(
    service: Arc<Service>,
    caller: Caller,
    request: v1::ListRequest,
) -> Reply<v1::ListResponse> {
    let input = page(request.filter, request.page_size, request.page_token)?;
    reading(&service, &caller, request.read).await?;
    let page = service.list(&caller, &input, false).await?;
    Ok(v1::ListResponse {
        memories: page.items.into_iter().map(memory).collect(),
        next_page_token: page.next.unwrap_or_default(),
    })
}

pub(super) async fn check_duplicate(
    service: Arc<Service>,
    caller: Caller,
    request: v1::CheckDuplicateRequest,
) -> Reply<v1::CheckDuplicateResponse> {
    reading(&service, &caller, request.read).await?;
    let input = DuplicateInput {
        title: request.title,
        content: request.content,
        namespace: some_text(request.namespace),
        min_similarity: request.similarity_min,
    };
    let found = service.check_duplicate(&caller, input).await?;
    let duplicates = found
        .into_iter()
        .map(|one| v1::Duplicate { memory: Some(memory(one.memory)), similarity: one.similarity });
    Ok(v1::CheckDuplicateResponse { duplicates: duplicates.collect() })
}

pub(super) async fn timeline(
    service: Arc<Service>,
    caller: Caller,
    request: v1::TimelineRequest,
) -> Reply<v1::TimelineResponse> {
    let input = TimelineInput {
        id: some_text(request.id),
        filter: filter(request.filter)?,
        from: time_in("from", request.from.as_ref())?,
        until: time_in("until", request.until.as_ref())?,
        limit: some_count(request.limit),
    };
    reading(&service, &caller, request.read).await?;
    let changes = service.timeline(&caller, &input).await?;
    Ok(v1::TimelineResponse { changes: changes.into_iter().map(change).collect() })
}

pub(super) async fn namespaces(
    service: Arc<Service>,
    caller: Caller,
    request: v1::NamespacesRequest,
) -> Reply<v1::NamespacesResponse> {
    reading(&service, &caller, request.read).await?;
    let all = service.namespaces(&caller).await?;
    let namespaces = all
        .into_iter()
        .map(|n| v1::NamespaceInfo { namespace: n.namespace, memories: n.memories })
        .collect();
    Ok(v1::NamespacesResponse { namespaces })
}

pub(super) async fn list_conflicts(
    service: Arc<Service>,
    caller: Caller,
    request: v1::ListConflictsRequest,
) -> Reply<v1::ListConflictsResponse> {
    reading(&service, &caller, request.read).await?;
    let after = some_text(request.page_token);
    let limit = some_count(request.page_size);
    let page = service.conflicts(&caller, after.as_deref(), limit).await?;
    Ok(v1::ListConflictsResponse {
        conflicts: page.items.into_iter().map(conflict).collect(),
        next_page_token: page.next.unwrap_or_default(),
    })
}

pub(super) async fn entities(
    service: Arc<Service>,
    caller: Caller,
    request: v1::EntitiesRequest,
) -> Reply<v1::EntitiesResponse> {
    reading(&service, &caller, request.read).await?;
    let namespace = some_text(request.namespace);
    let found = service.entities(&caller, namespace.as_deref(), &request.name).await?;
    Ok(v1::EntitiesResponse { entities: found.into_iter().map(memory).collect() })
}
