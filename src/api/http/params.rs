//! What the path and the query of a request say.
//!
//! Invariant: a parameter that a route does not know is refused by name, so that a typing error in
//! an optional filter cannot widen an answer.
//!
//! Not here: decoding (`decode`).

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use types::{Reason, Reject};

use super::{App, decode::Query, problem::Refusal};
use crate::node::model::{FilterInput, Fresh, ListInput, RecallInput};

/// The one variable segment of a path, decoded.
pub(super) struct Id(pub String);

impl FromRequestParts<App> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        match Path::<String>::from_request_parts(parts, app).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Refusal::of(Reason::Malformed, "path", "is not percent-encoded UTF-8")),
        }
    }
}

/// The parameters of a request; each handler takes those it knows and then calls `done` or `rest`.
pub(super) struct Params(pub Query);

impl FromRequestParts<App> for Params {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        Ok(Self(Query::parse(parts.uri.query().unwrap_or_default())?))
    }
}

impl Params {
    /// A listing: `after`, `limit`, and a filter.
    pub(super) fn list(mut self) -> Result<ListInput, Reject> {
        let after = self.0.take("after")?;
        let limit = self.0.take("limit")?;
        Ok(ListInput { filter: self.0.rest()?, after, limit })
    }

    /// A recall: its own parameters and a filter.
    pub(super) fn recall(mut self) -> Result<RecallInput, Reject> {
        let q = &mut self.0;
        let query: Option<String> = q.take("q")?;
        let fresh = take_fresh(q)?;
        Ok(RecallInput {
            query: query.ok_or_else(|| required("q"))?,
            limit: q.take("limit")?,
            token_budget: q.take("token_budget")?,
            mode: q.take("mode")?,
            explain: q.take("explain")?.unwrap_or(false),
            keep_duplicates: q.take("keep_duplicates")?.unwrap_or(false),
            min_position: fresh.min_position,
            consistency: fresh.consistency,
            filter: self.0.rest::<FilterInput>()?,
            // A vector and what is rarely wanted go in a body.
            ..RecallInput::default()
        })
    }

    /// No parameters at all.
    pub(super) fn none(self) -> Result<(), Reject> {
        self.0.done()
    }
}

/// How new the answer must be.
pub(super) fn take_fresh(query: &mut Query) -> Result<Fresh, Reject> {
    // A token has commas in it, which a query takes for a list.
    let parts: Option<Vec<String>> = query.take("min_position")?;
    let min_position = parts.map(|parts| parts.join(",").parse()).transpose()?;
    Ok(Fresh { min_position, consistency: query.take("consistency")? })
}

/// The refusal of a request without a parameter that it needs.
pub(super) fn required(name: &'static str) -> Reject {
    Reject::new(Reason::InvalidArgument, format!("{name}: is required")).with("field", name)
}
