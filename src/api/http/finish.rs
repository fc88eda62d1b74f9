//! What every request passes through on its way out: its id, problem documents, panics, metrics.
//!
//! Invariants: `HTTP-2` and `HTTP-3` of the parent module; a panic is told to the log, and to the
//! client only as an error inside the node.
//!
//! Not here: admission.

use std::{any::Any, panic::AssertUnwindSafe};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use runtime::{clock, random};

use super::{
    App,
    problem::{self, Refusal},
};
use crate::{api::spans, telemetry::metrics::Door};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id taken over from a client, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The client's request id when it is harmless, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let harmless = |id: &&HeaderValue| {
        !id.is_empty()
            && id.len() <= REQUEST_ID_BYTES_MAX
            && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    };
    if let Some(id) = request.headers().get(REQUEST_ID).filter(harmless) {
        return id.clone();
    }
    let id = random::uuid_v7(clock::now_unix_ms()).to_string();
    HeaderValue::try_from(id).expect("a UUID is a header value")
}

fn panicked(cause: Box<dyn Any + Send>) -> Response {
    Refusal::from(crate::api::panic::refusal(cause)).into_response()
}

/// The refusal that a response stands for, if it is one.
fn refusal_of(response: &mut Response) -> Option<Refusal> {
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        return Some(refusal);
    }
    let status = response.status();
    let by_router = response.headers().get(http::header::CONTENT_TYPE).is_none();
    ((status.is_client_error() || status.is_server_error()) && by_router)
        .then(|| problem::of_router(status))
}

/// Finishes a request.
pub(super) async fn finish(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = clock::Instant::now();
    let id = request_id(&request);
    let path = request.uri().path().to_owned();
    let head = *request.method() == Method::HEAD;
    let operation = request
        .extensions()
        .get::<MatchedPath>()
        .and_then(|matched| app.operations.name(matched.as_str(), request.method()))
        .unwrap_or("unmatched");
    let mut span = spans::begin(&app.service, request.headers(), operation);
    let run = spans::within(span.as_ref(), AssertUnwindSafe(next.run(request)).catch_unwind());
    let mut response = run.await.unwrap_or_else(panicked);
    let mut reason = "ok";
    if let Some(refusal) = refusal_of(&mut response) {
        reason = refusal.reject.reason.code();
        response = refusal.render(response, &path);
        if head {
            *response.body_mut() = axum::body::Body::empty();
        }
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(http::header::CONTENT_TYPE);
    }
    if let Some(span) = &mut span {
        span.set("hivemem.reason", reason);
        span.set("http.response.status_code", u64::from(response.status().as_u16()));
        if response.status().is_server_error() {
            span.fail();
        }
    }
    let elapsed = started.elapsed();
    app.metrics.finished(Door::Http, operation, reason, elapsed);
    tracing::debug!(
        operation,
        reason,
        status = response.status().as_u16(),
        elapsed_us = elapsed.as_micros() as u64,
        request_id = id.to_str().unwrap_or_default(),
        "request finished"
    );
    response.headers_mut().insert(REQUEST_ID, id);
    response
}
