//! What a client of peers asks.
//!
//! Invariant: every value of a content is unique in its run, so that the judges know who wrote what is
//! left.
//!
//! Not here: asking again (`client`).

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use super::{CLOSED, Client, Known, Name, OPEN, STRANGER, WRITER, look::seen};
use crate::{
    judge::history::{Answer, Call, Done, Evidence, Outcome},
    workload::root::{
        outcome::{Told, done_with},
        target::Question,
    },
};

/// Tags that memories have.
const TAGS: [&str; 3] = ["t0", "t1", "t2"];
/// Instants at which memories expire: long after every run.
const EXPIRIES: [&str; 4] = [
    "2091-01-01T00:00:00.000Z",
    "2092-01-01T00:00:00.000Z",
    "2093-01-01T00:00:00.000Z",
    "2094-01-01T00:00:00.000Z",
];

/// Does one thing, drawn by weight.
pub(super) async fn errand(client: &mut Client) {
    let mix = client.ground.load().mix;
    let mut at = client.draw.below(mix.total());
    let mut falls_to = |weight: u64| {
        let here = at < weight;
        at = at.saturating_sub(weight);
        here
    };
    if falls_to(mix.store) {
        store(client).await;
    } else if falls_to(mix.read) {
        read(client).await;
    } else if falls_to(mix.change) {
        change(client).await;
    } else if falls_to(mix.delete) {
        delete(client).await;
    } else if falls_to(mix.link) {
        link(client).await;
    } else {
        unlink(client).await;
    }
}

/// A write that was done, with the row that it must have at the node that was asked.
pub fn written(node: &str, answer: &Value, what: Answer) -> Option<Done> {
    let position = answer["durability"]["position"].as_u64()?;
    let first = answer["replayed"] == false;
    let evidence = first.then(|| Evidence { node: node.to_owned(), change: position.to_string() });
    Some(done_with(what, evidence))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A text that nobody else writes.
fn unique(client: &mut Client, namespace: &str) -> String {
    let value = format!("{} says {:012x}", client.name, client.draw.bits() >> 16);
    if namespace == CLOSED.0 { format!("{} {value}", CLOSED.1) } else { value }
}

async fn store(client: &mut Client) {
    if client.stores >= client.ground.load().stores_max {
        return read(client).await;
    }
    if let Some(oldest) = client.ground.surplus() {
        return clear(client, oldest).await;
    }
    client.stores += 1;
    let node = client.any_node();
    let narrow = client.ground.is_narrow(client.node(node));
    let closed = client.draw.percent(25) && !narrow;
    let namespace = if closed { CLOSED.0 } else { OPEN[client.draw.place(OPEN.len())] };
    let strangers = client.ground.load().strangers;
    let author = if strangers && client.draw.percent(10) { STRANGER } else { WRITER };
    let together_percent = client.ground.load().together_percent;
    let together = client.draw.percent(together_percent);
    let title = match (together, client.draw.percent(30)) {
        (true, _) => format!("together {}", client.draw.below(client.ground.load().titles)),
        (false, true) => format!("shared {}", client.draw.below(client.ground.load().titles)),
        (false, false) => format!("{} {}", client.name, client.stores),
    };
    let title = if closed { format!("{} {title}", CLOSED.1) } else { title };
    let content = unique(client, namespace);
    let tags: Vec<&str> = TAGS.into_iter().filter(|_| client.draw.percent(40)).collect();
    let priority = 1 + client.draw.below(10);
    let expires = EXPIRIES[client.draw.place(EXPIRIES.len())];
    let new = New { namespace, title, content, tags, priority, expires, together };
    store_this(client, node, author, &new).await;
}

/// Deletes the oldest memory, and forgets it once it is known to be gone; else others come first.
async fn clear(client: &mut Client, oldest: Known) {
    let node = client.any_node();
    let outcome = delete_this(client, node, &oldest).await;
    let mut pool = client.ground.pool().lock();
    pool.memories.retain(|known| known.id != oldest.id);
    let gone = match &outcome {
        Outcome::Done(_) => true,
        Outcome::Rejected { reason, .. } => reason == types::Reason::NotFound.code(),
        Outcome::Unknown { .. } => false,
    };
    if !gone {
        pool.memories.push(oldest);
    }
    let surplus = pool.links.len().saturating_sub(client.ground.load().keep_max);
    pool.links.drain(..surplus);
}

/// A memory to be.
pub struct New<'n> {
    /// Where.
    pub namespace: &'n str,
    /// Its title.
    pub title: String,
    /// Its content.
    pub content: String,
    /// Its tags.
    pub tags: Vec<&'n str>,
    /// Its priority.
    pub priority: u64,
    /// When it expires.
    pub expires: &'n str,
    /// Whether it is folded into what its author has under the same title.
    pub together: bool,
}

