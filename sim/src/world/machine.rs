//! One simulated machine.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use hivemem::{
    config::{Config, Layers, Origin},
    doors,
    node::Node,
    telemetry::health::ReadyProbe,
};
use madsim::{runtime::Handle, task::NodeId};
use runtime::{
    clock::{self, sim::ClockSim},
    disk::{
        DiskRef,
        faulty::{Fault, FaultyDisk, Loss, When},
        write_atomically,
    },
    fatal,
    task::Shutdown,
};
use storage::sqlite::vfs::SimVfs;

use crate::{judge::stores::Scan, options::Options};

/// Where the node listens.
pub const NODE_ADDRESS: &str = "10.0.0.1:7747";
/// The key that clients present; the listener is no loopback one, so it needs one.
pub const API_KEY: &str = "simulated";
/// The operator's key and its file on the machine.
pub const OPERATOR_KEY: &str = "simulated-operator";
const OPERATOR_KEY_FILE: &str = "operator.key";
/// Longest time a machine stays down, milliseconds.
const DOWN_MS: u64 = 3000;
/// Time between two looks at whether the machine is alive.
const LOOK: Duration = Duration::from_millis(5);

/// A machine: its disk, its clock, and the node that runs on it.
pub struct Machine {
    id: NodeId,
    disk: FaultyDisk,
    /// Keeps the VFS registered as long as the machine exists.
    _vfs: SimVfs,
}

fn config(ahead_rows: u32) -> Config {
    let ahead_rows = ahead_rows.to_string();
    let mut layers = Layers::default();
    let settings = [
        ("data_dir", "data"),
        ("server.listen", NODE_ADDRESS),
        ("auth.api_key", API_KEY),
        ("auth.operator_key_file", OPERATOR_KEY_FILE),
        ("storage.reserve_mib", "0"),
        ("storage.ahead_rows", &ahead_rows),
        ("server.drain_timeout", "1s"),
    ];
    for (key, value) in settings {
        layers.add(key, value.to_owned(), Origin::Flag).expect("the settings above exist");
    }
    Config::build(&layers, PathBuf::from("data")).expect("the settings above fit")
}

/// What runs on the machine: the daemon's own node and doors.
pub(super) async fn daemon(disk: DiskRef, config: Config) {
    let node = match Node::start(disk.clone(), &config).await {
        Ok(node) => node,
        // A disk that fails during start-up ends the process; the supervisor starts it again.
        Err(error) => fatal::stop_node(&format!("cannot start: {error}")),
    };
    let shutdown = Shutdown::new();
    let ready = ReadyProbe::always();
    let opened = doors::open(disk, &config, node.service().clone(), ready, shutdown).await;
    match opened {
        Ok(doors) => doors.closed().await,
        Err(error) => fatal::stop_node(&format!("cannot open the doors: {error}")),
    }
}

impl Machine {
    /// Builds the machine and boots it.
    pub fn boot(options: &Options) -> Arc<Self> {
        let disk = FaultyDisk::new(options.seed);
        let vfs = SimVfs::register(&disk, options.seed, clock::now_unix_ms);
        let key =
            write_atomically(&disk, OPERATOR_KEY_FILE.as_ref(), OPERATOR_KEY.as_bytes(), 0o600);
        key.expect("a disk without faults");
        let on_disk = disk.clone();
        let address: SocketAddr = NODE_ADDRESS.parse().expect("an address");
        let shared: DiskRef = Arc::new(disk.clone());
        let config = config(options.ahead_rows);
        let node = Handle::current()
            .create_node()
            .name("node")
            .ip(address.ip())
            .init(move || fatal::sim::contain(daemon(shared.clone(), config.clone())))
            .build();
        fatal::sim::on_stop(move |_, reason| {
            tracing::info!(reason, "the node stopped itself");
            on_disk.crash_process();
        });
        Arc::new(Self { id: node.id(), disk, _vfs: vfs })
    }

    /// The machine's disk.
    pub fn disk(&self) -> &FaultyDisk {
        &self.disk
    }

    /// The machine's clock.
    pub fn skew(&self, skew: impl FnOnce(&ClockSim, NodeId)) {
        skew(&ClockSim::current(), self.id);
    }

    /// The process dies; the page cache survives.
    pub fn crash(&self) {
        self.disk.crash_process();
        Handle::current().kill(self.id);
    }

    /// The power fails inside the `effects`-th effect of the disk from now.
    pub fn cut_power_after(&self, loss: Loss, effects: u64) {
        self.disk.inject(Fault::PowerCut(loss), When::Nth(effects), "");
    }

    /// Starts the machine again, whatever it was doing.
    pub fn restart(&self) {
        self.disk.power_on();
        Handle::current().restart(self.id);
    }

    /// Asks the node's own checks, over its door, as an operator would: the audit chain and `doctor`.
    pub async fn verify(&self) -> Option<Scan> {
        crate::workload::Client::operator().verify().await
    }

    /// Stops it for good, so that no destructor of its node runs outside the simulation.
    pub fn retire(&self) {
        Handle::current().kill(self.id);
    }

    /// Starts the machine again whenever it has died, after a while; for ever.
    pub async fn supervise(self: Arc<Self>) {
        loop {
            clock::sleep(LOOK).await;
            let off = self.disk.is_off();
            if off {
                // Power is gone for all that runs on it.
                Handle::current().kill(self.id);
            }
            if off || Handle::current().is_exit(self.id) {
                clock::sleep(Duration::from_millis(runtime::random::below(DOWN_MS))).await;
                self.restart();
            }
        }
    }
}
