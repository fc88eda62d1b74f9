//! The loop around the engine: it tells the engine what happened and does what the engine says.
//!
//! | file | what |
//! |---|---|
//! | `run` | the one loop that owns the engine |
//! | `naming` | under which name a node speaks after a start |
//! | `starts` | what peers pushed before they started does not count |
//! | `former` | waiting for peers that take what was said under an earlier name |
//! | `ask` | pushes and pulls: one task each, one message each |
//! | `compare` | comparing what is held, and taking what differs |
//! | `forget` | forgetting what every member has seen |
//! | `level` | being as far as others, for reads |
//! | `answer` | answers to what other nodes ask of this one, by whichever door |
//! | `time` | whether this node's clock may be believed |
//! | `seen` | when peers were heard, and what they said of themselves |
//! | `traffic` | what passes, counted |
//! | `serve` | the gRPC door |
//!
//! Invariants: `DRV-1` the engine is asked by one task alone, and its time never runs backwards; `DRV-2`
//! nothing is sent that is not durable here; `DRV-3` every message has a deadline and every queue a
//! bound; `DRV-4` what a peer refused is kept before anything rests on it being kept.
//!
//! Not here: decisions (`crate::engine`), the node's configuration.

mod answer;
mod ask;
mod compare;
mod forget;
mod former;
mod level;
mod naming;
mod run;
mod seen;
mod serve;
mod starts;
mod time;
mod traffic;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use runtime::task::{self, Shutdown};
use storage::{Store, answer::Made};
use tokio::sync::{mpsc, oneshot, watch};
use types::{DeadLetter, NodeId, Reject, VersionVector};
use wire::{
    client::{Channel, ChannelTimes},
    dial::Endpoint,
    v1::{SyncHeader, SyncPurpose},
};

pub use self::{
    answer::Asking,
    ask::named,
    seen::{Seen, Troubles},
    traffic::{Flow, Traffic},
};
use self::{run::Run, seen::Sightings, starts::Starts, time::Times, traffic::Counters};
use crate::{
    engine::{Input, Options, PeerView, Short},
    exchange::{Exchange, Gate},
    members::{Member, Members},
    sealed::{self, Identity},
};

/// The header in which a node says which one it is.
pub const PEER_ID: &str = "x-peer-id";

/// Events that may wait for the loop.
const EVENTS_MAX: usize = 4096;

/// Times of connections between peers: one that is silent for three seconds is dialled again.
const PEER_TIMES: ChannelTimes = ChannelTimes {
    connect: Duration::from_millis(1000),
    call: Duration::from_secs(30),
    keep_alive_interval: Duration::from_millis(1500),
    keep_alive_timeout: Duration::from_millis(1500),
};

/// Turns an endpoint of the peers' list into one to dial, with the TLS that peers speak.
pub type Dialer = Box<dyn Fn(&str) -> Result<Endpoint, types::Invalid> + Send + Sync>;

/// What is forgotten when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How long operations and tombstones are kept at least, in milliseconds.
    pub for_ms: u64,
    /// Time between two rounds of forgetting, in milliseconds.
    pub round_ms: u64,
}

/// What a node brings to a federation.
pub struct Home {
    /// Which node.
    pub me: NodeId,
    /// Its memories.
    pub store: Arc<dyn Store>,
    /// Its key.
    pub identity: Arc<dyn Identity>,
    /// Its rules.
    pub gate: Arc<dyn Gate>,
    /// How it reaches others.
    pub dial: Dialer,
    /// What it forgets.
    pub keep: Keep,
}

/// Too few nodes have a write; it may get there all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMet {
    /// Nodes that have it, this one among them.
    pub got: usize,
    /// Nodes that must.
    pub needed: usize,
    /// Why.
    pub short: Short,
}

/// Something for the loop.
enum Event {
    Happened(Input),
    Wait { made: Made, needed: usize, within: Duration, done: Waiter },
    Show(oneshot::Sender<Vec<PeerView>>),
    Letters(oneshot::Sender<Vec<(NodeId, DeadLetter)>>),
    MembersChanged,
}

type Waiter = oneshot::Sender<Result<usize, NotMet>>;

/// A node's part in a federation. Clones are one and the same.
#[derive(Clone)]
pub struct Federation(Arc<Inner>);

struct Inner {
    exchange: Exchange,
    members: RwLock<Arc<Members>>,
    dial: Dialer,
    keep: Keep,
    /// Whether a round of forgetting is under way.
    forgetting: AtomicBool,
    /// Writes that clients wait for.
    waiting: AtomicUsize,
    channels: Mutex<BTreeMap<NodeId, (String, Channel)>>,
    events: mpsc::Sender<Event>,
    sightings: Sightings,
    /// A number of this start.
    start: u64,
    starts: Starts,
    times: Times,
    /// The name under which this node speaks, once it may.
    origin: watch::Sender<Option<NodeId>>,
    traffic: Counters,
    shutdown: Shutdown,
    running: Mutex<Option<task::JoinHandle<()>>>,
}

