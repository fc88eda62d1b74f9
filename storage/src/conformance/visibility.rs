//! Nothing crosses a scope, by any way of reading (`STO-2`).
//!
//! One author writes a memory in every scope; readers of every distance try every read method. What
//! each may see is decided here by the author's and the reader's groups, not by the store's own code.
//!
//! Not here: the audiences themselves (`types::agent`).

use std::collections::BTreeSet;

use types::{Kind, MemoryId, Patch, Reason, Relation, Scope, ids::IdRef};

use super::{
    cases,
    world::{Outcome, Person, Problem, World, holds, refused, same},
};
use crate::{
    error::StoreError,
    request::{
        Direction, DuplicateQuery, ForgetQuery, GraphQuery, Intent, ListQuery, MemoryFilter,
        NamespaceFilter, PathQuery, Reader, TimelineQuery,
    },
};

cases![
    every_way_of_reading_shows_exactly_what_the_scope_allows,
    archived_memories_stay_within_their_scope,
    a_prefix_is_ambiguous_only_among_visible_memories,
    graphs_and_paths_never_pass_through_hidden_memories,
    a_cycle_through_hidden_memories_is_refused_without_a_word_of_it,
    a_narrowed_scope_hides_at_once_everywhere,
    the_operator_sees_everything,
    an_operators_own_eyes_see_no_more_than_its_groups,
];

/// A memory of the matrix.
struct Planted {
    id: MemoryId,
    scope: Scope,
    namespace: String,
}

/// One memory of Ann's per scope: an entity with an alias, each in a namespace of its own.
async fn plant(world: &World<'_>, ann: &Person) -> Result<Vec<Planted>, Problem> {
    let mut all = Vec::new();
    for scope in Scope::ALL {
        let text = format!("pelican nests in {scope} reeds by the lake");
        let mut memory = ann.memory(world.id(), &format!("Pelican {scope}"), &text, *scope)?;
        let namespace = format!("birds/{scope}");
        memory.namespace = namespace.parse()?;
        memory.kind = Kind::Entity;
        let id = world.keep(ann, memory).await?;
        let alias = Intent::Alias { id: IdRef::Full(id), alias: "Big Beak".into(), remove: false };
        world.act(ann, alias).await?;
        all.push(Planted { id, scope: *scope, namespace });
    }
    for pair in all.windows(2) {
        world.connect(ann, pair[0].id, Relation::DependsOn, pair[1].id).await?;
    }
    Ok(all)
}

/// Readers with the smallest scope of Ann's that includes them.
fn readers() -> Result<Vec<(Person, Scope)>, Problem> {
    Ok(vec![
        (Person::new("ann", "acme/eng/core")?, Scope::Private),
        (Person::new("bob", "acme/eng/core")?, Scope::Team),
        (Person::new("cid", "acme/eng/web")?, Scope::Unit),
        (Person::new("dee", "acme/ops/core")?, Scope::Org),
        (Person::new("eve", "beta/eng/core")?, Scope::Collective),
        (Person::new("fay", "")?, Scope::Collective),
        (Person::new("group:acme", "")?, Scope::Collective),
    ])
}

async fn every_way_of_reading_shows_exactly_what_the_scope_allows(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let planted = plant(world, &ann).await?;
    for (reader, least) in readers()? {
        let name = reader.viewer.agent.to_string();
        let seen: BTreeSet<MemoryId> =
            planted.iter().filter(|p| p.scope >= least).map(|p| p.id).collect();
        for one in &planted {
            one_by_one(world, &reader, one, &seen, &name).await?;
        }
        for (way, found) in in_bulk(world, &reader).await? {
            same!(found, seen, "{way} as {name}");
        }
        let counted: Vec<(String, u64)> = world
            .store
            .namespaces(reader.eyes(), world.now_ms())
            .await?
            .into_iter()
            .map(|info| (info.namespace.to_string(), info.memories))
            .collect();
        let mut expected: Vec<(String, u64)> =
            planted.iter().filter(|p| p.scope >= least).map(|p| (p.namespace.clone(), 1)).collect();
        expected.sort();
        same!(counted, expected, "namespaces as {name}");
    }
    Ok(())
}

/// The ways that name one memory: each answers, or says that there is none.
async fn one_by_one(
    world: &World<'_>,
    reader: &Person,
    one: &Planted,
    seen: &BTreeSet<MemoryId>,
    name: &str,
) -> Outcome {
    let (store, now_ms, eyes) = (&world.store, world.now_ms(), reader.eyes());
    let (visible, full) = (seen.contains(&one.id), IdRef::Full(one.id));
    let prefix = IdRef::Prefix(one.id.to_string().replace('-', "")[..31].to_owned());
    let timeline = TimelineQuery {
        id: Some(full.clone()),
        filter: MemoryFilter::default(),
        from_ms: None,
        until_ms: None,
        limit: 10,
        now_ms,
    };
    let graph = graph_from(one.id, now_ms);
    let answers = [
        ("get", store.get(eyes, full.clone(), now_ms).await.map(drop)),
        ("get by prefix", store.get(eyes, prefix, now_ms).await.map(drop)),
        ("links", store.links(eyes, one.id).await.map(drop)),
        ("graph", store.graph(eyes, graph).await.map(drop)),
        ("aliases", store.aliases(eyes, one.id).await.map(drop)),
        ("timeline of one", store.timeline(eyes, timeline).await.map(drop)),
    ];
    for (way, answer) in answers {
        let what = format!("{way} of {} as {name}", one.scope);
        if visible {
            holds!(answer.is_ok(), "{what}: refused with {answer:?}");
        } else {
            refused(answer, Reason::NotFound, &what)?;
        }
    }
    Ok(())
}

