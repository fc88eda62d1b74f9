//! Words for statuses that were made before a handler ran: by the decoder, by routing.
//!
//! Invariant: `GRPC-1` of the parent module.
//!
//! Not here: refusals of handlers, which say their reason themselves.

use axum::{extract::Request, middleware::Next, response::Response};
use tonic::{Code, Status};
use types::{Reason, Reject, limits::BODY_BYTES_MAX};
use wire::errors::{reject_from_status, status};

/// Gives a refusal that has no details the reason it has at every other door.
pub(super) async fn explain(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    match Status::from_header_map(response.headers()) {
        Some(bare) if bare.code() != Code::Ok && bare.details().is_empty() => {
            status(&explained(&bare, &path)).into_http()
        }
        _ => response,
    }
}

/// The refusal of a method that does not exist.
pub(super) fn unknown_method(path: &str) -> Reject {
    let detail = format!("no such method: {path}; server reflection lists those there are");
    Reject::new(Reason::Unimplemented, detail)
}

fn explained(bare: &Status, path: &str) -> Reject {
    match bare.code() {
        Code::Unimplemented if bare.message().is_empty() => unknown_method(path),
        Code::OutOfRange => {
            let detail =
                format!("a message has at most {BODY_BYTES_MAX} bytes; send several requests");
            Reject::new(Reason::TooLarge, detail).with("limit", BODY_BYTES_MAX)
        }
        // The decoder's word for bytes that are no message of this kind.
        Code::Internal => Reject::new(Reason::Malformed, bare.message()),
        _ => reject_from_status(bare),
    }
}
