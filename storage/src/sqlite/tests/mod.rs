//! The store as a whole, in a folder on the real disk.
//!
//! Not here: power loss and failing disks, which need the simulated disk.

mod backups;
mod conformance;
mod tampering;

use std::{path::PathBuf, sync::Arc};

use ed25519_dalek::{Signer as _, SigningKey};
use runtime::disk::OsDisk;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use types::{Affiliation, MemoryId, NewMemory, Scope, audit::AttestLevel};
use uuid::Uuid;

use super::open_store;
use crate::{
    port::{EmbeddingSpace, Signer, Vectorizer, WriteStore},
    request::{Intent, OnConflict, Viewer, WriteRequest},
    rows::{RowStore, StoreConfig},
};

/// Signs with a key of the test's own.
pub(crate) struct TestSigner(pub(crate) SigningKey);

impl Signer for TestSigner {
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

/// Counts letters: a vector that says something about a text, and nothing deep.
pub(crate) struct Letters;

impl Vectorizer for Letters {
    fn vector(&self, text: &str) -> Option<Vec<f32>> {
        let mut counts = [0.0f32; 32];
        for byte in text.bytes().filter(u8::is_ascii_alphabetic) {
            counts[usize::from(byte.to_ascii_lowercase() - b'a')] += 1.0;
        }
        let length = counts.iter().map(|n| n * n).sum::<f32>().sqrt();
        (length > 0.0).then(|| counts.iter().map(|n| n / length).collect())
    }
}

/// Settings for a store of a test.
pub(crate) fn config() -> StoreConfig {
    let space = EmbeddingSpace {
        model: "letters".into(),
        version: "1".into(),
        dimension: 32,
        vectorizer: Some(Arc::new(Letters)),
    };
    StoreConfig::new(Arc::new(TestSigner(SigningKey::from_bytes(&[7; 32]))), space)
}

/// A store in a temporary folder.
pub(crate) struct Rig {
    folder: TempDir,
    pub(crate) store: RowStore,
}

/// When the tests happen, Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;

impl Rig {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let store = open_store(OsDisk::shared(), &data, config()).unwrap();
        Self { folder, store }
    }

    /// A path in the temporary folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stores so many memories, each with its own text.
    pub(crate) async fn fill(&self, count: u64) -> Vec<MemoryId> {
        let agent = "ann".parse().unwrap();
        let affiliation = Affiliation::default();
        let viewer = Viewer {
            audiences: affiliation.audiences(&agent),
            agent,
            attest: AttestLevel::Asserted,
            operator: false,
        };
        let mut ids = Vec::new();
        for number in 0..count {
            let id = MemoryId(Uuid::from_u128(
                (u128::from(NOW_MS) << 80) | (7 << 76) | (0b10 << 62) | u128::from(number),
            ));
            let audience = affiliation.audience(&viewer.agent, Scope::Private).unwrap();
            let title = format!("note {number}").parse().unwrap();
            let content = format!("what is to be said about number {number}").parse().unwrap();
            let memory = NewMemory::new(id, title, content, audience);
            let request = WriteRequest {
                viewer: viewer.clone(),
                now_ms: NOW_MS + number,
                fence: 0,
                idempotency: None,
                intents: vec![Intent::Store {
                    memory: Box::new(memory),
                    on_conflict: OnConflict::Error,
                }],
                atomic: true,
                quota: None,
                reflection_depth_max: 3,
            };
            self.store.write(request).await.unwrap();
            ids.push(id);
        }
        ids
    }
}
