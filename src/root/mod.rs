//! The root as a node uses it: one handle, whoever leads.
//!
//! A node that is a member proposes and reads through its own [`Root`]; where it does not lead, the
//! handle goes one hop to the leader and back. Nodes enforce rules from their own copy.
//!
//! | file | what |
//! |---|---|
//! | `machine` | `consensus::machine` as the group replicates it |
//! | `propose`, `read`, `wait` | commands, reads, and answers that take their time |
//! | `feed` | what has happened, for watchers |
//! | `audit` | what has happened, for the node's audit chain |
//! | `tasks` | registering this start, following the log, proposing what is due |
//! | `peers`, `serve` | members among each other |
//! | `group` | founding, status, changes of membership |
//! | `recover` | going on after the quorum is lost, offline |
//!
//! Invariants: `RTH-1` a command of which a repetition does harm is sent at most once, unless it has
//! an identity: then it is sent until its outcome is known or the deadline has passed, and is executed at most once (`SES-1`);
//! `RTH-2` a read sees everything that was done before it was asked for; `RTH-3` rules count only after
//! this member has confirmed its copy with a leader since its start; `RTH-4` peers present the
//! peers' key, whatever else they present.
//!
//! Not here: who may ask (`node::service`), what is decided (`consensus::machine`).

mod audit;
mod feed;
mod group;
mod machine;
mod peers;
mod propose;
mod read;
pub mod recover;
mod serve;
mod tasks;
mod wait;

use std::{path::Path, sync::Arc};

use consensus::{
    log::{Identity, LogOptions},
    machine::{ClusterId, Machine},
    raft::{Group, GroupOptions, GrpcTransport, Home, MemberId, StartError as GroupError},
};
use futures::FutureExt;
use parking_lot::Mutex;
use runtime::{
    disk::DiskRef,
    task::{self, Shutdown},
};
use storage::{Store, StoreError};
use thiserror::Error;
use tokio::sync::{broadcast, watch};
use types::{NodeId, Reject, rule::RuleSet};
use wire::tls::TlsError;

use self::{
    audit::Ears,
    peers::{Peers, Way},
    read::Reads,
};
pub use self::{
    feed::{Feed, Happened},
    machine::RootMachine,
    serve::peer_services,
};
use crate::{
    config::{RootConfig, TlsConfig},
    identity::{SecretError, read_secret},
    node::service::caller::{SecretDigest, secret_digest},
};

/// Folder of the root's files below the data folder.
pub const FOLDER: &str = "root";

/// How far the rates of two members' clocks may be apart for lease reads, in thousandths.
const LEASE_DRIFT_PERMILLE: u32 = 50;

