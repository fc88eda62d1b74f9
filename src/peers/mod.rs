//! The node's place among its peers: what `federation` needs of a node, and what the node needs of it.
//!
//! Invariants: `PRS-1` a write that a quorum is wanted for is acknowledged only with it; without it the answer says
//! how many have it, and that it may still arrive; `PRS-2` a changed list of peers counts within
//! [`RELOAD_PERIOD`], and a list that does not fit changes nothing.
//!
//! Not here: how memories travel (`federation`), who may ask (`node::service`).

pub mod doorway;
mod gate;
pub mod list;
mod reading;
mod standing;
pub mod trust;
mod way;

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request, middleware};
use federation::{
    admit::Scope,
    driver::{Federation, Home, Keep, NotMet},
    engine::{Options, Short},
    members::{Member, Members},
    sealed::Identity as Signs,
};
use runtime::{
    clock,
    disk::DiskRef,
    task::{self, Shutdown},
};
use storage::{Store, answer::Made};
use thiserror::Error;
use tonic::server::NamedService;
use types::{NodeId, Reason, Reject};
use wire::{
    admission::Admission,
    errors::status,
    grpc::{CallTimes, GrpcGuard},
    serve::Peer,
    tls::TlsError,
};

pub use self::standing::Standing;
use self::{doorway::Doorway, list::Listed, reading::Readers, standing::Counts, way::Way};
pub use self::{gate::OwnRules, list::PeersError};
use crate::{
    config::{FederationConfig, Quorum, TlsConfig},
    identity::Identity,
};

/// Time between two looks at the list of peers.
pub const RELOAD_PERIOD: Duration = Duration::from_secs(10);
/// Calls of peers that are answered at the same time, apart from those of agents.
const RUNNING_MAX: u32 = 256;
/// Time for a peer's call that states none.
const CALL: Duration = Duration::from_secs(30);
/// Shortest and longest time between two rounds of forgetting.
const FORGET_ROUND: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How long a client waits before it tries again where too few nodes had its write.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Why a node does not start among its peers.
#[derive(Debug, Error)]
pub enum PeersStartError {
    /// The list.
    #[error(transparent)]
    List(#[from] PeersError),
    /// Certificates for peers.
    #[error("what peers are shown: {0}")]
    Tls(#[from] TlsError),
    /// A quorum that there cannot be, or that is no majority.
    #[error(
        "federation.quorum: {wanted} of {nodes} nodes is {problem}; use majority, or a number from {majority} \
         to {nodes}, or say federation.quorum_below_majority=true"
    )]
    Quorum {
        /// What is set.
        wanted: u32,
        /// How many nodes the list has, this one among them.
        nodes: u32,
        /// The least number that is a majority.
        majority: u32,
        /// What is wrong.
        problem: &'static str,
    },
    /// The store's first answer.
    #[error("the store does not answer: {0}")]
    Store(#[from] Reject),
}

/// A node among its peers. Clones are one and the same.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    federation: Federation,
    quorum: Quorum,
    below_majority: bool,
    within: Duration,
    me: Member,
    doorway: Doorway,
    way: Way,
    counts: Counts,
    readers: Readers,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn keep(duration: Duration) -> Keep {
    let for_ms = ms(duration);
    let [shortest, longest] = FORGET_ROUND.map(ms);
    Keep { for_ms, round_ms: (for_ms / 4).clamp(shortest, longest) }
}

/// This node as a row of the list.
fn own(me: NodeId, identity: &Identity, retired: Vec<ed25519_dalek::VerifyingKey>) -> Member {
    let keys = std::iter::once(identity.verifying_key()).chain(retired).collect();
    let scope = Scope::everything();
    Member { node: me, name: "this node".to_owned(), endpoint: None, keys, scope }
}

fn members(others: Vec<Member>, me: &Member) -> Members {
    Members::new(others.into_iter().chain([me.clone()]))
}

/// Nodes that take part: those that can be reached, and this one.
fn nodes(members: &Members, me: NodeId) -> u32 {
    let others = members.iter().filter(|m| m.endpoint.is_some() && m.node != me).count();
    u32::try_from(others + 1).unwrap_or(u32::MAX)
}

/// How many nodes that take part come before this one.
fn turn(members: &Members, me: NodeId) -> u32 {
    let earlier = members.iter().filter(|m| m.endpoint.is_some() && m.node < me).count();
    u32::try_from(earlier).unwrap_or(u32::MAX)
}

/// What a node brings.
pub struct Node {
    /// Its files.
    pub disk: DiskRef,
    /// Which it is.
    pub id: NodeId,
    /// Its memories.
    pub store: Arc<dyn Store>,
    /// Its key.
    pub identity: Identity,
    /// Keys that it had before.
    pub retired: Vec<ed25519_dalek::VerifyingKey>,
    /// What it lets in of what others made.
    pub own: OwnRules,
    /// What peers present to each other.
    pub key: Option<String>,
}

/// The rows of others.
fn others(mut listed: Listed, me: NodeId) -> Listed {
    listed.members.retain(|member| member.node != me);
    listed.certificates.remove(&me);
    listed
}

impl Peers {
    /// Takes the node's place among its peers.
    ///
    /// # Errors
    /// [`PeersStartError`].
    pub async fn start(
        node: Node,
        config: &FederationConfig,
        tls: Option<&TlsConfig>,
        shutdown: &Shutdown,
    ) -> Result<Self, PeersStartError> {
        let Node { disk, id, store, identity, retired, own: own_rules, key } = node;
        let me = own(id, &identity, retired);
        let (listed, read) = list::load(&*disk, &config.peers_file)?;
        if !listed.members.iter().any(|member| member.node == id) {
            // Whoever has lost its disk is another node than before.
            tracing::warn!(
                node = %id, list = %config.peers_file.display(),
                "the list of peers has no row of this node; unless all others have one, nobody believes it: hand them \
                 what `hivemem peers row` prints"
            );
        }
        let Listed { members: listed, certificates } = others(listed, id);
        let authority = config.peer_ca_file.clone();
        let way = Way::new(disk.clone(), tls.cloned(), authority, key.clone());
        way.know(&listed, &certificates)?;
        let doorway = Doorway::new(key.as_deref(), certificates);
        let members = members(listed, &me);
        check_quorum(config, nodes(&members, id))?;
        let home = Home {
            me: id,
            store,
            identity: Arc::new(identity) as Arc<dyn Signs>,
            gate: Arc::new(own_rules),
            dial: way.clone().dialer()?,
            keep: keep(config.keep),
        };
        let options = Options { catch_up_ms: ms(config.catch_up), compare_ms: ms(config.compare) };
        let federation = Federation::start(home, members, options).await?;
        let (quorum, below_majority) = (config.quorum, config.below_majority);
        let within = config.quorum_timeout;
        let (counts, readers) = (Counts::default(), reading::readers(&federation, within));
        let inner =
            Inner { federation, quorum, below_majority, within, me, doorway, way, counts, readers };
        let peers = Self(Arc::new(inner));
        let reload = peers.clone().reload(disk, config.peers_file.clone(), read, shutdown.clone());
        task::spawn_named("peers reload", reload);
        Ok(peers)
    }

