//! The peers: who this node is to them, how they stand, what they refuse.
//!
//! Not here: what peers ask of each other.

use axum::{Json as Reply, extract::State};

use super::{App, body::Json, params::Params, problem::Answer, routes::Routes, who::Who};
use crate::node::service::peering::{DeadLettersInput, DeadLettersOut, OwnRowOut, PeersOut};

#[utoipa::path(
    get, path = "/api/v1/peers/self", tag = "peers",
    summary = "Who this node is to others",
    responses((status = 200, description = "Its id and its public keys.", body = OwnRowOut)),
)]
async fn own(State(app): State<App>, _who: Who, params: Params) -> Answer<Reply<OwnRowOut>> {
    params.none()?;
    Ok(Reply(app.service.own_row()))
}

#[utoipa::path(
    get, path = "/api/v1/peers", tag = "peers",
    summary = "How the peers stand",
    responses((status = 200, description = "The peers.", body = PeersOut)),
)]
async fn list(State(app): State<App>, _who: Who, params: Params) -> Answer<Reply<PeersOut>> {
    params.none()?;
    Ok(Reply(app.service.list_peers().await?))
}

#[utoipa::path(
    get, path = "/api/v1/peers/dead-letters", tag = "peers",
    summary = "What peers refuse",
    responses((status = 200, description = "The dead letters.", body = DeadLettersOut)),
)]
async fn letters(
    State(app): State<App>,
    _who: Who,
    params: Params,
) -> Answer<Reply<DeadLettersOut>> {
    params.none()?;
    Ok(Reply(app.service.dead_letters().await?))
}

#[utoipa::path(
    post, path = "/api/v1/peers/dead-letters/retry", tag = "peers",
    summary = "Try refused operations again at once (operators)",
    request_body = DeadLettersInput,
    responses((status = 200, description = "The dead letters.", body = DeadLettersOut)),
)]
async fn retry(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<DeadLettersInput>,
) -> Answer<Reply<DeadLettersOut>> {
    params.none()?;
    Ok(Reply(app.service.retry_dead_letters(&who.caller, &input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/peers/dead-letters/purge", tag = "peers",
    summary = "Give refused operations up: the peer will not have them (operators)",
    request_body = DeadLettersInput,
    responses((status = 200, description = "The dead letters that are left.", body = DeadLettersOut)),
)]
async fn purge(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<DeadLettersInput>,
) -> Answer<Reply<DeadLettersOut>> {
    params.none()?;
    Ok(Reply(app.service.purge_dead_letters(&who.caller, &input).await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_own, "peers_self", own)
        .add(__path_list, "peers_list", list)
        .add(__path_letters, "peers_dead_letters", letters)
        .add(__path_retry, "peers_retry_dead_letters", retry)
        .add(__path_purge, "peers_purge_dead_letters", purge);
}
