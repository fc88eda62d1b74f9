//! Memories: store, bulk, list, get, update, delete, promote, archive, restore.
//!
//! Invariant: a memory's version is its `ETag`; every write takes `If-Match`.
//!
//! Not here: the archive's own routes, recall, links.

use axum::{
    Json as Reply,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    body::{Json, JsonOrDefault},
    etag::{Expected, tag, tagged, unchanged},
    params::{Id, Params, take_fresh},
    problem::Answer,
    routes::Routes,
    who::Who,
};
use crate::node::{
    model::{
        FilterInput, MemoryDraft, MemoryOut, MemoryPatch, Written,
        vocabulary::{MemoryRefKey, PositionText, TierName},
        write::{
            BulkInput, BulkResult, ConsolidateInput, DuplicateInput, DuplicateOut, ForgetInput,
            ForgetResult, MemoryRef,
        },
    },
    service::reads::MemoryPage,
};

/// Which tier a memory goes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PromoteInput {
    /// The tier.
    #[schema(value_type = TierName)]
    tier: String,
    /// Refuse unless this is the current version.
    #[serde(default)]
    #[schema(minimum = 0)]
    expected_version: Option<u64>,
}

/// Why a memory is archived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ArchiveInput {
    /// The reason; recorded with it.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 1024, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    reason: Option<String>,
}

/// Some things.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Items<T> {
    /// The things.
    pub items: Vec<T>,
}

/// A response that carries a changed memory.
fn changed(status: StatusCode, written: Written<MemoryRef>) -> Response {
    let version = written.result.version;
    tagged(version, (status, Reply(written)))
}

#[utoipa::path(
    post, path = "/api/v1/memories", tag = "memories",
    summary = "Store a memory",
    description = "Answers after the fsync. A store that was folded into a memory you already had answers 200.",
    request_body = MemoryDraft,
    responses(
        (status = 201, description = "Stored.", body = Written<MemoryRef>, headers(("ETag" = String, description = "Its version."), ("Location" = String, description = "Its path."))),
        (status = 200, description = "Folded into a memory with the same namespace, title and scope.", body = Written<MemoryRef>, headers(("ETag" = String, description = "Its version."))),
    ),
)]
async fn store(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<MemoryDraft>,
) -> Answer<Response> {
    params.none()?;
    let written = app.service.store(&who.caller, input).await?;
    if written.result.merged {
        return Ok(changed(StatusCode::OK, written));
    }
    let location = format!("/api/v1/memories/{}", written.result.id);
    let mut response = changed(StatusCode::CREATED, written);
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

#[utoipa::path(
    post, path = "/api/v1/memories/bulk", tag = "memories",
    summary = "Store up to 1000 memories",
    description = "Each item is stored or refused on its own, unless `atomic` is set.",
    request_body = BulkInput,
    responses((status = 200, description = "One result per item, in order.", body = Written<BulkResult>)),
)]
async fn bulk(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<BulkInput>,
) -> Answer<Reply<Written<BulkResult>>> {
    params.none()?;
    Ok(Reply(app.service.bulk_store(&who.caller, input).await?))
}

#[utoipa::path(
    get, path = "/api/v1/memories", tag = "memories",
    summary = "List memories, newest first",
    description = "Lists in the query are separated by commas.",
    params(
        FilterInput,
        ("after" = Option<String>, Query, description = "The `next` of the page before.", min_length = 1),
        ("limit" = Option<u32>, Query, description = "At most so many. Default 50.", minimum = 1, maximum = 1000),
        ("min_position" = Option<PositionText>, Query, description = "Wait until this node has reached the position, or has what the token of a write names."),
        ("consistency" = Option<String>, Query, description = "`local` (default), or `quorum`: every write that was acknowledged before is seen.", pattern = "^(local|quorum)$"),
    ),
    responses((status = 200, description = "A page.", body = MemoryPage)),
)]
async fn list(State(app): State<App>, who: Who, mut params: Params) -> Answer<Reply<MemoryPage>> {
    app.service.fresh(&who.caller, &take_fresh(&mut params.0)?).await?;
    Ok(Reply(app.service.list(&who.caller, &params.list()?, false).await?))
}

