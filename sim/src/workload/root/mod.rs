//! Clients of the root: sessions, locks, registers, rules, actions, and writes under fences.
//!
//! ```text
//! let recorder = Recorder::new(move || /* the observer's clock, µs */);
//! let ground = prepare(load, target, recorder.clone()).await?;   // agents, hot memories, their policy
//! let clients = (1..=n).map(|c| spawn(live(ground.clone(), c, stop.clone())));
//! // … faults, recorder.fault(…), recorder.fault_over(…), recorder.record(What::Healed) …
//! stop.trigger();                                                // and await the clients
//! finish(&ground).await;                                         // last reads, chains, samples, End
//! let history = recorder.history(header)?;
//! ```
//!
//! | file | what |
//! |---|---|
//! | `recorder`, `load`, `target`, `outcome` | events, what is drawn, nodes, what answers mean |
//! | `client` | one client: asking, recording, asking again |
//! | `sessions`, `locks` | sessions kept alive or left to expire; locks and writes under their fences |
//! | `registers`, `actions` | policies and rules as registers; approvals |
//! | `finish` | what everybody learns in the end |
//!
//! Invariants: see `HIS-1` and `HIS-2` of the judge; every client ends on its own once it is told to
//! stop; every operation that was begun is completed.
//!
//! Not here: faults, starting nodes, judging.

mod actions;
mod client;
mod finish;
mod guarded;
pub mod load;
mod locks;
pub mod outcome;
pub mod recorder;
mod registers;
mod sessions;
pub mod target;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use http::Method;
use parking_lot::Mutex;
use runtime::{
    clock::{self, Instant},
    task::Shutdown,
};
use serde_json::{Value, json};

use crate::judge::history::What;

use self::{
    client::Client,
    outcome::Told,
    sessions::Sessions,
    target::{Link, Question},
};
pub use self::{
    finish::{finish, scan, scan_of, scan_rows_of},
    load::{Load, Mix},
    recorder::Recorder,
    target::{NodeAt, Papers, Target},
};

/// Longest time for everything to be prepared.
const PREPARE: Duration = Duration::from_secs(60);
/// Namespace of hot memories.
const HOT_NAMESPACE: &str = "hot";
/// Agent in whose name hot memories are written, so that one client may change what another made.
const WRITER: &str = "writer";

/// What all clients share. Clones are one and the same.
#[derive(Clone)]
pub struct Ground(Arc<Inner>);

struct Inner {
    load: Load,
    target: Target,
    recorder: Recorder,
    /// Id of each hot memory in each store.
    hot: BTreeMap<(String, String), String>,
    /// How often each node was deliberately set back to a backup.
    epochs: Mutex<BTreeMap<String, u64>>,
    /// Nodes that are lost for good.
    lost: Mutex<BTreeSet<String>>,
}

impl Ground {
    /// What clients do.
    pub fn load(&self) -> &Load {
        &self.0.load
    }

    /// Whom they ask.
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// Where it is recorded.
    pub fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    /// Notes that a node was deliberately set back to a backup: its chain begins a new epoch.
    pub fn set_back(&self, node: &str) {
        *self.0.epochs.lock().entry(node.to_owned()).or_default() += 1;
    }

    /// Records that a node is lost for good; clients ask it no more.
    pub fn lose(&self, node: &str) {
        if self.0.lost.lock().insert(node.to_owned()) {
            self.recorder().record(What::Lost { node: node.to_owned() });
        }
    }

    /// Whether a node is lost for good.
    pub fn is_lost(&self, node: &str) -> bool {
        self.0.lost.lock().contains(node)
    }

    fn epoch(&self, node: &str) -> u64 {
        self.0.epochs.lock().get(node).copied().unwrap_or(0)
    }

    fn hot_id(&self, store: &str, key: &str) -> Option<&str> {
        let place = (store.to_owned(), key.to_owned());
        self.0.hot.get(&place).map(String::as_str)
    }
}

/// Why the ground is not prepared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {problem}")]
pub struct PrepareError {
    /// What was to be done.
    pub step: String,
    /// The last answer.
    pub problem: String,
}

