//! Listing: pages, filters and what a cursor may do.
//!
//! Not here: visibility, which has a module of its own.

use std::collections::BTreeSet;

use types::{Kind, MemoryId, Reason, Scope, Tier, memory::Validity};

use super::{
    cases,
    world::{Outcome, Person, Problem, World, holds, refused, same},
};
use crate::request::{ListQuery, MemoryFilter, NamespaceFilter};

cases![
    pages_hold_every_memory_once_newest_first,
    pages_of_many_namespaces_merge_in_order,
    a_cursor_belongs_to_its_query,
    limits_of_a_page_are_checked,
    each_filter_selects_by_its_field,
    namespaces_are_whole_segments,
    validity_decides_what_is_listed,
];

async fn pages(
    world: &World<'_>,
    who: &Person,
    filter: MemoryFilter,
    limit: u32,
) -> Result<Vec<MemoryId>, Problem> {
    let mut query = ListQuery { filter, limit, ..world.everything() };
    let mut all = Vec::new();
    loop {
        let page = world.store.list(who.eyes(), query.clone()).await?;
        holds!(page.items.len() <= limit as usize, "a page of {} for {limit}", page.items.len());
        all.extend(page.items.into_iter().map(|view| view.id));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(all),
        }
    }
}

async fn pages_hold_every_memory_once_newest_first(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let mut ids = Vec::new();
    for number in 0..23 {
        ids.push(world.note(&ann, &format!("note {number}"), Scope::Private).await?);
        world.pass(number % 3);
    }
    ids.sort_by(|a, b| b.cmp(a));
    for limit in [1, 7, 23, 24, 100] {
        same!(pages(world, &ann, MemoryFilter::default(), limit).await?, ids, "pages of {limit}");
    }
    let bob = Person::new("bob", "")?;
    same!(pages(world, &bob, MemoryFilter::default(), 5).await?, [], "pages of nothing");
    Ok(())
}

async fn pages_of_many_namespaces_merge_in_order(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    for count in [3, 40] {
        let mut ids = Vec::new();
        for number in 0..60 {
            let title = format!("note {count} {number}");
            let mut memory = ann.memory(world.id(), &title, "x", Scope::Private)?;
            memory.namespace = format!("many{count}/n{}", number % count).parse()?;
            ids.push(world.keep(&ann, memory).await?);
        }
        ids.sort_by(|a, b| b.cmp(a));
        let filter = MemoryFilter {
            namespaces: Some(NamespaceFilter::Within(format!("many{count}").parse()?)),
            ..MemoryFilter::default()
        };
        same!(pages(world, &ann, filter, 7).await?, ids, "pages over {count} namespaces");
    }
    Ok(())
}

async fn a_cursor_belongs_to_its_query(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    for number in 0..3 {
        world.note(&ann, &format!("note {number}"), Scope::Private).await?;
    }
    let first = ListQuery { limit: 1, ..world.everything() };
    let page = world.store.list(ann.eyes(), first.clone()).await?;
    let mut other = ListQuery { after: page.next, ..first.clone() };
    other.filter.priority_min = Some(1);
    let answer = world.store.list(ann.eyes(), other).await;
    refused(answer, Reason::InvalidArgument, "a cursor of another query")?;
    let forged = ListQuery { after: Some("p1-00".into()), ..first };
    let answer = world.store.list(ann.eyes(), forged).await;
    refused(answer, Reason::InvalidArgument, "a forged cursor")
}

async fn limits_of_a_page_are_checked(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    for limit in [0, types::limits::PAGE_MAX + 1] {
        let query = ListQuery { limit, ..world.everything() };
        let answer = world.store.list(ann.eyes(), query).await;
        refused(answer, Reason::InvalidArgument, &format!("a page of {limit}"))?;
    }
    Ok(())
}

