//! A member of the root's group: starting it, proposing, reading.
//!
//! Invariants: `RFT-12` an answer is one of three: done; rejected, which means that no entry was or
//! will be made; unknown, after the entry may have left this member. `RFT-13` a read is answered only
//! after a majority confirmed the leader, or within a lease that survives the stated clock drift, and
//! only from a state that contains everything committed before. `RFT-14` a log that lacks entries
//! behind the snapshot is refused at the start. `RFT-15` when the library stops on its own, the node
//! stops: half a member answers nobody.
//!
//! Not here: changing who is a member (`membership`), what commands mean (the machine).

use std::{path::Path, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::stream::BoxStream;
use openraft::{
    ReadPolicy,
    async_runtime::watch::WatchReceiver,
    errors::{
        ClientWriteError, Fatal, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError,
    },
};
use parking_lot::Mutex;
use runtime::{
    clock::{self, Instant},
    disk::DiskRef,
    task::{self, JoinHandle},
};
use types::{Outcome, Reason, Reject, planted};
use wire::v1::{RaftRequest, RaftResponse};

use super::{
    apply::{Applier, EffectSink, Hearsay, Listener, Shared, StateMachine},
    boot::{Boot, Boots},
    introduce::introduce,
    log_store::LogStore,
    network::{Network, Transport},
    options::GroupOptions,
    recovery,
    serve::Server,
    snapshot::SnapshotStore,
    time::LeaderClock,
    types::{Command, MemberId, TypeConfig},
};
use crate::{
    log::{EntryId, Identity, Log, LogError},
    steps,
};

pub(super) type Raft<M> = openraft::Raft<TypeConfig, Applier<M>>;

/// Where a member lives and whose it is.
pub struct Home {
    /// The disk.
    pub disk: DiskRef,
    /// Folder for log, vote, snapshot and starts; created if missing.
    pub dir: PathBuf,
    /// The cluster, and the member's number in it.
    pub identity: Identity,
}

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Log, vote, snapshot or starts cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The options contradict one another.
    #[error(transparent)]
    Options(#[from] types::Invalid),
    /// The library refuses what it was given.
    #[error("the Raft library does not start: {0}")]
    Library(String),
}

/// A running member. Clones are one and the same.
pub struct Group<M: StateMachine> {
    pub(super) raft: Raft<M>,
    pub(super) options: Arc<GroupOptions>,
    pub(super) boots: Arc<Boots>,
    clock: Arc<LeaderClock>,
    log: Log,
    snapshots: SnapshotStore,
    state: Shared<M>,
    server: Server<M>,
    introduced: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl<M: StateMachine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self {
            raft: self.raft.clone(),
            options: self.options.clone(),
            boots: self.boots.clone(),
            clock: self.clock.clone(),
            log: self.log.clone(),
            snapshots: self.snapshots.clone(),
            state: self.state.clone(),
            server: self.server.clone(),
            introduced: self.introduced.clone(),
        }
    }
}

