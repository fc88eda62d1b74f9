//! A machine of a fleet and the daemon's own node that runs on it.
//!
//! Invariants: `VOT-1` what survives a restart is the disk and nothing else; `VOT-2` a machine that is
//! gone never runs again.
//!
//! Not here: what the node is for (its settings say), when it dies (`strike`), and starting it again (the
//! fleet's supervisor).

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use hivemem::config::{Config, Layers, Origin};
use madsim::{runtime::Handle, task::NodeId};
use parking_lot::Mutex;
use runtime::{
    clock,
    disk::{DiskRef, faulty::FaultyDisk, write_atomically},
    fatal,
};
use storage::sqlite::vfs::SimVfs;

use crate::{
    workload::root::{NodeAt, Recorder},
    world::{API_KEY, OPERATOR_KEY, machine::daemon},
};

/// Port of every door.
const PORT: u16 = 7747;
/// Files with keys, and what is in them.
const KEYS: [(&str, &str); 2] = [("operator.key", OPERATOR_KEY), ("peer.key", "between members")];

#[derive(Debug, Default)]
struct State {
    up: bool,
    gone: bool,
    held: u32,
}

/// A machine that nothing runs on yet.
pub struct Vacant {
    /// Its number in the fleet, from 1.
    pub number: u64,
    /// The machine's disk.
    pub disk: FaultyDisk,
    ip: IpAddr,
    /// Keeps the VFS registered as long as the machine exists.
    vfs: SimVfs,
}

impl Vacant {
    /// A machine with an empty disk, but for the keys that an operator put there.
    pub fn new(seed: u64, number: u64) -> Self {
        let seed = seed.wrapping_mul(31).wrapping_add(number);
        let disk = FaultyDisk::new(seed);
        let vfs = SimVfs::register(&disk, seed, clock::now_unix_ms);
        for (file, key) in KEYS {
            write_atomically(&disk, file.as_ref(), key.as_bytes(), 0o600)
                .expect("a disk without faults");
        }
        let ip = IpAddr::from([10, 0, 0, u8::try_from(number).unwrap_or(u8::MAX)]);
        Self { number, disk, ip, vfs }
    }

    /// `ip:port` of its door.
    pub fn address(&self) -> String {
        format!("{}:{PORT}", self.ip)
    }

    /// The settings of every node, and those of this one.
    pub fn config(&self, own: &[(&'static str, String)]) -> Config {
        config(&self.address(), own)
    }
}

/// The settings of every node, and those of the one with this address.
pub fn config(address: &str, own: &[(&'static str, String)]) -> Config {
    let mut layers = Layers::default();
    let settings = [
        ("data_dir", "data".to_owned()),
        ("server.listen", address.to_owned()),
        ("server.drain_timeout", "1s".to_owned()),
        ("auth.api_key", API_KEY.to_owned()),
        ("auth.operator_key_file", "operator.key".to_owned()),
        ("storage.reserve_mib", "0".to_owned()),
    ];
    for (key, value) in settings.into_iter().chain(own.iter().cloned()) {
        layers.add(key, value, Origin::Flag).expect("the settings above exist");
    }
    Config::build(&layers, PathBuf::from("data")).expect("the settings above fit")
}

/// A machine: its disk, its clock, and the node that runs on it.
pub struct Host {
    /// Its number in the fleet, from 1.
    pub number: u64,
    /// Its name in the history.
    pub name: String,
    /// The machine.
    pub id: NodeId,
    /// The machine's disk.
    pub disk: FaultyDisk,
    config: Arc<Mutex<Config>>,
    address: String,
    recorder: Recorder,
    state: Mutex<State>,
    /// What its steps are told under, once it is not itself any more.
    alias: Mutex<Option<String>>,
    _vfs: SimVfs,
}

impl Host {
    /// Boots a machine.
    pub fn boot(vacant: Vacant, name: String, config: Config, recorder: &Recorder) -> Arc<Self> {
        let address = vacant.address();
        let Vacant { number, disk, ip, vfs } = vacant;
        let shared: DiskRef = Arc::new(disk.clone());
        let config = Arc::new(Mutex::new(config));
        let settings = config.clone();
        let node = Handle::current()
            .create_node()
            .name(&name)
            .ip(ip)
            .init(move || {
                let settings = settings.lock().clone();
                fatal::sim::contain(daemon(shared.clone(), settings))
            })
            .build();
        recorder.node(&name, true);
        Arc::new(Self {
            number,
            name,
            id: node.id(),
            disk,
            config,
            address,
            recorder: recorder.clone(),
            state: Mutex::new(State { up: true, ..State::default() }),
            alias: Mutex::default(),
            _vfs: vfs,
        })
    }

    /// `ip:port` of its door.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its settings.
    pub fn config(&self) -> Config {
        self.config.lock().clone()
    }

    /// Its settings from its next start on.
    pub fn configure(&self, config: Config) {
        *self.config.lock() = config;
    }

    /// How clients reach it.
    pub fn place(&self) -> NodeAt {
        NodeAt {
            name: self.name.clone(),
            endpoint: format!("http://{}", self.address),
            api_key: Some(API_KEY.to_owned()),
            operator_key: OPERATOR_KEY.to_owned(),
            papers: None,
        }
    }

    /// The process stopped itself; the simulator kills it.
    pub fn stopped(&self) {
        self.disk.crash_process();
        self.fell();
    }

    fn fell(&self) {
        if std::mem::take(&mut self.state.lock().up) {
            self.tell(false);
        }
    }

    fn tell(&self, up: bool) {
        self.recorder.node(&self.name, up);
        if let Some(alias) = &*self.alias.lock() {
            self.recorder.node(alias, up);
        }
    }

    /// From now on, what happens on it is told under another name as well.
    pub fn call(&self, alias: &str) {
        *self.alias.lock() = Some(alias.to_owned());
    }

    /// The process dies; the page cache survives.
    pub fn crash(&self) {
        self.disk.crash_process();
        self.off();
    }

    /// The process dies; what becomes of the disk is the caller's business.
    pub fn off(&self) {
        Handle::current().kill(self.id);
        self.fell();
    }

    /// Starts it, unless it is gone or runs.
    pub fn restart(&self) {
        {
            let mut state = self.state.lock();
            if state.gone || state.up {
                return;
            }
            state.up = true;
        }
        self.disk.power_on();
        self.tell(true);
        Handle::current().restart(self.id);
    }

    /// Stops it for good.
    pub fn retire(&self) {
        self.state.lock().gone = true;
        self.off();
    }

    /// Whether it will never run again.
    pub fn is_gone(&self) -> bool {
        self.state.lock().gone
    }

    /// Whether its process runs, for all that is known.
    pub fn is_up(&self) -> bool {
        self.state.lock().up
    }

    /// Whether it is dead without anybody having said so.
    pub fn has_died(&self) -> bool {
        self.disk.is_off() || Handle::current().is_exit(self.id)
    }

    /// From now on it is not started again when it dies, until it is let go.
    pub fn hold(&self) {
        self.state.lock().held += 1;
    }

    /// The other half of [`Host::hold`].
    pub fn let_go(&self) {
        let mut state = self.state.lock();
        state.held = state.held.saturating_sub(1);
    }

    /// Whether somebody wants it to stay as it is.
    pub fn is_held(&self) -> bool {
        self.state.lock().held > 0
    }
}
