//! Refusals as responses: problem documents of RFC 9457 with the reasons of `wire::errors`.
//!
//! A [`Refusal`] travels as an extension of an empty response; `finish` writes the document, because
//! only there the request's path is known.
//!
//! Invariant: the status comes from the table in `wire::errors`, except where HTTP itself has a more
//! exact one (405, 412, 415).
//!
//! Not here: which reason applies.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use types::{Invalid, Reason, Reject};
use utoipa::ToSchema;
use wire::errors::{PROBLEM_CONTENT_TYPE, Problem, retry_after_seconds};

/// The document of a refusal, for the OpenAPI description. Members beyond these are facts of the
/// reason, e.g. `field`, `current_version` or `retry_after_ms`.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemDocument {
    /// `urn:hivemem:problem:` and the reason.
    #[serde(rename = "type")]
    kind: String,
    /// A few words, the same for every occurrence.
    title: String,
    /// The status of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What, why, and the fix.
    detail: String,
    /// Path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// Stable reason code, the same at every door.
    reason: String,
    /// Whether the very same request may succeed later.
    retryable: bool,
    /// `rejected`: nothing was changed. `unknown`: it was done, or will be, or never will; the same
    /// request under the same identity finds out.
    #[schema(pattern = "^(rejected|unknown)$")]
    verdict: String,
}

/// A refusal on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The refusal.
    pub reject: Reject,
    /// A status more exact than the reason's.
    pub status: Option<StatusCode>,
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self { reject, status: None }
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Reject::from(invalid).into()
    }
}

impl Refusal {
    /// A refusal of one part of the request, named as the client wrote it.
    pub(super) fn of(reason: Reason, field: &str, problem: impl std::fmt::Display) -> Self {
        Reject::new(reason, format!("{field}: {problem}")).with("field", field).into()
    }

    /// The same with another status.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// The status of the response.
    pub(super) fn status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| {
            StatusCode::from_u16(Problem::from(self.reject.clone()).status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }

    /// The document.
    pub(super) fn document(&self, path: &str) -> Value {
        let mut document = Problem::from(self.reject.clone()).at(path).to_value();
        document["status"] = self.status().as_u16().into();
        document
    }

    /// Writes the document into a response, keeping the headers it has (e.g. `Allow`).
    pub(super) fn render(&self, mut response: Response, path: &str) -> Response {
        let body = self.document(path).to_string();
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after_seconds(&self.reject) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"hivemem\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        *response.body_mut() = body.into();
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The refusal for a response that the router made by itself.
pub(super) fn of_router(status: StatusCode) -> Refusal {
    let reject = match status {
        StatusCode::METHOD_NOT_ALLOWED => Reject::new(
            Reason::Unimplemented,
            "this path does not take this method; `Allow` names those it takes",
        ),
        StatusCode::NOT_FOUND => return missing_route(),
        _ => Reject::new(Reason::Malformed, "the request could not be understood"),
    };
    Refusal::from(reject).with_status(status)
}

fn missing_route() -> Refusal {
    Reject::new(Reason::NotFound, "no such path; GET /api/v1/openapi.json lists all of them").into()
}

/// Answers a path that no route has.
pub(super) async fn no_such_route() -> Refusal {
    missing_route()
}

/// What a handler answers.
pub(super) type Answer<T> = Result<T, Refusal>;
