//! The stream of changes: positions, resuming, and what a watcher is told.
//!
//! Not here: how a door keeps a stream open.

use types::{MemoryId, Patch, Reason, Relation, Scope, ids::IdRef};

use super::{
    cases,
    world::{Outcome, Person, Problem, World, holds, refused, same},
};
use crate::{
    answer::Change,
    request::{Intent, MemoryFilter, Reader, TimelineQuery},
};

cases![
    positions_grow_with_every_commit_and_reads_reach_them,
    changes_resume_without_loss_or_repetition,
    a_deletion_is_told_without_the_memory,
    a_memory_taken_out_of_sight_is_told_as_gone,
    a_memory_brought_into_sight_is_told_with_its_content,
    links_are_told_where_both_ends_are_visible,
    a_position_that_was_never_reached_is_refused,
    the_operator_is_told_everything,
    a_timeline_is_in_order_of_time,
];

/// Follows the stream from the beginning to the present, a few changes at a time.
async fn follow(world: &World<'_>, eyes: Reader<'_>, limit: u32) -> Result<Vec<Change>, Problem> {
    let head = world.position();
    let (mut all, mut after) = (Vec::new(), 0);
    while after < head {
        let (changes, covered) = world.store.changes(eyes, after, limit).await?;
        holds!(covered > after, "the position covered stays at {covered}");
        holds!(
            changes.iter().all(|c| c.position > after && c.position <= covered),
            "positions within"
        );
        all.extend(changes);
        after = covered;
    }
    same!(after, head, "the last position covered");
    holds!(all.is_sorted_by(|a, b| a.position < b.position), "positions ascend");
    Ok(all)
}

fn summary(changes: &[Change]) -> Vec<(&str, Option<MemoryId>, bool)> {
    changes.iter().map(|c| (c.event_type.as_str(), c.memory_id, c.memory.is_some())).collect()
}

async fn positions_grow_with_every_commit_and_reads_reach_them(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let mut watch = world.store.position();
    let mut last = *watch.borrow_and_update();
    for number in 0..5 {
        let memory = ann.memory(world.id(), &format!("note {number}"), "x", Scope::Private)?;
        let intent = Intent::Store {
            memory: Box::new(memory),
            on_conflict: crate::request::OnConflict::Error,
        };
        let receipt = world.store.write(world.request(&ann, vec![intent])).await?;
        holds!(receipt.position > last, "position {} after {last}", receipt.position);
        holds!(watch.has_changed().unwrap_or(false), "the watch is signalled");
        same!(*watch.borrow_and_update(), receipt.position, "position of the watch");
        last = receipt.position;
        same!(world.store.stats().await?.position, last, "position of the figures");
    }
    Ok(())
}

async fn changes_resume_without_loss_or_repetition(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let bob = Person::new("bob", "acme/eng/core")?;
    let mut shared = Vec::new();
    for number in 0..12 {
        let scope = if number % 4 == 0 { Scope::Team } else { Scope::Private };
        let id = world.note(&ann, &format!("note {number}"), scope).await?;
        if scope == Scope::Team {
            shared.push(id);
        }
    }
    for limit in [1, 2, 5, 100] {
        let told = follow(world, bob.eyes(), limit).await?;
        let ids: Vec<MemoryId> = told.iter().filter_map(|c| c.memory_id).collect();
        same!(ids, shared, "changes told to Bob, {limit} at a time");
        same!(follow(world, ann.eyes(), limit).await?.len(), 12, "changes told to Ann");
    }
    Ok(())
}

async fn a_deletion_is_told_without_the_memory(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let id = world.note(&ann, "gone", Scope::Team).await?;
    let delete =
        Intent::Delete { id: IdRef::Full(id), reason: String::new(), expected_version: None };
    world.act(&ann, delete).await?;
    let bob = Person::new("bob", "acme/eng/core")?;
    let told = follow(world, bob.eyes(), 10).await?;
    let expected = [("memory.store", Some(id), false), ("memory.delete", Some(id), false)];
    same!(summary(&told), expected, "changes told to a reader of the team");
    let eve = Person::new("eve", "")?;
    same!(follow(world, eve.eyes(), 10).await?, [], "changes told to a stranger");
    Ok(())
}

async fn rescope(world: &World<'_>, who: &Person, id: MemoryId, scope: Scope) -> Outcome {
    let audience = who.memory(id, "x", "x", scope)?.audience;
    let patch = Patch { scope: Some((scope, audience)), ..Patch::default() };
    let update =
        Intent::Update { id: IdRef::Full(id), patch: Box::new(patch), expected_version: None };
    world.act(who, update).await?;
    Ok(())
}