/// Asks until it is answered with success. Only for what may be done twice.
async fn until_done(
    link: &Link,
    question: &Question,
    deadline: Instant,
) -> Result<Value, PrepareError> {
    loop {
        let problem = match link.ask(question).await {
            Told::Yes(value) => return Ok(value),
            Told::No(reject) => reject.to_string(),
            Told::Unsure(problem) | Told::NotSent(problem) => problem,
        };
        if Instant::now() >= deadline {
            let step = format!("{} {} at {}", question.method, question.path, link.name);
            return Err(PrepareError { step, problem });
        }
        clock::sleep(Duration::from_millis(100)).await;
    }
}

/// Makes what clients need: agents who decide, hot memories in every store, and the policy that
/// makes them hot. Needs a founded root; nothing of it is recorded but the first scans of the chains.
///
/// # Errors
/// [`PrepareError`] after a minute.
pub async fn prepare(
    load: Load,
    target: Target,
    recorder: Recorder,
) -> Result<Ground, PrepareError> {
    let deadline = Instant::now() + PREPARE;
    let answer_ms = load.answer_ms;
    let failed = |problem: String| PrepareError { step: "prepare".to_owned(), problem };
    let links: Result<Vec<Link>, types::Invalid> =
        target.nodes.iter().map(|node| Link::new(node, answer_ms)).collect();
    let links = links.map_err(|invalid| failed(invalid.to_string()))?;
    let first = links.first().ok_or_else(|| failed("there is no node".to_owned()))?;
    let operator = |method: Method, path: &str, body: Value| {
        Question::send(method, path, "operator", answer_ms, body).by_operator()
    };
    for decider in load.deciders() {
        let body = json!({ "agent_id": decider, "human": true });
        let question = operator(Method::POST, "/api/v1/root/agents", body);
        until_done(first, &question, deadline).await?;
    }
    let mut hot = BTreeMap::new();
    for link in &links {
        for key in load.hot_keys() {
            let body = json!({
                "title": key, "content": guarded::EMPTY, "namespace": HOT_NAMESPACE, "tier": "long",
            });
            let question =
                Question::send(Method::POST, "/api/v1/memories", WRITER, answer_ms, body)
                    .named(Some(format!("{}-{key}", load.seed)));
            let stored = until_done(link, &question, deadline).await?;
            let id = stored["id"].as_str().unwrap_or_default().to_owned();
            hot.insert((link.name.clone(), key), id);
        }
    }
    let policy = json!({ "namespace": HOT_NAMESPACE, "hot_keys": ["hot*"] });
    until_done(first, &operator(Method::PUT, "/api/v1/policies", policy), deadline).await?;
    let (epochs, lost) = Default::default();
    let ground = Ground(Arc::new(Inner { load, target, recorder, hot, epochs, lost }));
    scan(&ground).await;
    Ok(ground)
}

/// One client's whole life: errands until it is told to stop.
pub async fn live(ground: Ground, number: u64, stop: Shutdown) {
    let Ok(mut client) = Client::new(&ground, number, &stop) else { return };
    let mut sessions = Sessions::default();
    while !client.stopping() {
        errand(&mut client, &mut sessions).await;
        client.back_off().await;
        let think_ms = client.ground.load().think_ms;
        client.pause(think_ms).await;
    }
    sessions.end(&mut client).await;
}

/// Does one thing, drawn by weight.
async fn errand(client: &mut Client, sessions: &mut Sessions) {
    let mix = client.ground.load().mix;
    let mut at = client.draw.below(mix.total());
    let mut falls_to = |weight: u64| {
        let here = at < weight;
        at = at.saturating_sub(weight);
        here
    };
    if falls_to(mix.locks) {
        locks::errand(client, sessions).await;
    } else if falls_to(mix.registers) {
        registers::errand(client).await;
    } else if falls_to(mix.rules) {
        registers::rules(client).await;
    } else if falls_to(mix.actions) {
        actions::errand(client).await;
    } else if falls_to(mix.force) {
        locks::force(client).await;
    } else {
        guarded::errand(client, sessions).await;
    }
}
