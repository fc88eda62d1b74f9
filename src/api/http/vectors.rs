//! Texts that got no vector.
//!
//! Not here: computing vectors, which nobody asks for.

use axum::{Json as Reply, extract::State};

use super::{App, params::Params, problem::Answer, routes::Routes, who::Who};
use crate::node::service::admin::{DeadTextsOut, RevivedOut};

#[utoipa::path(
    get, path = "/api/v1/admin/vectors/dead", tag = "admin",
    summary = "Memories whose texts got no vector and are not tried again by themselves (operators)",
    responses((status = 200, description = "The oldest of them.", body = DeadTextsOut)),
)]
async fn dead(State(app): State<App>, who: Who, params: Params) -> Answer<Reply<DeadTextsOut>> {
    params.none()?;
    Ok(Reply(app.service.dead_texts(&who.caller).await?))
}

#[utoipa::path(
    post, path = "/api/v1/admin/vectors/retry", tag = "admin",
    summary = "Try these texts again (operators)",
    responses((status = 200, description = "How many there were.", body = RevivedOut)),
)]
async fn retry(State(app): State<App>, who: Who, params: Params) -> Answer<Reply<RevivedOut>> {
    params.none()?;
    Ok(Reply(app.service.revive_texts(&who.caller).await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes.add(__path_dead, "vectors_dead", dead).add(__path_retry, "vectors_retry", retry);
}