async fn a_memory_taken_out_of_sight_is_told_as_gone(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let bob = Person::new("bob", "acme/eng/core")?;
    let eve = Person::new("eve", "")?;
    let id = world.note(&ann, "ours", Scope::Team).await?;
    rescope(world, &ann, id, Scope::Private).await?;
    rescope(world, &ann, id, Scope::Private).await?;
    let told = follow(world, bob.eyes(), 10).await?;
    same!(summary(&told), [("memory.update", Some(id), false)], "changes told to Bob");
    same!(follow(world, eve.eyes(), 10).await?, [], "changes told to a stranger");
    Ok(())
}

async fn a_memory_brought_into_sight_is_told_with_its_content(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let bob = Person::new("bob", "acme/eng/core")?;
    let id = world.note(&ann, "mine", Scope::Private).await?;
    let before = world.position();
    rescope(world, &ann, id, Scope::Team).await?;
    let (told, _) = world.store.changes(bob.eyes(), before, 10).await?;
    same!(summary(&told), [("memory.update", Some(id), true)], "changes told to Bob");
    Ok(())
}

async fn links_are_told_where_both_ends_are_visible(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let bob = Person::new("bob", "acme/eng/core")?;
    let shown = world.note(&ann, "shown", Scope::Team).await?;
    let also = world.note(&ann, "also", Scope::Team).await?;
    let hidden = world.note(&ann, "hidden", Scope::Private).await?;
    let before = world.position();
    world.connect(&ann, shown, Relation::DependsOn, also).await?;
    let secret = world.connect(&ann, shown, Relation::DependsOn, hidden).await?;
    world.act(&ann, Intent::Unlink { id: secret }).await?;
    let (told, covered) = world.store.changes(bob.eyes(), before, 10).await?;
    same!(summary(&told), [("link.create", Some(shown), true)], "changes told to Bob");
    same!(covered, world.position(), "position covered");
    let (told, _) = world.store.changes(ann.eyes(), before, 10).await?;
    same!(told.len(), 3, "changes told to Ann");
    Ok(())
}

async fn a_position_that_was_never_reached_is_refused(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let head = world.position();
    let answer = world.store.changes(ann.eyes(), head + 1, 10).await;
    refused(answer, Reason::PositionNotReached, "a position of the future")?;
    same!(world.store.changes(ann.eyes(), head, 10).await?, (vec![], head), "at the present");
    Ok(())
}

async fn the_operator_is_told_everything(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let id = world.note(&ann, "mine", Scope::Private).await?;
    let at_ms = world.now_ms();
    let seen = types::op::Accessed { id, count: 1, at_ms };
    world.act(&ann, Intent::Access(vec![seen])).await?;
    let told = follow(world, Reader::Operator, 1).await?;
    let expected = [("memory.store", Some(id), true), ("memory.access", None, false)];
    same!(summary(&told), expected, "changes told to the operator");
    same!(
        follow(world, ann.eyes(), 1).await?.len(),
        1,
        "reports of recalls are not told to agents"
    );
    Ok(())
}

async fn a_timeline_is_in_order_of_time(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let start = world.now_ms();
    let id = world.note(&ann, "subject", Scope::Private).await?;
    world.pass(100);
    let other = world.note(&ann, "other", Scope::Private).await?;
    world.pass(100);
    let patch = Patch { priority: Some(9), ..Patch::default() };
    let update =
        Intent::Update { id: IdRef::Full(id), patch: Box::new(patch), expected_version: None };
    world.act(&ann, update).await?;
    let all = TimelineQuery {
        id: None,
        filter: MemoryFilter::default(),
        from_ms: None,
        until_ms: None,
        limit: 10,
        now_ms: world.now_ms(),
    };
    let cases = [
        ("all", all.clone(), vec![id, other, id]),
        ("one", TimelineQuery { id: Some(IdRef::Full(id)), ..all.clone() }, vec![id, id]),
        ("later", TimelineQuery { from_ms: Some(start + 100), ..all.clone() }, vec![other, id]),
        ("earlier", TimelineQuery { until_ms: Some(start + 200), ..all.clone() }, vec![id, other]),
        ("first", TimelineQuery { limit: 1, ..all.clone() }, vec![id]),
    ];
    for (name, query, expected) in cases {
        let told = world.store.timeline(ann.eyes(), query).await?;
        let ids: Vec<MemoryId> = told.iter().filter_map(|c| c.memory_id).collect();
        same!(ids, expected, "{name}");
        holds!(told.is_sorted_by_key(|c| c.hlc), "{name}: in order of time");
    }
    Ok(())
}
