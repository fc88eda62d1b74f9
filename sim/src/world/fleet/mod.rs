//! Simulated machines that are looked after together, whatever their nodes are to each other.
//!
//! Invariants: `WLD-4` a machine that has died is started again, until it is gone or held; `WLD-5` when
//! the faults are over, the network, the disks and the clocks are right and every machine runs.
//!
//! Not here: who belongs to what (`world::root`, `world::peers`), faults (`strike`).

pub mod host;
pub mod links;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::Method;
use madsim::{net::NetSim, runtime::Handle, task::NodeId};
use parking_lot::Mutex;
use runtime::{
    clock::{self, sim::ClockSim},
    fatal, random, task,
};
use serde_json::Value;

pub use self::host::{Host, Vacant};
use self::links::Links;
use crate::{
    schedule::Kind,
    workload::root::{
        Recorder,
        outcome::Told,
        target::{Link, Question},
    },
};

/// Time between two looks at who has died.
pub const LOOK: Duration = Duration::from_millis(20);
/// Longest time that a dead machine stays down, milliseconds.
const DOWN_MS: u64 = 2500;
/// Time for an operator's request.
const ANSWER_MS: u64 = 5000;

/// Machines, for the hook that hears of nodes that stop themselves.
type Register = Arc<Mutex<BTreeMap<NodeId, Arc<Host>>>>;

/// How an operator's request ended.
pub type Asked = Result<Value, String>;

/// The machines of a run.
pub struct Fleet {
    /// What happens is recorded there.
    pub recorder: Recorder,
    /// Cuts of the network.
    pub links: Links,
    /// The clients' machines.
    pub clients: Vec<NodeId>,
    hosts: Mutex<Vec<Arc<Host>>>,
    register: Register,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Fleet {
    /// A fleet without machines, which these kinds of faults may strike.
    pub fn new(recorder: Recorder, clients: Vec<NodeId>, kinds: &[(&str, Kind)]) -> Arc<Self> {
        let register = Register::default();
        let stopping = register.clone();
        fatal::sim::on_stop(move |node, reason| {
            tracing::info!(%node, reason, "a node stopped itself");
            if let Some(host) = stopping.lock().get(&node) {
                host.stopped();
            }
        });
        Arc::new(Self {
            recorder,
            links: Links::default(),
            clients,
            hosts: Mutex::default(),
            register,
            counts: Mutex::new(kinds.iter().map(|(name, _)| ((*name).to_owned(), 0)).collect()),
        })
    }

    /// Looks after a machine from now on.
    pub fn add(&self, host: &Arc<Host>) {
        self.register.lock().insert(host.id, host.clone());
        self.hosts.lock().push(host.clone());
    }

    /// All machines that are not gone.
    pub fn hosts(&self) -> Vec<Arc<Host>> {
        self.hosts.lock().iter().filter(|host| !host.is_gone()).cloned().collect()
    }

    /// All machines there ever were.
    pub fn all(&self) -> Vec<Arc<Host>> {
        self.hosts.lock().clone()
    }

    /// Counts a fault that has taken hold.
    pub fn count(&self, kind: &str) {
        *self.counts.lock().entry(kind.to_owned()).or_default() += 1;
    }

    /// How often each fault has taken hold.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().clone()
    }

    /// Asks one node as an operator.
    pub async fn ask_at(
        &self,
        host: &Host,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Asked {
        let link = Link::new(&host.place(), ANSWER_MS).map_err(|e| e.to_string())?;
        let mut question = Question::get(path, "operator", ANSWER_MS).by_operator();
        question.method = method;
        question.body = body;
        match link.ask(&question).await {
            Told::Yes(answer) => Ok(answer),
            Told::No(reject) => Err(reject.to_string()),
            Told::Unsure(detail) | Told::NotSent(detail) => Err(detail),
        }
    }

    /// A node's figures, by the names of its metrics; `None` where it does not answer.
    pub async fn figures(&self, host: &Host) -> Option<BTreeMap<String, u64>> {
        let question = Question::get("/metrics", "operator", ANSWER_MS).by_operator();
        let text = Link::new(&host.place(), ANSWER_MS).ok()?.text(&question).await?;
        let figure = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Some(text.lines().filter_map(figure).collect())
    }

    /// Starts machines again that have died, looking so often; for ever.
    pub async fn supervise(self: Arc<Self>, look: Duration) {
        loop {
            clock::sleep(look).await;
            for host in self.hosts() {
                if host.is_up() && host.has_died() {
                    // Where the power is gone, it is gone for all that runs on it.
                    host.off();
                }
                if !host.is_up() && !host.is_held() {
                    host.hold();
                    let back = async move {
                        clock::sleep(Duration::from_millis(random::below(DOWN_MS))).await;
                        host.let_go();
                        host.restart();
                    };
                    drop(task::spawn(back));
                }
            }
        }
    }

    /// Ends whatever the faults have left (`WLD-5`).
    pub async fn heal(&self) {
        NetSim::current().update_config(|config| *config = madsim::net::Config::default());
        for host in self.hosts() {
            host.disk.clear_faults();
            host.disk.set_capacity_bytes(u64::MAX);
            ClockSim::current().heal(host.id);
            Handle::current().resume(host.id);
        }
        let all_up = || self.hosts().iter().all(|host| host.is_up() && !host.has_died());
        while !all_up() {
            clock::sleep(LOOK).await;
        }
    }

    /// Stops every machine, so that no destructor of a node runs outside the simulation.
    pub fn end(&self) {
        self.all().iter().for_each(|host| host.retire());
        self.register.lock().clear();
    }
}
