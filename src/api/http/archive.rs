//! The archive: list, restore, purge.
//!
//! Invariant: purging takes only what is archived.
//!
//! Not here: archiving (`memories`).

use axum::{Json as Reply, extract::State};

use super::{
    App,
    params::{Id, Params},
    problem::Answer,
    routes::Routes,
    who::Who,
};
use crate::node::{
    model::{FilterInput, Written, vocabulary::MemoryRefKey, write::MemoryRef},
    service::reads::MemoryPage,
};

#[utoipa::path(
    get, path = "/api/v1/archive", tag = "archive",
    summary = "List archived memories, newest first",
    params(
        FilterInput,
        ("after" = Option<String>, Query, description = "The `next` of the page before.", min_length = 1),
        ("limit" = Option<u32>, Query, description = "At most so many. Default 50.", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "A page.", body = MemoryPage)),
)]
async fn list(State(app): State<App>, who: Who, params: Params) -> Answer<Reply<MemoryPage>> {
    Ok(Reply(app.service.list(&who.caller, &params.list()?, true).await?))
}

#[utoipa::path(
    post, path = "/api/v1/archive/{id}/restore", tag = "archive",
    summary = "Take a memory back from the archive",
    params(("id" = MemoryRefKey, Path, description = "Id or unique prefix.")),
    responses((status = 200, description = "Live again.", body = Written<MemoryRef>)),
)]
async fn restore(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<Written<MemoryRef>>> {
    params.none()?;
    Ok(Reply(app.service.restore(&who.caller, &id).await?))
}

#[utoipa::path(
    delete, path = "/api/v1/archive/{id}", tag = "archive",
    summary = "Delete an archived memory for good",
    params(("id" = MemoryRefKey, Path, description = "Id or unique prefix.")),
    responses((status = 200, description = "Deleted.", body = Written<MemoryRef>)),
)]
async fn purge(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<Written<MemoryRef>>> {
    params.none()?;
    Ok(Reply(app.service.purge(&who.caller, &id).await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_list, "archive_list", list)
        .mutation(__path_restore, "archive_restore", restore)
        .mutation(__path_purge, "archive_purge", purge);
}
