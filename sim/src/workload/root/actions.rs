//! Actions: proposed, decided by operators who do not know of each other, observed.
//!
//! Invariant: who decides is an agent that the root knows; a proposer may try to approve its own.
//!
//! Not here: the last look that every voter takes (`finish`).

use http::Method;
use serde_json::{Value, json};

use super::{
    client::Client,
    outcome::{action, done, done_at, needed},
    target::Question,
};
use crate::judge::history::{Answer, Call};

/// Of the newest actions, how many are looked at.
const NEWEST: usize = 6;

/// Proposes an action or has a say in one.
pub(super) async fn errand(client: &mut Client) {
    let actions = client.recorder().actions();
    let many = actions.len() as u64 >= client.ground.load().actions_max;
    if actions.is_empty() || !many && client.draw.percent(30) {
        return propose(client).await;
    }
    let newest = actions.len().min(NEWEST);
    let id = actions[actions.len() - 1 - client.draw.place(newest)];
    let decider = format!("op{}", client.draw.below(client.ground.load().operators));
    match client.draw.below(100) {
        0..50 => decide(client, &decider, id, true).await,
        50..75 => decide(client, &decider, id, false).await,
        75..80 => {
            let own = client.agent();
            let approve = client.draw.percent(50);
            decide(client, &own, id, approve).await;
        }
        _ => {
            let node = client.any_node();
            observe(client, node, &decider, id).await;
        }
    }
}

async fn propose(client: &mut Client) {
    let load = client.ground.load().clone();
    let (name, agent) = (client.maybe_name(), client.agent());
    let asked = ["human", "consensus:2", "consensus:3"][client.draw.place(3)];
    let ttl_ms = client.draw.between(load.action_ttl_ms);
    let call = Call::Propose { agent: agent.clone(), action: format!("{asked} {ttl_ms} ms") };
    let body = json!({
        "kind": "memory.promote", "asked": asked, "ttl_ms": ttl_ms,
        "request": { "operation": "promote", "namespace": "nowhere" },
    });
    let request = name.as_ref().map(|name| name.request);
    let question = Question::send(Method::POST, "/api/v1/pending", &agent, load.answer_ms, body)
        .named(name.map(|name| name.key));
    let read = |answer: &Value| {
        let action = answer["id"].as_u64()?;
        // Its number is the index of the entry that proposed it.
        Some(done_at(Answer::Proposed { action, needed: needed(answer)? }, action))
    };
    client.insist(&call, request, &question, read).await;
}

async fn decide(client: &mut Client, agent: &str, id: u64, approve: bool) {
    let name = client.maybe_name();
    let (word, agent_id) = (if approve { "approve" } else { "reject" }, agent.to_owned());
    let call = match approve {
        true => Call::Approve { agent: agent_id, action: id },
        false => Call::Reject { agent: agent_id, action: id },
    };
    let path = format!("/api/v1/pending/{id}/{word}");
    let answer_ms = client.ground.load().answer_ms;
    let request = name.as_ref().map(|name| name.request);
    let question = Question::send(Method::POST, path, agent, answer_ms, json!({}))
        .named(name.map(|name| name.key));
    client.insist(&call, request, &question, |answer| action(answer).map(done)).await;
}

/// Asks what became of an action; whether it is decided.
pub(super) async fn observe(client: &mut Client, node: usize, agent: &str, id: u64) -> bool {
    let path = format!("/api/v1/pending/{id}");
    let question = Question::get(path, agent, client.ground.load().answer_ms);
    let call = Call::Observe { agent: agent.to_owned(), action: id };
    let read = |answer: &Value| action(answer).map(done);
    let outcome = client.once(node, &call, None, &question, read).await;
    matches!(outcome, crate::judge::history::Outcome::Done(told)
        if matches!(told.answer, Answer::Decided { .. }))
}
