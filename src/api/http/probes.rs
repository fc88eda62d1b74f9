//! Probes, metrics and the document: what supervisors, scrapers and tools fetch.
//!
//! Invariants: probes need no credentials and are never shed; `/livez` answers for as long as the
//! process can answer at all; `/metrics` asks for credentials unless it is fetched from this machine.
//!
//! Not here: knowing whether the node is ready (`telemetry::health`).

use std::time::Duration;

use axum::{
    Json as Reply,
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header, request::Parts};
use runtime::clock;
use serde::Serialize;
use types::{Reason, Reject};
use utoipa::ToSchema;

use super::{
    App,
    problem::{Answer, Refusal},
    routes::Routes,
    who,
};
use crate::telemetry::{health::Phase, metrics};

/// Longest a probe waits for the store.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// A probe's good news.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct ProbeOut {
    /// Always `ok`; anything else is a problem document.
    #[schema(pattern = "^ok$")]
    status: &'static str,
}

/// The health of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct HealthOut {
    /// Always `ok`; anything else is a problem document.
    #[schema(pattern = "^ok$")]
    status: &'static str,
    /// Version of this build.
    version: &'static str,
}

const OK: ProbeOut = ProbeOut { status: "ok" };

fn starting() -> Refusal {
    Reject::new(Reason::Stopping, "the node is starting").into()
}

/// Fails unless a write and a read would work now.
async fn ready_now(app: &App) -> Answer<()> {
    let not_ready = |detail: String| Err(Refusal::from(Reject::new(Reason::Stopping, detail)));
    match app.ready.phase() {
        Phase::Ready => {}
        Phase::Starting => return Err(starting()),
        Phase::Stopping => return not_ready("the node is stopping".to_owned()),
        Phase::NotReady { cause } => return not_ready(format!("the node is not ready: {cause}")),
    }
    match clock::timeout(STORE_WAIT, app.service.try_read()).await {
        Ok(read) => Ok(read?),
        Err(_) => not_ready("the store does not answer".to_owned()),
    }
}

#[utoipa::path(
    get, path = "/livez", tag = "probes",
    summary = "Whether the process lives",
    security(()),
    responses((status = 200, description = "It does.", body = ProbeOut)),
)]
async fn livez() -> Reply<ProbeOut> {
    Reply(OK)
}

#[utoipa::path(
    get, path = "/readyz", tag = "probes",
    summary = "Whether a write and a read would work now",
    security(()),
    responses((status = 200, description = "They would.", body = ProbeOut)),
)]
async fn readyz(State(app): State<App>) -> Answer<Reply<ProbeOut>> {
    ready_now(&app).await?;
    Ok(Reply(OK))
}

#[utoipa::path(
    get, path = "/startupz", tag = "probes",
    summary = "Whether the node has started",
    security(()),
    responses((status = 200, description = "It has.", body = ProbeOut)),
)]
async fn startupz(State(app): State<App>) -> Answer<Reply<ProbeOut>> {
    if app.ready.phase() == Phase::Starting {
        return Err(starting());
    }
    Ok(Reply(OK))
}

#[utoipa::path(
    get, path = "/api/v1/health", tag = "probes",
    summary = "Whether the node serves",
    security(()),
    responses((status = 200, description = "It does.", body = HealthOut)),
)]
async fn health(State(app): State<App>) -> Answer<Reply<HealthOut>> {
    ready_now(&app).await?;
    Ok(Reply(HealthOut { status: "ok", version: env!("CARGO_PKG_VERSION") }))
}

/// Proof that the metrics may be shown.
struct Scraper;

impl FromRequestParts<App> for Scraper {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        if !who::is_loopback(parts) {
            who::who(parts, app)?;
        }
        Ok(Scraper)
    }
}

async fn metrics_text(app: &App) -> Answer<Response> {
    let stats = clock::timeout(STORE_WAIT, app.service.stats()).await.map_err(|_| {
        Refusal::from(Reject::new(Reason::Overloaded, "the store does not answer"))
    })??;
    let peers = match app.service.peers() {
        None => None,
        Some(peers) => Some(clock::timeout(STORE_WAIT, peers.figures()).await.unwrap_or_default()),
    };
    let text = app.metrics.render(stats, peers, app.service.tracer().dropped());
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

#[utoipa::path(
    get, path = "/metrics", tag = "probes",
    summary = "Metrics in Prometheus' text format",
    description = "Without credentials only from the node's own machine.",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")),
)]
async fn scrape(State(app): State<App>, _scraper: Scraper) -> Answer<Response> {
    metrics_text(&app).await
}

#[utoipa::path(
    get, path = "/api/v1/metrics", tag = "probes",
    summary = "Metrics in Prometheus' text format",
    description = "The same as /metrics.",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")),
)]
async fn scrape_api(State(app): State<App>, _scraper: Scraper) -> Answer<Response> {
    metrics_text(&app).await
}

#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "probes",
    summary = "This document",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json")),
)]
async fn openapi(State(app): State<App>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, headers, app.openapi.clone()).into_response()
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_livez, "livez", livez)
        .add(__path_readyz, "readyz", readyz)
        .add(__path_startupz, "startupz", startupz)
        .add(__path_health, "health", health)
        .add(__path_scrape, "metrics", scrape)
        .add(__path_scrape_api, "metrics_api", scrape_api)
        .add(__path_openapi, "openapi", openapi);
}
