//! Links: what they close, how they are walked, and which names lead to an entity.
//!
//! Not here: the order of paths in general (`crate::graph` is tried against an exhaustive search).

use std::collections::BTreeSet;

use types::{Kind, LinkId, MemoryId, Reason, Relation, Scope, ids::IdRef, memory::Validity};

use super::{
    cases,
    world::{Outcome, Person, Problem, World, holds, refused, same},
};
use crate::request::{Direction, GraphQuery, Intent, MemoryFilter, PathQuery};

cases![
    a_link_is_read_back_from_both_ends,
    a_superseding_memory_ends_the_other,
    a_removed_link_is_gone,
    links_hold_when_their_validity_says,
    a_walk_respects_depth_direction_and_relation,
    a_symmetric_link_is_followed_both_ways,
    paths_come_shortest_first,
    circles_and_self_links_are_refused,
    archived_and_deleted_memories_leave_the_graph,
    entities_are_known_by_every_name,
    bounds_of_graph_queries_are_checked,
];

/// Memories called a, b, c … in order of id.
async fn letters(world: &World<'_>, who: &Person, count: u8) -> Result<Vec<MemoryId>, Problem> {
    let mut ids = Vec::new();
    for letter in (b'a'..).take(count.into()) {
        ids.push(world.note(who, &char::from(letter).to_string(), Scope::Private).await?);
    }
    Ok(ids)
}

fn around(world: &World<'_>, start: MemoryId, depth: u32) -> GraphQuery {
    GraphQuery {
        start: IdRef::Full(start),
        depth,
        relations: BTreeSet::new(),
        direction: Direction::Both,
        as_of_ms: None,
        now_ms: world.now_ms(),
    }
}

fn between(world: &World<'_>, from: MemoryId, to: MemoryId) -> PathQuery {
    PathQuery {
        from: IdRef::Full(from),
        to: IdRef::Full(to),
        depth: 5,
        limit: 16,
        as_of_ms: None,
        now_ms: world.now_ms(),
    }
}

/// Distance and id of every node.
async fn walk(
    world: &World<'_>,
    who: &Person,
    query: GraphQuery,
) -> Result<Vec<(u32, MemoryId)>, Problem> {
    let graph = world.store.graph(who.eyes(), query).await?;
    Ok(graph.nodes.into_iter().map(|(distance, view)| (distance, view.id)).collect())
}

async fn a_link_is_read_back_from_both_ends(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let ids = letters(world, &ann, 2).await?;
    let validity = Validity { from_ms: Some(5), until_ms: None };
    let mut link = world.link(ids[0], Relation::DerivedFrom, ids[1]);
    link.validity = validity;
    let id = link.id;
    world.act(&ann, Intent::Link(link)).await?;
    for end in &ids {
        let links = world.store.links(ann.eyes(), *end).await?;
        same!(links.len(), 1, "links of one end");
        let link = &links[0];
        same!((link.id, link.source, link.target), (id, ids[0], ids[1]), "the ends");
        same!((link.relation, link.validity.value), (Relation::DerivedFrom, validity), "the rest");
        same!(link.author, ann.viewer.agent, "the author");
    }
    Ok(())
}

async fn a_superseding_memory_ends_the_other(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let old = world.note(&ann, "the tower is 10 m high", Scope::Private).await?;
    let before_ms = world.now_ms();
    let at_ms = world.pass(1000);
    let new = world.note(&ann, "the tower is 12 m high", Scope::Private).await?;
    world.connect(&ann, new, Relation::Supersedes, old).await?;
    same!(world.get(&ann, old).await?.validity.until_ms, Some(at_ms), "end of the old one");
    same!(world.recall(&ann, "tower").await?, [new], "recall now");
    let filter = MemoryFilter { as_of_ms: Some(before_ms), ..MemoryFilter::default() };
    let query = crate::request::CandidateQuery { filter, ..world.words("tower") };
    let found = world.store.candidates(ann.eyes(), query).await?;
    let then: BTreeSet<MemoryId> = found.items.iter().map(|c| c.memory.id).collect();
    holds!(then.contains(&old), "recall as of then finds {then:?}");
    Ok(())
}

async fn a_removed_link_is_gone(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let ids = letters(world, &ann, 2).await?;
    let link = world.connect(&ann, ids[0], Relation::DependsOn, ids[1]).await?;
    world.act(&ann, Intent::Unlink { id: link }).await?;
    same!(world.store.links(ann.eyes(), ids[0]).await?, [], "links after removal");
    same!(walk(world, &ann, around(world, ids[0], 5)).await?.len(), 1, "nodes after removal");
    let again = world.act(&ann, Intent::Unlink { id: link }).await;
    refused(again, Reason::NotFound, "removing twice")?;
    let unknown = world.act(&ann, Intent::Unlink { id: LinkId(world.id().0) }).await;
    refused(unknown, Reason::NotFound, "removing an unknown link")
}

