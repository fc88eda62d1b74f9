//! The group of the root: status, founding, members.
//!
//! Invariant: a change is made where the leader is; elsewhere the refusal names its endpoint.
//!
//! Not here: who is an operator.

use axum::{Json as Reply, extract::State};

use super::{
    App,
    body::Json,
    params::{Id, Params},
    problem::Answer,
    routes::Routes,
    who::Who,
};
use crate::node::service::group::{
    InitInput, MemberInput, ReadmitInput, RootDigestOut, RootStatusOut, TransferInput,
    member_number,
};

#[utoipa::path(
    get, path = "/api/v1/root/status", tag = "root",
    summary = "How this node sees the root",
    responses((status = 200, description = "The status.", body = RootStatusOut)),
)]
async fn status(State(app): State<App>, _who: Who, params: Params) -> Answer<Reply<RootStatusOut>> {
    params.none()?;
    Ok(Reply(app.service.root_status()))
}

#[utoipa::path(
    post, path = "/api/v1/root/init", tag = "root",
    summary = "Found the group, once, on one of its first members (operators)",
    request_body = InitInput,
    responses((status = 200, description = "The status.", body = RootStatusOut)),
)]
async fn init(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<InitInput>,
) -> Answer<Reply<RootStatusOut>> {
    params.none()?;
    Ok(Reply(app.service.init_root(&who.caller, &input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/root/members", tag = "root",
    summary = "Add a member without a vote (operators)",
    request_body = MemberInput,
    responses((status = 200, description = "The status.", body = RootStatusOut)),
)]
async fn add_member(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<MemberInput>,
) -> Answer<Reply<RootStatusOut>> {
    params.none()?;
    Ok(Reply(app.service.add_member(&who.caller, &input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/root/members/{id}/promote", tag = "root",
    summary = "Give a member a vote (operators)",
    params(("id" = u64, Path, description = "Its number.", minimum = 1)),
    responses((status = 200, description = "The status.", body = RootStatusOut)),
)]
async fn promote(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<RootStatusOut>> {
    params.none()?;
    Ok(Reply(app.service.promote_member(&who.caller, member_number(&id)?).await?))
}

#[utoipa::path(
    post, path = "/api/v1/root/members/{id}/replace", tag = "root",
    summary = "Put a new member in the place of one that is gone (operators)",
    params(("id" = u64, Path, description = "Number of the one that is gone.", minimum = 1)),
    request_body = MemberInput,
    responses((status = 200, description = "The status.", body = RootStatusOut)),
)]
async fn replace(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
    Json(input): Json<MemberInput>,
) -> Answer<Reply<RootStatusOut>> {
    params.none()?;
    Ok(Reply(app.service.replace_member(&who.caller, member_number(&id)?, &input).await?))
}

#[utoipa::path(
    delete, path = "/api/v1/root/members/{id}", tag = "root",
    summary = "Take a member out of the group (operators)",
    params(
        ("id" = u64, Path, description = "Its number.", minimum = 1),
        ("force" = Option<bool>, Query, description = "Even if fewer than a majority of the others answer."),
    ),
    responses((status = 200, description = "The status.", body = RootStatusOut)),
)]
async fn remove(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    Params(mut query): Params,
) -> Answer<Reply<RootStatusOut>> {
    let forced: Option<bool> = query.take("force")?;
    query.done()?;
    let member = member_number(&id)?;
    Ok(Reply(app.service.remove_member(&who.caller, member, forced.unwrap_or(false)).await?))
}

#[utoipa::path(
    post, path = "/api/v1/root/transfer", tag = "root",
    summary = "Hand the leadership to another voter (operators)",
    request_body = TransferInput,
    responses((status = 200, description = "The status.", body = RootStatusOut)),
)]
async fn transfer(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<TransferInput>,
) -> Answer<Reply<RootStatusOut>> {
    params.none()?;
    Ok(Reply(app.service.transfer_root(&who.caller, input.member).await?))
}

#[utoipa::path(
    post, path = "/api/v1/root/snapshot", tag = "root",
    summary = "Make this member write a snapshot (operators)",
    responses((status = 200, description = "The status.", body = RootStatusOut)),
)]
async fn snapshot(
    State(app): State<App>,
    who: Who,
    params: Params,
) -> Answer<Reply<RootStatusOut>> {
    params.none()?;
    Ok(Reply(app.service.snapshot_root(&who.caller).await?))
}

#[utoipa::path(
    post, path = "/api/v1/root/readmit", tag = "root",
    summary = "Let a node take part again whose start was refused (operators)",
    request_body = ReadmitInput,
    responses((status = 200, description = "The status.", body = RootStatusOut)),
)]
async fn readmit(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<ReadmitInput>,
) -> Answer<Reply<RootStatusOut>> {
    params.none()?;
    Ok(Reply(app.service.readmit(&who.caller, &input).await?))
}

#[utoipa::path(
    get, path = "/api/v1/root/digest", tag = "root",
    summary = "Digests of this member's copy of the state (operators)",
    responses((status = 200, description = "The digests.", body = RootDigestOut)),
)]
async fn digest(State(app): State<App>, who: Who, params: Params) -> Answer<Reply<RootDigestOut>> {
    params.none()?;
    Ok(Reply(app.service.root_digest(&who.caller)?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_status, "root_status", status)
        .add(__path_init, "root_init", init)
        .add(__path_add_member, "root_add_member", add_member)
        .add(__path_promote, "root_promote_member", promote)
        .add(__path_replace, "root_replace_member", replace)
        .add(__path_remove, "root_remove_member", remove)
        .add(__path_transfer, "root_transfer", transfer)
        .add(__path_snapshot, "root_snapshot", snapshot)
        .add(__path_readmit, "root_readmit", readmit)
        .add(__path_digest, "root_digest", digest);
}