/// Why a member of the root does not start.
#[derive(Debug, Error)]
pub enum RootStartError {
    /// Log, vote or snapshot.
    #[error("the root does not start: {0}")]
    Group(#[from] GroupError),
    /// The peers' key.
    #[error("root.peer_key_file: {0}")]
    Key(#[from] SecretError),
    /// Certificates for peers.
    #[error("root.peer_ca_file: {0}")]
    Tls(#[from] TlsError),
    /// How far the audit rows are kept.
    #[error("the root does not start: {0}")]
    Audit(#[source] StoreError),
    /// Fences and audit rows of two clusters do not go together.
    #[error(
        "root.cluster: this folder's store belongs to cluster {other}, not {cluster}: a member of \
         another cluster needs a folder of its own"
    )]
    OtherCluster {
        /// Whose rows the store has.
        other: String,
        /// Whose member was to be started.
        cluster: String,
    },
    /// A setting.
    #[error("root: {0}")]
    Setting(#[from] types::Invalid),
}

/// A member of the root. Clones are one and the same.
#[derive(Clone)]
pub struct Root(Arc<Inner>);

struct Inner {
    group: Group<RootMachine>,
    cluster: ClusterId,
    node: NodeId,
    peers: Peers,
    /// Reads that ask this member how far it must have come, if it leads.
    reads: Reads,
    peer_key: SecretDigest,
    feed: Feed,
    ears: Arc<Ears>,
    /// Writes the audit rows.
    rows: Mutex<Option<task::JoinHandle<()>>>,
    rules: watch::Sender<Option<Arc<RuleSet>>>,
    /// Why this start was refused, if it was.
    refused: watch::Sender<Option<Reject>>,
    shutdown: Shutdown,
    tasks: Mutex<Vec<task::JoinHandle<()>>>,
}

fn options(config: &RootConfig) -> GroupOptions {
    GroupOptions {
        heartbeat_ms: config.heartbeat_ms,
        election_ms: (config.election_ms, config.election_ms + config.election_ms / 3),
        lease_drift_permille: config.lease_reads.then_some(LEASE_DRIFT_PERMILLE),
        snapshot_every: config.snapshot_entries,
        entries_kept: config.kept_entries,
        log: LogOptions { segment_bytes: config.segment_kib * 1024, ..LogOptions::default() },
        ..GroupOptions::default()
    }
}

impl Root {
    /// Starts the member whose files are in `data_dir/root`. It takes part from then on, once its peers
    /// can reach [`peer_services`] at the configured endpoint.
    ///
    /// # Errors
    /// [`RootStartError`].
    pub async fn start(
        disk: DiskRef,
        data_dir: &Path,
        config: &RootConfig,
        tls: Option<&TlsConfig>,
        node: NodeId,
        store: Arc<dyn Store>,
    ) -> Result<Self, RootStartError> {
        let key = read_secret(&*disk, &config.peer_key_file)?;
        let way = Way::new(&disk, config, tls, &key)?;
        way.endpoint(&config.endpoint)?;
        let dialing = way.clone();
        let transport = GrpcTransport::new(Box::new(move |text: &str| dialing.endpoint(text)));
        let cluster = *config.cluster.as_bytes();
        let feed = Feed::new();
        let (ears, unwritten) = Ears::open(store, ClusterId(config.cluster), feed.clone()).await?;
        let home = Home {
            disk,
            dir: data_dir.join(FOLDER),
            identity: Identity { cluster, member: config.member },
        };
        let fresh = RootMachine::default();
        let (options, transport) = (options(config), Arc::new(transport));
        let rows = unwritten.start(ears.clone());
        let started =
            Group::start_with(home, options, fresh, ears.clone(), transport).boxed().await;
        let group = match started {
            Ok(group) => group,
            Err(refused) => {
                stop_writing(&ears, rows).await;
                return Err(refused.into());
            }
        };
        let reads = read::own(group.clone(), config.lease_reads);
        let root = Self(Arc::new(Inner {
            group,
            cluster: ClusterId(config.cluster),
            node,
            peers: Peers::new(way, cluster),
            peer_key: secret_digest(&key),
            reads,
            feed,
            ears,
            rows: Mutex::new(Some(rows)),
            rules: watch::Sender::new(None),
            refused: watch::Sender::new(None),
            shutdown: Shutdown::new(),
            tasks: Mutex::default(),
        }));
        *root.0.tasks.lock() = tasks::start(&root);
        Ok(root)
    }

    /// This member's number.
    pub fn member(&self) -> MemberId {
        self.0.group.id()
    }

    /// The id under which this member's starts are counted.
    pub fn start_id(&self) -> NodeId {
        tasks::identity(self)
    }

    /// Index of the newest entry whose audit rows are durable, as it grows.
    pub fn audited(&self) -> watch::Receiver<u64> {
        self.0.ears.kept()
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    /// The root's time, in milliseconds since the Unix epoch; where this member does not lead, a guess.
    pub fn time_ms(&self) -> u64 {
        self.0.group.time_ms()
    }

    /// Looks at this member's own copy of the state, which may be behind.
    pub fn look<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        self.0.group.query(|machine| look(&machine.machine))
    }

    /// The rules to enforce; `None` until this member has confirmed its copy (`RTH-3`).
    pub fn rules(&self) -> watch::Receiver<Option<Arc<RuleSet>>> {
        self.0.rules.subscribe()
    }

    /// Index of the newest entry that this member has applied, as it grows.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.feed.changes()
    }

    /// What happens from now on. Who lags too far behind is told so, and reads the state again.
    pub fn happenings(&self) -> broadcast::Receiver<Arc<Happened>> {
        self.0.feed.happenings()
    }

    /// Why this start of the node was refused, if it was: it is a copy from an older time.
    pub fn refusal(&self) -> Option<Reject> {
        self.0.refused.borrow().clone()
    }

    /// Stops taking part and makes the log durable. Doing it again changes nothing.
    pub async fn stop(&self) {
        if self.0.shutdown.is_cancelled() {
            return;
        }
        self.0.shutdown.trigger();
        let tasks = std::mem::take(&mut *self.0.tasks.lock());
        for task in tasks {
            // A task that panicked has ended too.
            let _ = task.await;
        }
        self.0.ears.leave();
        if let Err(error) = self.0.group.stop().await {
            tracing::warn!(%error, "the root's log did not close cleanly; the next start recovers");
        }
        let rows = self.0.rows.lock().take();
        if let Some(rows) = rows {
            stop_writing(&self.0.ears, rows).await;
        }
    }
}

/// Ends the writing of audit rows.
async fn stop_writing(ears: &Ears, rows: task::JoinHandle<()>) {
    ears.close();
    // A task that panicked has ended too.
    let _ = rows.await;
}
