//! The service: what a node can do, once, for every door.
//!
//! A door authenticates with [`Service::authenticate`], then calls one method per operation. Each
//! method validates, decides what may happen, asks the store, and says how durable the result is.
//!
//! Invariants: `SVC-1` no operation runs without a [`Caller`]; `SVC-2` no write path calls a model
//! or a peer before the answer of the store; `SVC-3` nothing is deleted by a model's word;
//! `SVC-4` a repeated idempotency key gets the first answer again, whatever the operation.
//!
//! Not here: protocols, and anything that outlives a request (`node::upkeep`).

pub mod admin;
pub mod audit;
pub mod caller;
pub mod conflicts;
pub mod forget;
mod fresh;
pub(crate) mod govern;
pub mod governance;
pub mod group;
pub mod links;
pub mod locks;
pub mod memories;
pub mod peering;
pub mod purge;
pub mod reads;
pub mod recall;
pub mod registry;
pub mod settings;
pub mod transfer;
pub mod watch;
pub(crate) mod write;

use std::sync::Arc;

use arc_swap::ArcSwap;
use runtime::span::{self, Kind};
use storage::{Store, StoreError, answer::WriteReceipt, request::Viewer};
use tokio::sync::watch as signal;
use types::{AgentId, AgentRecord, Audience, Durability, OpId, Reason, Reject, Scope};

pub use self::caller::{AccessKeys, Caller, Credentials};
use self::peering::{OwnCertificates, OwnRowOut};
pub use self::settings::{Consistency, ServiceSettings};
use crate::{
    embed::Embedder, node::accesses::Accesses, peers::Peers, root::Root, telemetry::spans::Tracer,
};

/// What every operation of the service answers.
pub type Reply<T> = Result<T, Reject>;

/// Everything a node offers its doors.
pub struct Service {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) settings: ServiceSettings,
    pub(crate) accesses: Accesses,
    keys: AccessKeys,
    agents: ArcSwap<Vec<AgentRecord>>,
    position: signal::Receiver<u64>,
    root: Option<Root>,
    peers: Option<Peers>,
    /// Whether a write needs them.
    has_peers: bool,
    own_row: OwnRowOut,
    own_certificates: OwnCertificates,
    governed: bool,
    tracer: Arc<Tracer>,
}

/// The refusal a client sees for a store error. The cause of a failure stays in the log: it can
/// contain paths.
pub(crate) fn reject(error: StoreError) -> Reject {
    match error {
        StoreError::Rejected(reject) => reject,
        unknown @ StoreError::Unknown { .. } => {
            tracing::warn!(error = %unknown, "the store's database was lost");
            Reject::new(
                unknown.reason(),
                "the store's database was lost before it answered; whether this happened is unknown",
            )
        }
        failed @ StoreError::Failed { .. } => {
            tracing::error!(error = %failed, "store failed");
            Reject::new(
                failed.reason(),
                "the store failed; the node is stopping, and whether this happened is unknown",
            )
        }
    }
}

impl Service {
    /// A service over an open store.
    ///
    /// # Errors
    /// Whatever the store answers when the agents are read.
    pub async fn new(
        store: Arc<dyn Store>,
        embedder: Arc<dyn Embedder>,
        keys: AccessKeys,
        settings: ServiceSettings,
    ) -> Reply<Self> {
        let agents = store.agents().await.map_err(reject)?;
        let position = store.position();
        Ok(Self {
            store,
            embedder,
            settings,
            accesses: Accesses::default(),
            keys,
            agents: ArcSwap::from_pointee(agents),
            position,
            root: None,
            peers: None,
            has_peers: false,
            own_row: OwnRowOut::default(),
            own_certificates: Box::new(Vec::new),
            governed: false,
            tracer: Arc::default(),
        })
    }

    /// The same service on a node with this place in the root. When `governed`, nothing is written
    /// without rules that count.
    #[must_use]
    pub fn with_root(mut self, root: Option<Root>, governed: bool) -> Self {
        self.root = root;
        self.governed = governed;
        self
    }

    /// The same service on a node that others know like this.
    #[must_use]
    pub fn with_own_row(mut self, own_row: OwnRowOut, certificates: OwnCertificates) -> Self {
        (self.own_row, self.own_certificates) = (own_row, certificates);
        self
    }

    /// The same service on a node with these peers. Where it has some that are not reached, nothing is
    /// written: nobody could say that a quorum has it.
    #[must_use]
    pub fn with_peers(mut self, peers: Option<Peers>, has_peers: bool) -> Self {
        (self.peers, self.has_peers) = (peers, has_peers);
        self
    }

