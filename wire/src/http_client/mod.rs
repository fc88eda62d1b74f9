//! A small HTTP/1.1 client for JSON, used by the command line and by thin doors.
//!
//! Invariants: `HC-1` [`HttpError::NotSent`] means that the server has not seen the request, and
//! [`HttpError::Unknown`] that it may have; `HC-2` no answer is kept in memory beyond the limit given.
//!
//! Not here: redirects, proxies, cookies, compression: nobody on this side of the API needs them.

mod sse;
#[cfg(all(test, not(madsim)))]
mod tests;

pub use sse::{SseEvent, SseParser};

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use parking_lot::Mutex;
use runtime::clock::{self, Instant};
use runtime::task::spawn_named;
use serde_json::Value;
use types::Reject;

use crate::admission::{Deadline, read_body};
use crate::dial::{Endpoint, Protocol};
use crate::errors::Problem;
use crate::io::HyperIo;

/// Idle connections kept.
const IDLE_MAX: usize = 8;
/// How long one waits for a request. Less than any server waits: a request on a connection that is just
/// being closed has an unknown end.
const IDLE_FOR: Duration = Duration::from_secs(4);

/// Bounds of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Time for a connection, TLS included.
    pub connect: Duration,
    /// Time for a whole answer; for a stream, for its head.
    pub answer: Duration,
    /// Largest answer, in bytes.
    pub answer_bytes_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            answer: Duration::from_secs(60),
            answer_bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The server has not seen the request.
    #[error("not sent: {detail}")]
    NotSent {
        /// What went wrong.
        detail: String,
    },
    /// The server may have seen the request and acted on it.
    #[error("outcome unknown: {detail}")]
    Unknown {
        /// What went wrong.
        detail: String,
    },
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl HttpAnswer {
    /// The body as JSON; `None` when it is none.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The refusal that the answer carries, when it is a problem document of a node.
    pub fn reject(&self) -> Option<Reject> {
        if self.status < 400 {
            return None;
        }
        self.json().as_ref().and_then(Problem::from_value).map(|problem| problem.reject)
    }
}

/// Keeps connections to one server alive between requests.
#[derive(Debug)]
pub struct HttpClient {
    endpoint: Endpoint,
    limits: HttpLimits,
    /// Connections without a request, and since when.
    idle: Mutex<VecDeque<(SendRequest<Full<Bytes>>, Instant)>>,
}

