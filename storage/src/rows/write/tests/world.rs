//! What the tests of this folder share: a signer, agents, requests.

use std::{path::Path, sync::Arc};

use ed25519_dalek::{Signer as _, SigningKey};
use runtime::disk::{DiskRef, OsDisk};
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use types::{
    Affiliation, AgentId, LinkId, MemoryId, NewMemory, Reject, Relation, Scope, audit::AttestLevel,
    ids::IdRef, link::NewLink, memory::Validity,
};
use uuid::Uuid;

use crate::{
    answer::{Applied, WriteReceipt},
    error::StoreError,
    port::{EmbeddingSpace, Signer, WriteStore},
    request::{Intent, OnConflict, Viewer, WriteRequest},
    rows::{RowStore, StoreConfig},
    sqlite::{open::DATABASE_FILE, open_store},
};

/// A day in this century, Unix milliseconds.
pub(super) const NOW_MS: u64 = 1_750_000_000_000;

pub(super) struct Key(SigningKey);

impl Key {
    pub(super) fn numbered(number: u8) -> Arc<Self> {
        Arc::new(Self(SigningKey::from_bytes(&[number; 32])))
    }
}

impl Signer for Key {
    fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.0.sign(digest).to_bytes()
    }

    fn key_id(&self) -> [u8; 8] {
        let digest = Sha256::digest(self.0.verifying_key().as_bytes());
        digest[..8].try_into().unwrap()
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

pub(super) fn config() -> StoreConfig {
    let space = EmbeddingSpace {
        model: "test".into(),
        version: "1".into(),
        dimension: 4,
        vectorizer: None,
    };
    StoreConfig { reserve_bytes: 0, ..StoreConfig::new(Key::numbered(1), space) }
}

pub(super) fn open_on(disk: DiskRef, folder: &Path) -> RowStore {
    open_store(disk, folder, config()).unwrap()
}

pub(super) fn open(folder: &Path) -> RowStore {
    open_on(OsDisk::shared(), folder)
}

/// A second look at the file, as an operator with a SQLite shell has it.
pub(super) fn look(folder: &Path) -> Connection {
    Connection::open(folder.join(DATABASE_FILE)).unwrap()
}

pub(super) fn count(connection: &Connection, what: &str) -> i64 {
    connection.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
}

pub(super) fn viewer(name: &str) -> Viewer {
    let agent: AgentId = name.parse().unwrap();
    let home: Affiliation = "acme/eng/core".parse().unwrap();
    Viewer {
        audiences: home.audiences(&agent),
        agent,
        attest: AttestLevel::AgentToken,
        operator: false,
    }
}

pub(super) fn id(number: u128) -> MemoryId {
    MemoryId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 | number))
}

pub(super) fn full(number: u128) -> IdRef {
    IdRef::Full(id(number))
}

pub(super) fn memory(author: &Viewer, number: u128, title: &str, scope: Scope) -> NewMemory {
    let home: Affiliation = "acme/eng/core".parse().unwrap();
    let audience = home.audience(&author.agent, scope).unwrap();
    let content = format!("content of {title}").parse().unwrap();
    NewMemory { scope, ..NewMemory::new(id(number), title.parse().unwrap(), content, audience) }
}

pub(super) fn store_intent(memory: NewMemory) -> Intent {
    Intent::Store { memory: Box::new(memory), on_conflict: OnConflict::Merge }
}

pub(super) fn request(viewer: &Viewer, intents: Vec<Intent>) -> WriteRequest {
    WriteRequest {
        viewer: viewer.clone(),
        now_ms: NOW_MS,
        fence: 0,
        idempotency: None,
        intents,
        atomic: false,
        quota: None,
        reflection_depth_max: 3,
    }
}

/// A link between the memories of these numbers.
pub(super) fn new_link(number: u128, source: u128, relation: Relation, target: u128) -> NewLink {
    NewLink {
        id: LinkId(Uuid::from_u128(number)),
        source: id(source),
        target: id(target),
        relation,
        validity: Validity::default(),
    }
}

pub(super) fn link_intent(number: u128, source: u128, relation: Relation, target: u128) -> Intent {
    Intent::Link(new_link(number, source, relation, target))
}

/// Does one intent and gives what became of it.
pub(super) async fn act(
    store: &RowStore,
    viewer: &Viewer,
    intent: Intent,
) -> Result<Applied, Reject> {
    let receipt = store.write(request(viewer, vec![intent])).await.unwrap();
    receipt.results.into_iter().next().unwrap()
}

/// Stores a private memory of this number and title.
pub(super) async fn put(store: &RowStore, viewer: &Viewer, number: u128, title: &str) {
    let new = memory(viewer, number, title, Scope::Private);
    act(store, viewer, store_intent(new)).await.unwrap();
}

pub(super) fn rejected(result: Result<WriteReceipt, StoreError>) -> Reject {
    match result.unwrap_err() {
        StoreError::Rejected(reject) => reject,
        other => panic!("{other}"),
    }
}
