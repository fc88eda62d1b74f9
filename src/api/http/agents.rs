//! Agents and quotas.
//!
//! Invariant: a token is in the answer that issued it and nowhere else.
//!
//! Not here: what a token proves (`node::service::caller`).

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
use crate::node::{
    model::{
        vocabulary::{AgentName, NamespacePath},
        write::{AgentInput, AgentOut},
    },
    service::admin::QuotaOut,
};

#[utoipa::path(
    get, path = "/api/v1/agents", tag = "agents",
    summary = "All registered agents (operators)",
    responses((status = 200, description = "In order of name.", body = Items<AgentOut>)),
)]
async fn list(State(app): State<App>, who: Who, params: Params) -> Answer<Reply<Items<AgentOut>>> {
    params.none()?;
    Ok(Reply(Items { items: app.service.list_agents(&who.caller).await? }))
}

#[utoipa::path(
    post, path = "/api/v1/agents", tag = "agents",
    summary = "Register or change an agent (operators)",
    description = "A token is shown once: the remembered answer to a repeated Idempotency-Key leaves it out.",
    request_body = AgentInput,
    responses((status = 200, description = "As it is now; with its new token if one was asked for.", body = AgentOut)),
)]
async fn put(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<AgentInput>,
) -> Answer<Reply<AgentOut>> {
    params.none()?;
    Ok(Reply(app.service.put_agent(&who.caller, input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/agents/{id}/revoke", tag = "agents",
    summary = "Refuse an agent everywhere from now on (operators)",
    params(("id" = AgentName, Path, description = "Its name.")),
    responses((status = 200, description = "As it is now.", body = AgentOut)),
)]
async fn revoke(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<AgentOut>> {
    params.none()?;
    Ok(Reply(app.service.revoke_agent(&who.caller, &id).await?))
}

#[utoipa::path(
    get, path = "/api/v1/quota/status", tag = "agents",
    summary = "What is used of a quota",
    params(
        ("agent_id" = Option<AgentName>, Query, description = "Whose; another agent's needs an operator."),
        ("namespace" = Option<NamespacePath>, Query, description = "Where. Default global."),
    ),
    responses((status = 200, description = "Use and limits.", body = QuotaOut)),
)]
async fn quota(
    State(app): State<App>,
    who: Who,
    Params(mut query): Params,
) -> Answer<Reply<QuotaOut>> {
    let agent: Option<String> = query.take("agent_id")?;
    let namespace: Option<String> = query.take("namespace")?;
    query.done()?;
    let quota = app.service.quota_status(&who.caller, agent.as_deref(), namespace.as_deref());
    Ok(Reply(quota.await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_list, "list_agents", list)
        .mutation(__path_put, "put_agent", put)
        .mutation(__path_revoke, "revoke_agent", revoke)
        .add(__path_quota, "quota_status", quota);
}
