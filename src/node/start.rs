//! Starting and stopping a node.
//!
//! Invariants: a node that starts has its identity, its store and its indexes open and has checked
//! the head of its audit chain; a node that stops has written everything down first.
//!
//! Not here: sockets (`doors`); the simulator starts this same node.

use std::{path::PathBuf, sync::Arc};

use runtime::{
    blocking,
    disk::DiskRef,
    task::{self, Shutdown},
};
use storage::{OpenError, RowStore, Store, StoreConfig, postgres::PostgresConfig};
use thiserror::Error;
use types::{AgentId, NodeId, Reject};

use super::{
    recall::Ranking,
    service::{
        AccessKeys, Service, ServiceSettings,
        caller::secret_digest,
        peering::{OwnCertificates, OwnRowOut},
    },
    upkeep,
};
use crate::{
    config::{Config, DatabaseUrl, FederationConfig},
    embed::{self, EmbedError, Embedder},
    identity::{IdentityError, Keyring, SecretError, read_secret},
    peers::{self, OwnRules, Peers, PeersStartError},
    root::{Root, RootStartError},
    telemetry::spans::Tracer,
};

/// Why a node did not start. Each message names the thing and the fix.
#[derive(Debug, Error)]
pub enum StartError {
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A secret's file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The embedder.
    #[error(transparent)]
    Embedder(#[from] EmbedError),
    /// The root.
    #[error(transparent)]
    Root(#[from] RootStartError),
    /// The peers.
    #[error(transparent)]
    Peers(#[from] PeersStartError),
    /// The store's first answer.
    #[error("the store does not answer: {0}")]
    Store(Reject),
}

/// A running node.
pub struct Node {
    service: Arc<Service>,
    store: Arc<dyn Store>,
    upkeep: Vec<task::JoinHandle<()>>,
    shutdown: Shutdown,
}

/// Settings of the store, from those of the operator.
fn store_config(
    config: &Config,
    signer: Arc<dyn storage::port::Signer>,
    embedder: &dyn Embedder,
) -> StoreConfig {
    let promote = config.promote_after_recalls;
    StoreConfig {
        read_connections: config.read_connections,
        write_cache_kib: config.cache_mib * 1024,
        queue_capacity: config.write_queue,
        reserve_bytes: config.reserve_bytes,
        ahead_rows: config.ahead_rows,
        // What it had said, its peers may know better.
        has_peers: config.federation.is_some(),
        promote_after_accesses: (promote > 0).then_some(u64::from(promote)),
        ..StoreConfig::new(signer, embedder.space())
    }
}

fn service_settings(config: &Config, embedder: &dyn Embedder) -> ServiceSettings {
    ServiceSettings {
        default_scope: config.default_scope,
        short_ttl: config.short_ttl,
        mid_ttl: config.mid_ttl,
        reflection_depth_max: config.reflection_depth_max,
        quota: config.quota,
        position_wait: config.server.request_timeout,
        ranking: Ranking {
            lexical_share: config.lexical_share.unwrap_or(embedder.lexical_share()),
            near_duplicate_permille: config.near_duplicate_permille,
            ..Ranking::default()
        },
        node_agent: AgentId::node(),
    }
}

fn access_keys(disk: &DiskRef, config: &Config) -> Result<AccessKeys, SecretError> {
    let digest = |path: &Option<PathBuf>| {
        path.as_ref().map(|p| read_secret(&**disk, p).map(|s| secret_digest(&s))).transpose()
    };
    Ok(AccessKeys {
        api_key: match &config.api_key {
            Some(key) => Some(secret_digest(key)),
            None => digest(&config.api_key_file)?,
        },
        operator_key: digest(&config.operator_key_file)?,
    })
}

/// How the database is reached, if the rows are in one.
///
/// # Errors
/// When its address cannot be read.
pub(crate) fn database(
    disk: &DiskRef,
    config: &Config,
) -> Result<Option<PostgresConfig>, SecretError> {
    let Some(database) = &config.database else { return Ok(None) };
    let url = match &database.url {
        DatabaseUrl::Here(url) => url.clone(),
        DatabaseUrl::File(path) => read_secret(&**disk, path)?.to_string(),
    };
    Ok(Some(PostgresConfig {
        url,
        connections_min: database.pool_min,
        connections_max: database.pool_max,
        acquire_timeout: database.acquire_timeout,
        statement_timeout: database.statement_timeout,
        lock_timeout: database.lock_timeout,
        hnsw_m: database.hnsw_m,
        hnsw_ef_construction: database.hnsw_ef_construction,
        hnsw_ef_search: database.hnsw_ef_search,
        index_memory_mib: database.index_memory_mib,
        exact_rows_max: database.exact_rows_max,
        replicas: database.replicas.clone(),
        graph: database.graph,
    }))
}

async fn open_rows(
    disk: DiskRef,
    config: &Config,
    embedder: &Arc<dyn Embedder>,
) -> Result<RowStore, StartError> {
    let database = database(&disk, config)?;
    // The store's lock comes first: a second node must not make a second identity.
    let folder = config.data_dir.clone();
    let ring = Keyring::new(disk.clone(), &folder);
    let (embedder, config) = (embedder.clone(), config.clone());
    let plan = move || -> Result<RowStore, StartError> {
        let signer = Arc::new(ring.load_or_generate()?);
        let settings = store_config(&config, signer, &*embedder);
        Ok(storage::open_store(disk, &folder, database.as_ref(), settings)?)
    };
    blocking::run(plan).await
}

/// Opens the store of a data folder, wherever its rows are, and nothing else of the node.
///
/// # Errors
/// [`StartError`].
pub async fn open_store(disk: DiskRef, config: &Config) -> Result<Arc<dyn Store>, StartError> {
    let embedder = embed::build(&disk, &config.embedder)?;
    Ok(Arc::new(open_rows(disk, config, &embedder).await?))
}

/// Starts the node's place in the root, if it has one.
async fn start_root(
    disk: DiskRef,
    config: &Config,
    node: NodeId,
    store: Arc<dyn Store>,
) -> Result<Option<Root>, RootStartError> {
    let Some(root) = &config.root else { return Ok(None) };
    let tls = config.server.tls.as_ref();
    Root::start(disk, &config.data_dir, root, tls, node, store).await.map(Some)
}

/// Who the node is to others.
fn own_row(ring: &Keyring, id: NodeId) -> Result<OwnRowOut, IdentityError> {
    let all = ring.list()?;
    Ok(OwnRowOut {
        node: id.to_string(),
        fingerprint: all.first().map(|key| key.fingerprint.clone()).unwrap_or_default(),
        public_keys: all.into_iter().map(|key| key.public_key).collect(),
        certificates: Vec::new(),
    })
}

/// What the node shows others, read when it is asked for: none without TLS, or while it cannot be read.
fn own_certificates(disk: DiskRef, config: &Config) -> OwnCertificates {
    let file = config.server.tls.as_ref().map(|tls| tls.cert.clone());
    Box::new(move || {
        let shown = file.as_ref().and_then(|file| wire::tls::leaf_of(&*disk, file).ok());
        shown.iter().map(ToString::to_string).collect()
    })
}

/// What peers present to each other: a key of their own, else the API key.
fn peers_key(
    disk: &DiskRef,
    config: &Config,
    federation: &FederationConfig,
) -> Result<Option<String>, SecretError> {
    let file = match (&federation.peer_key_file, &config.api_key) {
        (Some(file), _) => Some(file),
        (None, Some(key)) => return Ok(Some(key.clone())),
        (None, None) => config.api_key_file.as_ref(),
    };
    file.map(|file| read_secret(&**disk, file).map(|key| key.to_string())).transpose()
}

/// Takes the node's place among its peers, if it has some.
async fn start_peers(
    disk: DiskRef,
    config: &Config,
    id: NodeId,
    (store, root): (Arc<dyn Store>, Option<&Root>),
    shutdown: &Shutdown,
) -> Result<Option<Peers>, StartError> {
    let Some(federation) = &config.federation else { return Ok(None) };
    let ring = Keyring::new(disk.clone(), &config.data_dir);
    let (identity, retired) = (ring.load_or_generate()?, ring.retired()?);
    let own = OwnRules {
        reflection_depth_max: config.reflection_depth_max,
        quota: config.quota,
        rules: root.map(Root::rules),
    };
    let key = peers_key(&disk, config, federation)?;
    let node = peers::Node { disk, id, store, identity, retired, own, key };
    let tls = config.server.tls.as_ref();
    Ok(Some(Peers::start(node, federation, tls, shutdown).await?))
}

impl Node {
    /// Opens everything and starts the background work, and the node's place in the root.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(disk: DiskRef, config: &Config) -> Result<Self, StartError> {
        Self::open(disk, config, true).await
    }

    /// As [`Node::start`], but takes no part in the root: a node that nobody can reach would only
    /// disturb it. Where a root is configured, writes are refused, because its rules are not known.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_alone(disk: DiskRef, config: &Config) -> Result<Self, StartError> {
        Self::open(disk, config, false).await
    }

    async fn open(disk: DiskRef, config: &Config, in_root: bool) -> Result<Self, StartError> {
        let files = disk.clone();
        let keys = access_keys(&disk, config)?;
        let embedder = embed::build(&disk, &config.embedder)?;
        let opened = open_rows(disk, config, &embedder).await?;
        let id = opened.node_id();
        let store: Arc<dyn Store> = Arc::new(opened);
        let settings = service_settings(config, &*embedder);
        let service = Service::new(store.clone(), embedder, keys, settings)
            .await
            .map_err(StartError::Store)?;
        let own_row = own_row(&Keyring::new(files.clone(), &config.data_dir), id)?;
        let certificates = own_certificates(files.clone(), config);
        let shutdown = Shutdown::new();
        let (mut root, mut peers) = (None, None);
        if in_root {
            root = start_root(files.clone(), config, id, store.clone()).await?;
            let near = (store.clone(), root.as_ref());
            peers = start_peers(files, config, id, near, &shutdown).await?;
        }
        let service = service
            .with_root(root, config.root.is_some())
            .with_own_row(own_row, certificates)
            .with_peers(peers, config.federation.is_some())
            .with_tracer(Arc::new(Tracer::new(config.trace.sample_percent)));
        let service = Arc::new(service);
        let upkeep = upkeep::start(&service, &shutdown);
        Ok(Self { service, store, upkeep, shutdown })
    }

    /// What the node can do.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Leaves the root, before connections are drained: the members' streams would hold them open.
    pub async fn leave_root(&self) {
        if let Some(root) = self.service.root() {
            root.stop().await;
        }
    }

    /// Ends the background work, writes down what is pending and closes the store.
    pub async fn stop(mut self) {
        self.shutdown.trigger();
        for task in std::mem::take(&mut self.upkeep) {
            // A task that panicked has already logged why; the store is closed all the same.
            let _ = task.await;
        }
        upkeep::flush_accesses(&self.service).await;
        if let Some(peers) = self.service.peers() {
            peers.stop().await;
        }
        self.leave_root().await;
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the store did not close cleanly; the next start recovers");
        }
    }
}
