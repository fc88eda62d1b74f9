//! The one accept loop: sockets in, requests out, in both worlds.
//!
//! A connection is TCP or a Unix socket, with TLS or without, speaking HTTP/1.1 or HTTP/2; which of
//! the two is told by ALPN or by the first bytes. Every request reaches the same
//! [`tower_service::Service`] with a [`Peer`] in its extensions.
//!
//! Invariants: `SRV-1` nothing about a connection is unbounded: their number, the size of a head,
//! the time to send one, the streams in one connection; `SRV-2` after a shutdown no connection is
//! accepted, requests under way finish, and [`serve`] returns at the latest when the drain time is
//! over, with every connection closed.
//!
//! Deliberately not here: limits per request ([`crate::admission`]), routes and credentials (the
//! doors).

mod connection;
#[cfg(all(test, not(madsim)))]
mod tests;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use runtime::clock;
use runtime::task::{Shutdown, spawn_named};
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::net::{Listener, PeerAddress};
use crate::tls::{Fingerprint, TlsReload};

/// How long to wait after a failed accept, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who sent a request; in the extensions of every one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it comes from.
    pub address: PeerAddress,
    /// The client's leaf certificate, when it showed one that was accepted.
    pub tls_fingerprint: Option<Fingerprint>,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

/// Bounds of the accept loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections at one time; more wait in the system's backlog.
    pub connections_max: u32,
    /// Largest head of a request, in bytes.
    pub header_bytes_max: u32,
    /// Time to send a head, and for an idle HTTP/1.1 connection to send the next.
    pub header_read_timeout: Duration,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Requests at one time within one HTTP/2 connection.
    pub concurrent_streams_max: u32,
    /// Silence after which an HTTP/2 peer is pinged.
    pub keep_alive_interval: Duration,
    /// Time to answer a ping.
    pub keep_alive_timeout: Duration,
    /// Time for requests under way to finish after a shutdown.
    pub drain_timeout: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            header_bytes_max: 16 * 1024,
            header_read_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            concurrent_streams_max: 256,
            keep_alive_interval: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

/// An error of a body, as hyper wants it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What answers requests. Implemented by every fitting tower service (an axum router, tonic's
/// generated servers, a closure's service).
pub trait HttpService:
    Service<
        Request<Incoming>,
        Response = Response<Self::Body>,
        Error = Infallible,
        Future = Self::Answer,
    > + Clone
    + Send
    + 'static
{
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
    /// An answer in its own time.
    type Answer: Future<Output = Result<Response<Self::Body>, Infallible>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
    type Answer = S::Future;
}

/// What a connection needs, besides its socket.
struct Shared<S> {
    service: S,
    tls: Option<Arc<TlsReload>>,
    limits: ServeLimits,
    /// No more requests; those under way finish.
    drain: Shutdown,
    /// The drain time is over.
    abandon: Shutdown,
}

/// Serves `listener` until `shutdown` is said and the connections have drained (`SRV-2`).
pub async fn serve<S: HttpService + Sync>(
    listener: Listener,
    tls: Option<Arc<TlsReload>>,
    service: S,
    limits: ServeLimits,
    shutdown: Shutdown,
) {
    let abandon = Shutdown::new();
    let shared = Arc::new(Shared {
        service,
        tls,
        limits,
        drain: shutdown.clone(),
        abandon: abandon.clone(),
    });
    let slots = Arc::new(Semaphore::new(limits.connections_max as usize));
    tokio::select! {
        () = accept_loop(&listener, &shared, &slots) => {}
        () = shutdown.cancelled() => {}
    }
    // Refuse newcomers at once instead of letting them wait for an answer that never comes.
    drop(listener);
    let drained = clock::timeout(limits.drain_timeout, all_closed(&slots, &limits)).await;
    if drained.is_err() {
        tracing::warn!(after = ?limits.drain_timeout, "closing connections that did not drain");
        abandon.trigger();
        all_closed(&slots, &limits).await;
    }
}

/// Completes when every connection has given its slot back.
async fn all_closed(slots: &Semaphore, limits: &ServeLimits) {
    // The semaphore is never closed, so this cannot fail; if it did, nothing would be open.
    let _ = slots.acquire_many(limits.connections_max).await;
}

async fn accept_loop<S: HttpService + Sync>(
    listener: &Listener,
    shared: &Arc<Shared<S>>,
    slots: &Arc<Semaphore>,
) {
    // The semaphore is never closed, so the loop ends only by being dropped.
    while let Ok(slot) = Arc::clone(slots).acquire_owned().await {
        match listener.accept().await {
            Ok((socket, address)) => {
                let shared = Arc::clone(shared);
                spawn_named("connection", async move {
                    connection::run(&shared, socket, address).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                clock::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
