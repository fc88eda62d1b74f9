//! Conflicts: memories that several records are shown as.
//!
//! Not here: resolving one, which is changing or deleting the memory like any other.

use axum::{Json as Reply, extract::State};

use super::{App, params::Params, problem::Answer, routes::Routes, who::Who};
use crate::node::{model::vocabulary::MemoryKey, service::conflicts::ConflictPage};

#[utoipa::path(
    get, path = "/api/v1/conflicts", tag = "memories",
    summary = "Memories that several nodes made without having heard of each other",
    description = "Records with the same namespace, author, audience and title are kept and shown as one memory; each of their ids stands for it. Oldest first.",
    params(
        ("after" = Option<MemoryKey>, Query, description = "The `next` of the page before."),
        ("limit" = Option<u32>, Query, description = "At most so many. Default 50.", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "A page.", body = ConflictPage)),
)]
async fn list(
    State(app): State<App>,
    who: Who,
    Params(mut query): Params,
) -> Answer<Reply<ConflictPage>> {
    let after: Option<String> = query.take("after")?;
    let limit = query.take("limit")?;
    query.done()?;
    Ok(Reply(app.service.conflicts(&who.caller, after.as_deref(), limit).await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes.add(__path_list, "conflicts", list);
}