    /// The same service, of whose requests this one decides which are traced.
    #[must_use]
    pub fn with_tracer(mut self, tracer: Arc<Tracer>) -> Self {
        self.tracer = tracer;
        self
    }

    /// Decides which requests are traced.
    pub fn tracer(&self) -> &Arc<Tracer> {
        &self.tracer
    }

    /// The node's peers, if it has some.
    pub fn peers(&self) -> Option<&Peers> {
        self.peers.as_ref()
    }

    /// The node's place in the root, if it has one.
    pub fn root(&self) -> Option<&Root> {
        self.root.as_ref()
    }

    /// The node's place in the root.
    ///
    /// # Errors
    /// `unimplemented` on a node that has none.
    pub(crate) fn need_root(&self) -> Reply<&Root> {
        self.root.as_ref().ok_or_else(|| {
            let detail = "this node is no member of the root; set root.member, or ask one that is";
            Reject::new(Reason::Unimplemented, detail)
        })
    }

    /// Establishes who calls.
    ///
    /// # Errors
    /// `unauthenticated`, `forbidden`, `agent_revoked` or `invalid_argument`.
    pub fn authenticate(&self, credentials: &Credentials) -> Reply<Viewer> {
        let proof = self.keys.prove(credentials)?;
        let name: Option<AgentId> = credentials.agent.as_deref().map(str::parse).transpose()?;
        let agents = self.agents.load();
        let by_token = credentials
            .secret
            .and_then(|secret| agents.iter().find(|a| a.token_sha256 == Some(secret)).cloned());
        let named = name.as_ref().or(Some(&AgentId::local())).and_then(|name| find(&agents, name));
        let viewer = caller::viewer(proof, by_token, name, named)?;
        self.check_not_revoked(&viewer.agent)?;
        Ok(viewer)
    }

    /// `AUTH-2`, also for what the root has revoked, as far as this member has heard of it.
    fn check_not_revoked(&self, agent: &AgentId) -> Reply<()> {
        let revoked = |machine: &consensus::machine::Machine| {
            machine.agent(agent).is_some_and(|known| known.revoked.is_some())
        };
        if self.root.as_ref().is_some_and(|root| root.look(revoked)) {
            return Err(Reject::new(Reason::AgentRevoked, format!("agent {agent} was revoked")));
        }
        Ok(())
    }

    /// The viewer under which the node itself keeps house.
    pub(crate) fn own_viewer(&self) -> Viewer {
        Viewer {
            agent: self.settings.node_agent.clone(),
            audiences: Vec::new(),
            attest: types::audit::AttestLevel::Node,
            operator: true,
        }
    }

    /// The audience that a scope stands for when this viewer uses it.
    pub(crate) fn audience(
        &self,
        viewer: &Viewer,
        scope: Scope,
    ) -> Result<Audience, types::Invalid> {
        let affiliation =
            find(&self.agents.load(), &viewer.agent).map(|a| a.affiliation).unwrap_or_default();
        affiliation.audience(&viewer.agent, scope)
    }

    pub(crate) async fn reload_agents(&self) -> Reply<()> {
        let agents = self.store.agents().await.map_err(reject)?;
        self.agents.store(Arc::new(agents));
        Ok(())
    }

    /// Refuses to write where peers would have to have it and are not reached.
    fn check_reaches_peers(&self) -> Reply<()> {
        if self.has_peers && self.peers.is_none() {
            let detail = "a write on this node is for its peers too, which only its daemon reaches: start it";
            return Err(Reject::new(Reason::FailedPrecondition, detail));
        }
        Ok(())
    }

    /// Durability of what changed nothing.
    pub(crate) fn unchanged(position: u64) -> Durability {
        Durability { fsynced: true, acks: 1, needed: 1, position, last: None }
    }

    /// Durability of a write that this node has committed, once as many nodes have it as must.
    ///
    /// # Errors
    /// `quorum_not_met`.
    pub(crate) async fn durable(
        &self,
        caller: &Caller,
        receipt: &WriteReceipt,
    ) -> Reply<Durability> {
        let last = receipt.operations.map(|made| OpId { origin: made.origin, seq: made.last });
        let alone = Durability { last, ..Self::unchanged(receipt.position) };
        match (&self.peers, receipt.operations) {
            (Some(peers), Some(made)) => {
                let met = peers.durable(made, caller.deadline);
                let acks = span::stage("quorum", Kind::Internal, met).await?;
                Ok(Durability { acks, needed: peers.needed(), ..alone })
            }
            _ => Ok(alone),
        }
    }
}

fn find(agents: &[AgentRecord], name: &AgentId) -> Option<AgentRecord> {
    agents.binary_search_by(|a| a.agent_id.cmp(name)).ok().map(|at| agents[at].clone())
}
