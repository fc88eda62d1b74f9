//! Reaching a server: where it is, and the connection to it.
//!
//! Invariant: an error of this module means that no byte of a request was sent.
//!
//! Not here: HTTP.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use runtime::clock;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use types::Invalid;

use crate::io::ByteStream;
use crate::net::{Address, Socket};
use crate::tls::TlsError;

/// Where a connection's TLS comes from: asked for each connection, so that what has changed counts for the next.
pub type TlsSource = Arc<dyn Fn() -> Result<Arc<ClientConfig>, TlsError> + Send + Sync>;

/// A server as a client knows it: `http://host:port`, `https://host:port` or `unix:/path`.
#[derive(Clone)]
pub struct Endpoint {
    place: Place,
    tls: Option<TlsSource>,
    credential: Option<HeaderValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// `host:port`.
    Host(String),
    Unix(PathBuf),
}

/// Which HTTP a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Nobody was reached; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The connection was refused, or the name does not resolve.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// Whom.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("TLS with {endpoint}: {source}")]
    Tls {
        /// With whom.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("no connection to {endpoint} within {} ms", waited.as_millis())]
    Timeout {
        /// Whom.
        endpoint: String,
        /// How long.
        waited: Duration,
    },
    /// `https` without saying whom to believe, or a name that no certificate can have.
    #[error("{endpoint}: {problem}")]
    Unusable {
        /// Whom.
        endpoint: String,
        /// What is missing.
        problem: String,
    },
    /// The HTTP/2 handshake failed.
    #[error("HTTP handshake with {endpoint}: {source}")]
    Http {
        /// With whom.
        endpoint: String,
        /// Why.
        source: hyper::Error,
    },
}

impl Endpoint {
    /// The server at `address`, without TLS.
    pub fn plain(address: &Address) -> Self {
        let place = match address {
            Address::Tcp(addr) => Place::Host(addr.to_string()),
            Address::Unix(path) => Place::Unix(path.clone()),
        };
        Self { place, tls: None, credential: None }
    }

    /// The same server over TLS.
    #[must_use]
    pub fn with_tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(Arc::new(move || Ok(config.clone())));
        self
    }

    /// The same endpoint behind TLS whose configuration may change.
    #[must_use]
    pub fn with_tls_from(mut self, source: TlsSource) -> Self {
        self.tls = Some(source);
        self
    }

    /// The same server, to which every gRPC call presents `key`.
    ///
    /// # Errors
    /// [`Invalid`] for a key that no header can carry.
    pub fn presenting(mut self, key: &str) -> Result<Self, Invalid> {
        let problem = |_| Invalid::new("key", "has characters that a header cannot carry");
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(problem)?;
        value.set_sensitive(true);
        self.credential = Some(value);
        Ok(self)
    }

    /// What goes into `authorization`.
    pub(crate) fn credential(&self) -> Option<&HeaderValue> {
        self.credential.as_ref()
    }

    /// What goes into `:authority` and `Host`.
    pub fn authority(&self) -> &str {
        match &self.place {
            Place::Host(authority) => authority,
            Place::Unix(_) => "localhost",
        }
    }

    /// `https` with TLS, else `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Connects, within `limit`.
    pub(crate) async fn dial(
        &self,
        protocol: Protocol,
        limit: Duration,
    ) -> Result<Box<dyn ByteStream>, DialError> {
        let endpoint = || self.to_string();
        clock::timeout(limit, self.connect(protocol))
            .await
            .unwrap_or_else(|_| Err(DialError::Timeout { endpoint: endpoint(), waited: limit }))
    }

    async fn connect(&self, protocol: Protocol) -> Result<Box<dyn ByteStream>, DialError> {
        let connected = match &self.place {
            Place::Host(authority) => Socket::connect_host(authority).await,
            Place::Unix(path) => Socket::connect(&Address::Unix(path.clone())).await,
        };
        let socket = connected
            .map_err(|source| DialError::Connect { endpoint: self.to_string(), source })?;
        let Some(source) = &self.tls else {
            return Ok(Box::new(socket));
        };
        let config = source().map_err(|error| DialError::Unusable {
            endpoint: self.to_string(),
            problem: error.to_string(),
        })?;
        let stream = TlsConnector::from(only(protocol, &config))
            .connect(self.server_name()?, socket)
            .await
            .map_err(|source| DialError::Tls { endpoint: self.to_string(), source })?;
        Ok(Box::new(stream))
    }

    fn server_name(&self) -> Result<ServerName<'static>, DialError> {
        let authority = self.authority();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        ServerName::try_from(host).map_err(|error| DialError::Unusable {
            endpoint: self.to_string(),
            problem: format!("is no server name: {error}"),
        })
    }
}

/// The configuration that asks for `protocol` alone.
fn only(protocol: Protocol, config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    let name: &[u8] = match protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
    };
    config.alpn_protocols = vec![name.to_vec()];
    Arc::new(config)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Host(authority) => write!(f, "{}://{authority}", self.scheme()),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl FromStr for Endpoint {
    type Err = Invalid;

    /// Reads `http://host:port`, `host:port` or `unix:/path`. `https://` is refused here because it
    /// says nothing about whom to believe: use [`Endpoint::with_tls`] on `host:port`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |problem: &str| Err(Invalid::new("endpoint", format!("{text:?} {problem}")));
        if text.starts_with("unix:") {
            return text.parse::<Address>().map(|address| Self::plain(&address));
        }
        if text.starts_with("https://") {
            return invalid("needs a pinned fingerprint or a CA file; none is configured");
        }
        let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let parsed: Result<http::uri::Authority, _> = authority.parse();
        match parsed {
            Ok(parsed) if parsed.port_u16().is_some() && !authority.contains('@') => {
                Ok(Self { place: Place::Host(authority.to_owned()), tls: None, credential: None })
            }
            _ => invalid("is neither http://host:port nor unix:/path"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_bad_ones_named() {
        let samples = [
            ("http://10.0.0.1:7700", "http://10.0.0.1:7700"),
            ("http://10.0.0.1:7700/", "http://10.0.0.1:7700"),
            ("node-a:7700", "http://node-a:7700"),
            ("[::1]:7700", "http://[::1]:7700"),
            ("unix:/run/h.sock", "unix:/run/h.sock"),
        ];
        for (text, shown) in samples {
            assert_eq!(text.parse::<Endpoint>().expect(text).to_string(), shown);
        }
        for bad in ["", "node-a", "http://", "https://a:1", "a:b@c:1", "ftp://a:1", "a:1/x"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_name_on_the_certificate_is_the_host_without_its_port() {
        for (text, name) in [("node-a:1", "node-a"), ("[::1]:1", "::1"), ("10.0.0.1:1", "10.0.0.1")]
        {
            let endpoint: Endpoint = text.parse().expect(text);
            let expected = ServerName::try_from(name).expect("a name");
            assert_eq!(endpoint.server_name().expect(text), expected);
        }
    }
}
