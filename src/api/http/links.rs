//! Links and the graph they make: links, lineage, aliases, walks, paths, timeline, entities.
//!
//! Invariant: a walk shows only what the caller may see, because the service asks in the caller's
//! name.
//!
//! Not here: the walks.

use axum::{Json as Reply, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    body::Json,
    memories::Items,
    params::{Id, Params, required},
    problem::Answer,
    routes::Routes,
    who::Who,
};
use crate::node::{
    model::{
        GraphInput, LinkInput, LinkOut, MemoryOut, PathInput, TimelineInput, Written,
        graph::{ChangeOut, GraphOut, PathOut},
        vocabulary::{LinkKey, MemoryRefKey, NamespacePath},
        write::{LinkRef, MemoryRef},
    },
    service::reads::NamespaceOut,
};

/// Another name of an entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AliasInput {
    /// The name, on one line.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x1F\\x7F-\\x9F]*$"
    )]
    alias: String,
}

#[utoipa::path(
    post, path = "/api/v1/links", tag = "links",
    summary = "Link two memories",
    description = "`supersedes` also ends the target's validity.",
    request_body = LinkInput,
    responses((status = 201, description = "Linked.", body = Written<LinkRef>)),
)]
async fn link(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<LinkInput>,
) -> Answer<(StatusCode, Reply<Written<LinkRef>>)> {
    params.none()?;
    Ok((StatusCode::CREATED, Reply(app.service.link(&who.caller, input).await?)))
}

#[utoipa::path(
    delete, path = "/api/v1/links/{id}", tag = "links",
    summary = "Remove a link for good",
    params(("id" = LinkKey, Path, description = "The link's id.")),
    responses((status = 200, description = "Removed.", body = Written<LinkRef>)),
)]
async fn unlink(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<Written<LinkRef>>> {
    params.none()?;
    Ok(Reply(app.service.unlink(&who.caller, &id).await?))
}

#[utoipa::path(
    get, path = "/api/v1/memories/{id}/links", tag = "links",
    summary = "Links that start or end at a memory",
    params(("id" = MemoryRefKey, Path, description = "Id or unique prefix.")),
    responses((status = 200, description = "The links.", body = Items<LinkOut>)),
)]
async fn links(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<Items<LinkOut>>> {
    params.none()?;
    Ok(Reply(Items { items: app.service.links(&who.caller, &id).await? }))
}

#[utoipa::path(
    get, path = "/api/v1/memories/{id}/lineage", tag = "links",
    summary = "What a memory was made from",
    description = "`derived_from`, `reflects_on` and `supersedes`, followed back.",
    params(("id" = MemoryRefKey, Path, description = "Id or unique prefix.")),
    responses((status = 200, description = "Memories and links.", body = GraphOut)),
)]
async fn lineage(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<GraphOut>> {
    params.none()?;
    Ok(Reply(app.service.lineage(&who.caller, &id).await?))
}

#[utoipa::path(
    get, path = "/api/v1/memories/{id}/aliases", tag = "links",
    summary = "Other names of an entity",
    params(("id" = MemoryRefKey, Path, description = "Id or unique prefix.")),
    responses((status = 200, description = "The names.", body = Items<String>)),
)]
async fn aliases(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<Items<String>>> {
    params.none()?;
    Ok(Reply(Items { items: app.service.aliases(&who.caller, &id).await? }))
}

#[utoipa::path(
    post, path = "/api/v1/memories/{id}/aliases", tag = "links",
    summary = "Give an entity another name",
    params(("id" = MemoryRefKey, Path, description = "Id or unique prefix.")),
    request_body = AliasInput,
    responses((status = 200, description = "Named.", body = Written<MemoryRef>)),
)]
async fn alias(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
    Json(input): Json<AliasInput>,
) -> Answer<Reply<Written<MemoryRef>>> {
    params.none()?;
    Ok(Reply(app.service.alias(&who.caller, &id, &input.alias, false).await?))
}

