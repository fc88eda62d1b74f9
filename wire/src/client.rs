//! The gRPC channel: typed clients over HTTP/2, in both worlds.
//!
//! Invariants: `CH-1` an error before the request was handed to the connection is marked as not
//! sent, any later silence is unknown (`ERR-3`); `CH-2` a connection on which a deadline was missed
//! is not used again: the link may be dead without anybody having said so.
//!
//! Not here: retries. Who retries must hold an idempotency key.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri, header::AUTHORIZATION, uri::PathAndQuery};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use runtime::clock;
use runtime::task::spawn_named;
use tokio::sync::Mutex;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::admission::{Deadline, requested_timeout};
use crate::dial::{DialError, Endpoint, Protocol};
use crate::errors;
use crate::grpc::bounded;
use crate::hyper_rt::{HyperExecutor, HyperTimer};
use crate::io::HyperIo;
use crate::trace;

/// Times of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelTimes {
    /// Time for a connection, TLS included.
    pub connect: Duration,
    /// Time to the first answer for calls that state no deadline.
    pub call: Duration,
    /// Silence after which the server is pinged, also between calls.
    pub keep_alive_interval: Duration,
    /// Time to answer a ping.
    pub keep_alive_timeout: Duration,
}

impl Default for ChannelTimes {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            call: Duration::from_secs(30),
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(5),
        }
    }
}

/// A connection that makes itself when it is needed and again when it was lost. Clones share it.
#[derive(Clone, Debug)]
pub struct Channel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    times: ChannelTimes,
    slot: Mutex<Slot>,
}

/// The current connection. Its number tells a missed deadline whether it is still the same.
#[derive(Debug, Default)]
struct Slot {
    number: u64,
    connection: Option<SendRequest<Body>>,
}

impl Channel {
    /// A channel to `endpoint`; nothing is dialled yet.
    pub fn new(endpoint: Endpoint, times: ChannelTimes) -> Self {
        Self(Arc::new(Inner { endpoint, times, slot: Mutex::default() }))
    }

    /// The server it leads to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Calls made after this use a new connection.
    pub async fn reset(&self) {
        self.0.slot.lock().await.connection = None;
    }

    async fn connection(&self) -> Result<(u64, SendRequest<Body>), DialError> {
        let mut slot = self.0.slot.lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|c| !c.is_closed()) {
            return Ok((slot.number, connection.clone()));
        }
        let connection = self.connect().await?;
        slot.number += 1;
        slot.connection = Some(connection.clone());
        Ok((slot.number, connection))
    }

    async fn connect(&self) -> Result<SendRequest<Body>, DialError> {
        let Inner { endpoint, times, .. } = &*self.0;
        let stream = endpoint.dial(Protocol::Http2, times.connect).await?;
        let (sender, connection) = http2::Builder::new(HyperExecutor)
            .timer(HyperTimer)
            .keep_alive_interval(times.keep_alive_interval)
            .keep_alive_timeout(times.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .handshake(HyperIo(stream))
            .await
            .map_err(|source| DialError::Http { endpoint: endpoint.to_string(), source })?;
        spawn_named("grpc-channel", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "channel closed");
            }
        });
        Ok(sender)
    }

    /// Forgets connection `number` (`CH-2`).
    async fn forget(&self, number: u64) {
        let mut slot = self.0.slot.lock().await;
        if slot.number == number {
            slot.connection = None;
        }
    }

    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let stated = requested_timeout(request.headers())
            .map_err(|invalid| errors::status(&invalid.into()))?;
        let first = Deadline::after(stated.unwrap_or(self.0.times.call));
        if let Some(credential) = self.0.endpoint.credential() {
            request.headers_mut().insert(AUTHORIZATION, credential.clone());
        }
        trace::say(request.headers_mut());
        *request.uri_mut() = self.uri(request.uri().path_and_query());
        // A connection that the server closed while it was idle takes no request; a second one must.
        for _ in 0..2 {
            let (number, mut connection) = clock::timeout_at(first.at(), self.connection())
                .await
                .map_err(|_| errors::not_sent("no connection before the deadline"))?
                .map_err(|error| errors::not_sent(error.to_string()))?;
            let answer = clock::timeout_at(first.at(), connection.try_send_request(request)).await;
            let Ok(answer) = answer else {
                self.forget(number).await;
                return Err(errors::timed_out(first.duration()));
            };
            match answer {
                Ok(response) => return Ok(response.map(|body| whole(body, stated, first))),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Status::unavailable(error.into_error().to_string())),
                },
            }
            self.forget(number).await;
        }
        Err(errors::not_sent(format!("{} takes no requests", self.0.endpoint)))
    }

    fn uri(&self, path: Option<&PathAndQuery>) -> Uri {
        let path = path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let Inner { endpoint, .. } = &*self.0;
        Uri::builder()
            .scheme(endpoint.scheme())
            .authority(endpoint.authority())
            .path_and_query(path)
            .build()
            .expect("an endpoint's scheme and authority were parsed before")
    }
}

/// The body of an answer; a deadline that was stated bounds it too.
fn whole(body: Incoming, stated: Option<Duration>, deadline: Deadline) -> Body {
    match stated {
        None => Body::new(body),
        Some(_) => bounded(body, deadline),
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.clone();
        Box::pin(async move { channel.send(request).await })
    }
}
