//! Calling the HTTP contract from inside: the command line and MCP are its clients, whether the
//! node runs in this process or elsewhere.
//!
//! Invariants: both ways send the same requests and get the same answers; a call in this process is
//! taken for one over the local socket, because who can start the process can read its files.
//!
//! Not here: what is called (`cli`, `mcp`).

use std::sync::Arc;

use axum::{Router, body::Body};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use runtime::span::{TRACEPARENT, TraceContext};
use serde_json::Value;
use tower::ServiceExt;
use wire::{
    http_client::{HttpClient, HttpError},
    net::PeerAddress,
    serve::Peer,
};

/// A body to send.
#[derive(Clone, Debug)]
pub enum Payload {
    /// None.
    Empty,
    /// JSON.
    Json(Value),
    /// NDJSON lines.
    Lines(String),
}

/// What a request carries in its headers besides credentials.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    /// At-most-once key.
    pub idempotency_key: Option<&'a str>,
    /// Version the memory must have.
    pub expected_version: Option<u64>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body as JSON; `null` when it is none.
    pub body: Value,
}

/// Takes a piece of a streamed answer; an error ends the stream.
pub type Sink<'a> = &'a mut (dyn FnMut(&[u8]) -> Result<(), String> + Send);

enum Way {
    InProcess(Router),
    Remote(HttpClient),
}

/// A caller of one node with one identity.
#[derive(Clone)]
pub struct ApiClient {
    way: Arc<Way>,
    headers: HeaderMap,
    /// On whose behalf calls in this process are made; `None` grants nothing.
    peer: Option<Peer>,
}

impl ApiClient {
    /// Calls a router in this process as `agent`.
    pub fn in_process(router: Router, agent: &str) -> Self {
        let peer = Peer { address: PeerAddress::Unix, tls_fingerprint: None, encrypted: false };
        let headers = identity(agent, None);
        Self { way: Arc::new(Way::InProcess(router)), headers, peer: Some(peer) }
    }

    /// Calls a node elsewhere as `agent`, presenting `key`.
    pub fn remote(client: HttpClient, agent: &str, key: Option<&str>) -> Self {
        Self { way: Arc::new(Way::Remote(client)), headers: identity(agent, key), peer: None }
    }

    /// The same caller, holding a lock: its fencing token goes with every request.
    #[must_use]
    pub fn holding(mut self, fence: Option<u64>) -> Self {
        if let Some(fence) = fence.filter(|fence| *fence > 0) {
            self.headers.insert(HeaderName::from_static("x-fence"), HeaderValue::from(fence));
        }
        self
    }

    /// The same caller, as part of a trace (W3C Trace Context, `traceparent`).
    #[must_use]
    pub fn traced(mut self, asking: Option<TraceContext>) -> Self {
        let value = asking.and_then(|asking| HeaderValue::from_str(&asking.to_string()).ok());
        if let Some(value) = value {
            self.headers.insert(HeaderName::from_static(TRACEPARENT), value);
        }
        self
    }

    /// The same way, on behalf of another request: its credentials and its peer, nothing better.
    #[must_use]
    pub fn as_request(&self, headers: HeaderMap, peer: Option<Peer>) -> Self {
        Self { way: self.way.clone(), headers, peer }
    }

