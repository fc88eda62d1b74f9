//! Refusals as `tonic::Status` with `google.rpc` details, and back.
//!
//! Invariants: `ERR-2` and `ERR-3` of the parent module.
//!
//! Not here: sending them.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt};
use types::{Outcome, Reason, Reject};

use super::{facts::static_name, outcome_of, row};

/// `ErrorInfo.domain` of every refusal made by a node.
pub const ERROR_DOMAIN: &str = "hivemem";

/// Marks a status made by the client itself before anything was sent.
const NOT_SENT: &str = "hivemem-not-sent";

/// The status of a refusal: the code of its row, `ErrorInfo` with the reason and the facts,
/// `BadRequest` when the fact `field` names one, `RetryInfo` when there is `retry_after_ms`.
pub fn status(reject: &Reject) -> Status {
    let facts: HashMap<String, String> =
        reject.facts.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut details = ErrorDetails::with_error_info(reject.reason.code(), ERROR_DOMAIN, facts);
    if let Some(field) = reject.fact("field") {
        details.add_bad_request_violation(field, &reject.detail);
    }
    if let Some(ms) = reject.fact("retry_after_ms").and_then(|ms| ms.parse().ok()) {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    Status::with_error_details(row(reject.reason).grpc, &reject.detail, details)
}

/// The refusal that a status carries. A status that no node made (a proxy's, the transport's) gets
/// the reason nearest to its code.
pub fn reject_from_status(status: &Status) -> Reject {
    let stated = stated_reason(status);
    let reason = stated.as_ref().map_or_else(|| nearest_reason(status.code()), |(r, _)| *r);
    let mut reject = Reject::new(reason, status.message());
    for (key, value) in stated.into_iter().flat_map(|(_, facts)| facts) {
        if let Some(key) = static_name(&key) {
            reject = reject.with(key, value);
        }
    }
    reject
}

/// The reason and facts that a node stated.
fn stated_reason(status: &Status) -> Option<(Reason, HashMap<String, String>)> {
    let info = status.get_details_error_info()?;
    if info.domain != ERROR_DOMAIN {
        return None;
    }
    Reason::from_code(&info.reason).map(|reason| (reason, info.metadata))
}

/// The reason for a bare code.
fn nearest_reason(code: Code) -> Reason {
    match code {
        Code::InvalidArgument => Reason::InvalidArgument,
        Code::NotFound => Reason::NotFound,
        Code::AlreadyExists => Reason::AlreadyExists,
        Code::PermissionDenied => Reason::Forbidden,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::ResourceExhausted => Reason::Overloaded,
        Code::FailedPrecondition => Reason::FailedPrecondition,
        Code::Aborted => Reason::VersionConflict,
        Code::OutOfRange => Reason::TooLarge,
        Code::Unimplemented => Reason::Unimplemented,
        Code::Unavailable => Reason::Stopping,
        Code::DeadlineExceeded | Code::Cancelled => Reason::DeadlineExceeded,
        Code::DataLoss => Reason::StorageFailed,
        Code::Ok | Code::Unknown | Code::Internal => Reason::Internal,
    }
}

/// What a client may conclude from a failed call. Without a node's own word only the codes that
/// gRPC implementations produce before they run a handler count as a refusal.
pub fn outcome_of_status<T>(status: &Status) -> Outcome<T> {
    let reject = reject_from_status(status);
    if stated_reason(status).is_some() {
        return outcome_of(reject);
    }
    let before_handler = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
    );
    if before_handler || !was_sent(status) {
        return Outcome::Rejected(reject);
    }
    Outcome::Unknown { detail: reject.detail }
}

/// The status of a call that was never sent, e.g. because nobody listens: nothing was changed.
pub fn not_sent(detail: impl Into<String>) -> Status {
    let mut status = Status::unavailable(detail);
    status.metadata_mut().insert(NOT_SENT, MetadataValue::from_static("1"));
    status
}

/// Whether the request of a failed call may have reached the server.
pub fn was_sent(status: &Status) -> bool {
    status.metadata().get(NOT_SENT).is_none()
}

/// The status of a call that was sent and not answered in time: its outcome is unknown.
pub fn timed_out(after: Duration) -> Status {
    status(&Reject::new(
        Reason::DeadlineExceeded,
        format!(
            "no answer within {} ms; the outcome is unknown, retry with the same idempotency key",
            after.as_millis()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_the_way_there_and_back() {
        for reason in Reason::ALL {
            let sent = Reject::new(*reason, format!("because of {reason}"))
                .with("field", "title")
                .with("retry_after_ms", 1500)
                .with("current_version", 7);
            let status = status(&sent);
            assert_eq!(status.code(), row(*reason).grpc);
            assert_eq!(reject_from_status(&status), sent, "ERR-2");
        }
    }

    #[test]
    fn standard_details_are_there_for_other_clients() {
        let reject = Reject::new(Reason::InvalidArgument, "title: too long").with("field", "title");
        let details = status(&reject.with("retry_after_ms", 1500)).get_error_details();
        let info = details.error_info().expect("ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("invalid_argument", "hivemem"));
        let violation = &details.bad_request().expect("BadRequest").field_violations[0];
        assert_eq!(violation.field, "title");
        let delay = details.retry_info().expect("RetryInfo").retry_delay;
        assert_eq!(delay, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn silence_after_sending_is_unknown_and_before_it_a_refusal() {
        let unknown =
            |status: &Status| matches!(outcome_of_status::<()>(status), Outcome::Unknown { .. });
        assert!(unknown(&timed_out(Duration::from_secs(2))), "ERR-3");
        assert!(unknown(&Status::unavailable("connection reset")), "ERR-3");
        assert!(unknown(&Status::internal("broken frame")), "ERR-3");
        assert!(unknown(&Status::cancelled("stream reset")), "ERR-3");
        assert!(!unknown(&not_sent("connection refused")));
        assert!(!unknown(&Status::unimplemented("no such method")));
        assert!(!unknown(&status(&Reject::new(Reason::Overloaded, "busy"))));
    }

    #[test]
    fn another_domains_reason_is_not_taken_for_ours() {
        let details =
            ErrorDetails::with_error_info("version_conflict", "proxy.example", HashMap::new());
        let status = Status::with_error_details(Code::Unavailable, "no upstream", details);
        assert_eq!(reject_from_status(&status).reason, Reason::Stopping);
    }
}
