//! Recall and search.
//!
//! Invariant: `GET /recall`, `POST /recall` and `POST /search` are one operation of the service;
//! search is recall by words alone.
//!
//! Not here: ranking.

use axum::{Json as Reply, extract::State};
use types::Reason;

use super::{
    App,
    body::Json,
    params::Params,
    problem::{Answer, Refusal},
    routes::Routes,
    who::Who,
};
use crate::node::model::{FilterInput, RecallAnswer, RecallInput};

#[utoipa::path(
    post, path = "/api/v1/recall", tag = "recall",
    summary = "Ask a question to memory",
    description = "Words and vectors, fused, then tier, recency, priority and confidence.",
    request_body = RecallInput,
    responses((status = 200, description = "Best first.", body = RecallAnswer)),
)]
async fn recall(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<RecallInput>,
) -> Answer<Reply<RecallAnswer>> {
    params.none()?;
    Ok(Reply(app.service.recall(&who.caller, &input).await?))
}

#[utoipa::path(
    get, path = "/api/v1/recall", tag = "recall",
    summary = "Ask a question to memory, by URL",
    description = "As POST /recall. Lists in the query are separated by commas.",
    params(
        ("q" = String, Query, description = "The question in natural words.", min_length = 1, max_length = 4096, pattern = "\\S"),
        ("limit" = Option<u32>, Query, description = "At most so many. Default 10.", minimum = 1, maximum = 200),
        ("token_budget" = Option<u32>, Query, description = "Stop before the contents exceed about this many tokens.", minimum = 0, maximum = 4294967295u32),
        ("mode" = Option<String>, Query, description = "Which signals. Default hybrid.", pattern = "^(hybrid|lexical|dense)$"),
        ("explain" = Option<bool>, Query, description = "Show every signal's score."),
        ("min_position" = Option<u64>, Query, description = "Wait until this node has reached the position.", minimum = 0),
        ("consistency" = Option<String>, Query, description = "Only `local` on this node.", pattern = "^local$"),
        FilterInput,
    ),
    responses((status = 200, description = "Best first.", body = RecallAnswer)),
)]
async fn recall_get(
    State(app): State<App>,
    who: Who,
    params: Params,
) -> Answer<Reply<RecallAnswer>> {
    Ok(Reply(app.service.recall(&who.caller, &params.recall()?).await?))
}

#[utoipa::path(
    post, path = "/api/v1/search", tag = "recall",
    summary = "Search by words alone",
    description = "As POST /recall with `mode` lexical; another `mode` is refused.",
    request_body = RecallInput,
    responses((status = 200, description = "Best first.", body = RecallAnswer)),
)]
async fn search(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(mut input): Json<RecallInput>,
) -> Answer<Reply<RecallAnswer>> {
    params.none()?;
    if input.mode.as_deref().is_some_and(|mode| mode != "lexical") {
        return Err(Refusal::of(
            Reason::InvalidArgument,
            "mode",
            "a search is lexical; use /api/v1/recall for another mode",
        ));
    }
    input.mode = Some("lexical".to_owned());
    Ok(Reply(app.service.recall(&who.caller, &input).await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_recall, "recall", recall)
        .add(__path_recall_get, "recall_get", recall_get)
        .add(__path_search, "search", search);
}
