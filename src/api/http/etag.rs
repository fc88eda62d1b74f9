//! Versions as entity tags: `ETag`, `If-Match` and `If-None-Match` (RFC 9110).
//!
//! A memory's tag is its version in quotes, e.g. `"7"`. `If-Match: "7"` is the header form of
//! `expected_version: 7`: a mismatch is 412 for the header and 409 for the field, with the reason
//! `version_conflict` both times.
//!
//! Invariant: which of the two a client used decides the status and nothing else.
//!
//! Not here: reading `If-Match` (`wire::auth`) and the comparison (the store makes it, in the
//! transaction of the write).

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use types::{Reason, Reject};

use super::problem::Refusal;

/// What a request says about the version it expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// The version, when one is named.
    pub version: Option<u64>,
    /// Whether a header named it.
    by_header: bool,
}

/// The version in one entity tag.
fn version_of(tag: &str) -> Option<u64> {
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

impl Expected {
    /// Joins `If-Match` and the field `expected_version`.
    ///
    /// # Errors
    /// `invalid_argument` when they differ.
    pub(super) fn join(if_match: Option<u64>, field: Option<u64>) -> Result<Self, Refusal> {
        match (if_match, field) {
            (Some(header), Some(field)) if header != field => Err(Refusal::of(
                Reason::InvalidArgument,
                "expected_version",
                "differs from If-Match; send one of them",
            )),
            (header, field) => Ok(Self { version: header.or(field), by_header: header.is_some() }),
        }
    }

    /// The refusal of a write with this expectation.
    pub(super) fn refuse(self, reject: Reject) -> Refusal {
        let conflict = reject.reason == Reason::VersionConflict;
        let refusal = Refusal::from(reject);
        if conflict && self.by_header {
            return refusal.with_status(StatusCode::PRECONDITION_FAILED);
        }
        refusal
    }
}

/// Whether `If-None-Match` names this version, so that 304 is the answer.
pub(super) fn unchanged(headers: &HeaderMap, version: u64) -> bool {
    // The comparison is weak (RFC 9110, 13.1.2), so `W/` does not matter.
    let names_it = |tag: &str| {
        tag == "*" || version_of(tag.strip_prefix("W/").unwrap_or(tag)) == Some(version)
    };
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .any(|tag| names_it(tag.trim()))
}

/// The tag of a version.
pub(super) fn tag(version: u64) -> HeaderValue {
    let tag = format!("\"{version}\"");
    HeaderValue::try_from(tag).expect("digits in quotes are a header value")
}

/// Adds the tag of a version to a response.
pub(super) fn tagged(version: u64, response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    response.headers_mut().insert(header::ETAG, tag(version));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(value).expect("a header value");
        HeaderMap::from_iter([(name, value)])
    }

    #[test]
    fn the_header_and_the_field_say_the_same() {
        let joined = |header, field| Expected::join(header, field).map(|e| e.version);
        assert_eq!(joined(Some(7), None), Ok(Some(7)));
        assert_eq!(joined(Some(7), Some(7)), Ok(Some(7)));
        assert_eq!(joined(None, Some(8)), Ok(Some(8)));
        assert_eq!(joined(None, None), Ok(None));
        let refused = joined(Some(7), Some(8)).expect_err("they differ");
        assert_eq!(refused.reject.fact("field"), Some("expected_version"));
    }

    #[test]
    fn a_conflict_is_412_for_the_header_and_409_for_the_field() {
        let conflict = || Reject::new(Reason::VersionConflict, "moved");
        let header = Expected::join(Some(7), None).expect("a version");
        assert_eq!(header.refuse(conflict()).status(), StatusCode::PRECONDITION_FAILED);
        let field = Expected::join(None, Some(7)).expect("a version");
        assert_eq!(field.refuse(conflict()).status(), StatusCode::CONFLICT);
        let gone = header.refuse(Reject::new(Reason::NotFound, "gone"));
        assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn if_none_match_takes_lists_and_weak_tags() {
        let same = |text: &str| unchanged(&with(header::IF_NONE_MATCH, text), 7);
        for yes in ["\"7\"", "W/\"7\"", "\"1\", \"7\"", "*"] {
            assert!(same(yes), "{yes}");
        }
        for no in ["\"8\"", "7", "nonsense"] {
            assert!(!same(no), "{no}");
        }
    }
}
