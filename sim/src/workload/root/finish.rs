//! The end of a run: what everybody learns once nothing more happens to the nodes.
//!
//! Invariant: it ends, whatever the nodes answer; what is not seen is left to the judges as unknown.
//!
//! Not here: ending clients (`live` does that by itself).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use http::Method;
use runtime::{
    clock::{self, Instant},
    task::Shutdown,
};
use serde_json::{Value, json};
use types::root_limits::{ACTIONS_PENDING_MAX, LOCKS_MAX, SESSIONS_MAX};

use super::{
    Ground, WRITER, actions,
    client::Client,
    guarded,
    outcome::Told,
    registers,
    target::{Link, NodeAt, Question},
};
use crate::judge::history::{Call, ChainMark, ChainScan, What};

/// Longest time for tables to come back to their floors, beyond what sessions and actions live.
const SETTLE: Duration = Duration::from_secs(30);
/// Number of the client that takes the last looks.
const LAST: u64 = 0;
/// Tries at one answer that is no operation.
const TRIES: u32 = 20;

/// The last looks: every voter at every action it had a say in, every register at every node, every
/// hot memory, the audit chains, the sizes of tables; and the end of the recording. Call it when the
/// clients have ended, after the last fault.
pub async fn finish(ground: &Ground) {
    let Ok(mut client) = Client::new(ground, LAST, &Shutdown::new()) else { return };
    let nodes = ground.target().nodes.len();
    for at in 0..nodes {
        if ground.is_lost(&ground.target().nodes[at].name) {
            continue;
        }
        for n in 0..ground.load().registers {
            registers::read_at(&mut client, at, &format!("r{n}")).await;
        }
        for key in ground.load().hot_keys() {
            guarded::read(&mut client, at, &key).await;
        }
    }
    settle(ground, &client).await;
    last_observations(&mut client).await;
    scan(ground).await;
    ground.recorder().record(What::End);
}

/// Who had a say in which action.
fn voters(client: &Client) -> BTreeMap<u64, BTreeSet<String>> {
    let mut voters: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    client.recorder().look(|events| {
        for event in events {
            let What::Invoke(invoke) = &event.what else { continue };
            if let Call::Approve { agent, action } | Call::Reject { agent, action } = &invoke.call {
                voters.entry(*action).or_default().insert(agent.clone());
            }
        }
    });
    voters
}

async fn last_observations(client: &mut Client) {
    for (action, voters) in voters(client) {
        for voter in voters {
            let node = client.any_node();
            actions::observe(client, node, &voter, action).await;
        }
    }
}

async fn told(link: &Link, question: &Question) -> Option<Value> {
    for _ in 0..TRIES {
        if let Told::Yes(value) = link.ask(question).await {
            return Some(value);
        }
        clock::sleep(Duration::from_millis(200)).await;
    }
    None
}

/// Samples tables until all are at their floors, or the time for that is over.
async fn settle(ground: &Ground, client: &Client) {
    let load = ground.load();
    let longest_ms = load.ttl_ms.1.max(load.action_ttl_ms.1) + load.lock_delay_ms;
    let deadline = Instant::now() + Duration::from_millis(longest_ms) + SETTLE;
    loop {
        let mut left = 0;
        for link in client.links().iter().filter(|link| !ground.is_lost(&link.name)) {
            left += sample(ground, link).await.unwrap_or(1);
        }
        if left == 0 || Instant::now() >= deadline {
            return;
        }
        clock::sleep(Duration::from_millis(500)).await;
    }
}

/// Records the sizes of a node's tables; their sum.
async fn sample(ground: &Ground, link: &Link) -> Option<u64> {
    let question = Question::get("/api/v1/root/status", "operator", ground.load().answer_ms);
    let status = told(link, &question).await?;
    let tables = [
        ("sessions", SESSIONS_MAX),
        ("locks", LOCKS_MAX),
        ("pending_actions", ACTIONS_PENDING_MAX),
    ];
    let mut sum = 0;
    for (table, limit) in tables {
        let size = status[table].as_u64()?;
        let (node, table) = (link.name.clone(), table.to_owned());
        let limit = Some(limit as u64);
        let steady_us = None;
        ground.recorder().record(What::Sample { node, table, size, limit, floor: 0, steady_us });
        sum += size;
    }
    Some(sum)
}

/// Has every node verify its audit chain, and lists the changes that it shows. A node that does not
/// answer is left out.
pub async fn scan(ground: &Ground) {
    let answer_ms = ground.load().answer_ms.max(30_000);
    for node in ground.target().nodes.iter().filter(|node| !ground.is_lost(&node.name)) {
        let scan = scan_of(node, ground.epoch(&node.name), WRITER, answer_ms).await;
        if let Some(scan) = scan {
            ground.recorder().record(What::Chain(scan));
        }
    }
}

/// Has a node verify its audit chain, and lists the changes that an agent sees; `None` when it does not
/// answer.
pub async fn scan_of(node: &NodeAt, epoch: u64, agent: &str, answer_ms: u64) -> Option<ChainScan> {
    let link = Link::new(node, answer_ms).ok()?;
    let path = "/api/v1/admin/verify-chain";
    let body = json!({ "since": 0 });
    let question = Question::send(Method::POST, path, "operator", answer_ms, body).by_operator();
    let found = told(&link, &question).await?;
    let changes = changes(&link, agent, answer_ms).await;
    Some(found_of(node, epoch, &found, changes))
}

/// As [`scan_of`], but lists the changes that have an audit row: where the log is cut at its beginning, no agent
/// sees them all.
pub async fn scan_rows_of(node: &NodeAt, epoch: u64, answer_ms: u64) -> Option<ChainScan> {
    let link = Link::new(node, answer_ms).ok()?;
    let path = "/api/v1/admin/verify-chain";
    let body = json!({ "since": 0 });
    let question = Question::send(Method::POST, path, "operator", answer_ms, body).by_operator();
    let found = told(&link, &question).await?;
    let changes = rows(&link, answer_ms).await;
    Some(found_of(node, epoch, &found, changes))
}

fn found_of(node: &NodeAt, epoch: u64, found: &Value, changes: Option<Vec<String>>) -> ChainScan {
    let rows = found["head_sequence"].as_u64().unwrap_or(0);
    let hash = found["head_hash"].as_str().unwrap_or_default().to_owned();
    ChainScan {
        node: node.name.clone(),
        epoch,
        holds: found["chain_holds"] == true,
        rows,
        marks: vec![ChainMark { sequence: rows, hash }],
        changes,
    }
}

/// Sequences of all audit rows of changes; `None` when they cannot be listed.
async fn rows(link: &Link, answer_ms: u64) -> Option<Vec<String>> {
    let (mut after, mut all) = (0, Vec::new());
    loop {
        let path = format!("/api/v1/admin/audit?limit=1000&after={after}");
        let question = Question::get(path, "operator", answer_ms).by_operator();
        let page = told(link, &question).await?;
        let items = page["items"].as_array()?;
        let Some(last) = items.last() else { return Some(all) };
        after = last["sequence"].as_u64()?;
        all.extend(items.iter().filter_map(|row| Some(row["sequence"].as_u64()?.to_string())));
    }
}

/// Positions of all changes that an agent sees; `None` when they cannot be listed.
async fn changes(link: &Link, agent: &str, answer_ms: u64) -> Option<Vec<String>> {
    let question = Question::get("/api/v1/status", agent, answer_ms);
    let last = told(link, &question).await?["position"].as_u64()?;
    link.changes(agent, last, Duration::from_millis(answer_ms)).await
}
