//! Peers on simulated machines, and what an operator does for them.
//!
//! Each peer's row is made before it boots: the node is started alone once, says who it is, and is stopped.
//! The list goes to every disk, as it would from a configuration service: again and again, until it is there.
//!
//! Invariants: `WLD-6` a machine that has lost its disk never comes back under its old name: an empty disk
//! makes a new node, and the old row stays without an endpoint, because what it said is still believed.
//!
//! Not here: looking after the machines (`world::fleet`), faults (`strike`), clients (`workload::peers`).

pub mod scripts;
pub mod traces;

use std::{
    path::Path,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use hivemem::{
    node::Node,
    peers::list::{self, Row},
};
use madsim::task::NodeId;
use parking_lot::Mutex;
use runtime::{
    clock,
    disk::{DiskRef, write_atomically},
};

use super::fleet::{Fleet, Host, LOOK, Vacant, host};
use crate::{
    options::PeersOptions,
    schedule::Kind,
    workload::{
        peers::{Ground, STRANGER, WRITER},
        root::{NodeAt, Recorder, Target},
    },
};

/// Where the list is, on each machine.
const LIST: &str = "peers.toml";
/// Time between two looks at whether every machine has the newest list.
const DELIVER: Duration = Duration::from_millis(200);

/// The name of a peer in histories.
pub fn name_of(number: u64) -> String {
    format!("p{number}")
}

/// The world of a run.
pub struct PeersWorld {
    /// What the seed decided.
    pub options: PeersOptions,
    /// The peers' machines.
    pub fleet: Arc<Fleet>,
    /// Held while somebody changes who is a peer.
    pub membership: tokio::sync::Mutex<()>,
    /// Whether some disk was spoilt: what was on it may be nowhere else, until everybody has seen that.
    pub spoilt: AtomicBool,
    /// What clients share, once it is prepared.
    pub ground: OnceLock<Ground>,
    rows: Mutex<Vec<Row>>,
    next: Mutex<u64>,
}

/// The settings of a peer.
fn settings(options: &PeersOptions) -> Vec<(&'static str, String)> {
    let quorum = options.quorum.map_or("majority".to_owned(), |nodes| nodes.to_string());
    vec![
        ("federation.peers_file", LIST.to_owned()),
        ("federation.quorum", quorum),
        ("federation.quorum_timeout", format!("{}ms", options.quorum_timeout_ms)),
        ("federation.catch_up", format!("{}ms", options.catch_up_ms)),
        ("federation.keep", format!("{}ms", options.keep_ms)),
        ("federation.compare", format!("{}ms", options.compare_ms)),
    ]
}

impl PeersWorld {
    /// Makes the peers known to each other and boots them.
    pub async fn boot(
        options: PeersOptions,
        recorder: Recorder,
        clients: Vec<NodeId>,
    ) -> Arc<Self> {
        let world = Arc::new(Self {
            fleet: Fleet::new(recorder, clients, Kind::PEERS),
            options,
            membership: tokio::sync::Mutex::default(),
            spoilt: AtomicBool::new(false),
            ground: OnceLock::new(),
            rows: Mutex::default(),
            next: Mutex::new(1),
        });
        let mut vacant = Vec::new();
        for _ in 0..world.options.peers {
            vacant.push(world.vacant().await);
        }
        for vacant in vacant {
            world.start(vacant);
        }
        world
    }

    /// A machine with an empty disk, whose row is in the list.
    async fn vacant(&self) -> Vacant {
        let number = {
            let mut next = self.next.lock();
            *next += 1;
            *next - 1
        };
        let vacant = Vacant::new(self.options.seed, number);
        let row = self.row(&vacant).await;
        self.rows.lock().push(row);
        vacant
    }

    /// Who a node is to others, as its operator learns it.
    async fn row(&self, vacant: &Vacant) -> Row {
        let disk: DiskRef = Arc::new(vacant.disk.clone());
        let config = vacant.config(&settings(&self.options));
        let alone = Node::start_alone(disk, &config).await.expect("a disk without faults");
        let own = alone.service().own_row();
        alone.stop().await;
        let agents = match self.options.refuses_strangers {
            true => vec![WRITER.to_owned(), "node".to_owned()],
            false => vec!["*".to_owned()],
        };
        Row {
            name: name_of(vacant.number),
            node: own.node,
            endpoint: Some(vacant.address()),
            public_keys: own.public_keys,
            certificates: own.certificates,
            agents,
            namespaces: self.options.sees(vacant.number),
        }
    }

    /// Boots a machine that has the list.
    fn start(&self, vacant: Vacant) -> Arc<Host> {
        let text = self.text();
        write_atomically(&vacant.disk, LIST.as_ref(), text.as_bytes(), 0o600)
            .expect("a disk without faults");
        let (name, config) = (name_of(vacant.number), vacant.config(&settings(&self.options)));
        let host = Host::boot(vacant, name, config, &self.fleet.recorder);
        self.fleet.add(&host);
        host
    }

    /// The list as every machine must have it.
    fn text(&self) -> String {
        self.rows.lock().iter().cloned().map(list::show).collect()
    }

    /// Changes a peer's row; the list goes to everybody.
    pub fn change_row(&self, name: &str, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.rows.lock().iter_mut().find(|row| row.name == name) {
            change(row);
        }
    }

    /// Takes a peer off the list, which goes to everybody.
    pub fn take_row(&self, name: &str) -> Option<Row> {
        let mut rows = self.rows.lock();
        let at = rows.iter().position(|row| row.name == name)?;
        Some(rows.remove(at))
    }

    /// Puts a peer on the list, which goes to everybody.
    pub fn put_row(&self, row: Row) {
        self.rows.lock().push(row);
    }

    /// Settings of a peer from its next start on, beside those of every peer.
    pub fn configure(&self, host: &Host, more: &[(&'static str, String)]) {
        let mut all = settings(&self.options);
        all.extend_from_slice(more);
        host.configure(host::config(host.address(), &all));
    }

    /// The row of a peer.
    pub fn row_of(&self, name: &str) -> Option<Row> {
        self.rows.lock().iter().find(|row| row.name == name).cloned()
    }

    /// How clients reach the peers that there are.
    pub fn target(&self) -> Target {
        let place = |host: &Arc<Host>| -> NodeAt { host.place() };
        Target { nodes: self.fleet.hosts().iter().map(place).collect() }
    }

    /// A new node on an empty disk joins (`WLD-6`).
    pub async fn join(&self) -> Arc<Host> {
        let vacant = self.vacant().await;
        self.start(vacant)
    }

    /// Throws a machine away. Clients ask it no more; what it said is still believed.
    pub fn lose(&self, lost: &Host) {
        lost.retire();
        if let Some(ground) = self.ground.get() {
            ground.lose(&lost.name);
        }
        self.change_row(&lost.name, |row| row.endpoint = None);
    }

    /// Brings the list to whoever has another one; for ever.
    pub async fn deliver(self: Arc<Self>) {
        loop {
            clock::sleep(self.options.pace(DELIVER)).await;
            self.deliver_once();
        }
    }

    /// Whether everybody has the newest list now.
    fn deliver_once(&self) -> bool {
        let text = self.text();
        let mut all = true;
        for host in self.fleet.hosts() {
            if host.disk.dump(Path::new(LIST)).as_deref() == Some(text.as_bytes()) {
                continue;
            }
            // A disk that is off or fails gets it the next time.
            let written = write_atomically(&host.disk, LIST.as_ref(), text.as_bytes(), 0o600);
            all &= written.is_ok();
        }
        all
    }

    /// Ends whatever the faults have left.
    pub async fn heal(&self) {
        self.fleet.heal().await;
        while !self.deliver_once() {
            clock::sleep(LOOK).await;
        }
    }

    /// Agents whose operations the peers refuse.
    pub fn refused_agents(&self) -> Vec<String> {
        self.options.refuses_strangers.then(|| STRANGER.to_owned()).into_iter().collect()
    }
}