fn graph_from(start: MemoryId, now_ms: u64) -> GraphQuery {
    GraphQuery {
        start: IdRef::Full(start),
        depth: 5,
        relations: BTreeSet::new(),
        direction: Direction::Both,
        as_of_ms: None,
        now_ms,
    }
}

/// The ways that find memories, with what they found.
async fn in_bulk(
    world: &World<'_>,
    reader: &Person,
) -> Result<Vec<(&'static str, BTreeSet<MemoryId>)>, Problem> {
    let (store, now_ms, eyes) = (&world.store, world.now_ms(), reader.eyes());
    let below =
        || NamespaceFilter::Within("birds".parse().unwrap_or_else(|_| types::Namespace::global()));
    let mut found = vec![
        ("list", world.list(reader, MemoryFilter::default()).await?.into_iter().collect()),
        ("recall", world.recall(reader, "pelican reeds").await?.into_iter().collect()),
        ("phrase", world.recall(reader, "\"by the lake\"").await?.into_iter().collect()),
    ];
    let filter = MemoryFilter { namespaces: Some(below()), ..MemoryFilter::default() };
    found.push((
        "list of a namespace",
        world.list(reader, filter.clone()).await?.into_iter().collect(),
    ));
    let mut duplicates = BTreeSet::new();
    for scope in Scope::ALL {
        let query = DuplicateQuery {
            title: format!("Pelican {scope}"),
            content: format!("pelican nests in {scope} reeds by the lake"),
            namespace: format!("birds/{scope}").parse()?,
            similarity_min_permille: 500,
            now_ms,
        };
        duplicates.extend(store.duplicates(eyes, query).await?.into_iter().map(|(_, m)| m.id));
    }
    found.push(("duplicates", duplicates));
    let entities = store.entities(eyes, None, "big beak".into()).await?;
    found.push(("entities", entities.into_iter().map(|m| m.id).collect()));
    let (changes, covered) = store.changes(eyes, 0, 1000).await?;
    same!(covered, world.position(), "position covered");
    let of_memories = changes.into_iter().filter(|c| c.event_type == "memory.store");
    found.push(("changes", of_memories.filter_map(|c| c.memory_id).collect()));
    let timeline =
        TimelineQuery { id: None, filter, from_ms: None, until_ms: None, limit: 100, now_ms };
    let told = store.timeline(eyes, timeline).await?;
    found.push(("timeline", told.into_iter().filter_map(|c| c.memory_id).collect()));
    Ok(found)
}

async fn archived_memories_stay_within_their_scope(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let planted = plant(world, &ann).await?;
    for one in &planted {
        let archive = Intent::Archive { id: IdRef::Full(one.id), reason: "old".into() };
        world.act(&ann, archive).await?;
    }
    for (reader, least) in readers()? {
        let query = ListQuery { archived: true, ..world.everything() };
        let page = world.store.list(reader.eyes(), query).await?;
        let found: BTreeSet<MemoryId> = page.items.iter().map(|view| view.id).collect();
        let seen = planted.iter().filter(|p| p.scope >= least).map(|p| p.id).collect();
        same!(found, seen, "archive as {}", reader.viewer.agent);
        same!(world.recall(&reader, "pelican").await?.len(), 0, "recall of archived memories");
    }
    Ok(())
}

async fn a_prefix_is_ambiguous_only_among_visible_memories(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let eve = Person::new("eve", "")?;
    let hidden = world.note(&ann, "hidden", Scope::Private).await?;
    let shown = world.note(&ann, "shown", Scope::Collective).await?;
    let (a, b) = (hidden.to_string().replace('-', ""), shown.to_string().replace('-', ""));
    let common: String =
        a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    let prefix = IdRef::Prefix(common);
    let found = world.store.get(eve.eyes(), prefix.clone(), world.now_ms()).await?;
    same!(found.id, shown, "the only memory that Eve may see under the prefix");
    let of_ann = world.store.get(ann.eyes(), prefix, world.now_ms()).await;
    refused(of_ann, Reason::AmbiguousPrefix, "a prefix of two memories that Ann may see")
}

