//! A root of simulated machines, and the means to look after it.
//!
//! Invariants: `WLD-4` a voter that has died is started again, until it is gone or held; `WLD-5` when
//! the faults are over, the network, the disks and the clocks are right and every voter runs.
//!
//! Not here: faults (`strike`), clients (`workload::root`), judging.

pub mod links;
pub mod steps;
mod voter;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::Method;
use madsim::{net::NetSim, runtime::Handle, task::NodeId};
use parking_lot::Mutex;
use runtime::{
    clock::{self, Instant, sim::ClockSim},
    fatal, random, task,
};
use serde_json::{Value, json};

pub use self::voter::Voter;
use self::{links::Links, steps::Steps};
use crate::{
    options::RootOptions,
    schedule::Kind,
    workload::root::{
        Ground, Recorder,
        outcome::Told,
        target::{Link, Question},
    },
};

/// Time between two looks at who has died.
const LOOK: Duration = Duration::from_millis(20);
/// Longest time that a dead voter stays down, milliseconds.
const DOWN_MS: u64 = 2500;
/// Time for an operator's request.
const ANSWER_MS: u64 = 5000;

/// Voters by machine, for the hook that hears of nodes that stop themselves.
type Register = Arc<Mutex<BTreeMap<NodeId, Arc<Voter>>>>;

/// The world of a run.
pub struct RootWorld {
    /// What the seed decided.
    pub options: RootOptions,
    /// What happens is recorded there.
    pub recorder: Recorder,
    /// Cuts of the network.
    pub links: Links,
    /// The clients' machines.
    pub clients: Vec<NodeId>,
    /// Held while somebody changes who is in the group.
    pub membership: tokio::sync::Mutex<()>,
    /// What clients share, once it is prepared.
    pub ground: OnceLock<Ground>,
    /// Hears the members' steps.
    pub steps: Steps,
    voters: Mutex<Vec<Arc<Voter>>>,
    register: Register,
    next_member: Mutex<u64>,
    counts: Mutex<BTreeMap<String, u64>>,
}

/// How an operator's request ended.
pub type Asked = Result<Value, String>;

impl RootWorld {
    /// Boots the first voters. Nobody has founded the root yet.
    pub fn boot(
        options: RootOptions,
        recorder: Recorder,
        steps: Steps,
        clients: Vec<NodeId>,
    ) -> Arc<Self> {
        let register = Register::default();
        let stopping = register.clone();
        fatal::sim::on_stop(move |node, reason| {
            tracing::info!(%node, reason, "a node stopped itself");
            if let Some(voter) = stopping.lock().get(&node) {
                voter.stopped();
            }
        });
        let world = Arc::new(Self {
            next_member: Mutex::new(1),
            options,
            recorder,
            links: Links::default(),
            clients,
            ground: OnceLock::new(),
            membership: tokio::sync::Mutex::default(),
            steps,
            voters: Mutex::default(),
            register,
            counts: Mutex::new(Kind::ALL.iter().map(|(name, _)| ((*name).to_owned(), 0)).collect()),
        });
        for _ in 0..world.options.voters {
            world.add_machine();
        }
        world
    }

    /// Boots a machine for a new member, which nobody knows yet.
    pub fn add_machine(&self) -> Arc<Voter> {
        let member = {
            let mut next = self.next_member.lock();
            *next += 1;
            *next - 1
        };
        let voter = Voter::boot(&self.options, member, &self.recorder, &self.steps);
        self.register.lock().insert(voter.id, voter.clone());
        self.voters.lock().push(voter.clone());
        voter
    }

    /// All machines that are not gone.
    pub fn voters(&self) -> Vec<Arc<Voter>> {
        self.voters.lock().iter().filter(|voter| !voter.is_gone()).cloned().collect()
    }

    /// All machines there ever were.
    pub fn all(&self) -> Vec<Arc<Voter>> {
        self.voters.lock().clone()
    }

    /// From now on, what happens on a machine is told under another name: it is a copy.
    pub fn rename(&self, voter: &Voter, name: &str) {
        self.steps.call(voter.id, name);
        voter.call(name);
    }

    /// Throws a machine away. Clients ask it no more.
    pub fn lose(&self, voter: &Voter) {
        voter.retire();
        if let Some(ground) = self.ground.get() {
            ground.lose(&voter.name);
        }
    }