impl<M: StateMachine> Group<M> {
    /// As [`Group::start_with`], with a sink that may miss effects.
    ///
    /// # Errors
    /// [`StartError`]; nothing has been changed.
    pub async fn start(
        home: Home,
        options: GroupOptions,
        fresh: M,
        effects: EffectSink<M::Effect>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StartError> {
        Self::start_with(home, options, fresh, Hearsay::shared(effects), transport).await
    }

    /// Starts a member: reads what it has promised and takes part from then on. `fresh` is the state
    /// before the first entry. Effects of entries that are applied again after a restart are heard
    /// again.
    ///
    /// # Errors
    /// [`StartError`]; nothing has been changed.
    pub async fn start_with(
        home: Home,
        options: GroupOptions,
        fresh: M,
        effects: Arc<dyn Listener<M::Effect>>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StartError> {
        let Home { disk, dir, identity } = home;
        let config = options.config(identity.cluster)?;
        let log_options = options.log;
        let (opening, folder) = (disk.clone(), dir.clone());
        let opened = runtime::blocking::run_on(disk, move || {
            open(&opening, &folder, identity, log_options, fresh, effects)
        });
        let Opened { log, boots, applier, contradicted } = opened.await?;
        let (boots, state) = (Arc::new(boots), applier.shared());
        let snapshots = applier.snapshots().clone();
        let network = Arc::new(Network {
            transport,
            boots: boots.clone(),
            cluster: identity.cluster,
            me: identity.member,
            append_within: std::time::Duration::from_millis(options.append_ms),
            snapshot_within: std::time::Duration::from_millis(options.snapshot_ms),
        });
        let store = LogStore::new(log.clone(), identity.member);
        if let Some(snapshot) = contradicted {
            store.agree_with(snapshot).await.map_err(LogError::from)?;
        }
        let raft = Raft::new(identity.member, config, network.clone(), store, applier)
            .await
            .map_err(|error| StartError::Library(error.to_string()))?;
        let server = Server {
            raft: raft.clone(),
            boots: boots.clone(),
            cluster: identity.cluster,
            me: identity.member,
        };
        drop(task::spawn_named("raft-watch", stop_with(raft.clone())));
        let introduced =
            task::spawn_named("raft-introduce", introduce(network, raft.server_metrics()));
        let introduced = Arc::new(Mutex::new(Some(introduced)));
        let (options, clock) = (Arc::new(options), Arc::default());
        Ok(Self { raft, options, boots, clock, log, snapshots, state, server, introduced })
    }

    /// This member's number.
    pub fn id(&self) -> MemberId {
        *self.raft.node_id()
    }

    /// This start of the member. It stays the same across restarts of which no peer has heard.
    pub fn boot(&self) -> Boot {
        self.boots.mine()
    }

    /// Proposes a command. See `RFT-12`; whoever must know after [`Outcome::Unknown`] proposes it
    /// again under the same session and sequence.
    pub async fn propose(&self, command: Bytes, deadline: Instant) -> Outcome<Vec<u8>> {
        let max = self.log.payload_bytes_max() - COMMAND_HEAD_BYTES;
        if command.len() as u64 > max {
            let detail = format!("a command of {} bytes, at most {max} fit", command.len());
            return Outcome::Rejected(Reject::new(Reason::TooLarge, detail));
        }
        let command = Command { leader_ms: self.time_ms(), bytes: command };
        match clock::timeout_at(deadline, self.raft.client_write(command)).await {
            Ok(Ok(written)) => Outcome::Done(written.data.0.into()),
            Ok(Err(RaftError::APIError(error))) => rejected_or_unknown(error),
            Ok(Err(RaftError::Fatal(fatal))) => unknown(fatal),
            Err(elapsed) => unknown(elapsed),
        }
    }

    /// The root's time, in milliseconds since the Unix epoch: what an entry would carry if this member
    /// led now. Elsewhere it is a guess.
    pub fn time_ms(&self) -> u64 {
        if planted::is_on("lease-wall-clock") {
            return clock::now_unix_ms();
        }
        let term = self.raft.metrics().borrow_watched().current_term;
        self.clock.read_ms(term, self.state.lock().newest_ms())
    }

    /// Waits until this member's state contains everything that was committed before the call, and
    /// gives the index up to which it does. Only the leader can; it asks a majority (ReadIndex).
    ///
    /// # Errors
    /// [`Reason::NotLeader`], [`Reason::QuorumNotMet`], [`Reason::DeadlineExceeded`],
    /// [`Reason::Stopping`].
    pub async fn read_index(&self, deadline: Instant) -> Result<u64, Reject> {
        self.linearizable(ReadPolicy::ReadIndex, deadline).await
    }

    /// As [`Group::read_index`], without asking anybody while the lease holds that
    /// [`GroupOptions::lease`] allows; else it asks.
    ///
    /// # Errors
    /// As [`Group::read_index`].
    pub async fn lease_read(&self, deadline: Instant) -> Result<u64, Reject> {
        #[cfg(planted)]
        if let Some(index) = super::planted::unchecked_read(&self.raft) {
            return Ok(index);
        }
        let acked = self.raft.as_leader().ok().and_then(|leader| leader.last_quorum_acked());
        let holds = |lease| acked.is_some_and(|acked| acked.elapsed() < lease);
        if !self.options.lease().is_some_and(holds) {
            return self.read_index(deadline).await;
        }
        // The library checks its own, longer lease too, and whether the leader is handing over.
        match self.linearizable(ReadPolicy::LeaseRead, deadline).await {
            Err(refused) if refused.reason == Reason::NotLeader => self.read_index(deadline).await,
            answer => answer,
        }
    }

    async fn linearizable(&self, policy: ReadPolicy, deadline: Instant) -> Result<u64, Reject> {
        match clock::timeout_at(deadline, self.raft.ensure_linearizable(policy)).await {
            Ok(Ok(read)) => Ok(read.log_id().index),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to)))) => {
                Err(not_leader(&to))
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(got)))) => {
                Err(Reject::new(Reason::QuorumNotMet, format!("no majority confirms: {got}")))
            }
            Ok(Err(RaftError::Fatal(fatal))) => {
                Err(Reject::new(Reason::Stopping, fatal.to_string()))
            }
            Err(_) => Err(Reject::new(Reason::DeadlineExceeded, "no majority confirmed in time")),
        }
    }

    /// Looks at the state. Only after [`Group::read_index`] or [`Group::lease_read`] is it current.
    pub fn query<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.state.lock().machine)
    }

    /// Answers one message of a peer.
    pub async fn answer(&self, request: RaftRequest) -> RaftResponse {
        self.server.answer(request).await
    }

    /// Answers a stream of appends of a peer.
    pub fn answer_stream(
        &self,
        requests: BoxStream<'static, RaftRequest>,
    ) -> BoxStream<'static, RaftResponse> {
        self.server.answer_stream(requests)
    }

    /// Makes a snapshot now; older entries can go once it is durable.
    ///
    /// # Errors
    /// The member is stopping.
    pub async fn snapshot(&self) -> Result<(), Reject> {
        self.raft.trigger().snapshot().await.map_err(|fatal| stopping(&fatal))
    }

    /// Stops taking part and makes the log durable. What was not answered is unknown. Afterwards nothing is changed
    /// in the member's folder, whoever still talks to it.
    pub async fn stop(&self) -> std::io::Result<()> {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the Raft task did not end in order");
        }
        let introduced = self.introduced.lock().take();
        if let Some(introduced) = introduced {
            // It writes nothing behind the end of the Raft task, and may be writing now.
            let _ = introduced.await;
        }
        self.boots.close().await;
        self.snapshots.close().await;
        self.log.close().await
    }
}