async fn links_hold_when_their_validity_says(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let ids = letters(world, &ann, 2).await?;
    let now = world.now_ms();
    let id = world.connect(&ann, ids[0], Relation::DependsOn, ids[1]).await?;
    let validity = Validity { from_ms: Some(now - 50), until_ms: Some(now) };
    world.act(&ann, Intent::LinkValidity { id, validity }).await?;
    for (as_of_ms, nodes) in [(None, 1), (Some(now - 1), 2), (Some(now), 1), (Some(now - 51), 1)] {
        let query = GraphQuery { as_of_ms, ..around(world, ids[0], 1) };
        same!(walk(world, &ann, query).await?.len(), nodes, "nodes as of {as_of_ms:?}");
        let query = PathQuery { as_of_ms, ..between(world, ids[0], ids[1]) };
        let paths = world.store.paths(ann.eyes(), query).await?;
        same!(paths.len(), nodes - 1, "paths as of {as_of_ms:?}");
    }
    Ok(())
}

async fn a_walk_respects_depth_direction_and_relation(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let ids = letters(world, &ann, 5).await?;
    let [a, b, c, d, e] = ids[..] else { return Err(Problem::new("five letters")) };
    world.connect(&ann, a, Relation::DependsOn, b).await?;
    world.connect(&ann, b, Relation::DependsOn, c).await?;
    world.connect(&ann, d, Relation::DependsOn, a).await?;
    world.connect(&ann, a, Relation::DerivedFrom, e).await?;
    let directed = |direction| GraphQuery { direction, ..around(world, a, 5) };
    let only = GraphQuery { relations: [Relation::DerivedFrom].into(), ..around(world, a, 5) };
    let cases = [
        ("depth 1", around(world, a, 1), vec![(0, a), (1, b), (1, d), (1, e)]),
        ("depth 2", around(world, a, 2), vec![(0, a), (1, b), (1, d), (1, e), (2, c)]),
        ("outgoing", directed(Direction::Outgoing), vec![(0, a), (1, b), (1, e), (2, c)]),
        ("incoming", directed(Direction::Incoming), vec![(0, a), (1, d)]),
        ("one relation", only, vec![(0, a), (1, e)]),
    ];
    for (name, query, expected) in cases {
        same!(walk(world, &ann, query).await?, expected, "{name}");
    }
    let graph = world.store.graph(ann.eyes(), around(world, a, 1)).await?;
    same!(graph.links.len(), 3, "links among the nodes of depth 1");
    holds!(graph.links.is_sorted_by_key(|link| link.id), "links are in order of id");
    holds!(!graph.truncated, "nothing was cut");
    Ok(())
}

async fn a_symmetric_link_is_followed_both_ways(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let ids = letters(world, &ann, 2).await?;
    world.connect(&ann, ids[1], Relation::Contradicts, ids[0]).await?;
    for (from, to) in [(ids[0], ids[1]), (ids[1], ids[0])] {
        for direction in [Direction::Outgoing, Direction::Incoming, Direction::Both] {
            let query = GraphQuery { direction, ..around(world, from, 1) };
            same!(walk(world, &ann, query).await?, [(0, from), (1, to)], "{direction:?}");
        }
    }
    Ok(())
}

async fn paths_come_shortest_first(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let ids = letters(world, &ann, 4).await?;
    let [a, b, c, d] = ids[..] else { return Err(Problem::new("four letters")) };
    for (from, to) in [(a, b), (b, d), (a, c), (c, d), (b, c)] {
        world.connect(&ann, from, Relation::DependsOn, to).await?;
    }
    let all = world.store.paths(ann.eyes(), between(world, a, d)).await?;
    let nodes: Vec<&[MemoryId]> = all.iter().map(|path| &path.nodes[..]).collect();
    let expected: [&[MemoryId]; 4] = [&[a, b, d], &[a, c, d], &[a, b, c, d], &[a, c, b, d]];
    same!(nodes, expected, "paths from a to d");
    holds!(all.iter().all(|path| path.links.len() + 1 == path.nodes.len()), "one link fewer");
    let two = PathQuery { limit: 2, ..between(world, a, d) };
    same!(world.store.paths(ann.eyes(), two).await?, all[..2], "the first two");
    let short = PathQuery { depth: 2, ..between(world, a, d) };
    same!(world.store.paths(ann.eyes(), short).await?, all[..2], "paths of two links");
    same!(world.store.paths(ann.eyes(), between(world, a, a)).await?, [], "from a to a");
    Ok(())
}

