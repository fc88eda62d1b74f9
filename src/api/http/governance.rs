//! Rules, policies, and actions that wait for an approval.
//!
//! `GET /pending/watch` is a stream of server-sent events: `event: pending` carries all actions that
//! wait, each time something about them changes; `event: heartbeat` says that nothing did.
//! `event: problem` is the last one.
//!
//! Invariant: the caller's right to watch is asked again before every event.
//!
//! Not here: who may decide (the root).

use std::convert::Infallible;

use axum::{Json as Reply, body::Body, extract::State, response::Response};
use futures::stream;
use http::{HeaderValue, header};
use runtime::clock;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{
    App, admit,
    body::{Json, JsonOrDefault},
    locks::number,
    memories::Items,
    params::{Id, Params, required},
    problem::{Answer, Refusal},
    routes::Routes,
    who::Who,
};
use crate::node::{
    model::governance::{
        ActionInput, ActionOut, DecideInput, PolicyInput, RequestInput, RuleInput, RulesOut,
        VerdictOut, VersionOut,
    },
    service::{Credentials, Reply as Served},
};

#[utoipa::path(
    get, path = "/api/v1/rules", tag = "governance",
    summary = "All rules and policies",
    params(("local" = Option<bool>, Query, description = "As this member knows them, without asking anybody.")),
    responses((status = 200, description = "As they are now.", body = RulesOut)),
)]
async fn rules(
    State(app): State<App>,
    who: Who,
    Params(mut query): Params,
) -> Answer<Reply<RulesOut>> {
    let local: Option<bool> = query.take("local")?;
    query.done()?;
    Ok(Reply(app.service.rules(&who.caller, local.unwrap_or(false)).await?))
}

#[utoipa::path(
    put, path = "/api/v1/rules/{id}", tag = "governance",
    summary = "Make or replace a rule (operators)",
    params(("id" = String, Path, description = "Its name.", min_length = 1, max_length = 64)),
    request_body = RuleInput,
    responses((status = 200, description = "The version from now on.", body = VersionOut)),
)]
async fn put_rule(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
    Json(input): Json<RuleInput>,
) -> Answer<Reply<VersionOut>> {
    params.none()?;
    Ok(Reply(app.service.put_rule(&who.caller, &id, &input).await?))
}

#[utoipa::path(
    delete, path = "/api/v1/rules/{id}", tag = "governance",
    summary = "Take a rule away (operators)",
    params(
        ("id" = String, Path, description = "Its name.", min_length = 1, max_length = 64),
        ("expected_version" = Option<u64>, Query, description = "Version that it has.", minimum = 0),
    ),
    responses((status = 200, description = "The version from now on.", body = VersionOut)),
)]
async fn remove_rule(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    Params(mut query): Params,
) -> Answer<Reply<VersionOut>> {
    let expected = query.take("expected_version")?;
    query.done()?;
    Ok(Reply(app.service.remove_rule(&who.caller, &id, expected).await?))
}

#[utoipa::path(
    post, path = "/api/v1/rules/evaluate", tag = "governance",
    summary = "What the rules would say to a request",
    request_body = RequestInput,
    responses((status = 200, description = "The verdict.", body = VerdictOut)),
)]
async fn evaluate(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<RequestInput>,
) -> Answer<Reply<VerdictOut>> {
    params.none()?;
    Ok(Reply(app.service.evaluate(&who.caller, &input).await?))
}

#[utoipa::path(
    put, path = "/api/v1/policies", tag = "governance",
    summary = "Make or replace the policy of a namespace (operators)",
    request_body = PolicyInput,
    responses((status = 200, description = "The version from now on.", body = VersionOut)),
)]
async fn put_policy(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<PolicyInput>,
) -> Answer<Reply<VersionOut>> {
    params.none()?;
    Ok(Reply(app.service.put_policy(&who.caller, &input).await?))
}

#[utoipa::path(
    delete, path = "/api/v1/policies", tag = "governance",
    summary = "Take a policy away (operators)",
    params(
        ("namespace" = String, Query, description = "Where it applies.", min_length = 1, max_length = 256),
        ("expected_version" = Option<u64>, Query, description = "Version that it has.", minimum = 0),
    ),
    responses((status = 200, description = "The version from now on.", body = VersionOut)),
)]
async fn remove_policy(
    State(app): State<App>,
    who: Who,
    Params(mut query): Params,
) -> Answer<Reply<VersionOut>> {
    let namespace: Option<String> = query.take("namespace")?;
    let expected = query.take("expected_version")?;
    query.done()?;
    let namespace = namespace.ok_or_else(|| required("namespace"))?;
    Ok(Reply(app.service.remove_policy(&who.caller, &namespace, expected).await?))
}

#[utoipa::path(
    get, path = "/api/v1/pending", tag = "governance",
    summary = "Actions that wait for a decision",
    responses((status = 200, description = "Oldest first.", body = Items<ActionOut>)),
)]
async fn pending(
    State(app): State<App>,
    who: Who,
    params: Params,
) -> Answer<Reply<Items<ActionOut>>> {
    params.none()?;
    Ok(Reply(Items { items: app.service.pending_actions(&who.caller).await? }))
}

