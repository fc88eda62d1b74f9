//! Request bodies: checked for their type, read within the limit, decoded.
//!
//! Invariant: a body of another type than the route takes is refused before it is read.
//!
//! Not here: reading within the limit (`wire::admission`) and decoding (`decode`).

use axum::extract::{FromRequest, Request};
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use types::{Reason, Reject};
use wire::admission::read_body;

use super::{App, decode, problem::Refusal};

/// A JSON body.
pub(super) struct Json<T>(pub T);

/// A JSON body, or the default when there is no body at all.
pub(super) struct JsonOrDefault<T>(pub T);

/// A body of lines of JSON.
pub(super) struct Lines(pub String);

/// The media type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn expect_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Refusal> {
    let sent = media_type(headers);
    if sent.as_deref().is_some_and(|sent| accepted.contains(&sent)) {
        return Ok(());
    }
    Err(Refusal::of(
        Reason::Malformed,
        "content-type",
        format_args!(
            "needs {}, got {}",
            accepted[0],
            sent.as_deref().filter(|s| !s.is_empty()).unwrap_or("none")
        ),
    )
    .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

/// Refuses a body that does not say that it is JSON.
pub(super) fn expect_json(headers: &HeaderMap) -> Result<(), Refusal> {
    expect_type(headers, &["application/json"])
}

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        expect_json(request.headers())?;
        let bytes = read_body(request.into_body(), app.limits.body_bytes_max).await?;
        Ok(Json(decode::json(&bytes)?))
    }
}

impl<T: DeserializeOwned + Default> FromRequest<App> for JsonOrDefault<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let typed = media_type(request.headers()).is_some();
        if typed {
            expect_type(request.headers(), &["application/json"])?;
        }
        let bytes = read_body(request.into_body(), app.limits.body_bytes_max).await?;
        match (bytes.is_empty(), typed) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => Ok(Self(decode::json(&bytes)?)),
            (false, false) => {
                expect_type(&HeaderMap::new(), &["application/json"])?;
                Ok(Self(T::default()))
            }
        }
    }
}

impl FromRequest<App> for Lines {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        expect_type(request.headers(), &["application/x-ndjson", "application/jsonl"])?;
        let bytes = read_body(request.into_body(), app.limits.body_bytes_max).await?;
        let text = String::from_utf8(bytes.into()).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            Reject::new(Reason::Malformed, format!("the body is not UTF-8 at byte {at}"))
        })?;
        Ok(Lines(text))
    }
}
