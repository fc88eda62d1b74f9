//! Sessions and locks.
//!
//! Invariant: a request that waits for a lock is answered before its deadline, with `waiting` if need
//! be; the same number asked again waits on.
//!
//! Not here: granting (`consensus::machine`).

use axum::{Json as Reply, extract::State};
use serde::{Deserialize, Serialize};
use types::{Reason, Reject};
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
use crate::node::service::locks::{
    AcquireInput, AcquireOut, CancelInput, ForceInput, LockOut, ReleaseInput, SessionInput,
    SessionLine, SessionOut,
};

/// Locks in one answer, unless fewer are asked for.
const PAGE: u32 = 100;
/// Most locks in one answer.
const PAGE_MAX: u32 = 1000;

/// It was done and there is no more to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct DoneOut {
    /// Always true.
    pub(super) done: bool,
}

pub(super) const DONE: DoneOut = DoneOut { done: true };

/// The number in a path.
pub(super) fn number(text: &str) -> Result<u64, Reject> {
    text.parse().map_err(|_| {
        Reject::new(Reason::InvalidArgument, format!("id: {text:?} is not a number"))
            .with("field", "id")
    })
}

#[utoipa::path(
    post, path = "/api/v1/sessions", tag = "locks",
    summary = "Open a session with the root",
    request_body = SessionInput,
    responses((status = 200, description = "The session.", body = SessionOut)),
)]
async fn open(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<SessionInput>,
) -> Answer<Reply<SessionOut>> {
    params.none()?;
    Ok(Reply(app.service.open_session(&who.caller, &input).await?))
}

#[utoipa::path(
    get, path = "/api/v1/sessions", tag = "locks",
    summary = "All open sessions",
    responses((status = 200, description = "Oldest first.", body = Items<SessionLine>)),
)]
async fn sessions(
    State(app): State<App>,
    who: Who,
    params: Params,
) -> Answer<Reply<Items<SessionLine>>> {
    params.none()?;
    Ok(Reply(Items { items: app.service.sessions(&who.caller).await? }))
}

#[utoipa::path(
    post, path = "/api/v1/sessions/{id}/keep-alive", tag = "locks",
    summary = "Give a session its whole time again",
    params(("id" = u64, Path, description = "Number of the session.", minimum = 0)),
    responses((status = 200, description = "The session.", body = SessionOut)),
)]
async fn keep_alive(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<SessionOut>> {
    params.none()?;
    Ok(Reply(app.service.keep_alive(&who.caller, number(&id)?).await?))
}

#[utoipa::path(
    delete, path = "/api/v1/sessions/{id}", tag = "locks",
    summary = "End a session; its locks are free at once",
    params(("id" = u64, Path, description = "Number of the session.", minimum = 0)),
    responses((status = 200, description = "It has ended.", body = DoneOut)),
)]
async fn close(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<DoneOut>> {
    params.none()?;
    app.service.close_session(&who.caller, number(&id)?).await?;
    Ok(Reply(DONE))
}

#[utoipa::path(
    post, path = "/api/v1/locks/acquire", tag = "locks",
    summary = "Ask for keys, all or none",
    description = "Waits as long as the request may take. When the answer is `waiting`, the same request with the same `seq` waits on in the same place.",
    request_body = AcquireInput,
    responses((status = 200, description = "What became of it.", body = AcquireOut)),
)]
async fn acquire(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<AcquireInput>,
) -> Answer<Reply<AcquireOut>> {
    params.none()?;
    Ok(Reply(app.service.acquire(&who.caller, &input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/locks/release", tag = "locks",
    summary = "Give keys back, all or none",
    request_body = ReleaseInput,
    responses((status = 200, description = "They are given back.", body = DoneOut)),
)]
async fn release(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<ReleaseInput>,
) -> Answer<Reply<DoneOut>> {
    params.none()?;
    app.service.release(&who.caller, &input).await?;
    Ok(Reply(DONE))
}

#[utoipa::path(
    post, path = "/api/v1/locks/cancel-wait", tag = "locks",
    summary = "Stop waiting for keys",
    request_body = CancelInput,
    responses((status = 200, description = "What became of the request that waited.", body = AcquireOut)),
)]
async fn cancel_wait(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<CancelInput>,
) -> Answer<Reply<AcquireOut>> {
    params.none()?;
    Ok(Reply(app.service.cancel_wait(&who.caller, &input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/locks/force-release", tag = "locks",
    summary = "Take a key from its holder (operators)",
    request_body = ForceInput,
    responses((status = 200, description = "It is taken.", body = DoneOut)),
)]
async fn force_release(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<ForceInput>,
) -> Answer<Reply<DoneOut>> {
    params.none()?;
    app.service.force_release(&who.caller, &input).await?;
    Ok(Reply(DONE))
}

#[utoipa::path(
    get, path = "/api/v1/locks", tag = "locks",
    summary = "Keys that are held, waited for or rest",
    params(
        ("prefix" = Option<String>, Query, description = "Only keys that begin with this."),
        ("after" = Option<String>, Query, description = "Only keys after this one."),
        ("limit" = Option<u32>, Query, description = "At most so many. Default 100.", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "By key.", body = Items<LockOut>)),
)]
async fn list(
    State(app): State<App>,
    who: Who,
    Params(mut query): Params,
) -> Answer<Reply<Items<LockOut>>> {
    let prefix: Option<String> = query.take("prefix")?;
    let after: Option<String> = query.take("after")?;
    let limit: Option<u32> = query.take("limit")?;
    query.done()?;
    let limit = limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE_MAX {
        let detail = format!("limit: needs 1 to {PAGE_MAX}");
        return Err(Reject::new(Reason::InvalidArgument, detail).with("field", "limit").into());
    }
    let (prefix, after) = (prefix.unwrap_or_default(), after.unwrap_or_default());
    let items = app.service.list_locks(&who.caller, &prefix, &after, limit as usize).await?;
    Ok(Reply(Items { items }))
}

#[utoipa::path(
    get, path = "/api/v1/locks/explain", tag = "locks",
    summary = "Who holds a key and who waits for it",
    params(("key" = String, Query, description = "Which.", min_length = 1, max_length = 256)),
    responses((status = 200, description = "The lock; one of which nothing is known is free.", body = LockOut)),
)]
async fn explain(
    State(app): State<App>,
    who: Who,
    Params(mut query): Params,
) -> Answer<Reply<LockOut>> {
    let key: Option<String> = query.take("key")?;
    query.done()?;
    let key = key.ok_or_else(|| required("key"))?;
    Ok(Reply(app.service.explain_lock(&who.caller, &key).await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_open, "open_session", open)
        .add(__path_sessions, "list_sessions", sessions)
        .add(__path_keep_alive, "keep_alive", keep_alive)
        .add(__path_close, "close_session", close)
        .add(__path_acquire, "acquire_locks", acquire)
        .add(__path_release, "release_locks", release)
        .add(__path_cancel_wait, "cancel_wait", cancel_wait)
        .add(__path_force_release, "force_release_lock", force_release)
        .add(__path_list, "list_locks", list)
        .add(__path_explain, "explain_lock", explain);
}
