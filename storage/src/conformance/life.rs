//! The life of a memory: archive, restore, purge, expiry, legal hold, promotion, recalls counted.
//!
//! Not here: who decides when a memory is archived (the node).

use types::{Patch, Reason, Scope, Tier, ids::IdRef, op::Accessed};

use super::{
    cases,
    world::{Outcome, Person, World, holds, refused, same},
};
use crate::request::{ForgetQuery, Intent, ListQuery, MemoryFilter, NamespaceFilter};

cases![
    an_archived_memory_leaves_lists_and_recall_and_comes_back,
    a_deleted_memory_is_gone_for_good,
    an_expired_memory_is_invisible_until_it_is_archived,
    a_legal_hold_protects,
    a_promotion_changes_tier_and_expiry,
    recalls_are_counted_without_a_new_version,
    only_the_author_archives,
    a_pattern_takes_what_it_names_and_nothing_else,
];

fn archive(id: types::MemoryId) -> Intent {
    Intent::Archive { id: IdRef::Full(id), reason: "done with".into() }
}

fn delete(id: types::MemoryId) -> Intent {
    Intent::Delete { id: IdRef::Full(id), reason: String::new(), expected_version: None }
}

async fn an_archived_memory_leaves_lists_and_recall_and_comes_back(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let id = world.note(&ann, "platypus", Scope::Private).await?;
    refused(
        world.act(&ann, Intent::Restore { id: IdRef::Full(id) }).await,
        Reason::FailedPrecondition,
        "restoring what is not archived",
    )?;
    world.act(&ann, archive(id)).await?;
    same!(world.get(&ann, id).await?.archived_reason.as_deref(), Some("done with"), "reason");
    same!(world.list(&ann, MemoryFilter::default()).await?, [], "list of live memories");
    same!(world.recall(&ann, "platypus").await?, [], "recall");
    let query = ListQuery { archived: true, ..world.everything() };
    same!(world.store.list(ann.eyes(), query).await?.items.len(), 1, "list of the archive");
    world.act(&ann, Intent::Restore { id: IdRef::Full(id) }).await?;
    same!(world.get(&ann, id).await?.archived_reason, None, "reason after the restore");
    same!(world.recall(&ann, "platypus").await?, [id], "recall after the restore");
    Ok(())
}

async fn a_deleted_memory_is_gone_for_good(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let id = world.note(&ann, "dodo", Scope::Private).await?;
    let archived = world.note(&ann, "moa", Scope::Private).await?;
    world.act(&ann, archive(archived)).await?;
    for gone in [id, archived] {
        world.act(&ann, delete(gone)).await?;
        refused(world.get(&ann, gone).await, Reason::NotFound, "get after deletion")?;
        refused(world.act(&ann, delete(gone)).await, Reason::NotFound, "a second deletion")?;
        let restore = world.act(&ann, Intent::Restore { id: IdRef::Full(gone) }).await;
        refused(restore, Reason::NotFound, "restoring what was deleted")?;
    }
    same!(world.list(&ann, MemoryFilter::default()).await?, [], "list");
    let query = ListQuery { archived: true, ..world.everything() };
    same!(world.store.list(ann.eyes(), query).await?.items.len(), 0, "list of the archive");
    same!(world.recall(&ann, "dodo moa").await?, [], "recall");
    let again = world.keep(&ann, ann.memory(id, "dodo", "again", Scope::Private)?).await;
    holds!(again.is_err(), "an id is never used twice");
    same!(world.store.stats().await?.tombstones, 2, "tombstones");
    Ok(())
}

async fn an_expired_memory_is_invisible_until_it_is_archived(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let mut memory = ann.memory(world.id(), "mayfly", "mayfly", Scope::Private)?;
    memory.expires_at_ms = Some(world.now_ms() + 1000);
    let id = world.keep(&ann, memory).await?;
    world.pass(999);
    same!(world.recall(&ann, "mayfly").await?, [id], "recall a moment before");
    same!(world.store.expired(world.now_ms(), 10).await?, [], "expired a moment before");
    world.pass(1);
    same!(world.recall(&ann, "mayfly").await?, [], "recall at the moment");
    same!(world.list(&ann, MemoryFilter::default()).await?, [], "list at the moment");
    refused(world.get(&ann, id).await, Reason::NotFound, "get at the moment")?;
    same!(world.store.namespaces(ann.eyes(), world.now_ms()).await?, [], "namespaces");
    same!(world.store.expired(world.now_ms(), 10).await?, [id], "expired at the moment");
    let mut upkeep = Person::new("upkeep", "")?;
    upkeep.viewer.operator = true;
    world.act(&upkeep, archive(id)).await?;
    same!(world.store.expired(world.now_ms(), 10).await?, [], "expired after archiving");
    holds!(world.get(&ann, id).await?.archived_reason.is_some(), "get after archiving");
    world.act(&ann, Intent::Restore { id: IdRef::Full(id) }).await?;
    same!(world.get(&ann, id).await?.expires_at_ms, None, "expiry after the restore");
    Ok(())
}