    /// Counts a fault that has taken hold.
    pub fn count(&self, kind: &str) {
        *self.counts.lock().entry(kind.to_owned()).or_default() += 1;
    }

    /// How often each fault has taken hold.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().clone()
    }

    /// Asks one voter as an operator.
    pub async fn ask_at(
        &self,
        voter: &Voter,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Asked {
        let link = Link::new(&voter.place(), ANSWER_MS).map_err(|e| e.to_string())?;
        let mut question = Question::get(path, "operator", ANSWER_MS).by_operator();
        question.method = method;
        question.body = body;
        match link.ask(&question).await {
            Told::Yes(answer) => Ok(answer),
            Told::No(reject) => Err(reject.to_string()),
            Told::Unsure(detail) | Told::NotSent(detail) => Err(detail),
        }
    }

    /// How a voter sees the root.
    pub async fn status_of(&self, voter: &Voter) -> Option<Value> {
        self.ask_at(voter, Method::GET, "/api/v1/root/status", None).await.ok()
    }

    /// The voter that leads, as the newest term has it among those that answer.
    pub async fn leader(&self) -> Option<Arc<Voter>> {
        let mut newest: Option<(u64, u64)> = None;
        for voter in self.voters().iter().filter(|voter| voter.is_up()) {
            let Some(status) = self.status_of(voter).await else { continue };
            let (term, leader) = (status["term"].as_u64(), status["leader"].as_u64());
            if let (Some(term), Some(leader)) = (term, leader) {
                newest = newest.max(Some((term, leader)));
            }
        }
        let (_, leader) = newest?;
        self.voters().into_iter().find(|voter| voter.member == leader)
    }

    /// Asks the leader as an operator, again and again until it is done or the time is over.
    pub async fn ask_leader(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        within: Duration,
    ) -> Asked {
        let deadline = Instant::now() + within;
        let mut last = Err("nobody leads".to_owned());
        while Instant::now() < deadline {
            if let Some(leader) = self.leader().await {
                last = self.ask_at(&leader, method.clone(), path, body.clone()).await;
                if last.is_ok() {
                    return last;
                }
            }
            clock::sleep(Duration::from_millis(200)).await;
        }
        last
    }

    /// Founds the root with the voters there are.
    ///
    /// # Errors
    /// The last answer, after half a minute.
    pub async fn found(&self) -> Result<(), String> {
        let member = |v: &Arc<Voter>| json!({ "member": v.member, "endpoint": v.address() });
        let members: Vec<Value> = self.voters().iter().map(member).collect();
        let body = json!({ "members": members });
        let first = self.voters().remove(0);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let path = "/api/v1/root/init";
            let asked = self.ask_at(&first, Method::POST, path, Some(body.clone())).await;
            let problem = match asked {
                Ok(_) => return Ok(()),
                // An earlier try was heard after all.
                Err(problem) if problem.contains("already_exists") => return Ok(()),
                Err(problem) => problem,
            };
            if Instant::now() > deadline {
                return Err(problem);
            }
            clock::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Starts voters again that have died; for ever.
    pub async fn supervise(self: Arc<Self>) {
        loop {
            clock::sleep(LOOK).await;
            for voter in self.voters() {
                if voter.is_up() && voter.has_died() {
                    // Where the power is gone, it is gone for all that runs on it.
                    voter.off();
                }
                if !voter.is_up() && !voter.is_held() {
                    voter.hold();
                    let back = async move {
                        clock::sleep(Duration::from_millis(random::below(DOWN_MS))).await;
                        voter.let_go();
                        voter.restart();
                    };
                    drop(task::spawn(back));
                }
            }
        }
    }

    /// Ends whatever the faults have left (`WLD-5`).
    pub async fn heal(&self) {
        NetSim::current().update_config(|config| *config = madsim::net::Config::default());
        for voter in self.voters() {
            voter.disk.clear_faults();
            voter.disk.set_capacity_bytes(u64::MAX);
            ClockSim::current().heal(voter.id);
            Handle::current().resume(voter.id);
        }
        let all_up = || self.voters().iter().all(|voter| voter.is_up() && !voter.has_died());
        while !all_up() {
            clock::sleep(LOOK).await;
        }
    }

    /// Stops every machine, so that no destructor of a node runs outside the simulation.
    pub fn end(&self) {
        self.all().iter().for_each(|voter| voter.retire());
        self.register.lock().clear();
    }
}
