//! Clients that a node must not let itself be harmed by.
//!
//! What must not succeed is asserted on the spot: a strike that fails condemns the run.
//!
//! Not here: clients that mean well (`workload::root`), among them those that ask again what is unknown
//! and those that ask two nodes at once.

use std::time::Duration;

use http::Method;
use runtime::clock;
use serde_json::json;
use types::{Reason, limits::BODY_BYTES_MAX};

use super::Blow;
use crate::{
    schedule::Kind,
    workload::root::{
        NodeAt,
        outcome::Told,
        target::{Link, Question},
    },
};

/// Time for an answer, milliseconds.
const ANSWER_MS: u64 = 5000;
/// Time for a change of the registry.
const WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn carry_out(blow: &mut Blow) {
    match blow.strike.kind {
        Kind::Revocation => revocation(blow).await,
        Kind::KeyRotation => key_rotation(blow).await,
        Kind::OversizedBody => oversized_body(blow).await,
        Kind::BadCredentials => bad_credentials(blow).await,
        Kind::SlowConsumer => slow_consumer(blow).await,
        _ => {}
    }
}

fn link(node: &NodeAt) -> Link {
    Link::new(node, ANSWER_MS).expect("every voter has an address")
}

/// Asks some voter; whether it refused for this reason. It must not agree.
async fn is_refused(blow: &mut Blow, node: NodeAt, question: &Question, reason: Reason) -> bool {
    let told = link(&node).ask(question).await;
    let (path, kind) = (&question.path, blow.strike.kind.name());
    assert!(!matches!(told, Told::Yes(_)), "{kind}: {path} at {} was done", node.name);
    let refused = matches!(told, Told::No(reject) if reject.reason == reason);
    if refused {
        let fault = blow.begin(&[&node.name]);
        blow.over(fault);
    }
    refused
}

async fn oversized_body(blow: &mut Blow) {
    let Some(voter) = blow.host() else { return };
    let body = json!({ "title": "much", "content": "x".repeat(BODY_BYTES_MAX + 1) });
    let question = Question::send(Method::POST, "/api/v1/memories", "greedy", ANSWER_MS, body);
    is_refused(blow, voter.place(), &question, Reason::TooLarge).await;
}

async fn bad_credentials(blow: &mut Blow) {
    let Some(voter) = blow.host() else { return };
    let key = format!("not the key {}", blow.draw.bits());
    let node = NodeAt { api_key: Some(key.clone()), operator_key: key, ..voter.place() };
    let question = match blow.draw.percent(50) {
        true => Question::send(Method::POST, "/api/v1/root/snapshot", "x", ANSWER_MS, json!({}))
            .by_operator(),
        false => {
            let body = json!({ "title": "t", "content": "c" });
            Question::send(Method::POST, "/api/v1/memories", "x", ANSWER_MS, body)
        }
    };
    is_refused(blow, node, &question, Reason::Unauthenticated).await;
}

async fn slow_consumer(blow: &mut Blow) {
    let Some(voter) = blow.host() else { return };
    let limit = blow.strike.lasts + Duration::from_millis(ANSWER_MS);
    let listening = link(&voter.place());
    let Ok(Some(stream)) = clock::timeout(limit, listening.listen("writer", limit)).await else {
        return;
    };
    let fault = blow.begin(&[&voter.name]);
    blow.last().await;
    drop(stream);
    blow.over(fault);
}

/// A key that is replaced is kept behind the new one, whichever member is asked.
async fn key_rotation(blow: &mut Blow) {
    let Some(world) = blow.root() else { return };
    let agent = format!("keyed{:x}", blow.strike.chance);
    let body = json!({ "agent_id": agent, "public_key": key(blow) });
    let registered = world.ask_leader(Method::POST, "/api/v1/root/agents", Some(body), WITHIN);
    let Ok(registered) = registered.await else { return };
    let (path, new) = (format!("/api/v1/root/agents/{agent}/rotate-key"), key(blow));
    let body = json!({ "public_key": new });
    let Ok(rotated) = world.ask_leader(Method::POST, &path, Some(body), WITHIN).await else {
        return;
    };
    let fault = blow.begin(&[]);
    assert_eq!(rotated["public_key"], new.as_str(), "{rotated}");
    // A rotation that is asked for again after a lost answer is refused: the key is in use.
    assert_eq!(rotated["past_keys"][0], registered["public_key"], "{rotated}");
    blow.over(fault);
}

fn key(blow: &mut Blow) -> String {
    (0..4).map(|_| format!("{:016x}", blow.draw.bits())).collect()
}

/// An agent may approve until the root has taken its rights; then no voter lets it, however far behind
/// that voter is.
async fn revocation(blow: &mut Blow) {
    let Some(world) = blow.root() else { return };
    let guest = format!("guest{:x}", blow.strike.chance);
    let body = json!({ "agent_id": guest, "human": true });
    let path = "/api/v1/root/agents";
    if world.ask_leader(Method::POST, path, Some(body), WITHIN).await.is_err() {
        return;
    }
    let Some(voter) = blow.host() else { return };
    let body = json!({
        "kind": "memory.promote", "asked": "consensus:2", "ttl_ms": 8000,
        "request": { "operation": "promote", "namespace": "nowhere" },
    });
    let proposal = Question::send(Method::POST, "/api/v1/pending", "operator", ANSWER_MS, body);
    let Told::Yes(proposed) = link(&voter.place()).ask(&proposal).await else { return };
    let Some(id) = proposed["id"].as_u64() else { return };
    let path = format!("/api/v1/root/agents/{guest}/revoke");
    let reason = json!({ "reason": "no longer with us" });
    if world.ask_leader(Method::POST, &path, Some(reason), WITHIN).await.is_err() {
        return;
    }
    let path = format!("/api/v1/pending/{id}/approve");
    for voter in world.fleet.hosts() {
        let approval = Question::send(Method::POST, &*path, &guest, ANSWER_MS, json!({}));
        is_refused(blow, voter.place(), &approval, Reason::AgentRevoked).await;
    }
}