impl Federation {
    /// Begins to talk to the members.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn start(home: Home, members: Members, options: Options) -> Result<Self, Reject> {
        let Home { me, store, identity, gate, dial, keep } = home;
        let traffic = Counters::default();
        let (identity, checks) = (traffic.counted(identity), traffic.checks.clone());
        let exchange = Exchange { me, store, gate, identity, checks };
        let mut letters: BTreeMap<NodeId, Vec<DeadLetter>> = BTreeMap::new();
        for (peer, letter) in exchange.store.letters().await.map_err(rejected)? {
            letters.entry(peer).or_default().push(letter);
        }
        let (events, happening) = mpsc::channel(EVENTS_MAX);
        let inner = Inner {
            exchange,
            members: RwLock::new(Arc::new(members)),
            dial,
            keep,
            forgetting: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            channels: Mutex::default(),
            events,
            sightings: Sightings::default(),
            start: runtime::random::below(u64::MAX) + 1,
            starts: Starts::default(),
            times: Times::default(),
            origin: watch::Sender::new(None),
            traffic,
            shutdown: Shutdown::new(),
            running: Mutex::default(),
        };
        let federation = Self(Arc::new(inner));
        let run = Run::begin(federation.clone(), options, letters, happening);
        let running = task::spawn_named("federation", run);
        *federation.0.running.lock() = Some(running);
        Ok(federation)
    }

    /// Who belongs now.
    pub fn members(&self) -> Arc<Members> {
        self.0.members.read().clone()
    }

    /// Takes another list of members over.
    pub async fn set_members(&self, members: Members) {
        *self.0.members.write() = Arc::new(members);
        self.send(Event::MembersChanged).await;
    }

    /// Waits until the node may speak, for it asks its peers first what it had said (`DRV-15`); answers under which
    /// name, or `None` when it stops before that.
    pub async fn speaks(&self) -> Option<NodeId> {
        let mut origin = self.0.origin.subscribe();
        tokio::select! {
            biased;
            named = origin.wait_for(Option::is_some) => named.ok().and_then(|named| *named),
            () = self.0.shutdown.cancelled() => None,
        }
    }

    /// Waits until so many nodes, this one among them, have these operations of this node.
    ///
    /// # Errors
    /// [`NotMet`]: not within the time, or never.
    pub async fn quorum(
        &self,
        made: Made,
        needed: usize,
        within: Duration,
    ) -> Result<usize, NotMet> {
        if self.speaks().await != Some(made.origin) {
            return former::quorum(self, made, needed, within).await;
        }
        let (done, decided) = oneshot::channel();
        self.send(Event::Wait { made, needed, within, done }).await;
        let stopped = NotMet { got: 1, needed, short: Short::Timeout };
        decided.await.unwrap_or(Err(stopped))
    }

    /// The peers, as the engine sees them.
    pub async fn peers(&self) -> Vec<PeerView> {
        let (to, views) = oneshot::channel();
        self.send(Event::Show(to)).await;
        views.await.unwrap_or_default()
    }

    /// What others have refused and nobody has given up, in order of who refused it and of place.
    pub async fn letters(&self) -> Vec<(NodeId, DeadLetter)> {
        let (to, letters) = oneshot::channel();
        self.send(Event::Letters(to)).await;
        letters.await.unwrap_or_default()
    }

    /// Writes that wait for their quorum now.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Tries refused operations again: one, or all of a peer's.
    pub async fn retry(&self, peer: NodeId, seq: Option<u64>) {
        self.send(Event::Happened(Input::Retry { peer, seq })).await;
    }

    /// Gives refused operations up: one, or all of a peer's.
    pub async fn purge(&self, peer: NodeId, seq: Option<u64>) {
        self.send(Event::Happened(Input::Purge { peer, seq })).await;
    }

    /// Stops talking. Messages under way are given up.
    pub async fn stop(&self) {
        self.0.shutdown.trigger();
        let running = self.0.running.lock().take();
        if let Some(running) = running {
            // A loop that panicked has logged why, and has stopped too.
            let _ = running.await;
        }
    }

    /// The header of a question to a peer.
    fn header(&self, purpose: SyncPurpose, to: NodeId, covers: &VersionVector) -> SyncHeader {
        let header = sealed::header(purpose, to, runtime::clock::now_unix_ms(), covers);
        SyncHeader { start: self.0.start, ..header }
    }

    async fn send(&self, event: Event) {
        // Nobody listens any more once the node stops.
        let _ = self.0.events.send(event).await;
    }

    async fn happened(&self, input: Input) {
        self.send(Event::Happened(input)).await;
    }

    /// The connection to a member.
    fn channel(&self, member: &Member) -> Result<Channel, Reject> {
        let Some(endpoint) = &member.endpoint else {
            let detail = format!("{} has no endpoint", member.name);
            return Err(Reject::new(types::Reason::FailedPrecondition, detail));
        };
        let mut channels = self.0.channels.lock();
        if let Some((known, channel)) = channels.get(&member.node)
            && known == endpoint
        {
            return Ok(channel.clone());
        }
        let channel = Channel::new((self.0.dial)(endpoint)?, PEER_TIMES);
        channels.insert(member.node, (endpoint.clone(), channel.clone()));
        Ok(channel)
    }
}

fn rejected(error: storage::StoreError) -> Reject {
    crate::exchange::refused(error)
}
