//! Quotas, agents and figures.
//!
//! Not here: who may register agents (the node).

use types::{AgentRecord, Hlc, Namespace, Reason, Scope, ids::IdRef};

use super::{
    cases,
    world::{Outcome, Person, World, holds, one, refused, same},
};
use crate::request::{Intent, MemoryFilter, OnConflict, QuotaLimits};

cases![
    a_quota_refuses_what_exceeds_it_and_resets_with_the_day,
    bytes_are_given_back_by_deletion,
    an_agent_is_registered_found_and_revoked,
    figures_count_what_is_there,
    the_digest_changes_with_content_alone,
    the_chain_is_verified_from_anywhere,
];

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

async fn a_quota_refuses_what_exceeds_it_and_resets_with_the_day(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let limits = QuotaLimits { memories_per_day: Some(2), ..QuotaLimits::default() };
    let mut answers = Vec::new();
    for number in 0..3 {
        let memory = ann.memory(world.id(), &format!("note {number}"), "four", Scope::Private)?;
        let intent = Intent::Store { memory: Box::new(memory), on_conflict: OnConflict::Error };
        let mut request = world.request(&ann, vec![intent]);
        request.quota = Some(limits);
        answers.push(world.store.write(request).await.and_then(one));
    }
    holds!(answers[..2].iter().all(Result::is_ok), "two fit: {answers:?}");
    let last = answers.pop().unwrap_or(Ok(crate::answer::Applied::Other));
    refused(last, Reason::QuotaExceeded, "the third of the day")?;
    same!(world.list(&ann, MemoryFilter::default()).await?.len(), 2, "memories kept");
    let agent = ann.viewer.agent.clone();
    let usage = world.store.quota(agent.clone(), Namespace::global(), world.now_ms()).await?;
    same!((usage.memories_today, usage.links_today), (2, 0), "counts of the day");
    same!(usage.bytes_total, 2 * ("note 0".len() + "four".len()) as u64, "bytes");
    same!(usage.resets_at_ms, (world.now_ms() / DAY_MS + 1) * DAY_MS, "reset");
    let tomorrow = world.now_ms() + DAY_MS;
    let usage = world.store.quota(agent, Namespace::global(), tomorrow).await?;
    same!((usage.memories_today, usage.bytes_total), (0, 20), "tomorrow");
    let nobody = world.store.quota("zoe".parse()?, Namespace::global(), tomorrow).await?;
    same!((nobody.memories_today, nobody.bytes_total), (0, 0), "an agent that wrote nothing");
    Ok(())
}

async fn bytes_are_given_back_by_deletion(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let id = world.note(&ann, "brief", Scope::Private).await?;
    let delete =
        Intent::Delete { id: IdRef::Full(id), reason: String::new(), expected_version: None };
    world.act(&ann, delete).await?;
    let agent = ann.viewer.agent.clone();
    let usage = world.store.quota(agent, Namespace::global(), world.now_ms()).await?;
    same!((usage.memories_today, usage.bytes_total), (1, 0), "after the deletion");
    Ok(())
}

async fn an_agent_is_registered_found_and_revoked(world: &World<'_>) -> Outcome {
    let mut root = Person::new("root", "")?;
    root.viewer.operator = true;
    let record = |name: &str, token: u8| -> Result<AgentRecord, super::world::Problem> {
        Ok(AgentRecord {
            agent_id: name.parse()?,
            affiliation: "acme/eng/core".parse()?,
            token_sha256: Some([token; 32]),
            public_key: None,
            revoked: false,
            changed: Hlc::default(),
        })
    };
    for (name, token) in [("bob", 2), ("ann", 1)] {
        world.act(&root, Intent::Agent(Box::new(record(name, token)?))).await?;
    }
    let names: Vec<String> =
        world.store.agents().await?.iter().map(|agent| agent.agent_id.to_string()).collect();
    same!(names, ["ann", "bob"], "agents by name");
    let found = world.store.agent_by_token([2; 32]).await?;
    same!(found.map(|agent| agent.agent_id), Some("bob".parse()?), "agent by token");
    same!(world.store.agent_by_token([3; 32]).await?, None, "agent by an unknown token");
    same!(world.store.agent("zoe".parse()?).await?, None, "an unknown agent");
    let revoked = AgentRecord { revoked: true, ..record("ann", 1)? };
    world.act(&root, Intent::Agent(Box::new(revoked))).await?;
    let ann = world.store.agent("ann".parse()?).await?;
    holds!(ann.is_some_and(|agent| agent.revoked && agent.changed > Hlc::default()), "revoked");
    Ok(())
}

async fn figures_count_what_is_there(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(world.note(&ann, &format!("note {number}"), Scope::Private).await?);
    }
    world.connect(&ann, ids[0], types::Relation::DependsOn, ids[1]).await?;
    let archive = Intent::Archive { id: IdRef::Full(ids[2]), reason: "x".into() };
    world.act(&ann, archive).await?;
    let delete =
        Intent::Delete { id: IdRef::Full(ids[3]), reason: String::new(), expected_version: None };
    world.act(&ann, delete).await?;
    let stats = world.store.stats().await?;
    same!((stats.memories, stats.archived, stats.tombstones), (2, 1, 1), "memories by life");
    same!(stats.links, 1, "links");
    same!(stats.events, 7, "audit rows");
    same!(stats.position, world.position(), "position");
    same!(stats.index_position, stats.position, "position of the indexes");
    Ok(())
}

async fn the_digest_changes_with_content_alone(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let empty = world.store.content_digest().await?;
    let id = world.note(&ann, "something", Scope::Private).await?;
    let one = world.store.content_digest().await?;
    holds!(one != empty, "a new memory changes the digest");
    world.get(&ann, id).await?;
    world.recall(&ann, "something").await?;
    same!(world.store.content_digest().await?, one, "reading does not");
    let alias = Intent::Archive { id: IdRef::Full(id), reason: "x".into() };
    world.act(&ann, alias).await?;
    holds!(world.store.content_digest().await? != one, "archiving changes the digest");
    Ok(())
}

async fn the_chain_is_verified_from_anywhere(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    for number in 0..5 {
        world.note(&ann, &format!("note {number}"), Scope::Private).await?;
    }
    let whole = world.store.verify_chain(0).await?;
    same!((whole.rows_checked, whole.head_sequence), (5, 5), "the whole chain");
    for since in 1..=5 {
        let part = world.store.verify_chain(since).await?;
        holds!(part.holds(), "the chain from {since} on: {part:?}");
        same!(part.rows_checked, 5 - since as u64, "rows from {since} on");
        same!((part.head_sequence, part.head_hash), (5, whole.head_hash), "the head");
    }
    let beyond = world.store.verify_chain(6).await?;
    holds!(!beyond.holds(), "a chain that ends before the row asked for does not hold");
    Ok(())
}
