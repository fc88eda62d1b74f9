//! The audit chain as operators read it.
//!
//! Not here: checking it (`admin`).

use axum::{Json as Reply, extract::State};
use types::{Reason, Reject};

use super::{
    App, body::Json, memories::Items, params::Params, problem::Answer, routes::Routes, who::Who,
};
use crate::node::service::audit::{AuditRowOut, EvidenceInput, EvidenceOut};

/// Rows in one answer, unless fewer are asked for.
const PAGE: u32 = 100;
/// Most rows in one answer.
const PAGE_MAX: u32 = 1000;

#[utoipa::path(
    get, path = "/api/v1/admin/audit", tag = "admin",
    summary = "Rows of the audit chain (operators)",
    params(
        ("after" = Option<i64>, Query, description = "Only rows behind this sequence. Default 0.", minimum = 0, maximum = 9007199254740991i64),
        ("type" = Option<String>, Query, description = "Only types that begin with this, e.g. `lock.`."),
        ("limit" = Option<u32>, Query, description = "At most so many. Default 100.", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "Oldest first.", body = Items<AuditRowOut>)),
)]
async fn audit(
    State(app): State<App>,
    who: Who,
    Params(mut query): Params,
) -> Answer<Reply<Items<AuditRowOut>>> {
    let after: Option<i64> = query.take("after")?;
    let type_prefix: Option<String> = query.take("type")?;
    let limit: Option<u32> = query.take("limit")?;
    query.done()?;
    let (after, limit) = (after.unwrap_or(0), limit.unwrap_or(PAGE));
    let out_of_range = |field: &'static str, problem: String| {
        Reject::new(Reason::InvalidArgument, format!("{field}: {problem}")).with("field", field)
    };
    if after < 0 {
        return Err(out_of_range("after", "needs 0 or more".to_owned()).into());
    }
    if limit == 0 || limit > PAGE_MAX {
        return Err(out_of_range("limit", format!("needs 1 to {PAGE_MAX}")).into());
    }
    let items = app.service.audit_rows(&who.caller, after, type_prefix, limit).await?;
    Ok(Reply(Items { items }))
}

#[utoipa::path(
    post, path = "/api/v1/admin/evidence", tag = "admin",
    summary = "Carry evidence from elsewhere in the audit chain (operators)",
    request_body = EvidenceInput,
    responses((status = 200, description = "Carried, now or before.", body = EvidenceOut)),
)]
async fn evidence(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<EvidenceInput>,
) -> Answer<Reply<EvidenceOut>> {
    params.none()?;
    Ok(Reply(app.service.carry_evidence(&who.caller, input).await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes.add(__path_audit, "audit", audit).add(__path_evidence, "evidence", evidence);
}