    /// The engine's side.
    pub fn federation(&self) -> &Federation {
        &self.0.federation
    }

    /// What a peer's call has to show before its signature is looked at.
    pub fn doorway(&self) -> &Doorway {
        &self.0.doorway
    }

    async fn take_over(&self, listed: Listed) -> Result<(), PeersError> {
        let Listed { members: listed, certificates } = others(listed, self.0.me.node);
        self.0.way.know(&listed, &certificates)?;
        self.0.doorway.set(certificates);
        self.0.federation.set_members(members(listed, &self.0.me)).await;
        Ok(())
    }

    /// Takes over a changed list (`PRS-2`).
    async fn reload(self, disk: DiskRef, path: PathBuf, mut read: Vec<u8>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = clock::sleep(RELOAD_PERIOD) => {}
            }
            let taken = match list::load(&*disk, &path) {
                Ok((_, bytes)) if bytes == read => continue,
                Ok((listed, bytes)) => {
                    read = bytes;
                    self.take_over(listed).await
                }
                Err(error) => Err(error),
            };
            match taken {
                Ok(()) => {
                    let (nodes, quorum) = (self.nodes(), self.needed());
                    tracing::info!(nodes, quorum, "the list of peers was taken over");
                }
                Err(error) => tracing::warn!(%error, "the list of peers stays as it is"),
            }
        }
    }

    /// How many nodes must have a write, this one among them.
    pub fn needed(&self) -> u32 {
        self.0.quorum.needed(self.nodes(), self.0.below_majority)
    }

    /// Waits until this node may write, for it asks its peers first what it had said before it started; answers the
    /// time to write with, Unix milliseconds.
    ///
    /// # Errors
    /// [`Reason::Starting`]; [`Reason::ClockSkew`] while its clock is in doubt.
    pub async fn may_write(&self, deadline: Option<clock::Instant>) -> Result<u64, Reject> {
        let speaks = self.0.federation.speaks();
        let spoken = match deadline {
            None => Ok(speaks.await),
            Some(deadline) => clock::timeout_at(deadline, speaks).await,
        };
        if let Ok(Some(_)) = spoken {
            return self.0.federation.time(self.needed() as usize).await;
        }
        let detail =
            "this node asks its peers what it had said before it started; nothing was written";
        Err(Reject::new(Reason::Starting, detail).with("retry_after_ms", 200))
    }

    /// Waits until enough nodes have these operations of this node (`PRS-1`); answers how many have them.
    ///
    /// # Errors
    /// [`Reason::QuorumNotMet`].
    pub async fn durable(
        &self,
        made: Made,
        deadline: Option<clock::Instant>,
    ) -> Result<u32, Reject> {
        let needed = self.needed();
        if needed <= 1 {
            return Ok(1);
        }
        let left = deadline.map(|at| at.saturating_duration_since(clock::Instant::now()));
        let within = left.map_or(self.0.within, |left| left.min(self.0.within));
        let met = self.0.federation.quorum(made, needed as usize, within).await;
        let met = met.map(|got| u32::try_from(got).unwrap_or(u32::MAX));
        self.0.counts.ended(met.as_ref().ok().copied(), self.nodes());
        met.map_err(not_met)
    }

    /// This node's turn at what one node should do for all, counted from 0: how many come before it.
    pub fn turn(&self) -> u32 {
        turn(&self.0.federation.members(), self.0.me.node)
    }

    /// Nodes that take part, this one among them.
    fn nodes(&self) -> u32 {
        nodes(&self.0.federation.members(), self.0.me.node)
    }

    /// Leaves: nothing is sent and nobody is asked any more.
    pub async fn stop(&self) {
        self.0.federation.stop().await;
    }
}