    fn headers(
        &self,
        payload: &Payload,
        conditions: Conditions<'_>,
    ) -> Result<HeaderMap, HttpError> {
        let mut headers = self.headers.clone();
        let content_type = match payload {
            Payload::Empty => None,
            Payload::Json(_) => Some("application/json"),
            Payload::Lines(_) => Some("application/x-ndjson"),
        };
        if let Some(kind) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(key) = conditions.idempotency_key {
            // Going on without the key would do twice what was asked for once.
            let key = HeaderValue::from_str(key).map_err(|_| HttpError::NotSent {
                detail: "the idempotency key has characters that a header cannot carry".to_owned(),
            })?;
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        let version =
            conditions.expected_version.map(|v| HeaderValue::from_str(&format!("\"{v}\"")));
        if let Some(Ok(version)) = version {
            headers.insert(header::IF_MATCH, version);
        }
        Ok(headers)
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// [`HttpError`]; an answer with an error status is no error here.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
        conditions: Conditions<'_>,
    ) -> Result<Answer, HttpError> {
        let headers = self.headers(&payload, conditions)?;
        let bytes = match payload {
            Payload::Empty => Bytes::new(),
            Payload::Json(value) => Bytes::from(value.to_string()),
            Payload::Lines(text) => Bytes::from(text),
        };
        let (status, bytes) = match &*self.way {
            Way::InProcess(router) => {
                let response = self.send(router, method, path, headers, bytes).await?;
                let status = response.status().as_u16();
                let body = response.into_body().collect().await;
                let unread = |e: axum::Error| HttpError::Unknown { detail: e.to_string() };
                (status, body.map_err(unread)?.to_bytes())
            }
            Way::Remote(client) => {
                let answer = client.request_bytes(method, path, &headers, bytes).await?;
                (answer.status, answer.body)
            }
        };
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }

    /// Sends a GET and hands over the body as it arrives. An error status is answered as [`Answer`],
    /// with nothing handed over.
    ///
    /// # Errors
    /// [`HttpError`]; [`HttpError::Unknown`] with the sink's words when the sink refuses.
    pub fn stream<'a>(
        &'a self,
        path: &'a str,
        sink: Sink<'a>,
    ) -> BoxFuture<'a, Result<Answer, HttpError>> {
        Box::pin(async move {
            match &*self.way {
                Way::InProcess(router) => {
                    let headers = self.headers.clone();
                    let response =
                        self.send(router, Method::GET, path, headers, Bytes::new()).await?;
                    let status = response.status().as_u16();
                    let mut body = response.into_body();
                    let mut refused = Vec::new();
                    while let Some(frame) = body.frame().await {
                        let frame =
                            frame.map_err(|e| HttpError::Unknown { detail: e.to_string() })?;
                        let Ok(data) = frame.into_data() else { continue };
                        hand_over(status, &data, sink, &mut refused)?;
                    }
                    Ok(ended(status, &refused))
                }
                Way::Remote(client) => {
                    let mut stream = client.stream(Method::GET, path, &self.headers, None).await?;
                    let mut refused = Vec::new();
                    while let Some(data) = stream.next_chunk().await? {
                        hand_over(stream.status, &data, sink, &mut refused)?;
                    }
                    Ok(ended(stream.status, &refused))
                }
            }
        })
    }

    async fn send(
        &self,
        router: &Router,
        method: Method,
        path: &str,
        headers: HeaderMap,
        bytes: Bytes,
    ) -> Result<axum::response::Response, HttpError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::from(bytes))
            .map_err(|e| HttpError::NotSent { detail: e.to_string() })?;
        *request.headers_mut() = headers;
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(peer.clone());
        }
        // A router answers every request; its error type has no value.
        router.clone().oneshot(request).await.map_err(|never| match never {})
    }
}

/// Bytes of a problem document that are kept.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

fn hand_over(
    status: u16,
    data: &[u8],
    sink: &mut (dyn FnMut(&[u8]) -> Result<(), String> + Send),
    refused: &mut Vec<u8>,
) -> Result<(), HttpError> {
    if status < 400 {
        return sink(data).map_err(|detail| HttpError::Unknown { detail });
    }
    let room = PROBLEM_BYTES_MAX.saturating_sub(refused.len());
    refused.extend_from_slice(&data[..data.len().min(room)]);
    Ok(())
}

fn ended(status: u16, refused: &[u8]) -> Answer {
    Answer { status, body: serde_json::from_slice(refused).unwrap_or(Value::Null) }
}

fn identity(agent: &str, key: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Agent names consist of characters that a header may carry.
    if let Ok(agent) = HeaderValue::from_str(agent) {
        headers.insert(HeaderName::from_static("x-agent-id"), agent);
    }
    if let Some(mut key) = key.and_then(|key| HeaderValue::from_str(&format!("Bearer {key}")).ok())
    {
        key.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, key);
    }
    headers
}
