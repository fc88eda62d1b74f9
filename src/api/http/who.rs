//! Who calls: from headers and the connection to a [`Caller`].
//!
//! Invariant: `AUTH-4` a request without a key that a web page could have caused (a foreign
//! `Origin`, or a `Host` that is a name someone else can point here) is refused, because a node
//! without a key trusts whoever reaches its loopback address.
//!
//! Not here: reading credentials (`wire::auth`) and what they prove (`node::service::caller`).

use axum::extract::FromRequestParts;
use http::{HeaderMap, request::Parts, uri::Authority};
use types::Reason;
use wire::{admission::Deadline, auth::Presented, net::PeerAddress, serve::Peer};

use super::{App, problem::Refusal};
use crate::node::service::{Caller, Credentials};

/// An authenticated caller with what it presented.
pub(super) struct Who {
    /// What the service wants to know.
    pub caller: Caller,
    /// For streams, which ask again as they go on.
    pub credentials: Credentials,
    /// The version in `If-Match`.
    pub if_match: Option<u64>,
}

/// The other end of the connection, if there is one.
fn peer(parts: &Parts) -> Option<&PeerAddress> {
    parts.extensions.get::<Peer>().map(|peer| &peer.address)
}

/// Whether the connection comes from this machine.
pub(super) fn is_loopback(parts: &Parts) -> bool {
    match peer(parts) {
        Some(PeerAddress::Tcp(address)) => address.ip().is_loopback(),
        Some(PeerAddress::Unix) => true,
        None => false,
    }
}

fn is_local_name(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A header that a browser sets by itself, as text; one that cannot be read is foreign.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// `AUTH-4`.
fn refuse_web_pages(parts: &Parts, credentials: &Credentials) -> Result<(), Refusal> {
    let over_tcp = matches!(peer(parts), Some(PeerAddress::Tcp(_)));
    if credentials.secret.is_some() || !over_tcp {
        return Ok(());
    }
    let refuse = |field: &'static str| {
        Refusal::of(
            Reason::Forbidden,
            field,
            "names another host; a request without a key must come from this machine itself",
        )
    };
    let origin = header(&parts.headers, "origin");
    let origin = origin.map(|origin| origin.split_once("://").map_or(origin, |(_, rest)| rest));
    if origin.is_some_and(|authority| !is_local_name(authority)) {
        return Err(refuse("origin"));
    }
    let host = header(&parts.headers, "host").or(parts.uri.authority().map(Authority::as_str));
    match host {
        Some(host) if !is_local_name(host) => Err(refuse("host")),
        _ => Ok(()),
    }
}

/// Establishes the caller of a request.
pub(super) fn who(parts: &Parts, app: &App) -> Result<Who, Refusal> {
    let presented = Presented::from_headers(&parts.headers)?;
    let credentials = Credentials {
        secret: presented.secret_sha256,
        agent: presented.agent,
        local_socket: matches!(peer(parts), Some(PeerAddress::Unix)),
    };
    refuse_web_pages(parts, &credentials)?;
    let caller = Caller {
        viewer: app.service.authenticate(&credentials)?,
        idempotency_key: presented.idempotency_key,
        deadline: parts.extensions.get::<Deadline>().map(Deadline::at),
        fence: presented.fence,
    };
    Ok(Who { caller, credentials, if_match: presented.expected_version })
}

impl FromRequestParts<App> for Who {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        who(parts, app)
    }
}

/// The time a request asks for, in milliseconds.
pub(super) fn timeout_ms(headers: &HeaderMap, max: u64) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get("x-timeout-ms") else { return Ok(None) };
    match value.to_str().ok().and_then(|text| text.parse::<u64>().ok()) {
        Some(ms) if (1..=max).contains(&ms) => Ok(Some(ms)),
        _ => Err(Refusal::of(
            Reason::InvalidArgument,
            "x-timeout-ms",
            format_args!("needs a whole number from 1 to {max}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/api/v1/memories");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn over_tcp(headers: &[(&str, &str)]) -> Parts {
        let mut parts = parts(headers);
        let address = PeerAddress::Tcp("127.0.0.1:5000".parse().expect("an address"));
        parts.extensions.insert(Peer { address, tls_fingerprint: None, encrypted: false });
        parts
    }

    #[test]
    fn web_pages_are_refused_without_a_key() {
        let refused = |headers: &[(&str, &str)]| {
            let parts = over_tcp(headers);
            let secret = parts.headers.get("x-api-key").map(|_| [7; 32]);
            let presented = Credentials { secret, ..Credentials::default() };
            refuse_web_pages(&parts, &presented).is_err()
        };
        assert!(!refused(&[("host", "127.0.0.1:9077")]));
        assert!(!refused(&[("host", "localhost:9077"), ("origin", "http://localhost:3000")]));
        assert!(!refused(&[("host", "[::1]:9077")]));
        assert!(refused(&[("host", "evil.example:9077")]), "AUTH-4");
        assert!(refused(&[("host", "localhost"), ("origin", "https://evil.example")]), "AUTH-4");
        assert!(refused(&[("host", "localhost"), ("origin", "null")]), "AUTH-4");
        assert!(!refused(&[("host", "evil.example"), ("x-api-key", "k")]));
    }

    #[test]
    fn timeouts_are_bounded() {
        let asked = |value: &str| timeout_ms(&parts(&[("x-timeout-ms", value)]).headers, 300_000);
        assert_eq!(asked("1500"), Ok(Some(1500)));
        for bad in ["0", "300001", "-1", "1.5", "", "18446744073709551616"] {
            assert_eq!(asked(bad).expect_err(bad).reject.fact("field"), Some("x-timeout-ms"));
        }
    }
}