/// The service that other nodes call, as a route of the gRPC door. Who gets in is decided by certificate and key
/// (`DWY-3`), who is answered by signature.
pub fn service(peers: &Peers) -> Router {
    let server = peers.0.federation.server();
    let admission = Admission::new(RUNNING_MAX, RUNNING_MAX, Duration::from_millis(50));
    let times = CallTimes { default: CALL, max: CALL };
    let path = format!("/{}/{{*method}}", server_name(&server));
    let asked = peers.clone();
    Router::new().route_service(&path, GrpcGuard::new(server, admission, times)).layer(
        middleware::from_fn(move |request: Request<Body>, next: middleware::Next| {
            let connection = request.extensions().get::<Peer>();
            let admitted = asked.doorway().admit(request.headers(), connection);
            async move {
                match admitted {
                    Ok(_) => next.run(request).await,
                    Err(refused) => status(&refused).into_http(),
                }
            }
        }),
    )
}

fn server_name<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}

fn check_quorum(config: &FederationConfig, nodes: u32) -> Result<(), PeersStartError> {
    let Quorum::Nodes(wanted) = config.quorum else { return Ok(()) };
    let majority = nodes / 2 + 1;
    let problem = if wanted > nodes {
        "more than there are"
    } else if wanted < majority && !config.below_majority {
        "no majority"
    } else {
        return Ok(());
    };
    Err(PeersStartError::Quorum { wanted, nodes, majority, problem })
}

/// Why there are too few, in a word.
fn short_cause(short: Short) -> &'static str {
    match short {
        Short::Timeout => "timeout",
        Short::Refused(reason) => reason.code(),
        Short::TooFewNodes => "too_few_nodes",
    }
}

fn not_met(short: NotMet) -> Reject {
    let NotMet { got, needed, short } = short;
    let cause = short_cause(short);
    let detail = format!(
        "{got} of the {needed} nodes that must have this write have it ({cause}); it may reach the others \
         later: the same idempotency key finds out"
    );
    Reject::new(Reason::QuorumNotMet, detail)
        .with("got", got)
        .with("needed", needed)
        .with("cause", cause)
        .with("retry_after_ms", RETRY_AFTER.as_millis())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_node_that_takes_part_has_a_turn_of_its_own() {
        let node = |number| NodeId(Uuid::from_u128(number));
        let member = |number, endpoint: Option<&str>| Member {
            node: node(number),
            name: number.to_string(),
            endpoint: endpoint.map(str::to_owned),
            keys: Vec::new(),
            scope: Scope::default(),
        };
        let at = Some("127.0.0.1:1");
        let all = [member(1, at), member(2, None), member(3, at), member(4, at)];
        let members = Members::new(all);
        assert_eq!([1, 3, 4].map(|number| turn(&members, node(number))), [0, 1, 2]);
    }
}
