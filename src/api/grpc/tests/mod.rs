//! The door from a client's side: generated clients, the real router, a real store in a temporary
//! folder.
//!
//! Not here: sockets (one test in `streams` goes through them; the rest is tried in `wire`).

mod admin;
mod idempotency;
mod memories;
mod streams;

use std::{sync::Arc, time::Duration};

use axum::Router;
use ed25519_dalek::{Signer as _, SigningKey};
use runtime::{disk::OsDisk, task::Shutdown};
use sha2::{Digest, Sha256};
use storage::{Store, StoreConfig, port::Signer, request::QuotaLimits, sqlite::open_store};
use tempfile::TempDir;
use tonic::{Code, Status};
use types::{Reason, Reject, Scope};
use wire::{
    errors::reject_from_status,
    v1::{
        self, admin_service_client::AdminServiceClient, memory_service_client::MemoryServiceClient,
        recall_service_client::RecallServiceClient, watch_service_client::WatchServiceClient,
    },
};

use super::{GrpcSettings, router};
use crate::{
    embed::{Embedder, LexicalEmbedder},
    node::{
        recall::Ranking,
        service::{AccessKeys, Service, ServiceSettings, caller::secret_digest},
    },
    telemetry::health::ReadyProbe,
};

/// Signs with a key of the test's own.
struct TestSigner(SigningKey);

impl Signer for TestSigner {
    fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.0.sign(digest).to_bytes()
    }

    fn key_id(&self) -> [u8; 8] {
        let digest = Sha256::digest(self.public_key());
        digest[..8].try_into().expect("eight bytes")
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

/// A node without sockets.
struct World {
    folder: TempDir,
    shutdown: Shutdown,
    service: Arc<Service>,
    router: Router,
}

const OPERATOR_KEY: &str = "operator-secret";

fn settings() -> ServiceSettings {
    ServiceSettings {
        default_scope: Scope::Private,
        short_ttl: Some(Duration::from_secs(6 * 3600)),
        mid_ttl: Some(Duration::from_secs(7 * 24 * 3600)),
        reflection_depth_max: 3,
        quota: QuotaLimits::default(),
        position_wait: Duration::from_secs(5),
        ranking: Ranking::default(),
        node_agent: "node".parse().expect("an agent"),
    }
}

impl World {
    async fn new() -> Self {
        Self::with(AccessKeys::default(), |_| {}).await
    }

    async fn with(mut keys: AccessKeys, change: impl FnOnce(&mut GrpcSettings)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let embedder = Arc::new(LexicalEmbedder::default());
        let signer = Arc::new(TestSigner(SigningKey::from_bytes(&[7; 32])));
        let config = StoreConfig::new(signer, embedder.space());
        let store = open_store(OsDisk::shared(), &folder.path().join("data"), config);
        let store: Arc<dyn Store> = Arc::new(store.expect("a store"));
        keys.operator_key = Some(secret_digest(OPERATOR_KEY));
        let service = Service::new(store, embedder, keys, settings()).await.expect("a service");
        let service = Arc::new(service);
        let shutdown = Shutdown::new();
        let mut settings = GrpcSettings::new(ReadyProbe::always(), shutdown.clone());
        change(&mut settings);
        let router = router(service.clone(), settings);
        Self { folder, shutdown, service, router }
    }

    fn memories(&self) -> MemoryServiceClient<Router> {
        MemoryServiceClient::new(self.router.clone())
    }

    fn recalls(&self) -> RecallServiceClient<Router> {
        RecallServiceClient::new(self.router.clone())
    }

    fn watches(&self) -> WatchServiceClient<Router> {
        WatchServiceClient::new(self.router.clone())
    }

    fn admin(&self) -> AdminServiceClient<Router> {
        AdminServiceClient::new(self.router.clone())
    }

    /// Stores a memory and gives back its id and the position that contains it.
    async fn store(&self, title: &str, content: &str) -> (String, u64) {
        let memory = Some(new_memory(title, content));
        let request = v1::StoreRequest { memory, ..Default::default() };
        let stored = self.memories().store(request).await.expect("stored").into_inner();
        let durability = stored.receipt.and_then(|r| r.durability).expect("a receipt");
        (stored.change.expect("a change").id, durability.position)
    }

    async fn get(&self, id: &str) -> v1::Memory {
        let request = v1::GetRequest { id: id.to_owned(), read: None };
        let got = self.memories().get(request).await.expect("a memory").into_inner();
        got.memory.expect("a memory")
    }
}

fn new_memory(title: &str, content: &str) -> v1::NewMemory {
    v1::NewMemory { title: title.into(), content: content.into(), ..Default::default() }
}

/// A call by an operator.
fn as_operator<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let key = OPERATOR_KEY.parse().expect("a metadata value");
    request.metadata_mut().insert("x-api-key", key);
    request
}

/// The refusal that a failed call carries.
fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, Reject) {
    let status = answer.expect_err("a refusal");
    (status.code(), reject_from_status(&status))
}

/// Refused with this code, for this reason.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: Reason) {
    let (found, reject) = refusal(answer);
    assert_eq!((found, reject.reason), (code, reason), "{reject}");
}