/// Most bytes that surround a command in an entry's payload.
const COMMAND_HEAD_BYTES: u64 = 64;

/// What a member finds when it starts.
struct Opened<M: StateMachine> {
    log: Log,
    boots: Boots,
    applier: Applier<M>,
    /// End of the snapshot, where the log has another entry.
    contradicted: Option<EntryId>,
}

fn open<M: StateMachine>(
    disk: &DiskRef,
    dir: &Path,
    identity: Identity,
    options: crate::log::LogOptions,
    fresh: M,
    effects: Arc<dyn Listener<M::Effect>>,
) -> Result<Opened<M>, LogError> {
    recovery::refuse_interrupted(&**disk, dir)?;
    let log = Log::open(disk, dir, identity, options)?;
    let boots = Boots::open(disk.clone(), dir)?;
    let snapshots = SnapshotStore::open(disk.clone(), dir)?;
    let applier = Applier::open(snapshots, fresh, effects)?;
    let covered = applier.snapshot_id();
    let contradicted = covered.filter(|id| log.id_at(id.index).is_some_and(|found| found != *id));
    match contradicted {
        None => steps::recovered(covered.max(log.bounds().last), log.vote()),
        Some(snapshot) => {
            steps::recovered(log.bounds().last, log.vote());
            applier.tell_installed(snapshot);
        }
    }
    let purged = log.bounds().purged.map(|id| id.index);
    if purged > covered.map(|id| id.index) {
        let problem = format!(
            "the log begins behind index {}, and the snapshot ends at {:?}",
            purged.unwrap_or(0),
            covered.map(|id| id.index)
        );
        return Err(LogError::damaged("snapshot", 0, problem));
    }
    Ok(Opened { log, boots, applier, contradicted })
}

/// Ends the node when the library ends by itself (`RFT-15`).
async fn stop_with<M: StateMachine>(raft: Raft<M>) {
    let mut metrics = raft.metrics();
    // Holding the member would keep its channels open after everybody else has let go.
    drop(raft);
    loop {
        let state = metrics.borrow_watched().running_state.clone();
        match state {
            Ok(()) => {}
            Err(Fatal::Stopped) => return,
            Err(fatal) => runtime::fatal::stop_node(&format!("the Raft group failed: {fatal}")),
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

fn rejected_or_unknown<T>(error: ClientWriteError<TypeConfig>) -> Outcome<T> {
    match error {
        ClientWriteError::ForwardToLeader(to) => Outcome::Rejected(not_leader(&to)),
        ClientWriteError::ChangeMembershipError(error) => {
            Outcome::Rejected(Reject::new(Reason::FailedPrecondition, error.to_string()))
        }
        // The entry was in the log and may be in another's: nobody here can tell.
        ClientWriteError::LogEntryDiscarded(to) if planted::is_on("discarded-is-rejected") => {
            Outcome::Rejected(not_leader(&to))
        }
        ClientWriteError::LogEntryDiscarded(_) => {
            unknown("the leader changed before the entry was committed")
        }
        other => unknown(other),
    }
}

pub(super) fn outcome_of<T>(
    error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
) -> Outcome<T> {
    match error {
        RaftError::APIError(error) => rejected_or_unknown(error),
        RaftError::Fatal(fatal) => unknown(fatal),
    }
}

pub(super) fn unknown<T>(why: impl ToString) -> Outcome<T> {
    Outcome::Unknown { detail: why.to_string() }
}

pub(super) fn stopping(fatal: &Fatal<TypeConfig>) -> Reject {
    Reject::new(Reason::Stopping, fatal.to_string())
}

fn not_leader(to: &ForwardToLeader<TypeConfig>) -> Reject {
    let detail = match to.reason {
        ForwardReason::NotLeader => "this member does not lead the root",
        ForwardReason::LeadershipTransfer => "this member is handing the leadership over",
        ForwardReason::LeaseExpired => "no majority has answered this leader lately",
    };
    let reject = Reject::new(Reason::NotLeader, detail);
    match (&to.leader_id, &to.leader_node) {
        (Some(id), Some(member)) => {
            reject.with("leader", id).with("leader_endpoint", &member.endpoint)
        }
        (Some(id), None) => reject.with("leader", id),
        (None, _) => reject,
    }
}
