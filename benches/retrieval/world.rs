//! A real store in a temporary folder, filled with the collection and its distractors, and the
//! service over it.
//!
//! Invariants: ids, times and order of arrival are fixed, so a run answers as the one before; the
//! questions go the way of every client's recall.
//!
//! Not here: what is measured.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use ed25519_dalek::{Signer as _, SigningKey};
use hivemem::{
    embed::Embedder,
    node::{
        model::RecallInput,
        recall::Ranking,
        service::{AccessKeys, Caller, Credentials, Service, ServiceSettings},
    },
};
use runtime::disk::OsDisk;
use sha2::{Digest, Sha256};
use storage::{
    Store, StoreConfig,
    port::Signer,
    request::{ComputedVector, Intent, OnConflict, QuotaLimits, Viewer, WriteRequest},
    sqlite::open_store,
};
use tempfile::TempDir;
use types::{Affiliation, AgentId, MemoryId, NewMemory, Scope};
use uuid::Uuid;

use super::{collection::Entry, metrics::DEPTH};

/// When everything was stored, Unix milliseconds.
const STORED_MS: u64 = 1_750_000_000_000;
/// Memories written in one request.
const WRITE_BATCH: usize = 500;
/// Memories embedded in one call.
const VECTOR_BATCH: u32 = 64;

struct Key(SigningKey);

impl Signer for Key {
    fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.0.sign(digest).to_bytes()
    }

    fn key_id(&self) -> [u8; 8] {
        let digest = Sha256::digest(self.0.verifying_key().as_bytes());
        std::array::from_fn(|at| digest[at])
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

/// The filled store.
pub struct World {
    /// The store itself.
    pub store: Arc<dyn Store>,
    /// What embeds the questions.
    pub embedder: Arc<dyn Embedder>,
    /// Who asks.
    pub caller: Caller,
    service: Service,
    keys: BTreeMap<MemoryId, String>,
    _folder: TempDir,
}

fn settings(lexical_share: f32) -> ServiceSettings {
    ServiceSettings {
        default_scope: Scope::Private,
        short_ttl: None,
        mid_ttl: None,
        reflection_depth_max: 3,
        quota: QuotaLimits::default(),
        position_wait: Duration::from_secs(1),
        ranking: Ranking { lexical_share, ..Ranking::default() },
        node_agent: AgentId::node(),
    }
}

fn memory(at: usize, entry: &Entry, viewer: &Viewer) -> Result<NewMemory> {
    let id = MemoryId(Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0000 | at as u128));
    let audience = Affiliation::default().audience(&viewer.agent, Scope::Private)?;
    let new = NewMemory::new(id, entry.title.parse()?, entry.content.parse()?, audience);
    Ok(NewMemory { namespace: entry.namespace.parse()?, kind: entry.kind.parse()?, ..new })
}

impl World {
    /// Opens a new store with this embedder and fills it.
    ///
    /// # Errors
    /// Whatever is refused on the way.
    pub async fn filled(embedder: Arc<dyn Embedder>, entries: &[Entry]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let signer = Arc::new(Key(SigningKey::from_bytes(&[7; 32])));
        let config = StoreConfig { reserve_bytes: 0, ..StoreConfig::new(signer, embedder.space()) };
        let store = open_store(OsDisk::shared(), folder.path(), config)?;
        let store: Arc<dyn Store> = Arc::new(store);
        let settings = settings(embedder.lexical_share());
        let service =
            Service::new(store.clone(), embedder.clone(), AccessKeys::default(), settings).await?;
        let viewer = service.authenticate(&Credentials::default())?;
        let caller = Caller { viewer, idempotency_key: None, deadline: None, fence: 0 };
        let mut world =
            Self { store, embedder, caller, service, keys: BTreeMap::new(), _folder: folder };
        world.write(entries).await?;
        if world.embedder.space().vectorizer.is_none() {
            world.embed().await?;
        }
        Ok(world)
    }

    async fn write(&mut self, entries: &[Entry]) -> Result<()> {
        let mut intents = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let memory = memory(at, entry, &self.caller.viewer)?;
            self.keys.insert(memory.id, entry.key.clone());
            intents.push(Intent::Store { memory: Box::new(memory), on_conflict: OnConflict::New });
        }
        for part in intents.chunks(WRITE_BATCH) {
            let request = WriteRequest {
                viewer: self.caller.viewer.clone(),
                now_ms: STORED_MS,
                fence: 0,
                idempotency: None,
                intents: part.to_vec(),
                atomic: true,
                quota: None,
                reflection_depth_max: 3,
            };
            for result in self.store.write(request).await?.results {
                result?;
            }
        }
        Ok(())
    }

    /// Computes what the embedder could not compute at write time.
    async fn embed(&self) -> Result<()> {
        loop {
            let pending = self.store.take_texts(VECTOR_BATCH, STORED_MS, 0).await?;
            if pending.is_empty() {
                return Ok(());
            }
            let texts = pending.iter().map(|p| p.text.clone()).collect();
            let vectors = self.embedder.embed(texts).await?;
            let computed = pending
                .iter()
                .zip(vectors)
                .filter_map(|(p, values)| {
                    let (id, text_sha256) = (p.id, p.text_sha256);
                    values.map(|values| ComputedVector { id, text_sha256, values })
                })
                .collect();
            let kept = self.store.put_vectors(computed).await?;
            anyhow::ensure!(kept > 0, "{} memories cannot be embedded", pending.len());
        }
    }

    /// The key of a memory.
    ///
    /// # Errors
    /// It is none of those written.
    pub fn key(&self, id: MemoryId) -> Result<String> {
        self.keys.get(&id).cloned().with_context(|| format!("memory {id} was never stored"))
    }

    /// Keys of what the service answers, best first.
    ///
    /// # Errors
    /// A refused question.
    pub async fn recall(&self, question: &str, mode: &str) -> Result<Vec<String>> {
        let input = RecallInput {
            query: question.to_owned(),
            limit: Some(DEPTH as u32),
            mode: Some(mode.to_owned()),
            ..RecallInput::default()
        };
        let answer = self.service.recall(&self.caller, &input).await?;
        answer.hits.iter().map(|hit| self.key(hit.memory.id.parse()?)).collect()
    }
}
