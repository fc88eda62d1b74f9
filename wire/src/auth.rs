//! What a caller presents in the headers of HTTP and the metadata of gRPC, which are the same.
//!
//! | header | what |
//! |---|---|
//! | `authorization: Bearer <key>` or `x-api-key: <key>` | an API key or an agent's token |
//! | `x-agent-id` | the agent the caller says it is |
//! | `idempotency-key` | do it at most once |
//! | `if-match: "<version>"` | only if this is the current version |
//! | `x-fence: <number>` | fencing token of the lock that the caller holds |
//!
//! Invariants: `AUTH-H1` a secret leaves this module only as its SHA-256; `AUTH-H2` a header that
//! cannot be read is refused by name, never ignored.
//!
//! Not here: whether the secret is right (the node's service compares digests in constant time).

use http::HeaderMap;
use sha2::{Digest, Sha256};
use tonic::metadata::MetadataMap;
use types::{
    Invalid, Reason, Reject,
    limits::{AGENT_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX},
};

/// What a caller presents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// SHA-256 of the key or token.
    pub secret_sha256: Option<[u8; 32]>,
    /// The agent the caller says it is; not yet checked in any way.
    pub agent: Option<String>,
    /// At-most-once key.
    pub idempotency_key: Option<String>,
    /// Version that must be the current one.
    pub expected_version: Option<u64>,
    /// Fencing token; 0 without one.
    pub fence: u64,
}

impl Presented {
    /// Reads the headers of an HTTP request.
    ///
    /// # Errors
    /// `unauthenticated` for credentials of an unknown form, `invalid_argument` naming any other
    /// header.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Reject> {
        Ok(Self {
            secret_sha256: secret(headers)?,
            agent: bounded(headers, "x-agent-id", AGENT_BYTES_MAX)?,
            idempotency_key: bounded(headers, "idempotency-key", IDEMPOTENCY_KEY_BYTES_MAX)?,
            expected_version: expected_version(headers)?,
            fence: fence(headers)?,
        })
    }

    /// Reads the metadata of a gRPC request.
    ///
    /// # Errors
    /// As [`Self::from_headers`].
    pub fn from_metadata(metadata: &MetadataMap) -> Result<Self, Reject> {
        Self::from_headers(metadata.as_ref())
    }
}

/// The one value of a header, as visible text.
fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Invalid> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Invalid::new(name, "is given more than once"));
    }
    match value.to_str() {
        Ok(text) if !text.trim().is_empty() => Ok(Some(text.trim())),
        _ => Err(Invalid::new(name, "needs visible ASCII characters")),
    }
}

fn bounded(
    headers: &HeaderMap,
    name: &'static str,
    bytes_max: usize,
) -> Result<Option<String>, Invalid> {
    match text(headers, name)? {
        Some(value) if value.len() > bytes_max => {
            Err(Invalid::new(name, format!("is longer than {bytes_max} bytes")))
        }
        value => Ok(value.map(str::to_owned)),
    }
}

fn secret(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Reject> {
    let unauthenticated =
        |detail: &str| Err(Reject::new(Reason::Unauthenticated, detail.to_owned()));
    let digest = |secret: &str| Some(<[u8; 32]>::from(Sha256::digest(secret.as_bytes())));
    let (bearer, key) = match (text(headers, "authorization"), text(headers, "x-api-key")) {
        (Ok(bearer), Ok(key)) => (bearer, key),
        (Err(invalid), _) | (_, Err(invalid)) => return unauthenticated(&invalid.to_string()),
    };
    match (bearer, key) {
        (None, None) => Ok(None),
        (None, Some(key)) => Ok(digest(key)),
        (Some(_), Some(_)) => unauthenticated("send either authorization or x-api-key, not both"),
        (Some(bearer), None) => match bearer.split_once(' ') {
            Some((scheme, token))
                if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() =>
            {
                Ok(digest(token.trim()))
            }
            _ => unauthenticated("authorization needs the form: Bearer <key>"),
        },
    }
}

/// The token in `x-fence`.
fn fence(headers: &HeaderMap) -> Result<u64, Invalid> {
    let Some(digits) = text(headers, "x-fence")? else { return Ok(0) };
    digits.parse().map_err(|_| Invalid::new("x-fence", format!("{digits} is no whole number")))
}

/// The version in `if-match`, an entity tag such as `"7"`; `*` asks for nothing.
fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Invalid> {
    let Some(tag) = text(headers, "if-match")? else {
        return Ok(None);
    };
    if tag == "*" {
        return Ok(None);
    }
    let digits = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag);
    match digits.parse() {
        Ok(version) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(version)),
        _ => Err(Invalid::new("if-match", format!("{tag} is no version; use one such as \"7\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    fn read(pairs: &[(&'static str, &str)]) -> Result<Presented, Reject> {
        Presented::from_headers(&headers(pairs))
    }

    #[test]
    fn both_forms_of_a_key_are_the_same_key() {
        let digest = Some(<[u8; 32]>::from(Sha256::digest(b"s3cret")));
        for pairs in [
            [("authorization", "Bearer s3cret")],
            [("authorization", "bearer  s3cret ")],
            [("x-api-key", "s3cret")],
        ] {
            assert_eq!(read(&pairs).expect("credentials").secret_sha256, digest, "{pairs:?}");
        }
        assert_eq!(read(&[]), Ok(Presented::default()));
    }

    #[test]
    fn credentials_of_another_form_are_refused() {
        for pairs in [
            vec![("authorization", "Basic dXNlcg==")],
            vec![("authorization", "Bearer")],
            vec![("authorization", "Bearer ")],
            vec![("x-api-key", "a"), ("x-api-key", "b")],
            vec![("x-api-key", "a"), ("authorization", "Bearer a")],
        ] {
            let reject = read(&pairs).expect_err("AUTH-H2");
            assert_eq!(reject.reason, Reason::Unauthenticated, "{pairs:?}");
            assert!(!reject.detail.contains("dXNlcg"), "AUTH-H1");
        }
    }

    #[test]
    fn the_other_headers_are_read_or_refused_by_name() {
        let presented = read(&[
            ("x-agent-id", "ann"),
            ("idempotency-key", "k-1"),
            ("if-match", "\"7\""),
            ("x-fence", "33"),
        ]);
        let expected = Presented {
            secret_sha256: None,
            agent: Some("ann".into()),
            idempotency_key: Some("k-1".into()),
            expected_version: Some(7),
            fence: 33,
        };
        assert_eq!(presented, Ok(expected));
        assert_eq!(read(&[("if-match", "*")]).expect("any").expected_version, None);
        assert_eq!(read(&[("if-match", "7")]).expect("bare").expected_version, Some(7));
        let long = "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1);
        let bad = [
            ("if-match", "\"x\""),
            ("if-match", "+7"),
            ("x-fence", "-1"),
            ("idempotency-key", long.as_str()),
            ("x-agent-id", ""),
        ];
        for (name, value) in bad {
            let reject = read(&[(name, value)]).expect_err("AUTH-H2");
            assert_eq!(reject.fact("field"), Some(name), "{value}");
        }
    }
}