async fn each_filter_selects_by_its_field(world: &World<'_>) -> Outcome {
    let (ann, bob) = (Person::new("ann", "acme/eng/core")?, Person::new("bob", "acme/eng/core")?);
    let mut plain = ann.memory(world.id(), "plain", "wallaby", Scope::Team)?;
    plain.tags = ["a".parse()?].into();
    let plain = world.keep(&ann, plain).await?;
    let later_ms = world.pass(1000);
    let mut rich = bob.memory(world.id(), "rich", "wallaby", Scope::Team)?;
    rich.tags = ["a".parse()?, "b".parse()?].into();
    (rich.kind, rich.tier, rich.priority) = (Kind::Decision, Tier::Long, 8);
    let rich = world.keep(&bob, rich).await?;
    let mut unsure = bob.memory(world.id(), "unsure", "wallaby", Scope::Team)?;
    unsure.confidence_permille = 100;
    let unsure = world.keep(&bob, unsure).await?;
    let base = MemoryFilter::default;
    let cases = [
        ("kind", MemoryFilter { kinds: [Kind::Decision].into(), ..base() }, vec![rich]),
        ("tier", MemoryFilter { tiers: [Tier::Long].into(), ..base() }, vec![rich]),
        ("all tags", MemoryFilter { tags_all: tags(&["a", "b"])?, ..base() }, vec![rich]),
        ("any tag", MemoryFilter { tags_any: tags(&["a", "x"])?, ..base() }, vec![rich, plain]),
        ("unknown tag", MemoryFilter { tags_all: tags(&["x"])?, ..base() }, vec![]),
        ("author", MemoryFilter { author: Some(ann.viewer.agent.clone()), ..base() }, vec![plain]),
        ("unknown author", MemoryFilter { author: Some("zoe".parse()?), ..base() }, vec![]),
        ("from", MemoryFilter { created_from_ms: Some(later_ms), ..base() }, vec![unsure, rich]),
        ("until", MemoryFilter { created_until_ms: Some(later_ms), ..base() }, vec![plain]),
        ("priority", MemoryFilter { priority_min: Some(6), ..base() }, vec![rich]),
        (
            "confidence",
            MemoryFilter { confidence_min_permille: Some(101), ..base() },
            vec![rich, plain],
        ),
        (
            "two at once",
            MemoryFilter { tags_any: tags(&["a"])?, priority_min: Some(6), ..base() },
            vec![rich],
        ),
    ];
    for (name, filter, expected) in cases {
        same!(world.list(&ann, filter.clone()).await?, expected, "list by {name}");
        let query = crate::request::CandidateQuery { filter, ..world.words("wallaby") };
        let found = world.store.candidates(ann.eyes(), query).await?;
        let mut recalled: Vec<MemoryId> = found.items.iter().map(|c| c.memory.id).collect();
        recalled.reverse();
        same!(recalled, expected, "recall by {name}");
        same!(found.eligible, expected.len() as u64, "rows that pass {name}");
    }
    Ok(())
}

fn tags(names: &[&str]) -> Result<BTreeSet<types::Tag>, Problem> {
    names.iter().map(|name| Ok(name.parse()?)).collect()
}

async fn namespaces_are_whole_segments(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let mut ids = std::collections::BTreeMap::new();
    for name in ["acme", "acme/eng", "acme/eng/web", "acme/engine", "acmes", "acme-x"] {
        let mut memory = ann.memory(world.id(), name, "numbat", Scope::Private)?;
        memory.namespace = name.parse()?;
        ids.insert(name, world.keep(&ann, memory).await?);
    }
    let cases = [
        (NamespaceFilter::Exactly("acme".parse()?), vec!["acme"]),
        (
            NamespaceFilter::WithAncestors("acme/eng/web".parse()?),
            vec!["acme/eng/web", "acme/eng", "acme"],
        ),
        (NamespaceFilter::Within("acme/eng".parse()?), vec!["acme/eng/web", "acme/eng"]),
        (NamespaceFilter::Exactly("nowhere".parse()?), vec![]),
    ];
    for (namespaces, names) in cases {
        let expected: BTreeSet<MemoryId> = names.iter().map(|name| ids[name]).collect();
        let filter =
            MemoryFilter { namespaces: Some(namespaces.clone()), ..MemoryFilter::default() };
        let listed: BTreeSet<MemoryId> =
            world.list(&ann, filter.clone()).await?.into_iter().collect();
        same!(listed, expected, "list of {namespaces:?}");
        let query = crate::request::CandidateQuery { filter, ..world.words("numbat") };
        let found = world.store.candidates(ann.eyes(), query).await?;
        let recalled: BTreeSet<MemoryId> = found.items.iter().map(|c| c.memory.id).collect();
        same!(recalled, expected, "recall of {namespaces:?}");
    }
    Ok(())
}

async fn validity_decides_what_is_listed(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let now = world.now_ms();
    let span = |from_ms, until_ms| Validity { from_ms, until_ms };
    let spans = [
        ("past", span(Some(now - 100), Some(now))),
        ("present", span(Some(now), Some(now + 100))),
        ("future", span(Some(now + 100), None)),
        ("always", span(None, None)),
    ];
    let mut ids = std::collections::BTreeMap::new();
    for (name, validity) in spans {
        let mut memory = ann.memory(world.id(), name, "echidna", Scope::Private)?;
        memory.validity = validity;
        ids.insert(name, world.keep(&ann, memory).await?);
    }
    let at = |as_of_ms| MemoryFilter { as_of_ms, ..MemoryFilter::default() };
    let all = MemoryFilter { include_invalid: true, ..MemoryFilter::default() };
    let cases = [
        (at(None), vec!["present", "always"]),
        (at(Some(now - 100)), vec!["past", "always"]),
        (at(Some(now - 1)), vec!["past", "always"]),
        (at(Some(now + 100)), vec!["future", "always"]),
        (all, vec!["past", "present", "future", "always"]),
    ];
    for (filter, names) in cases {
        let expected: BTreeSet<MemoryId> = names.iter().map(|name| ids[name]).collect();
        let listed: BTreeSet<MemoryId> =
            world.list(&ann, filter.clone()).await?.into_iter().collect();
        same!(listed, expected, "list under {filter:?}");
        let query = crate::request::CandidateQuery { filter, ..world.words("echidna") };
        let found = world.store.candidates(ann.eyes(), query).await?;
        let recalled: BTreeSet<MemoryId> = found.items.iter().map(|c| c.memory.id).collect();
        same!(recalled, expected, "recall of {names:?}");
    }
    Ok(())
}
