//! One connection, from the handshake to the last answer.
//!
//! Invariants: `SRV-1` and `SRV-2` of the parent module.
//!
//! Not here: accepting.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use runtime::clock;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::{HttpService, Peer, ServeLimits, Shared};
use crate::hyper_rt::{HyperExecutor, HyperTimer};
use crate::io::{ByteStream, HyperIo, detect_http2};
use crate::net::{PeerAddress, Socket};
use crate::tls::{Fingerprint, TlsReload};

/// Most header fields of a request.
const HEADERS_MAX: usize = 128;
/// Bytes a peer may send on one HTTP/2 stream, and on all of one connection, before they are read.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the TLS handshake took too long")]
    HandshakeTimeout,
    #[error("TLS handshake: {source}")]
    Handshake { source: io::Error },
    #[error("no request within the time for a head")]
    FirstByteTimeout,
    #[error("reading the first bytes: {source}")]
    FirstBytes { source: io::Error },
    #[error("its certificate was taken off the allowlist")]
    Refused,
    #[error("HTTP: {source}")]
    Http { source: hyper::Error },
}

/// Serves one connection to its end, which is logged and concerns nobody else.
pub(super) async fn run<S: HttpService>(shared: &Shared<S>, socket: Socket, address: PeerAddress) {
    let abandoned = shared.abandon.cancelled();
    let ended = tokio::select! {
        ended = serve_socket(shared, socket, address.clone()) => ended,
        () = abandoned => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection ended");
    }
}

async fn serve_socket<S: HttpService>(
    shared: &Shared<S>,
    socket: Socket,
    address: PeerAddress,
) -> Result<(), ConnectionError> {
    let plain = Peer { address, tls_fingerprint: None, encrypted: false };
    let Some(tls) = &shared.tls else {
        let detected = clock::timeout(shared.limits.header_read_timeout, detect_http2(socket));
        let (stream, is_http2) = tokio::select! {
            // A silent connection must not hold up a drain.
            () = shared.drain.cancelled() => return Ok(()),
            detected = detected => detected
                .map_err(|_| ConnectionError::FirstByteTimeout)?
                .map_err(|source| ConnectionError::FirstBytes { source })?,
        };
        return serve_http(shared, stream, is_http2, plain).await;
    };
    let (stream, fingerprint) = handshake(tls, socket, &shared.limits).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let peer = Peer { tls_fingerprint: fingerprint, encrypted: true, ..plain };
    // What is under way ends as if the client had gone: a stolen key must not go on reading.
    tokio::select! {
        biased;
        () = tls.refuses(fingerprint) => Err(ConnectionError::Refused),
        ended = serve_http(shared, stream, is_http2, peer) => ended,
    }
}

type TlsSocket = tokio_rustls::server::TlsStream<Socket>;

async fn handshake(
    tls: &TlsReload,
    socket: Socket,
    limits: &ServeLimits,
) -> Result<(TlsSocket, Option<Fingerprint>), ConnectionError> {
    let accepted = TlsAcceptor::from(tls.config()).accept(socket);
    let stream = clock::timeout(limits.handshake_timeout, accepted)
        .await
        .map_err(|_| ConnectionError::HandshakeTimeout)?
        .map_err(|source| ConnectionError::Handshake { source })?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let fingerprint = leaf.map(Fingerprint::of);
    Ok((stream, fingerprint))
}

async fn serve_http<S: HttpService, T: ByteStream>(
    shared: &Shared<S>,
    stream: T,
    is_http2: bool,
    peer: Peer,
) -> Result<(), ConnectionError> {
    let service = WithPeer { service: shared.service.clone(), peer };
    let limits = &shared.limits;
    let io = HyperIo(stream);
    if is_http2 {
        let connection = http2_builder(limits).serve_connection(io, service);
        drive(connection, shared, http2::Connection::graceful_shutdown).await
    } else {
        let connection = http1_builder(limits).serve_connection(io, service);
        drive(connection, shared, http1::Connection::graceful_shutdown).await
    }
}

fn http2_builder(limits: &ServeLimits) -> http2::Builder<HyperExecutor> {
    let mut builder = http2::Builder::new(HyperExecutor);
    builder
        .timer(HyperTimer)
        .max_concurrent_streams(limits.concurrent_streams_max)
        .max_header_list_size(limits.header_bytes_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout);
    builder
}

fn http1_builder(limits: &ServeLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(HyperTimer)
        .header_read_timeout(limits.header_read_timeout)
        .max_header_size(limits.header_bytes_max as usize)
        .max_headers(HEADERS_MAX)
        // Agents close their half after the last request and still read the answer.
        .half_close(true);
    builder
}

/// Drives a connection, and asks it to finish when the drain begins.
async fn drive<C, S>(
    connection: C,
    shared: &Shared<S>,
    finish: impl FnOnce(Pin<&mut C>),
) -> Result<(), ConnectionError>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shared.drain.cancelled() => {
            finish(connection.as_mut());
            connection.await
        }
    };
    ended.map_err(|source| ConnectionError::Http { source })
}

/// The service with its peer attached to every request.
struct WithPeer<S> {
    service: S,
    peer: Peer,
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for WithPeer<S> {
    type Response = Response<S::Body>;
    type Error = Infallible;
    type Future = S::Answer;

    fn call(&self, mut request: Request<Incoming>) -> S::Answer {
        request.extensions_mut().insert(self.peer.clone());
        // Services are called without asking whether they are ready: ours always are, and load is
        // shed per request.
        Service::call(&mut self.service.clone(), request)
    }
}