async fn circles_and_self_links_are_refused(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let ids = letters(world, &ann, 3).await?;
    world.connect(&ann, ids[0], Relation::DependsOn, ids[1]).await?;
    world.connect(&ann, ids[1], Relation::DependsOn, ids[2]).await?;
    let circle = world.link(ids[2], Relation::DependsOn, ids[0]);
    refused(world.act(&ann, Intent::Link(circle)).await, Reason::Cycle, "a circle")?;
    let own = world.link(ids[0], Relation::RelatedTo, ids[0]);
    refused(world.act(&ann, Intent::Link(own)).await, Reason::InvalidArgument, "a self-link")?;
    let nowhere = world.link(ids[0], Relation::RelatedTo, world.id());
    refused(world.act(&ann, Intent::Link(nowhere)).await, Reason::NotFound, "a link to nothing")
}

async fn archived_and_deleted_memories_leave_the_graph(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let ids = letters(world, &ann, 3).await?;
    world.connect(&ann, ids[0], Relation::DependsOn, ids[1]).await?;
    world.connect(&ann, ids[1], Relation::DependsOn, ids[2]).await?;
    let archive = Intent::Archive { id: IdRef::Full(ids[1]), reason: "x".into() };
    world.act(&ann, archive).await?;
    same!(walk(world, &ann, around(world, ids[0], 5)).await?, [(0, ids[0])], "after archiving");
    same!(world.store.paths(ann.eyes(), between(world, ids[0], ids[2])).await?, [], "paths");
    same!(world.store.links(ann.eyes(), ids[0]).await?.len(), 1, "links to an archived memory");
    let delete =
        Intent::Delete { id: IdRef::Full(ids[1]), reason: String::new(), expected_version: None };
    world.act(&ann, delete).await?;
    same!(world.store.links(ann.eyes(), ids[0]).await?, [], "links to a deleted memory");
    Ok(())
}

async fn entities_are_known_by_every_name(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let mut memory = ann.memory(world.id(), "Ada Lovelace", "mathematician", Scope::Private)?;
    memory.kind = Kind::Entity;
    let ada = world.keep(&ann, memory).await?;
    let other = world.note(&ann, "Ada Byron", Scope::Private).await?;
    let alias = |remove| Intent::Alias { id: IdRef::Full(ada), alias: "Ada  Byron".into(), remove };
    world.act(&ann, alias(false)).await?;
    for name in ["ada lovelace", "Ada Lovelace", "ADA BYRON", " ada  byron "] {
        let found = world.store.entities(ann.eyes(), None, name.into()).await?;
        let ids: Vec<MemoryId> = found.iter().map(|view| view.id).collect();
        same!(ids, [ada], "entities called {name:?}");
    }
    let elsewhere = Some("elsewhere".parse()?);
    let found = world.store.entities(ann.eyes(), elsewhere, "ada byron".into()).await?;
    same!(found.len(), 0, "entities in another namespace");
    same!(world.store.aliases(ann.eyes(), ada).await?, ["Ada  Byron"], "aliases");
    same!(world.store.aliases(ann.eyes(), other).await?, Vec::<String>::new(), "aliases of a note");
    world.act(&ann, alias(true)).await?;
    same!(world.store.aliases(ann.eyes(), ada).await?, Vec::<String>::new(), "aliases after");
    let found = world.store.entities(ann.eyes(), None, "ada byron".into()).await?;
    same!(found.len(), 0, "entities by a name that was taken away");
    Ok(())
}

async fn bounds_of_graph_queries_are_checked(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let ids = letters(world, &ann, 2).await?;
    for depth in [0, 6] {
        let answer = world.store.graph(ann.eyes(), around(world, ids[0], depth)).await;
        refused(answer, Reason::InvalidArgument, &format!("a graph of depth {depth}"))?;
        let query = PathQuery { depth, ..between(world, ids[0], ids[1]) };
        let answer = world.store.paths(ann.eyes(), query).await;
        refused(answer, Reason::InvalidArgument, &format!("paths of depth {depth}"))?;
    }
    let query = PathQuery { limit: 17, ..between(world, ids[0], ids[1]) };
    let answer = world.store.paths(ann.eyes(), query).await;
    refused(answer, Reason::InvalidArgument, "seventeen paths")
}