#[utoipa::path(
    post, path = "/api/v1/pending", tag = "governance",
    summary = "Propose an action",
    request_body = ActionInput,
    responses((status = 200, description = "The action.", body = ActionOut)),
)]
async fn propose(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<ActionInput>,
) -> Answer<Reply<ActionOut>> {
    params.none()?;
    Ok(Reply(app.service.propose_action(&who.caller, &input).await?))
}

#[utoipa::path(
    get, path = "/api/v1/pending/{id}", tag = "governance",
    summary = "An action, pending or lately decided",
    params(("id" = u64, Path, description = "Its number.", minimum = 0)),
    responses((status = 200, description = "The action.", body = ActionOut)),
)]
async fn action(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
) -> Answer<Reply<ActionOut>> {
    params.none()?;
    Ok(Reply(app.service.action(&who.caller, number(&id)?).await?))
}

#[utoipa::path(
    post, path = "/api/v1/pending/{id}/approve", tag = "governance",
    summary = "Approve an action",
    params(("id" = u64, Path, description = "Its number.", minimum = 0)),
    request_body(content = Option<DecideInput>, description = "May be left out."),
    responses((status = 200, description = "The action.", body = ActionOut)),
)]
async fn approve(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
    JsonOrDefault(input): JsonOrDefault<Option<DecideInput>>,
) -> Answer<Reply<ActionOut>> {
    params.none()?;
    let input = input.unwrap_or_default();
    Ok(Reply(app.service.decide_action(&who.caller, number(&id)?, true, &input).await?))
}

#[utoipa::path(
    post, path = "/api/v1/pending/{id}/reject", tag = "governance",
    summary = "Reject an action; its proposer withdraws it thereby",
    params(("id" = u64, Path, description = "Its number.", minimum = 0)),
    request_body(content = Option<DecideInput>, description = "May be left out."),
    responses((status = 200, description = "The action.", body = ActionOut)),
)]
async fn reject(
    State(app): State<App>,
    who: Who,
    Id(id): Id,
    params: Params,
    JsonOrDefault(input): JsonOrDefault<Option<DecideInput>>,
) -> Answer<Reply<ActionOut>> {
    params.none()?;
    let input = input.unwrap_or_default();
    Ok(Reply(app.service.decide_action(&who.caller, number(&id)?, false, &input).await?))
}

/// A watch that goes on.
struct Running {
    app: App,
    credentials: Credentials,
    changes: watch::Receiver<u64>,
    shown: Option<Vec<ActionOut>>,
    _slot: OwnedSemaphorePermit,
}

impl Running {
    fn look(&self) -> Served<Vec<ActionOut>> {
        self.app.service.authenticate(&self.credentials)?;
        self.app.service.pending_known()
    }
}

fn event(name: &str, data: &serde_json::Value) -> String {
    // JSON on one line contains no line break, so it is one `data` field.
    format!("event: {name}\ndata: {data}\n\n")
}

async fn next(mut running: Running) -> (String, Option<Running>) {
    let heartbeat = clock::Instant::now() + running.app.limits.heartbeat;
    loop {
        running.changes.borrow_and_update();
        match running.look() {
            Ok(pending) if running.shown.as_ref() != Some(&pending) => {
                let data = serde_json::json!({ "items": pending });
                running.shown = Some(pending);
                return (event("pending", &data), Some(running));
            }
            Ok(_) => {}
            Err(refused) => {
                let document = Refusal::from(refused).document("/api/v1/pending/watch");
                return (event("problem", &document), None);
            }
        }
        match clock::timeout_at(heartbeat, running.changes.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return (String::new(), None),
            Err(_) => return (event("heartbeat", &serde_json::json!({})), Some(running)),
        }
    }
}

#[utoipa::path(
    get, path = "/api/v1/pending/watch", tag = "governance",
    summary = "Watch the actions that wait for a decision",
    description = "Server-sent events: `pending` (`{\"items\": [ActionOut]}`, all that wait, each time that changes), `heartbeat` and `problem` (the last one).",
    responses((status = 200, description = "The stream.", body = String, content_type = "text/event-stream")),
)]
async fn watch_pending(State(app): State<App>, who: Who, params: Params) -> Answer<Response> {
    params.none()?;
    let slot = admit::slot(&app.streams)?;
    let changes = app.service.need_root()?.changes();
    let running = Running { app, credentials: who.credentials, changes, shown: None, _slot: slot };
    let frames = stream::unfold(Some(running), |running| async {
        let (text, running) = next(running?).await;
        Some((Ok::<_, Infallible>(text), running))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies such as nginx hold a stream back unless told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_rules, "get_rules", rules)
        .add(__path_put_rule, "put_rule", put_rule)
        .add(__path_remove_rule, "remove_rule", remove_rule)
        .add(__path_evaluate, "evaluate_rules", evaluate)
        .add(__path_put_policy, "put_policy", put_policy)
        .add(__path_remove_policy, "remove_policy", remove_policy)
        .add(__path_pending, "list_pending", pending)
        .add(__path_propose, "propose_action", propose)
        .add(__path_watch_pending, "watch_pending", watch_pending)
        .add(__path_action, "get_action", action)
        .add(__path_approve, "approve_action", approve)
        .add(__path_reject, "reject_action", reject);
}