impl New<'_> {
    fn fields(&self) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::from([
            ("content".to_owned(), self.content.clone()),
            ("priority".to_owned(), self.priority.to_string()),
            ("expires".to_owned(), self.expires.to_owned()),
        ]);
        fields.extend(self.tags.iter().map(|tag| (format!("tag:{tag}"), "yes".to_owned())));
        fields
    }
}

/// The call and the question that store a memory.
fn storing(client: &Client, author: &str, new: &New<'_>) -> (Call, Question) {
    let body = json!({
        "namespace": new.namespace, "title": new.title, "content": new.content, "tags": new.tags,
        "priority": new.priority, "expires_at": new.expires, "scope": "collective",
        "tier": "long", "on_conflict": if new.together { "merge" } else { "new" },
    });
    let call = Call::Store {
        agent: author.to_owned(),
        namespace: new.namespace.to_owned(),
        title: new.title.clone(),
        fields: new.fields(),
        together: new.together,
    };
    let answer_ms = client.ground.load().answer_ms;
    let path = "/api/v1/memories";
    (call, Question::send(Method::POST, path, author, answer_ms, body))
}

fn stored(node: &str, answer: &Value) -> Option<Done> {
    let acks = answer["durability"]["acks"].as_u64()?;
    let (id, merged) = (text(&answer["id"])?, answer["merged"].as_bool()?);
    written(node, answer, Answer::Stored { id, acks, merged })
}

/// Stores a memory; its id, if that is known.
pub async fn store_this(
    client: &mut Client,
    node: usize,
    author: &str,
    new: &New<'_>,
) -> (Outcome, Option<String>) {
    let (call, question) = storing(client, author, new);
    let outcome = client.insist(node, &call, question, stored).await;
    let id = match &outcome {
        Outcome::Done(Done { answer: Answer::Stored { id, .. }, .. }) => Some(id.clone()),
        _ => None,
    };
    if let Some(id) = &id {
        let (id, namespace) = (id.clone(), new.namespace.to_owned());
        let known = Known { id, namespace, author: author.to_owned() };
        let mut pool = client.ground.pool().lock();
        pool.memories.retain(|other| *other != known);
        pool.memories.push(known);
    }
    (outcome, id)
}

/// Stores a memory at this peer, under this name.
pub async fn store_named(
    client: &mut Client,
    node: usize,
    author: &str,
    new: &New<'_>,
    name: &Name,
) -> Outcome {
    let (call, question) = storing(client, author, new);
    client.insist_at(node, &call, name, question, stored).await
}

async fn read(client: &mut Client) {
    let node = client.any_node();
    let Some(known) = client.any_memory(node) else { return };
    let percent = client.ground.load().quorum_reads_percent;
    let quorum = client.draw.percent(percent);
    read_as(client, node, &known.id, quorum).await;
}

/// Reads a memory at a peer. That there is none is an answer.
pub async fn read_this(client: &mut Client, node: usize, id: &str) -> Outcome {
    read_as(client, node, id, false).await
}

async fn read_as(client: &mut Client, node: usize, id: &str, quorum: bool) -> Outcome {
    let answer_ms = client.ground.load().answer_ms;
    let (id, path) = (id.to_owned(), format!("/api/v1/memories/{id}"));
    let (call, path) = match quorum {
        true => (Call::ReadQuorum { id }, format!("{path}?consistency=quorum")),
        false => (Call::Read { id }, path),
    };
    let question = Question::get(path, WRITER, answer_ms);
    let shown = |told: &Told| match told {
        Told::No(reject) if reject.reason == types::Reason::NotFound => {
            Outcome::Done(done_with(Answer::Memory { seen: None }, None))
        }
        told => told.outcome(|memory| {
            let mut seen = seen(memory)?;
            seen.rest = String::new();
            Some(done_with(Answer::Memory { seen: Some(seen) }, None))
        }),
    };
    client.once(node, &call, None, &question, shown).await
}

