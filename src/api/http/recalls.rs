//! Recall and search.
//!
//! Invariant: `GET /recall`, `POST /recall` and `POST /search` are one operation of the service;
//! search is recall by words alone.
//!
//! Not here: ranking.

use axum::{Json as Reply, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{App, body::Json, params::Params, problem::Answer, routes::Routes, who::Who};
use crate::node::model::{
    FilterInput, MinPosition, RecallAnswer, RecallInput, vocabulary::PositionText,
};

/// Words to look for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchInput {
    /// The words; `"quoted words"` must occur as they stand.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    query: String,
    /// What may be returned.
    #[serde(default)]
    filter: FilterInput,
    /// At most so many, 1 to 200. Default 10.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Stop before the contents exceed about this many tokens (4 bytes each).
    #[serde(default)]
    #[schema(minimum = 0, maximum = 4294967295u32)]
    token_budget: Option<u32>,
    /// Show every signal's score and what was removed by which rule.
    #[serde(default)]
    explain: bool,
    /// Keep hits that say nearly the same as a better one.
    #[serde(default)]
    keep_duplicates: bool,
    /// Wait until this node has reached the position, or has what the token of a write names.
    #[serde(default)]
    #[schema(value_type = Option<PositionText>)]
    min_position: Option<MinPosition>,
    /// `local` (default), or `quorum`: every write that was acknowledged before is seen.
    #[serde(default)]
    #[schema(pattern = "^(local|quorum)$")]
    consistency: Option<String>,
}

impl From<SearchInput> for RecallInput {
    fn from(input: SearchInput) -> Self {
        RecallInput {
            query: input.query,
            filter: input.filter,
            limit: input.limit,
            token_budget: input.token_budget,
            mode: Some("lexical".to_owned()),
            explain: input.explain,
            keep_duplicates: input.keep_duplicates,
            min_position: input.min_position,
            consistency: input.consistency,
            ..RecallInput::default()
        }
    }
}

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
        ("keep_duplicates" = Option<bool>, Query, description = "Keep hits that say nearly the same as a better one."),
        ("min_position" = Option<PositionText>, Query, description = "Wait until this node has reached the position, or has what the token of a write names."),
        ("consistency" = Option<String>, Query, description = "`local` (default), or `quorum`: every write that was acknowledged before is seen, because enough nodes are asked first; on a node without peers that is the node itself.", pattern = "^(local|quorum)$"),
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
    description = "As POST /recall with `mode` lexical.",
    request_body = SearchInput,
    responses((status = 200, description = "Best first.", body = RecallAnswer)),
)]
async fn search(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<SearchInput>,
) -> Answer<Reply<RecallAnswer>> {
    params.none()?;
    Ok(Reply(app.service.recall(&who.caller, &input.into()).await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_recall, "recall", recall)
        .add(__path_recall_get, "recall_get", recall_get)
        .add(__path_search, "search", search);
}
