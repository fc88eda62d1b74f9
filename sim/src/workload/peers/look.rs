//! What a peer shows of everything, and whether all peers show the same.
//!
//! Invariant: a look at a peer that does not answer is none; it is never taken for an empty peer.
//!
//! Not here: judging what is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use runtime::clock;
use serde_json::Value;

use super::WRITER;
use crate::{
    judge::history::{Call, Event, Federation, Seen, What},
    workload::root::{
        NodeAt, Recorder,
        outcome::Told,
        target::{Link, Question},
    },
};

/// Time for an answer.
const ANSWER_MS: u64 = 8000;
/// Tries at one answer.
const TRIES: u32 = 20;
/// Fields of an answer that are told apart from the rest, and its place in the node's own log, which is
/// another one on every node.
const APART: [&str; 10] = [
    "id",
    "other_ids",
    "namespace",
    "agent_id",
    "content",
    "content_sha256",
    "priority",
    "expires_at",
    "tags",
    "position",
];

/// A memory in an answer.
pub fn seen(memory: &Value) -> Option<Seen> {
    let text = |name: &str| memory[name].as_str().map(str::to_owned);
    let mut fields = BTreeMap::from([
        ("content".to_owned(), text("content")?),
        ("priority".to_owned(), memory["priority"].as_u64()?.to_string()),
        ("expires".to_owned(), text("expires_at").unwrap_or_else(|| "never".to_owned())),
    ]);
    let tags = memory["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    fields.extend(tags.map(|tag| (format!("tag:{tag}"), "yes".to_owned())));
    let others = memory["other_ids"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let all = memory.as_object()?.iter();
    let rest: BTreeMap<&String, &Value> =
        all.filter(|(name, _)| !APART.contains(&name.as_str())).collect();
    Some(Seen {
        id: text("id")?,
        namespace: text("namespace")?,
        author: text("agent_id")?,
        fields,
        other_ids: others.map(str::to_owned).collect(),
        rest: serde_json::to_string(&rest).unwrap_or_default(),
        links: BTreeSet::new(),
    })
}

async fn told(link: &Link, path: String) -> Option<Value> {
    let question = Question::get(path, WRITER, ANSWER_MS);
    for _ in 0..TRIES {
        if let Told::Yes(value) = link.ask(&question).await {
            return Some(value);
        }
        clock::sleep(Duration::from_millis(200)).await;
    }
    None
}

/// Everything that a peer shows, in order of the ids.
pub async fn everything(node: &NodeAt) -> Option<Vec<Seen>> {
    let link = Link::new(node, ANSWER_MS).ok()?;
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = told(&link, format!("/api/v1/memories?limit=1000{after}")).await?;
        let items = page["items"].as_array()?;
        for item in items {
            all.push(seen(item)?);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    all.sort_by(|a: &Seen, b| a.id.cmp(&b.id));
    Some(all)
}

/// What a peer shows and must have.
pub fn owed<'s>(federation: &Federation, peer: &str, to: &str, all: &'s [Seen]) -> Vec<&'s Seen> {
    let owed = |seen: &&Seen| federation.must_have(peer, seen) && federation.must_have(to, seen);
    all.iter().filter(owed).collect()
}

/// Whether any two peers show the same of what both may see.
pub async fn agree(federation: &Federation, nodes: &[NodeAt]) -> bool {
    let mut all = Vec::new();
    for node in nodes {
        let Some(shown) = everything(node).await else { return false };
        all.push((&node.name, shown));
    }
    let (Some((first, shown)), rest) = (all.first(), all.iter().skip(1)) else { return true };
    rest.into_iter().all(|(name, other)| {
        owed(federation, first, name, shown) == owed(federation, name, first, other)
    })
}

/// Memories that somebody linked.
fn linked(events: &[Event]) -> BTreeSet<String> {
    let of = |event: &Event| match &event.what {
        What::Invoke(invoke) => match &invoke.call {
            Call::Link { source, target } => vec![source.clone(), target.clone()],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    events.iter().flat_map(of).collect()
}

/// Records everything that a peer shows, with the links of what was linked.
pub async fn record(recorder: &Recorder, node: &NodeAt) {
    let (Some(mut all), Ok(link)) = (everything(node).await, Link::new(node, ANSWER_MS)) else {
        return;
    };
    let linked = recorder.look(linked);
    for seen in all.iter_mut().filter(|seen| seen.ids().any(|id| linked.contains(id))) {
        let Some(links) = told(&link, format!("/api/v1/memories/{}/links", seen.id)).await else {
            return;
        };
        let ids = links["items"].as_array().into_iter().flatten();
        seen.links = ids.filter_map(|link| link["id"].as_str()).map(str::to_owned).collect();
    }
    recorder.record(What::Memories { node: node.name.clone(), memories: all });
}