async fn change(client: &mut Client) {
    let node = client.any_node();
    let Some(known) = client.any_memory(node) else { return };
    let (field, value) = match client.draw.below(6) {
        0..=2 => ("content".to_owned(), Some(unique(client, &known.namespace))),
        3 => ("priority".to_owned(), Some((1 + client.draw.below(10)).to_string())),
        4 => ("expires".to_owned(), Some(EXPIRIES[client.draw.place(4)].to_owned())),
        _ => {
            let tag = format!("tag:{}", TAGS[client.draw.place(TAGS.len())]);
            (tag, client.draw.percent(40).then(|| "yes".to_owned()))
        }
    };
    change_this(client, node, &known, &field, value).await;
}

fn patch(field: &str, value: Option<&str>) -> Value {
    let mut patch = Map::new();
    match (field.split_once(':'), value) {
        (Some(("tag", tag)), Some(_)) => patch.insert("add_tags".to_owned(), json!([tag])),
        (Some(("tag", tag)), None) => patch.insert("remove_tags".to_owned(), json!([tag])),
        (_, value) if field == "priority" => {
            let number = value.and_then(|value| value.parse::<u64>().ok());
            patch.insert(field.to_owned(), json!(number))
        }
        (_, value) if field == "expires" => patch.insert("expires_at".to_owned(), json!(value)),
        (_, value) => patch.insert(field.to_owned(), json!(value)),
    };
    Value::Object(patch)
}

/// Changes one field of a memory at a peer.
pub async fn change_this(
    client: &mut Client,
    node: usize,
    known: &Known,
    field: &str,
    value: Option<String>,
) -> Outcome {
    let path = format!("/api/v1/memories/{}", known.id);
    let body = patch(field, value.as_deref());
    let answer_ms = client.ground.load().answer_ms;
    let question = Question::send(Method::PATCH, path, &known.author, answer_ms, body);
    let call = Call::Change { id: known.id.clone(), field: field.to_owned(), value };
    let changed = |node: &str, answer: &Value| written(node, answer, Answer::Ok);
    client.insist(node, &call, question, changed).await
}

async fn delete(client: &mut Client) {
    let node = client.any_node();
    let Some(known) = client.any_memory(node) else { return };
    delete_this(client, node, &known).await;
}

/// Deletes a memory at a peer.
pub async fn delete_this(client: &mut Client, node: usize, known: &Known) -> Outcome {
    let path = format!("/api/v1/memories/{}", known.id);
    let answer_ms = client.ground.load().answer_ms;
    let mut question = Question::get(path, &known.author, answer_ms);
    question.method = Method::DELETE;
    let call = Call::Delete { id: known.id.clone() };
    let deleted = |node: &str, answer: &Value| written(node, answer, Answer::Ok);
    client.insist(node, &call, question, deleted).await
}

async fn link(client: &mut Client) {
    let node = client.any_node();
    let (Some(one), Some(other)) = (client.any_memory(node), client.any_memory(node)) else {
        return;
    };
    if one.id != other.id {
        link_these(client, node, &one, &other).await;
    }
}

/// Links two memories at a peer.
pub async fn link_these(
    client: &mut Client,
    node: usize,
    source: &Known,
    target: &Known,
) -> Outcome {
    let body = json!({ "source": source.id, "target": target.id, "relation": "related_to" });
    let answer_ms = client.ground.load().answer_ms;
    let question = Question::send(Method::POST, "/api/v1/links", &source.author, answer_ms, body);
    let call = Call::Link { source: source.id.clone(), target: target.id.clone() };
    // A link is not in the list of changes once one of its ends is deleted: it brings no evidence.
    let linked = |_: &str, answer: &Value| {
        Some(done_with(Answer::Linked { link: text(&answer["id"])? }, None))
    };
    let outcome = client.insist(node, &call, question, linked).await;
    if let Outcome::Done(Done { answer: Answer::Linked { link }, .. }) = &outcome {
        client.ground.pool().lock().links.push(link.clone());
    }
    outcome
}

async fn unlink(client: &mut Client) {
    let node = client.any_node();
    let link = {
        let pool = client.ground.pool().lock();
        let place = client.draw.place(pool.links.len());
        pool.links.get(place).cloned()
    };
    if let Some(link) = link {
        unlink_this(client, node, &link).await;
    }
}

/// Takes a link away at a peer.
pub async fn unlink_this(client: &mut Client, node: usize, link: &str) -> Outcome {
    let answer_ms = client.ground.load().answer_ms;
    let mut question = Question::get(format!("/api/v1/links/{link}"), WRITER, answer_ms);
    question.method = Method::DELETE;
    let call = Call::Unlink { link: link.to_owned() };
    let unlinked = |_: &str, _: &Value| Some(done_with(Answer::Ok, None));
    client.insist(node, &call, question, unlinked).await
}
