//! What a peer shows of everything, and whether all peers show the same.
//!
//! Invariants: a look at a peer that does not answer is none, and never taken for an empty peer; `PWL-3` the last looks
//! are of one moment, as far as there is one.
//!
//! Not here: judging what is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use runtime::clock::{self, Instant};
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
/// Pause before all are looked at again.
const AGAIN: Duration = Duration::from_millis(250);
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
        all.push((node.name.clone(), shown));
    }
    are_alike(federation, &all)
}

/// Whether looks at peers are alike in what both of any two must have; links are left out where one of their ends may
/// be hidden.
fn are_alike(federation: &Federation, all: &[(String, Vec<Seen>)]) -> bool {
    let hides = !federation.scopes.is_empty() || !federation.refused_agents.is_empty();
    let same = |one: &Seen, other: &Seen| match hides {
        true => {
            let bare = |seen: &Seen| Seen { links: BTreeSet::new(), ..seen.clone() };
            bare(one) == bare(other)
        }
        false => one == other,
    };
    let Some(((first, shown), rest)) = all.split_first() else { return true };
    rest.iter().all(|(name, other)| {
        let ours = owed(federation, first, name, shown);
        let theirs = owed(federation, name, first, other);
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(one, other)| same(one, other))
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

/// Everything that a peer shows, with the links of what was linked.
async fn with_links(node: &NodeAt, linked: &BTreeSet<String>) -> Option<Vec<Seen>> {
    let (mut all, link) = (everything(node).await?, Link::new(node, ANSWER_MS).ok()?);
    for seen in all.iter_mut().filter(|seen| seen.ids().any(|id| linked.contains(id))) {
        let links = told(&link, format!("/api/v1/memories/{}/links", seen.id)).await?;
        let ids = links["items"].as_array().into_iter().flatten();
        seen.links = ids.filter_map(|link| link["id"].as_str()).map(str::to_owned).collect();
    }
    Some(all)
}

/// How far a peer's log is; `None` when it does not answer.
async fn position(node: &NodeAt) -> Option<u64> {
    let link = Link::new(node, ANSWER_MS).ok()?;
    told(&link, "/api/v1/status".to_owned()).await?["position"].as_u64()
}

async fn positions(nodes: &[NodeAt]) -> Vec<Option<u64>> {
    futures::future::join_all(nodes.iter().map(position)).await
}

/// Records everything that all peers show in the end (`PWL-3`). A request that nobody waits for any more may have been on
/// its way for long, and be carried out between a look at one peer and a look at another; therefore they are
/// looked at again while a log grows or two of them differ. What was seen last when that took longer than `limit` is
/// recorded as it is.
pub async fn record_all(
    recorder: &Recorder,
    federation: &Federation,
    nodes: &[NodeAt],
    limit: Duration,
) {
    let deadline = Instant::now() + limit;
    let linked = recorder.look(linked);
    loop {
        let (before, mut all) = (positions(nodes).await, Vec::new());
        for node in nodes {
            if let Some(shown) = with_links(node, &linked).await {
                all.push((node.name.clone(), shown));
            }
        }
        let is_quiet = positions(nodes).await == before && are_alike(federation, &all);
        if is_quiet || Instant::now() >= deadline {
            for (node, memories) in all {
                recorder.record(What::Memories { node, memories });
            }
            return;
        }
        clock::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: &str, content: &str, links: &[&str]) -> Seen {
        Seen {
            id: id.to_owned(),
            namespace: "open/a".to_owned(),
            author: "writer".to_owned(),
            fields: [("content".to_owned(), content.to_owned())].into(),
            other_ids: BTreeSet::new(),
            rest: String::new(),
            links: links.iter().map(|link| (*link).to_owned()).collect(),
        }
    }

    fn federation(narrow: &[&str]) -> Federation {
        let scope = |peer: &&str| ((*peer).to_owned(), vec!["open/b".to_owned()]);
        Federation {
            scopes: narrow.iter().map(scope).collect(),
            refused_agents: BTreeSet::new(),
            quorum: 2,
            converge_us: 1,
        }
    }

    #[test]
    fn looks_are_alike_in_what_both_must_have() {
        let look = |peer: &str, all: &[&Seen]| {
            (peer.to_owned(), all.iter().map(|seen| (*seen).clone()).collect::<Vec<_>>())
        };
        let (one, two) = (&seen("1", "a", &["l"]), &seen("2", "b", &[]));
        let (other, bare) = (&seen("1", "b", &["l"]), &seen("1", "a", &[]));
        let all = federation(&[]);
        let alike =
            |theirs: &[&Seen]| are_alike(&all, &[look("p1", &[one, two]), look("p2", theirs)]);
        assert!(alike(&[one, two]));
        assert!(!alike(&[one]) && !alike(&[other, two]) && !alike(&[bare, two]));
        // The second may see neither; of a link it may see none of the ends.
        let hides = federation(&["p2"]);
        assert!(are_alike(&hides, &[look("p1", &[one, two]), look("p2", &[])]));
        assert!(are_alike(&hides, &[look("p1", &[one]), look("p3", &[bare])]));
    }
}