#[utoipa::path(
    delete, path = "/api/v1/memories/{id}/aliases", tag = "links",
    summary = "Take a name from an entity",
    params(
        ("id" = MemoryRefKey, Path, description = "Id or unique prefix."),
        ("alias" = String, Query, description = "The name.", min_length = 1, max_length = 256, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x1F\\x7F-\\x9F]*$"),
    ),
    responses((status = 200, description = "Taken.", body = Written<MemoryRef>)),
)]
async fn unalias(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    Params(mut query): Params,
) -> Answer<Reply<Written<MemoryRef>>> {
    let alias: Option<String> = query.take("alias")?;
    query.done()?;
    let alias = alias.ok_or_else(|| required("alias"))?;
    Ok(Reply(app.service.alias(&who.caller, &id, &alias, true).await?))
}

#[utoipa::path(
    post, path = "/api/v1/kg/query", tag = "graph",
    summary = "The neighbourhood of a memory",
    request_body = GraphInput,
    responses((status = 200, description = "Memories and links.", body = GraphOut)),
)]
async fn graph(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<GraphInput>,
) -> Answer<Reply<GraphOut>> {
    params.none()?;
    Ok(Reply(app.service.graph(&who.caller, &input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/kg/find_paths", tag = "graph",
    summary = "The shortest ways between two memories",
    request_body = PathInput,
    responses((status = 200, description = "Shortest first.", body = Items<PathOut>)),
)]
async fn find_paths(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<PathInput>,
) -> Answer<Reply<Items<PathOut>>> {
    params.none()?;
    Ok(Reply(Items { items: app.service.find_paths(&who.caller, &input).await? }))
}

#[utoipa::path(
    post, path = "/api/v1/kg/timeline", tag = "graph",
    summary = "History of a memory, or of those a filter names",
    request_body = TimelineInput,
    responses((status = 200, description = "Changes in order of time.", body = Items<ChangeOut>)),
)]
async fn timeline(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<TimelineInput>,
) -> Answer<Reply<Items<ChangeOut>>> {
    params.none()?;
    Ok(Reply(Items { items: app.service.timeline(&who.caller, &input).await? }))
}

#[utoipa::path(
    get, path = "/api/v1/entities", tag = "graph",
    summary = "Entities known by a name or alias",
    params(
        ("name" = String, Query, description = "The name.", min_length = 1),
        ("namespace" = Option<NamespacePath>, Query, description = "Only there."),
    ),
    responses((status = 200, description = "The entities.", body = Items<MemoryOut>)),
)]
async fn entities(
    State(app): State<App>,
    who: Who,
    Params(mut query): Params,
) -> Answer<Reply<Items<MemoryOut>>> {
    let name: Option<String> = query.take("name")?;
    let namespace: Option<String> = query.take("namespace")?;
    query.done()?;
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| required("name"))?;
    let items = app.service.entities(&who.caller, namespace.as_deref(), &name).await?;
    Ok(Reply(Items { items }))
}

#[utoipa::path(
    get, path = "/api/v1/namespaces", tag = "memories",
    summary = "Namespaces with the number of memories you may see in them",
    responses((status = 200, description = "The namespaces.", body = Items<NamespaceOut>)),
)]
async fn namespaces(
    State(app): State<App>,
    who: Who,
    params: Params,
) -> Answer<Reply<Items<NamespaceOut>>> {
    params.none()?;
    Ok(Reply(Items { items: app.service.namespaces(&who.caller).await? }))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .mutation(__path_link, "link", link)
        .mutation(__path_unlink, "unlink", unlink)
        .add(__path_links, "links", links)
        .add(__path_lineage, "lineage", lineage)
        .add(__path_aliases, "aliases", aliases)
        .mutation(__path_alias, "alias", alias)
        .mutation(__path_unalias, "unalias", unalias)
        .add(__path_graph, "graph", graph)
        .add(__path_find_paths, "find_paths", find_paths)
        .add(__path_timeline, "timeline", timeline)
        .add(__path_entities, "entities", entities)
        .add(__path_namespaces, "namespaces", namespaces);
}