#[utoipa::path(
    get, path = "/api/v1/memories/{id}", tag = "memories",
    summary = "Get a memory",
    description = "Archived memories are returned too, with `archived_reason`.",
    params(
        ("id" = MemoryRefKey, Path, description = "Id or unique prefix."),
        ("min_position" = Option<PositionText>, Query, description = "Wait until this node has reached the position, or has what the token of a write names (read your writes)."),
        ("consistency" = Option<String>, Query, description = "`local` (default), or `quorum`: every write that was acknowledged before is seen.", pattern = "^(local|quorum)$"),
        ("If-None-Match" = Option<String>, Header, description = "Answer 304 when the version is one of these.", pattern = "^[ -~]*$"),
    ),
    responses(
        (status = 200, description = "The memory.", body = MemoryOut, headers(("ETag" = String, description = "Its version."))),
        (status = 304, description = "It still has the version named in If-None-Match.", headers(("ETag" = String, description = "Its version."))),
    ),
)]
async fn get(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    Params(mut query): Params,
    headers: HeaderMap,
) -> Answer<Response> {
    let fresh = take_fresh(&mut query)?;
    query.done()?;
    app.service.fresh(&who.caller, &fresh).await?;
    let memory = app.service.get(&who.caller, &id).await?;
    let version = memory.version;
    if unchanged(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag(version))]).into_response());
    }
    Ok(tagged(version, Reply(memory)))
}

#[utoipa::path(
    patch, path = "/api/v1/memories/{id}", tag = "memories",
    summary = "Change fields of a memory",
    description = "A missing field stays; `null` clears `expires_at`, `valid_from` and `valid_until`. A version that has moved on is 412 when If-Match named it and 409 when `expected_version` did.",
    params(
        ("id" = MemoryRefKey, Path, description = "Id or unique prefix."),
        ("If-Match" = Option<String>, Header, description = "The version it must have, in quotes.", min_length = 1, pattern = "^([*]|\"[0-9]{1,18}\")$"),
    ),
    request_body = MemoryPatch,
    responses((status = 200, description = "Changed.", body = Written<MemoryRef>, headers(("ETag" = String, description = "Its version.")))),
)]
async fn update(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
    Json(mut input): Json<MemoryPatch>,
) -> Answer<Response> {
    params.none()?;
    let expected = Expected::join(who.if_match, input.expected_version)?;
    input.expected_version = expected.version;
    let written = app.service.update(&who.caller, &id, input).await;
    Ok(changed(StatusCode::OK, written.map_err(|reject| expected.refuse(reject))?))
}

#[utoipa::path(
    delete, path = "/api/v1/memories/{id}", tag = "memories",
    summary = "Delete a memory for good",
    description = "Leaves a tombstone and the audit row. Archive it instead to be able to restore it.",
    params(
        ("id" = MemoryRefKey, Path, description = "Id or unique prefix."),
        ("reason" = Option<String>, Query, description = "Why; recorded.", min_length = 1, max_length = 1024, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$"),
        ("If-Match" = Option<String>, Header, description = "The version it must have, in quotes.", min_length = 1, pattern = "^([*]|\"[0-9]{1,18}\")$"),
    ),
    responses((status = 200, description = "Deleted.", body = Written<MemoryRef>)),
)]
async fn delete(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    Params(mut query): Params,
) -> Answer<Reply<Written<MemoryRef>>> {
    let reason = query.take("reason")?;
    query.done()?;
    let expected = Expected::join(who.if_match, None)?;
    let written = app.service.delete(&who.caller, &id, reason, expected.version).await;
    Ok(Reply(written.map_err(|reject| expected.refuse(reject))?))
}

