//! Policies and rules as registers: written, read anywhere, replaced under a condition.
//!
//! A policy's one pattern of hot keys is the value of a register, because it may be any text; its
//! namespace has nothing else in it. Rules are counted by their version.
//!
//! Invariant: no value is written twice, so a value says which write it is of.
//!
//! Not here: what policies and rules do to writes.

use http::Method;
use serde_json::{Value, json};

use super::{
    client::Client,
    outcome::{done, done_at},
    target::Question,
};
use crate::judge::history::{Answer, Call, Outcome};

fn namespace(key: &str) -> String {
    format!("register/{key}")
}

/// The value of a register and its version, in an answer with all policies.
fn find(rules: &Value, key: &str) -> Option<(Option<String>, u64)> {
    let policies = rules["policies"].as_array()?;
    let namespace = namespace(key);
    let Some(policy) = policies.iter().find(|policy| policy["namespace"] == namespace) else {
        return Some((None, 0));
    };
    let value = policy["hot_keys"].as_array()?.first()?.as_str()?;
    Some((Some(value.to_owned()), policy["version"].as_u64()?))
}

/// Reads or writes a register.
pub(super) async fn errand(client: &mut Client) {
    let key = format!("r{}", client.draw.below(client.ground.load().registers));
    match client.draw.below(100) {
        0..45 => {
            get(client, &key).await;
        }
        45..80 => put(client, &key).await,
        80..84 => delete(client, &key).await,
        _ => compare_and_set(client, &key).await,
    }
}

/// Reads a register anywhere; the value and its version.
pub(super) async fn get(client: &mut Client, key: &str) -> Option<(Option<String>, u64)> {
    let node = client.any_node();
    read_at(client, node, key).await
}

/// Reads a register at a node.
pub(super) async fn read_at(
    client: &mut Client,
    node: usize,
    key: &str,
) -> Option<(Option<String>, u64)> {
    let agent = client.agent();
    let question = Question::get("/api/v1/rules", &agent, client.ground.load().answer_ms);
    let call = Call::Get { key: key.to_owned() };
    let mut found = None;
    let read = |rules: &Value| {
        found = find(rules, key);
        let (value, _) = found.clone()?;
        Some(done(Answer::Value { value }))
    };
    client.once(node, &call, None, &question, read).await;
    found
}

/// A value that nobody else writes.
fn fresh(client: &mut Client) -> String {
    format!("{}.{}", client.name, client.draw.bits())
}

fn write(client: &Client, agent: &str, key: &str, value: &str, expected: Option<u64>) -> Question {
    let body = json!({
        "namespace": namespace(key), "hot_keys": [value], "expected_version": expected,
    });
    let answer_ms = client.ground.load().answer_ms;
    Question::send(Method::PUT, "/api/v1/policies", agent, answer_ms, body).by_operator()
}

async fn put(client: &mut Client, key: &str) {
    let (value, name, agent) = (fresh(client), client.maybe_name(), client.agent());
    let call = Call::Put { key: key.to_owned(), value: Some(value.clone()) };
    let request = name.as_ref().map(|name| name.request);
    let question = write(client, &agent, key, &value, None).named(name.map(|name| name.key));
    let read = |answer: &Value| Some(done_at(Answer::Ok, answer["version"].as_u64()?));
    client.insist(&call, request, &question, read).await;
}

async fn delete(client: &mut Client, key: &str) {
    let (name, agent) = (client.maybe_name(), client.agent());
    let call = Call::Put { key: key.to_owned(), value: None };
    let request = name.as_ref().map(|name| name.request);
    let path = format!("/api/v1/policies?namespace={}", namespace(key).replace('/', "%2F"));
    let question = Question {
        method: Method::DELETE,
        ..Question::get(path, &agent, client.ground.load().answer_ms)
    };
    let question = question.by_operator().named(name.map(|name| name.key));
    let read = |answer: &Value| Some(done_at(Answer::Ok, answer["version"].as_u64()?));
    client.insist(&call, request, &question, read).await;
}

/// Replaces what was read, unless somebody was quicker: then the refusal does not say what is there.
async fn compare_and_set(client: &mut Client, key: &str) {
    let Some((from, version)) = get(client, key).await else { return };
    let think_ms = client.ground.load().think_ms;
    client.pause(think_ms).await;
    let (to, name, agent) = (fresh(client), client.maybe_name(), client.agent());
    let call = Call::Cas { key: key.to_owned(), from: from.clone(), to: Some(to.clone()) };
    let request = name.as_ref().map(|name| name.request);
    let question = write(client, &agent, key, &to, Some(version)).named(name.map(|name| name.key));
    let read = |answer: &Value| {
        let swapped = Answer::Swapped { swapped: true, seen: from.clone() };
        Some(done_at(swapped, answer["version"].as_u64()?))
    };
    client.insist(&call, request, &question, read).await;
}

/// Changes a rule, or asks which version of the rules holds.
pub(super) async fn rules(client: &mut Client) {
    let agent = client.agent();
    let answer_ms = client.ground.load().answer_ms;
    if client.draw.percent(40) {
        let node = client.any_node();
        let question = Question::get("/api/v1/rules", &agent, answer_ms);
        let read =
            |rules: &Value| Some(done(Answer::Rules { version: rules["version"].as_u64()? }));
        client.once(node, &Call::GetRules, None, &question, read).await;
        return;
    }
    let id = format!("rule{}", client.draw.below(client.ground.load().registers));
    let note = fresh(client);
    let name = client.maybe_name();
    let call = Call::SetRules { rules: format!("{id}={note}") };
    let request = name.as_ref().map(|name| name.request);
    let body = json!({
        "operations": ["write"], "namespace": "nowhere/**", "effect": "log", "note": note,
    });
    let question =
        Question::send(Method::PUT, format!("/api/v1/rules/{id}"), &agent, answer_ms, body)
            .by_operator()
            .named(name.map(|name| name.key));
    let read = |answer: &Value| {
        let version = answer["version"].as_u64()?;
        Some(done_at(Answer::Rules { version }, version))
    };
    let _: Outcome = client.insist(&call, request, &question, read).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_found_among_policies() {
        let rules = json!({ "version": 9, "policies": [
            { "namespace": "hot", "version": 3, "hot_keys": ["hot*"] },
            { "namespace": "register/r1", "version": 8, "hot_keys": ["c1.7"] },
            { "namespace": "register/r2", "version": 9, "hot_keys": [] },
        ]});
        assert_eq!(find(&rules, "r1"), Some((Some("c1.7".to_owned()), 8)));
        assert_eq!(find(&rules, "r0"), Some((None, 0)));
        assert_eq!(find(&rules, "r2"), None, "a register has a value");
        assert_eq!(find(&json!({}), "r1"), None);
    }
}
