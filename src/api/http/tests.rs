//! The door as a client sees it, over a real service on a real store in a folder of its own.
//!
//! Invariant: every test drives the whole router.
//!
//! Not here: the pieces, which are tested beside their code, and sockets.

mod access;
mod contract;
mod graph;
mod idempotency;
mod memories;
mod refusals;
mod streams;
mod upkeep;

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use ed25519_dalek::{Signer as _, SigningKey};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use runtime::disk::OsDisk;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use storage::{StoreConfig, port::Signer, request::QuotaLimits, sqlite::open_store};
use tempfile::TempDir;
use tower::ServiceExt as _;
use types::{Scope, limits::REFLECTION_DEPTH_DEFAULT};
use wire::{net::PeerAddress, serve::Peer};

use super::{HttpLimits, router};
use crate::{
    embed::{Embedder as _, LexicalEmbedder},
    node::service::{AccessKeys, Service, ServiceSettings, caller::secret_digest},
    telemetry::{health::ReadyProbe, metrics::Metrics},
};

struct Key(SigningKey);

impl Signer for Key {
    fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.0.sign(digest).to_bytes()
    }

    fn key_id(&self) -> [u8; 8] {
        Sha256::digest(self.public_key())[..8].try_into().unwrap()
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

fn settings(quota: QuotaLimits) -> ServiceSettings {
    ServiceSettings {
        default_scope: Scope::Collective,
        short_ttl: Some(Duration::from_secs(6 * 3600)),
        mid_ttl: Some(Duration::from_secs(7 * 24 * 3600)),
        reflection_depth_max: REFLECTION_DEPTH_DEFAULT,
        quota,
        position_wait: Duration::from_millis(50),
        ranking: Default::default(),
        node_agent: "node".parse().unwrap(),
    }
}

/// A node with an HTTP door. Its API key is `api`, its operator key `op`.
struct Door {
    router: Router,
    service: Arc<Service>,
    folder: TempDir,
}

impl Door {
    async fn open() -> Self {
        Self::open_with(HttpLimits::default(), QuotaLimits::default(), true).await
    }

    async fn open_with(mut limits: HttpLimits, quota: QuotaLimits, keys: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let embedder = Arc::new(LexicalEmbedder::default());
        let signer = Arc::new(Key(SigningKey::from_bytes(&[7; 32])));
        let config = StoreConfig { reserve_bytes: 0, ..StoreConfig::new(signer, embedder.space()) };
        let store = open_store(OsDisk::shared(), &folder.path().join("data"), config).unwrap();
        let keys = match keys {
            true => AccessKeys {
                api_key: Some(secret_digest("api")),
                operator_key: Some(secret_digest("op")),
            },
            false => AccessKeys::default(),
        };
        let service = Service::new(Arc::new(store), embedder, keys, settings(quota)).await.unwrap();
        let service = Arc::new(service);
        limits.backup_folder = Some(folder.path().join("backups"));
        let metrics = Arc::new(Metrics::new());
        let router = router(service.clone(), limits, metrics, ReadyProbe::always());
        Self { router, service, folder }
    }

    async fn send(&self, call: Call) -> Answer {
        let response = self.router.clone().oneshot(call.0).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, bytes: bytes.to_vec() }
    }

    /// Stores a memory as the operator and returns its id.
    async fn stored(&self, draft: Value) -> String {
        let answer = self.send(post("/api/v1/memories").json(&draft)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    async fn ok(&self, call: Call) -> Value {
        let answer = self.send(call).await;
        assert!(answer.status.is_success(), "{} {}", answer.status, answer.text());
        answer.json()
    }
}

/// A request being made; the operator's unless it says otherwise.
struct Call(Request<Body>);

fn call(method: &str, path: &str) -> Call {
    let request = Request::builder().method(method).uri(path).header("x-api-key", "op");
    Call(request.body(Body::empty()).unwrap())
}

fn get(path: &str) -> Call {
    call("GET", path)
}

fn post(path: &str) -> Call {
    call("POST", path)
}

impl Call {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.0.headers_mut().insert(name, value.parse().unwrap());
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.0.headers_mut().remove(name);
        self
    }

    /// As an agent that holds the API key.
    fn agent(self, name: &str) -> Self {
        self.header("x-api-key", "api").header("x-agent-id", name)
    }

    fn body(mut self, kind: &str, body: impl Into<Body>) -> Self {
        *self.0.body_mut() = body.into();
        self.header("content-type", kind)
    }

    fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    fn sent_from(mut self, address: PeerAddress) -> Self {
        self.0.extensions_mut().insert(Peer { address, tls_fingerprint: None, encrypted: false });
        self
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is a problem document with the status and the reason, and returns it.
    fn problem(&self, status: u16, reason: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "HTTP-2");
        assert!(!self.header("x-request-id").is_empty());
        let document = self.json();
        assert_eq!(document["reason"], reason, "{document}");
        assert_eq!(document["status"], status);
        for member in ["type", "title", "detail", "instance"] {
            assert!(document[member].is_string(), "{member} is missing in {document}");
        }
        document
    }
}

fn draft(title: &str, content: &str) -> Value {
    json!({"title": title, "content": content})
}
