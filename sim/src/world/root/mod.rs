//! A root of simulated machines, and what an operator does to it.
//!
//! Not here: looking after the machines (`world::fleet`), faults (`strike`), clients (`workload::root`),
//! judging.

pub mod steps;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::Method;
use parking_lot::Mutex;
use runtime::clock::{self, Instant};
use serde_json::{Value, json};

use self::steps::{Steps, name_of};
use super::fleet::{Asked, Fleet, Vacant};
use crate::{
    options::RootOptions,
    schedule::Kind,
    workload::root::{Ground, Recorder},
};

/// The cluster of every run.
const CLUSTER: &str = "7d5f3a10-51a1-4d0e-8000-0000000000aa";

/// A machine that runs a voter; its number is the member's.
pub use super::fleet::Host as Voter;

/// The world of a run.
pub struct RootWorld {
    /// What the seed decided.
    pub options: RootOptions,
    /// The voters' machines.
    pub fleet: Arc<Fleet>,
    /// Held while somebody changes who is in the group.
    pub membership: tokio::sync::Mutex<()>,
    /// What clients share, once it is prepared.
    pub ground: OnceLock<Ground>,
    /// Hears the members' steps.
    pub steps: Steps,
    next_member: Mutex<u64>,
}

/// The settings of a member.
fn settings(options: &RootOptions, vacant: &Vacant) -> Vec<(&'static str, String)> {
    let number = |value: u64| value.to_string();
    vec![
        ("root.member", number(vacant.number)),
        ("root.cluster", CLUSTER.to_owned()),
        ("root.endpoint", vacant.address()),
        ("root.peer_key_file", "peer.key".to_owned()),
        ("root.lease_reads", options.lease_reads.to_string()),
        ("root.heartbeat_ms", number(options.heartbeat_ms)),
        ("root.election_ms", number(options.election_ms)),
        ("root.snapshot_entries", number(options.snapshot_entries)),
        ("root.kept_entries", number(options.kept_entries)),
        ("root.segment_kib", number(options.segment_kib)),
    ]
}

impl RootWorld {
    /// Boots the first voters. Nobody has founded the root yet.
    pub fn boot(
        options: RootOptions,
        recorder: Recorder,
        steps: Steps,
        clients: Vec<madsim::task::NodeId>,
    ) -> Arc<Self> {
        let fleet = Fleet::new(recorder, clients, &Kind::ALL);
        let world = Arc::new(Self {
            next_member: Mutex::new(1),
            options,
            fleet,
            ground: OnceLock::new(),
            membership: tokio::sync::Mutex::default(),
            steps,
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
        let vacant = Vacant::new(self.options.seed, member);
        let config = vacant.config(&settings(&self.options, &vacant));
        let voter = Voter::boot(vacant, name_of(member), config, &self.fleet.recorder);
        self.steps.call(voter.id, &voter.name);
        self.fleet.add(&voter);
        voter
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

    /// How a voter sees the root.
    pub async fn status_of(&self, voter: &Voter) -> Option<Value> {
        self.fleet.ask_at(voter, Method::GET, "/api/v1/root/status", None).await.ok()
    }

    /// The voter that leads, as the newest term has it among those that answer.
    pub async fn leader(&self) -> Option<Arc<Voter>> {
        let mut newest: Option<(u64, u64)> = None;
        for voter in self.fleet.hosts().iter().filter(|voter| voter.is_up()) {
            let Some(status) = self.status_of(voter).await else { continue };
            let (term, leader) = (status["term"].as_u64(), status["leader"].as_u64());
            if let (Some(term), Some(leader)) = (term, leader) {
                newest = newest.max(Some((term, leader)));
            }
        }
        let (_, leader) = newest?;
        self.fleet.hosts().into_iter().find(|voter| voter.number == leader)
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
                last = self.fleet.ask_at(&leader, method.clone(), path, body.clone()).await;
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
        let member = |v: &Arc<Voter>| json!({ "member": v.number, "endpoint": v.address() });
        let members: Vec<Value> = self.fleet.hosts().iter().map(member).collect();
        let body = json!({ "members": members });
        let first = self.fleet.hosts().remove(0);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let path = "/api/v1/root/init";
            let asked = self.fleet.ask_at(&first, Method::POST, path, Some(body.clone())).await;
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
}
