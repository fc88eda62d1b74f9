//! Peers over HTTP: `sync/push` and `sync/since`, onto the same engine as gRPC.
//!
//! A question carries `x-peer-id`, `X-Memory-Nonce` and `X-Memory-Sig: ed25519=<base64>`, the signature of
//! that node over what was asked, a zero byte and the nonce. What was asked is the body as it was sent; a GET has none,
//! so there it is the request's target, path and query. Receiver and time are in it, so they are signed too.
//! The answer carries the same headers, signed by the node that answers as over gRPC.
//!
//! Invariants: `HSY-1` nothing of a body is read before its signature holds; `HSY-2` what was signed is what came,
//! byte for byte: a target or body that somebody rewrote on the way is refused.
//!
//! Not here: who gets in (`peers::doorway`), what is believed and taken (`federation`).

use axum::{
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use federation::driver::{Asking, PEER_ID};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;
use types::{NodeId, Reason, Reject};
use wire::{
    admission::read_body,
    serve::Peer,
    v1::{SyncHeader, SyncPurpose, SyncQuestion, SyncSince},
};

use super::{
    App,
    body::expect_json,
    decode::{self, Query},
    problem::{Answer, Refusal},
    routes::Routes,
};
use crate::{
    node::model::{
        sync::{SyncFeed, SyncPushInput, SyncPushOut, SyncSinceOut, header as sync_header},
        time,
    },
    peers::Peers,
};

/// Carries the signature.
const SIGNATURE: &str = "x-memory-sig";
/// Carries the nonce.
const NONCE: &str = "x-memory-nonce";
/// How a signature begins.
const ED25519: &str = "ed25519=";

/// A node that asks: who it says it is, and what it says to prove it.
pub(super) struct Asker {
    peers: Peers,
    node: NodeId,
    nonce: String,
    signature: Vec<u8>,
}

fn missing(name: &'static str, why: &str) -> Refusal {
    Refusal::of(Reason::Unauthenticated, name, why)
}

fn signature(headers: &HeaderMap) -> Result<Vec<u8>, Refusal> {
    let Some(value) = headers.get(SIGNATURE) else {
        return Err(missing(SIGNATURE, "is missing; sign the body, a zero byte and the nonce"));
    };
    let text = value.to_str().ok().and_then(|text| text.strip_prefix(ED25519));
    let bytes = text.and_then(|text| STANDARD.decode(text).ok());
    bytes.filter(|bytes| bytes.len() == 64).ok_or_else(|| {
        let needs = "needs the form ed25519=<64 bytes in base64 with padding>";
        Refusal::of(Reason::Malformed, SIGNATURE, needs)
    })
}

impl FromRequestParts<App> for Asker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let Some(peers) = app.service.peers() else {
            let detail = "this node has no peers; set federation.peers_file";
            return Err(Reject::new(Reason::Unimplemented, detail).into());
        };
        let connection = parts.extensions.get::<Peer>();
        let node = peers.doorway().admit(&parts.headers, connection)?;
        let signature = signature(&parts.headers)?;
        let Some(nonce) = parts.headers.get(NONCE) else {
            return Err(missing(NONCE, "is missing; it is part of what is signed"));
        };
        // What is no text is refused by the name of its field, as over gRPC.
        let nonce = nonce.to_str().unwrap_or_default().to_owned();
        Ok(Self { peers: peers.clone(), node, nonce, signature })
    }
}

impl Asker {
    fn question(&self, asked: Vec<u8>) -> SyncQuestion {
        SyncQuestion {
            peer: self.node.as_bytes().into(),
            body: asked,
            nonce: self.nonce.clone(),
            signature: self.signature.clone(),
        }
    }

    /// The answer with this node's signature.
    fn sealed(&self, purpose: SyncPurpose, body: &impl Serialize) -> Answer<Response> {
        let federation = self.peers.federation();
        let body = serde_json::to_vec(body).map_err(|error| {
            Reject::new(Reason::Internal, format!("the answer is no JSON: {error}"))
        })?;
        let sealed = federation.seal(purpose, &self.nonce, body);
        let me = federation.me().to_string();
        let signature = format!("{ED25519}{}", STANDARD.encode(&sealed.signature));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [(PEER_ID, me), (SIGNATURE, signature), (NONCE, self.nonce.clone())] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        Ok((headers, sealed.body).into_response())
    }
}

#[utoipa::path(
    post, path = "/api/v1/sync/push", tag = "peers",
    summary = "Operations of a peer, to be applied (peers)",
    description = "Signed over the body, a zero byte and the nonce. An answer says of each operation what became of it; those that are refused keep no other out.",
    params(
        ("x-peer-id" = String, Header, description = "The node that asks, a UUID."),
        ("X-Memory-Sig" = String, Header, description = "`ed25519=` and the signature in base64."),
        ("X-Memory-Nonce" = String, Header, description = "Never used before by that node; 1 to 128 visible ASCII characters."),
    ),
    request_body = SyncPushInput,
    responses((status = 200, description = "What became of each, signed.", body = SyncPushOut)),
)]
async fn push(State(app): State<App>, asker: Asker, request: Request) -> Answer<Response> {
    expect_json(request.headers())?;
    let params = Query::parse(request.uri().query().unwrap_or_default())?;
    params.done()?;
    let body = read_body(request.into_body(), app.limits.body_bytes_max).await?;
    let question = asker.question(body.into());
    let read = |body: &[u8]| decode::json::<SyncPushInput>(body)?.message();
    let judged = asker.peers.federation().judge(&question, read).await.map_err(of_batch)?;
    asker.sealed(SyncPurpose::Push, &SyncPushOut::from(judged))
}