async fn graphs_and_paths_never_pass_through_hidden_memories(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let eve = Person::new("eve", "")?;
    let left = world.note(&ann, "left", Scope::Collective).await?;
    let bridge = world.note(&ann, "bridge", Scope::Private).await?;
    let right = world.note(&ann, "right", Scope::Collective).await?;
    world.connect(&ann, left, Relation::DependsOn, bridge).await?;
    world.connect(&ann, bridge, Relation::DependsOn, right).await?;
    for (who, nodes, paths) in [(&ann, 3, 1), (&eve, 1, 0)] {
        let graph = world.store.graph(who.eyes(), graph_from(left, world.now_ms())).await?;
        same!(
            (graph.nodes.len(), graph.links.len()),
            (nodes, nodes - 1),
            "graph of {}",
            who.viewer.agent
        );
        let query = PathQuery {
            from: IdRef::Full(left),
            to: IdRef::Full(right),
            depth: 5,
            limit: 4,
            as_of_ms: None,
            now_ms: world.now_ms(),
        };
        let found = world.store.paths(who.eyes(), query).await?;
        same!(found.len(), paths, "paths of {}", who.viewer.agent);
        let links = world.store.links(who.eyes(), left).await?;
        same!(links.len(), paths, "links of {}", who.viewer.agent);
    }
    Ok(())
}

async fn a_cycle_through_hidden_memories_is_refused_without_a_word_of_it(
    world: &World<'_>,
) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let eve = Person::new("eve", "")?;
    let mut operator = Person::new("op", "")?;
    operator.viewer.operator = true;
    let start = world.note(&ann, "start", Scope::Collective).await?;
    let bridge = world.note(&ann, "bridge", Scope::Private).await?;
    let end = world.note(&ann, "end", Scope::Collective).await?;
    world.connect(&ann, end, Relation::DependsOn, bridge).await?;
    world.connect(&ann, bridge, Relation::DependsOn, start).await?;
    let circle = || Intent::Link(world.link(start, Relation::DependsOn, end));
    for who in [&ann, &operator] {
        refused(world.act(who, circle()).await, Reason::Cycle, "a circle in plain sight")?;
    }
    match world.act(&eve, circle()).await {
        Err(StoreError::Rejected(reject)) => {
            same!(reject.reason, Reason::Forbidden, "the reason for a circle out of sight");
            for word in ["cycle", "back", "depends"] {
                holds!(!reject.detail.contains(word), "the refusal hints: {}", reject.detail);
            }
        }
        other => return Err(Problem::new(format!("got {other:?}, expected a refusal"))),
    }
    // Where Eve can see a way round, she is told.
    world.connect(&ann, end, Relation::DependsOn, start).await?;
    refused(world.act(&eve, circle()).await, Reason::Cycle, "a circle that Eve can see")
}

async fn a_narrowed_scope_hides_at_once_everywhere(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let bob = Person::new("bob", "acme/eng/core")?;
    let id = world.note(&ann, "cassowary", Scope::Team).await?;
    same!(world.recall(&bob, "cassowary").await?, [id], "recall before");
    let audience = ann.memory(id, "x", "x", Scope::Private)?.audience;
    let patch = Patch { scope: Some((Scope::Private, audience)), ..Patch::default() };
    let narrow =
        Intent::Update { id: IdRef::Full(id), patch: Box::new(patch), expected_version: None };
    world.act(&ann, narrow).await?;
    same!(world.recall(&bob, "cassowary").await?, [], "recall by Bob after");
    same!(world.list(&bob, MemoryFilter::default()).await?, [], "list by Bob after");
    refused(world.get(&bob, id).await, Reason::NotFound, "get by Bob after")?;
    same!(world.recall(&ann, "cassowary").await?, [id], "recall by Ann after");
    Ok(())
}

async fn the_operator_sees_everything(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let planted = plant(world, &ann).await?;
    let page = world.store.list(Reader::Operator, world.everything()).await?;
    same!(page.items.len(), planted.len(), "memories listed by the operator");
    let counted = world.store.namespaces(Reader::Operator, world.now_ms()).await?;
    same!(counted.len(), planted.len(), "namespaces counted by the operator");
    let found = world.store.candidates(Reader::Operator, world.words("pelican")).await?;
    same!(found.items.len(), planted.len(), "candidates of the operator");
    Ok(())
}

async fn an_operators_own_eyes_see_no_more_than_its_groups(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let mut eve = Person::new("eve", "")?;
    eve.viewer.operator = true;
    let id = world.note(&ann, "ours", Scope::Private).await?;
    refused(world.get(&eve, id).await, Reason::NotFound, "get with the operator's own eyes")?;
    let query = ForgetQuery {
        namespace: NamespaceFilter::Exactly(types::Namespace::global()),
        title_glob: None,
        tier: None,
        limit: 10,
        now_ms: world.now_ms(),
    };
    let found = world.store.forgettable(eve.eyes(), query).await?;
    same!(found.len(), 0, "what the operator's own eyes may forget");
    Ok(())
}