#[utoipa::path(
    post, path = "/api/v1/memories/{id}/promote", tag = "memories",
    summary = "Change the tier of a memory, and its expiry with it",
    params(
        ("id" = MemoryRefKey, Path, description = "Id or unique prefix."),
        ("If-Match" = Option<String>, Header, description = "The version it must have, in quotes.", min_length = 1, pattern = "^([*]|\"[0-9]{1,18}\")$"),
    ),
    request_body = PromoteInput,
    responses((status = 200, description = "Changed.", body = Written<MemoryRef>, headers(("ETag" = String, description = "Its version.")))),
)]
async fn promote(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
    Json(input): Json<PromoteInput>,
) -> Answer<Response> {
    params.none()?;
    let expected = Expected::join(who.if_match, input.expected_version)?;
    let written = app.service.promote(&who.caller, &id, &input.tier, expected.version).await;
    Ok(changed(StatusCode::OK, written.map_err(|reject| expected.refuse(reject))?))
}

#[utoipa::path(
    post, path = "/api/v1/memories/{id}/archive", tag = "memories",
    summary = "Move a memory into the archive",
    params(("id" = MemoryRefKey, Path, description = "Id or unique prefix.")),
    request_body(content = Option<ArchiveInput>, description = "May be left out."),
    responses((status = 200, description = "Archived.", body = Written<MemoryRef>, headers(("ETag" = String, description = "Its version.")))),
)]
async fn archive(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
    JsonOrDefault(input): JsonOrDefault<Option<ArchiveInput>>,
) -> Answer<Response> {
    params.none()?;
    let reason = input.and_then(|input| input.reason);
    Ok(changed(StatusCode::OK, app.service.archive(&who.caller, &id, reason).await?))
}

#[utoipa::path(
    post, path = "/api/v1/memories/{id}/restore", tag = "memories",
    summary = "Take a memory back from the archive",
    params(("id" = MemoryRefKey, Path, description = "Id or unique prefix.")),
    responses((status = 200, description = "Live again.", body = Written<MemoryRef>, headers(("ETag" = String, description = "Its version.")))),
)]
async fn restore(State(app): State<App>, who: Who, Id(id): Id, params: Params) -> Answer<Response> {
    params.none()?;
    Ok(changed(StatusCode::OK, app.service.restore(&who.caller, &id).await?))
}

#[utoipa::path(
    post, path = "/api/v1/forget", tag = "memories",
    summary = "Archive what a pattern names",
    description = "Only says what it would archive unless `dry_run` is false.",
    request_body = ForgetInput,
    responses((status = 200, description = "What was, or would be, forgotten.", body = Written<ForgetResult>)),
)]
async fn forget(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<ForgetInput>,
) -> Answer<Reply<Written<ForgetResult>>> {
    params.none()?;
    Ok(Reply(app.service.forget(&who.caller, input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/consolidate", tag = "memories",
    summary = "Store one memory in place of several",
    description = "The old ones are superseded and archived. All of it happens, or nothing.",
    request_body = ConsolidateInput,
    responses((status = 201, description = "Stored.", body = Written<MemoryRef>, headers(("ETag" = String, description = "Its version.")))),
)]
async fn consolidate(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<ConsolidateInput>,
) -> Answer<Response> {
    params.none()?;
    Ok(changed(StatusCode::CREATED, app.service.consolidate(&who.caller, input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/check-duplicate", tag = "memories",
    summary = "Find memories that say nearly the same as a text",
    request_body = DuplicateInput,
    responses((status = 200, description = "Most similar first.", body = Items<DuplicateOut>)),
)]
async fn check_duplicate(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<DuplicateInput>,
) -> Answer<Reply<Items<DuplicateOut>>> {
    params.none()?;
    Ok(Reply(Items { items: app.service.check_duplicate(&who.caller, input).await? }))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .mutation(__path_store, "store", store)
        .mutation(__path_bulk, "bulk_store", bulk)
        .add(__path_list, "list", list)
        .add(__path_get, "get", get)
        .mutation(__path_update, "update", update)
        .mutation(__path_delete, "delete", delete)
        .mutation(__path_promote, "promote", promote)
        .mutation(__path_archive, "archive", archive)
        .mutation(__path_restore, "restore", restore)
        .mutation(__path_forget, "forget", forget)
        .mutation(__path_consolidate, "consolidate", consolidate)
        .add(__path_check_duplicate, "check_duplicate", check_duplicate);
}
