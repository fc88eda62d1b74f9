//! The root's registry of agents.
//!
//! Not here: this node's own agents and their tokens (`agents`).

use axum::{Json as Reply, extract::State};

use super::{
    App,
    body::Json,
    memories::Items,
    params::{Id, Params},
    problem::Answer,
    routes::Routes,
    who::Who,
};
use crate::node::model::governance::{RevokeInput, RootAgentInput, RootAgentOut, RotateKeyInput};

#[utoipa::path(
    get, path = "/api/v1/root/agents", tag = "root",
    summary = "Agents that the root knows, those that are shut out too (operators)",
    params(
        ("after" = Option<String>, Query, description = "Only names behind this one.", max_length = 128),
        ("limit" = Option<u32>, Query, description = "At most so many. Default 100.", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "By name.", body = Items<RootAgentOut>)),
)]
async fn list(
    State(app): State<App>,
    who: Who,
    Params(mut query): Params,
) -> Answer<Reply<Items<RootAgentOut>>> {
    let after: Option<String> = query.take("after")?;
    let limit: Option<u32> = query.take("limit")?;
    query.done()?;
    let after = after.unwrap_or_default();
    let items = app.service.root_agents(&who.caller, &after, limit).await?;
    Ok(Reply(Items { items }))
}

#[utoipa::path(
    post, path = "/api/v1/root/agents/{id}/rotate-key", tag = "root",
    summary = "Give an agent another key; the one before verifies what it signed (operators)",
    params(("id" = String, Path, description = "Its name.", min_length = 1, max_length = 128)),
    request_body = RotateKeyInput,
    responses((status = 200, description = "The agent.", body = RootAgentOut)),
)]
async fn rotate_key(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
    Json(input): Json<RotateKeyInput>,
) -> Answer<Reply<RootAgentOut>> {
    params.none()?;
    Ok(Reply(app.service.rotate_with_root(&who.caller, &id, &input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/root/agents", tag = "root",
    summary = "Register an agent with the root, so that its approvals count (operators)",
    request_body = RootAgentInput,
    responses((status = 200, description = "The agent.", body = RootAgentOut)),
)]
async fn register_agent(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<RootAgentInput>,
) -> Answer<Reply<RootAgentOut>> {
    params.none()?;
    Ok(Reply(app.service.register_with_root(&who.caller, &input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/root/agents/{id}/revoke", tag = "root",
    summary = "Shut an agent out at every member, for ever (operators)",
    params(("id" = String, Path, description = "Its name.", min_length = 1, max_length = 128)),
    request_body = RevokeInput,
    responses((status = 200, description = "The agent.", body = RootAgentOut)),
)]
async fn revoke_agent(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
    Json(input): Json<RevokeInput>,
) -> Answer<Reply<RootAgentOut>> {
    params.none()?;
    Ok(Reply(app.service.revoke_with_root(&who.caller, &id, &input.reason).await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_list, "root_list_agents", list)
        .add(__path_register_agent, "root_register_agent", register_agent)
        .add(__path_rotate_key, "root_rotate_key", rotate_key)
        .add(__path_revoke_agent, "root_revoke_agent", revoke_agent);
}