async fn a_legal_hold_protects(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let mut memory = ann.memory(world.id(), "evidence", "evidence", Scope::Private)?;
    memory.legal_hold = true;
    memory.expires_at_ms = Some(world.now_ms() + 1);
    let held = world.keep(&ann, memory).await?;
    let archived = world.act(&ann, archive(held)).await;
    refused(archived, Reason::LegalHold, "archiving under legal hold")?;
    refused(world.act(&ann, delete(held)).await, Reason::LegalHold, "deleting under legal hold")?;
    same!(forgettable(world, &ann, None, None).await?, [], "forgettable under legal hold");
    world.pass(10);
    same!(world.store.expired(world.now_ms(), 10).await?, [], "expired under legal hold");
    Ok(())
}

async fn a_promotion_changes_tier_and_expiry(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let id = world.note(&ann, "notable", Scope::Private).await?;
    let promote = |tier, automatic| Intent::Promote {
        id: IdRef::Full(id),
        tier,
        expires_at_ms: None,
        automatic,
        expected_version: None,
    };
    world.act(&ann, promote(Tier::Long, false)).await?;
    same!(world.get(&ann, id).await?.tier, Tier::Long, "tier after the promotion");
    world.act(&ann, promote(Tier::Short, true)).await?;
    same!(world.get(&ann, id).await?.tier, Tier::Long, "an automatic one never lowers it");
    world.act(&ann, promote(Tier::Short, false)).await?;
    same!(world.get(&ann, id).await?.tier, Tier::Short, "a person may");
    Ok(())
}

async fn recalls_are_counted_without_a_new_version(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let id = world.note(&ann, "popular", Scope::Private).await?;
    let at_ms = world.pass(50);
    world.act(&ann, Intent::Access(vec![Accessed { id, count: 2, at_ms }])).await?;
    let view = world.get(&ann, id).await?;
    same!((view.access_count, view.last_accessed_at_ms), (2, at_ms), "count and time");
    same!((view.version, view.updated_at_ms), (1, view.created_at_ms), "version and time of edit");
    Ok(())
}

async fn only_the_author_archives(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let bob = Person::new("bob", "acme/eng/core")?;
    let id = world.note(&ann, "shared", Scope::Team).await?;
    refused(world.act(&bob, archive(id)).await, Reason::Forbidden, "archiving another's memory")?;
    refused(world.act(&bob, delete(id)).await, Reason::Forbidden, "deleting another's memory")?;
    let patch = Patch { priority: Some(9), ..Patch::default() };
    let update =
        Intent::Update { id: IdRef::Full(id), patch: Box::new(patch), expected_version: None };
    world.act(&bob, update).await?;
    same!(world.get(&ann, id).await?.priority, 9, "who sees a memory may change its fields");
    same!(forgettable(world, &bob, None, None).await?, [], "what Bob may forget");
    same!(forgettable(world, &ann, None, None).await?, [id], "what Ann may forget");
    Ok(())
}

async fn forgettable(
    world: &World<'_>,
    who: &Person,
    title_glob: Option<&str>,
    tier: Option<Tier>,
) -> Result<Vec<types::MemoryId>, super::world::Problem> {
    let query = ForgetQuery {
        namespace: NamespaceFilter::Within("global".parse()?),
        title_glob: title_glob.map(str::to_owned),
        tier,
        limit: 100,
        now_ms: world.now_ms(),
    };
    let found = world.store.forgettable(who.eyes(), query).await?;
    Ok(found.into_iter().map(|view| view.id).collect())
}

async fn a_pattern_takes_what_it_names_and_nothing_else(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let one = world.note(&ann, "build 1", Scope::Private).await?;
    let ten = world.note(&ann, "build 10", Scope::Private).await?;
    let odd = world.note(&ann, "[build] 1", Scope::Private).await?;
    let mut memory = ann.memory(world.id(), "build 2", "x", Scope::Private)?;
    memory.namespace = "globally".parse()?;
    world.keep(&ann, memory).await?;
    for (glob, expected) in [
        ("build *", vec![ten, one]),
        ("build ?", vec![one]),
        ("[build]*", vec![odd]),
        ("*1*", vec![odd, ten, one]),
        ("Build *", vec![]),
    ] {
        same!(forgettable(world, &ann, Some(glob), None).await?, expected, "pattern {glob}");
    }
    same!(forgettable(world, &ann, None, Some(Tier::Mid)).await?.len(), 3, "tier of all");
    same!(forgettable(world, &ann, None, Some(Tier::Long)).await?.len(), 0, "tier of none");
    Ok(())
}
