//! Hot memories: written under the fence of the lock that guards them, each store by itself.
//!
//! Invariant: a write names a value that no other write names.
//!
//! Not here: taking the lock (`locks`); how writes reach other stores.

use http::Method;
use serde_json::{Value, json};

use super::{
    WRITER,
    client::Client,
    outcome::{done, done_with},
    sessions::Sessions,
    target::Question,
};
use crate::judge::history::{Answer, Call, Done, Evidence, Outcome};

/// What a hot memory says before its first guarded write.
pub(super) const EMPTY: &str = "nothing yet";

/// Reads and writes under a lock that is held, at one or two stores.
pub(super) async fn under(client: &mut Client, key: &str, fence: u64) {
    for _ in 0..=client.draw.below(2) {
        let node = client.any_node();
        if client.draw.percent(40) {
            read(client, node, key).await;
        }
        write(client, node, key, fence).await;
    }
}

/// Reads a hot memory, or writes it under a token that should have been forgotten.
pub(super) async fn errand(client: &mut Client, sessions: &mut Sessions) {
    let node = client.any_node();
    if client.draw.percent(50)
        && let Some(old) = sessions.old.pop()
    {
        write(client, node, &old.key, old.fence).await;
        return;
    }
    let n = client.draw.below(client.ground.load().exclusive_keys);
    read(client, node, &format!("hot{n}")).await;
}

fn path(client: &Client, node: usize, key: &str) -> Option<String> {
    let id = client.ground.hot_id(&client.links()[node].name, key)?;
    Some(format!("/api/v1/memories/{id}"))
}

/// Reads a hot memory in one store.
pub(super) async fn read(client: &mut Client, node: usize, key: &str) {
    let Some(path) = path(client, node, key) else { return };
    let store = client.links()[node].name.clone();
    let question = Question::get(path, WRITER, client.ground.load().answer_ms);
    let call = Call::GuardedRead { store, key: key.to_owned() };
    client.once(node, &call, None, &question, shown).await;
}

fn shown(memory: &Value) -> Option<Done> {
    let content = memory["content"].as_str()?;
    let value = (content != EMPTY).then(|| content.to_owned());
    Some(done(Answer::Guarded { value, fence: memory["fence"].as_u64()? }))
}

/// Writes a hot memory in one store. It is asked again there, and only there: another store is
/// another register.
async fn write(client: &mut Client, node: usize, key: &str, fence: u64) {
    let Some(path) = path(client, node, key) else { return };
    let store = client.links()[node].name.clone();
    let name = client.fresh_name();
    let value = format!("{} {}", client.name, name.request.seq);
    let body = json!({ "content": value });
    let answer_ms = client.ground.load().answer_ms;
    let mut question = Question::send(Method::PATCH, path, WRITER, answer_ms, body);
    question.fence = Some(fence);
    question.key = Some(name.key);
    let call = Call::GuardedWrite { store: store.clone(), key: key.to_owned(), fence, value };
    for _ in 0..3 {
        let written = |answer: &Value| {
            let position = answer["durability"]["position"].as_u64()?;
            let first = answer["replayed"] == false;
            let change = position.to_string();
            let evidence = first.then(|| Evidence { node: store.clone(), change });
            Some(done_with(Answer::Ok, evidence))
        };
        let outcome = client.once(node, &call, Some(name.request), &question, written).await;
        let again = match outcome {
            Outcome::Done(_) => false,
            Outcome::Rejected { reason, .. } => reason == "not_sent",
            Outcome::Unknown { .. } => true,
        };
        if !again {
            return;
        }
        client.back_off().await;
    }
}