impl HttpClient {
    /// A client of `endpoint` with the default bounds; nothing is dialled yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self::with_limits(endpoint, HttpLimits::default())
    }

    /// A client of `endpoint`.
    pub fn with_limits(endpoint: Endpoint, limits: HttpLimits) -> Self {
        Self { endpoint, limits, idle: Mutex::default() }
    }

    /// The server it talks to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request, with `body` as JSON, and waits for the whole answer.
    ///
    /// # Errors
    /// [`HttpError`]; an answer with an error status is no error here.
    pub async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Option<&Value>,
    ) -> Result<HttpAnswer, HttpError> {
        let bytes = body.map(|value| Bytes::from(value.to_string())).unwrap_or_default();
        let mut headers = headers.clone();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        self.request_bytes(method, path_and_query, &headers, bytes).await
    }

    /// Sends a request whose body is not JSON and waits for the whole answer; `headers` name its type.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn request_bytes(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<HttpAnswer, HttpError> {
        let deadline = Deadline::after(self.limits.answer);
        let request = self.build_bytes(method, path_and_query, headers, body)?;
        let (response, connection) = self.send(request, &deadline).await?;
        let (head, body) = response.into_parts();
        let body = deadline
            .run(read_body(body, self.limits.answer_bytes_max))
            .await
            .and_then(|read| read)
            .map_err(|reject| HttpError::Unknown { detail: reject.detail })?;
        self.keep(connection);
        Ok(HttpAnswer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Sends a request and waits for the head of the answer; the body is read as it arrives.
    ///
    /// # Errors
    /// [`HttpError`]; an answer with an error status is no error here.
    pub async fn stream(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Option<&Value>,
    ) -> Result<HttpStream, HttpError> {
        let deadline = Deadline::after(self.limits.answer);
        let request = self.build(method, path_and_query, headers, body)?;
        let (response, connection) = self.send(request, &deadline).await?;
        let (head, body) = response.into_parts();
        Ok(HttpStream {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            parser: SseParser::default(),
            ready: VecDeque::new(),
            _connection: connection,
        })
    }

    fn build(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let bytes = body.map(|value| Bytes::from(value.to_string())).unwrap_or_default();
        let mut headers = headers.clone();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        self.build_bytes(method, path_and_query, &headers, bytes)
    }

    fn build_bytes(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .body(Full::new(body))
            .map_err(|error| HttpError::NotSent { detail: error.to_string() })?;
        let host = HeaderValue::from_str(self.endpoint.authority())
            .map_err(|error| HttpError::NotSent { detail: error.to_string() })?;
        request.headers_mut().insert(HOST, host);
        let extra =
            headers.iter().map(|(k, v): (&HeaderName, &HeaderValue)| (k.clone(), v.clone()));
        request.headers_mut().extend(extra);
        crate::trace::say(request.headers_mut());
        Ok(request)
    }

    async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        deadline: &Deadline,
    ) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), HttpError> {
        loop {
            let (mut connection, reused) = self.connection().await?;
            let answer =
                clock::timeout_at(deadline.at(), connection.try_send_request(request)).await;
            let Ok(answer) = answer else {
                let ms = deadline.duration().as_millis();
                return Err(HttpError::Unknown { detail: format!("no answer within {ms} ms") });
            };
            match answer {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message() {
                    // The server closed the connection while it was idle: the next one is another.
                    Some(unsent) if reused => request = unsent,
                    Some(_) => {
                        return Err(HttpError::NotSent { detail: error.into_error().to_string() });
                    }
                    None => {
                        return Err(HttpError::Unknown { detail: error.into_error().to_string() });
                    }
                },
            }
        }
    }

    /// A connection ready for a request, and whether it served one before.
    async fn connection(&self) -> Result<(SendRequest<Full<Bytes>>, bool), HttpError> {
        loop {
            // Not in the loop's head: the guard would live through its body.
            let kept = self.idle.lock().pop_back();
            let Some((mut kept, since)) = kept else { break };
            if since.elapsed() < IDLE_FOR && kept.ready().await.is_ok() {
                return Ok((kept, true));
            }
        }
        let stream = self
            .endpoint
            .dial(Protocol::Http1, self.limits.connect)
            .await
            .map_err(|error| HttpError::NotSent { detail: error.to_string() })?;
        let (sender, connection) = http1::handshake(HyperIo(stream))
            .await
            .map_err(|error| HttpError::NotSent { detail: error.to_string() })?;
        spawn_named("http-client", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection closed");
            }
        });
        Ok((sender, false))
    }

    fn keep(&self, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock();
        if !connection.is_closed() && idle.len() < IDLE_MAX {
            idle.push_back((connection, Instant::now()));
        }
    }
}

/// An answer whose body is read as it arrives.
#[derive(Debug)]
pub struct HttpStream {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    body: Incoming,
    parser: SseParser,
    ready: VecDeque<SseEvent>,
    /// Dropping it would end the connection under the body.
    _connection: SendRequest<Full<Bytes>>,
}

impl HttpStream {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// [`HttpError::Unknown`] when the connection breaks.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| HttpError::Unknown { detail: error.to_string() })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The next event of a `text/event-stream` body; `None` at its end.
    ///
    /// # Errors
    /// [`HttpError::Unknown`] when the connection breaks or an event exceeds every bound.
    pub async fn next_event(&mut self) -> Result<Option<SseEvent>, HttpError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(chunk) = self.next_chunk().await? else {
                return Ok(None);
            };
            let events = self.parser.push(&chunk);
            self.ready.extend(events.map_err(|detail| HttpError::Unknown { detail })?);
        }
    }
}