/// A batch that its origins have not signed like this is the sender's fault, not this node's.
fn of_batch(reject: Reject) -> Refusal {
    let broken = reject.reason == Reason::ChainBroken;
    let refusal = Refusal::from(reject);
    if broken { refusal.with_status(StatusCode::UNPROCESSABLE_ENTITY) } else { refusal }
}

/// What the parameters ask for, as the message of gRPC has it.
fn asking(target: &[u8]) -> Result<Asking, Reject> {
    let query =
        target.iter().position(|byte| *byte == b'?').map_or(&[][..], |at| &target[at + 1..]);
    let mut query = Query::parse(&String::from_utf8_lossy(query))?;
    let need = |name: &'static str| super::params::required(name);
    let to: Option<String> = query.take("to")?;
    let sent_ms: Option<u64> = query.take("sent_ms")?;
    let version: Option<u32> = query.take("version")?;
    let covers: Option<String> = query.take("covers")?;
    let limit: Option<u32> = query.take("limit")?;
    let after: Option<String> = query.take("since")?;
    let schema: Option<u32> = query.take("schema")?;
    let capabilities: Vec<String> = query.take("capabilities")?.unwrap_or_default();
    query.done()?;
    let to = to.ok_or_else(|| need("to"))?;
    let sent_ms = sent_ms.ok_or_else(|| need("sent_ms"))?;
    let version = version.ok_or_else(|| need("version"))?;
    let covers = feeds(covers.as_deref().unwrap_or_default())?;
    let header = sync_header(SyncPurpose::Since, &to, sent_ms, version, covers)?;
    let header = SyncHeader { schema: schema.unwrap_or_default(), capabilities, ..header };
    let since = SyncSince { header: Some(header), operations_max: limit.unwrap_or(u32::MAX) };
    Ok(Asking { since, after_ms: time::from_option("since", after.as_deref())? })
}

/// `origin:seq` of each feed, with commas between them.
fn feeds(text: &str) -> Result<Vec<SyncFeed>, Reject> {
    let one = |part: &str| {
        let split = part.split_once(':').and_then(|(origin, seq)| {
            Some(SyncFeed { origin: origin.to_owned(), seq: seq.parse().ok()? })
        });
        split.ok_or_else(|| {
            let detail = format!("covers: {part:?} needs the form <UUID of a node>:<sequence>");
            Reject::new(Reason::InvalidArgument, detail).with("field", "covers")
        })
    };
    text.split(',').filter(|part| !part.is_empty()).map(one).collect()
}

#[utoipa::path(
    get, path = "/api/v1/sync/since", tag = "peers",
    summary = "What the asker lacks and may see (peers)",
    description = "Signed over the request's target, path and query as sent, a zero byte and the nonce. What the asker may not see comes as hashes.",
    params(
        ("x-peer-id" = String, Header, description = "The node that asks, a UUID."),
        ("X-Memory-Sig" = String, Header, description = "`ed25519=` and the signature in base64."),
        ("X-Memory-Nonce" = String, Header, description = "Never used before by that node; 1 to 128 visible ASCII characters."),
        ("to" = String, Query, description = "The node that is asked, a UUID."),
        ("sent_ms" = u64, Query, description = "The asker's clock, Unix milliseconds: at most five minutes from the other's.", minimum = 0),
        ("version" = u32, Query, description = "Version of the messages and operations that the asker writes.", minimum = 0),
        ("covers" = Option<String>, Query, description = "What the asker covers: `<UUID of a node>:<sequence>` of each feed, with commas between them."),
        ("since" = Option<String>, Query, description = "The asker has everything that was committed here before this RFC 3339 time. It is mapped to a position that is rather earlier; `covers` is exact."),
        ("limit" = Option<u32>, Query, description = "At most so many operations; the default, and the most, is 480.", minimum = 1, maximum = 1000),
        ("schema" = Option<u32>, Query, description = "Version of the asker's store.", minimum = 0),
        ("capabilities" = Option<Vec<String>>, Query, description = "What the asker offers besides what its version says, with commas between them."),
    ),
    responses((status = 200, description = "Operations in an order in which they can be applied, signed.", body = SyncSinceOut)),
)]
async fn since(asker: Asker, request: Request) -> Answer<Response> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let question = asker.question(target.as_bytes().to_vec());
    let told = asker.peers.federation().tell(&question, asking).await?;
    asker.sealed(SyncPurpose::Since, &SyncSinceOut::from(told))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes.add(__path_push, "sync_push", push).add(__path_since, "sync_since", since);
}
