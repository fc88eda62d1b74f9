//! Writing: what an acknowledgement means, and what is refused.
//!
//! Not here: links and lives of memories.

use types::{MemoryId, NewMemory, Patch, Reason, Reject, Scope, Tier, ids::IdRef};

use super::{
    cases,
    world::{Outcome, Person, Problem, World, holds, one, refused, same},
};
use crate::{
    StoreError,
    answer::Applied,
    request::{Idempotency, Intent, OnConflict},
};

cases![
    a_stored_memory_is_read_back_as_written,
    what_was_acknowledged_is_found_by_the_next_recall,
    an_update_changes_its_fields_alone_and_counts,
    a_wrong_expected_version_conflicts_and_changes_nothing,
    the_same_key_and_body_are_done_once,
    the_same_key_with_another_body_is_refused,
    a_store_of_an_existing_title_folds_into_it,
    a_store_may_keep_both_or_refuse,
    an_atomic_batch_is_done_as_a_whole_or_not_at_all,
    a_batch_that_is_not_atomic_keeps_what_was_possible,
    only_those_who_see_a_memory_may_change_it,
    invalid_values_are_refused_by_field,
];

fn store(memory: NewMemory, on_conflict: OnConflict) -> Intent {
    Intent::Store { memory: Box::new(memory), on_conflict }
}

fn retitled(id: MemoryId, title: &str, expected_version: Option<u64>) -> Result<Intent, Problem> {
    let patch = Patch { title: Some(title.parse()?), ..Patch::default() };
    Ok(Intent::Update { id: IdRef::Full(id), patch: Box::new(patch), expected_version })
}

async fn a_stored_memory_is_read_back_as_written(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let mut memory = ann.memory(world.id(), "Rack 7", "The PSU hums.", Scope::Team)?;
    memory.namespace = "acme/eng".parse()?;
    memory.tier = Tier::Long;
    memory.tags = ["power".parse()?, "rack".parse()?].into();
    memory.priority = 9;
    memory.confidence_permille = 750;
    memory.source = "https://example.org/7".into();
    memory.metadata = (&serde_json::json!({"b": 1, "a": [true]})).try_into()?;
    memory.expires_at_ms = Some(world.now_ms() + 1000);
    memory.pii_flags = ["email".parse()?].into();
    let id = world.keep(&ann, memory.clone()).await?;
    let view = world.get(&ann, id).await?;
    same!(view.namespace, memory.namespace, "namespace");
    same!((view.title.as_str(), view.content.as_str()), ("Rack 7", "The PSU hums."), "text");
    same!(view.content_sha256, memory.content.sha256(), "hash of the content");
    same!((view.tier, view.priority), (Tier::Long, 9), "tier and priority");
    same!(view.tags, memory.tags.iter().cloned().collect::<Vec<_>>(), "tags");
    same!(view.confidence_permille, 750, "confidence");
    same!(view.source, memory.source, "source");
    same!((view.kind, view.scope), (memory.kind, Scope::Team), "kind and scope");
    same!(view.author, ann.viewer.agent, "author");
    same!(view.metadata, memory.metadata, "metadata");
    same!(view.expires_at_ms, memory.expires_at_ms, "expiry");
    same!(view.pii_flags, memory.pii_flags.iter().cloned().collect::<Vec<_>>(), "flags");
    same!((view.version, view.access_count), (1, 0), "counts");
    same!(view.archived_reason, None, "archived");
    same!(view.created_at_ms, world.now_ms(), "created");
    same!(view.updated_at_ms, world.now_ms(), "updated");
    Ok(())
}

async fn what_was_acknowledged_is_found_by_the_next_recall(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    for number in 0..20 {
        let word = format!("wombat{number}");
        let id = world.note(&ann, &word, Scope::Private).await?;
        same!(world.recall(&ann, &word).await?, [id], "recall right after storing {word}");
        world.act(&ann, retitled(id, &format!("quokka{number}"), None)?).await?;
        let found = world.recall(&ann, &format!("quokka{number}")).await?;
        same!(found, [id], "recall right after renaming {word}");
    }
    Ok(())
}

async fn an_update_changes_its_fields_alone_and_counts(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let id = world.note(&ann, "first", Scope::Private).await?;
    let before = world.get(&ann, id).await?;
    world.pass(10);
    let patch = Patch { priority: Some(8), add_tags: ["new".parse()?].into(), ..Patch::default() };
    let update =
        Intent::Update { id: IdRef::Full(id), patch: Box::new(patch), expected_version: Some(1) };
    let applied = world.act(&ann, update).await?;
    same!(applied, Applied::Memory { id, version: 2, merged: false }, "the receipt");
    let after = world.get(&ann, id).await?;
    same!((after.priority, after.tags.len()), (8, 1), "changed fields");
    same!((&after.title, &after.content), (&before.title, &before.content), "other fields");
    same!(after.version, 2, "version");
    same!(
        (after.created_at_ms, after.updated_at_ms),
        (before.created_at_ms, world.now_ms()),
        "times"
    );
    holds!(after.hlc > before.hlc && after.position > before.position, "stamp and position grow");
    Ok(())
}

async fn a_wrong_expected_version_conflicts_and_changes_nothing(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let id = world.note(&ann, "first", Scope::Private).await?;
    let before = world.get(&ann, id).await?;
    match world.act(&ann, retitled(id, "second", Some(7))?).await {
        Err(StoreError::Rejected(reject)) if reject.reason == Reason::VersionConflict => {
            same!(reject.fact("current_version"), Some("1"), "the fact beside the refusal");
        }
        other => return Err(Problem::new(format!("got {other:?}, expected version_conflict"))),
    }
    same!(world.get(&ann, id).await?, before, "the memory after the refusal");
    Ok(())
}

fn key(body: u8) -> Option<Idempotency> {
    Some(Idempotency { key: "once".into(), body_sha256: [body; 32], note: b"n".to_vec() })
}

async fn the_same_key_and_body_are_done_once(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let memory = ann.memory(world.id(), "once", "only", Scope::Private)?;
    let mut request = world.request(&ann, vec![store(memory, OnConflict::New)]);
    request.idempotency = key(1);
    let first = world.store.write(request.clone()).await?;
    holds!(!first.replayed, "the first is done, not remembered");
    world.pass(60_000);
    request.now_ms = world.now_ms();
    let second = world.store.write(request.clone()).await?;
    holds!(second.replayed, "the second is remembered");
    same!(second.results, first.results, "the remembered answer");
    same!(second.note, b"n".to_vec(), "the note kept with it");
    // What can no longer be worked out is answered all the same, and under a new key refused.
    let gone = Reject::new(Reason::NotFound, "gone");
    request.atomic = true;
    request.intents = vec![Intent::Refuse(Box::new(gone))];
    same!(world.store.write(request.clone()).await?.results, first.results, "answered again");
    request.idempotency = request.idempotency.map(|key| Idempotency { key: "new".into(), ..key });
    refused(world.store.write(request.clone()).await, Reason::NotFound, "under a new key")?;
    // Having done nothing is remembered too.
    request.intents = Vec::new();
    holds!(!world.store.write(request.clone()).await?.replayed, "nothing is done once");
    holds!(world.store.write(request.clone()).await?.replayed, "and remembered");
    same!(world.list(&ann, Default::default()).await?.len(), 1, "memories");
    // Another agent's key is another key.
    let bob = Person::new("bob", "")?;
    let memory = bob.memory(world.id(), "mine", "mine", Scope::Private)?;
    let mut other = world.request(&bob, vec![store(memory, OnConflict::New)]);
    other.idempotency = key(2);
    holds!(!world.store.write(other).await?.replayed, "keys belong to their agent");
    Ok(())
}

async fn the_same_key_with_another_body_is_refused(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let memory = ann.memory(world.id(), "once", "only", Scope::Private)?;
    let mut request = world.request(&ann, vec![store(memory, OnConflict::New)]);
    request.idempotency = key(1);
    world.store.write(request.clone()).await?;
    request.idempotency = key(2);
    let again = world.store.write(request).await;
    refused(again, Reason::IdempotencyMismatch, "another body under the same key")?;
    same!(world.list(&ann, Default::default()).await?.len(), 1, "memories");
    Ok(())
}

async fn a_store_of_an_existing_title_folds_into_it(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let mut first = ann.memory(world.id(), "Rack 7", "hums", Scope::Team)?;
    first.tags = ["old".parse()?].into();
    (first.tier, first.priority) = (Tier::Long, 3);
    let id = world.keep(&ann, first).await?;
    let mut second = ann.memory(world.id(), "Rack 7", "silent", Scope::Team)?;
    second.tags = ["new".parse()?].into();
    (second.tier, second.priority) = (Tier::Mid, 7);
    let applied = world.act(&ann, store(second, OnConflict::Merge)).await?;
    same!(applied, Applied::Memory { id, version: 2, merged: true }, "the receipt");
    let view = world.get(&ann, id).await?;
    same!(view.content, "silent", "newest content");
    same!((view.tier, view.priority), (Tier::Long, 7), "greater tier and priority");
    same!(view.tags.len(), 2, "union of tags");
    // Another author, scope or namespace is another memory.
    let bob = Person::new("bob", "acme/eng/core")?;
    let of_bob = bob.memory(world.id(), "Rack 7", "loud", Scope::Team)?;
    let wider = ann.memory(world.id(), "Rack 7", "loud", Scope::Unit)?;
    let mut elsewhere = ann.memory(world.id(), "Rack 7", "loud", Scope::Team)?;
    elsewhere.namespace = "else".parse()?;
    for (who, memory) in [(&bob, of_bob), (&ann, wider), (&ann, elsewhere)] {
        let fresh = memory.id;
        let applied = world.act(who, store(memory, OnConflict::Merge)).await?;
        same!(applied, Applied::Memory { id: fresh, version: 1, merged: false }, "kept apart");
    }
    Ok(())
}

async fn a_store_may_keep_both_or_refuse(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let id = world.note(&ann, "twice", Scope::Private).await?;
    let again = ann.memory(world.id(), "twice", "again", Scope::Private)?;
    match world.act(&ann, store(again.clone(), OnConflict::Error)).await {
        Err(StoreError::Rejected(reject)) if reject.reason == Reason::AlreadyExists => {
            let named = reject.facts.iter().any(|(_, value)| *value == id.to_string());
            holds!(named, "the refusal names the id: {reject:?}");
        }
        other => return Err(Problem::new(format!("got {other:?}, expected already_exists"))),
    }
    world.act(&ann, store(again, OnConflict::New)).await?;
    same!(world.list(&ann, Default::default()).await?.len(), 2, "both are kept");
    Ok(())
}

async fn an_atomic_batch_is_done_as_a_whole_or_not_at_all(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let good = ann.memory(world.id(), "kangaroo", "good", Scope::Private)?;
    let missing = world.id();
    let mut request = world
        .request(&ann, vec![store(good, OnConflict::Error), retitled(missing, "nothing", None)?]);
    request.atomic = true;
    let position = world.position();
    refused(
        world.store.write(request.clone()).await,
        Reason::NotFound,
        "a batch with a bad intent",
    )?;
    same!(world.position(), position, "position after the refusal");
    same!(world.list(&ann, Default::default()).await?.len(), 0, "memories after the refusal");
    same!(world.recall(&ann, "kangaroo").await?.len(), 0, "candidates after the refusal");
    request.intents.pop();
    same!(world.store.write(request).await?.results.len(), 1, "results of the good batch");
    same!(world.list(&ann, Default::default()).await?.len(), 1, "memories after the good batch");
    Ok(())
}

async fn a_batch_that_is_not_atomic_keeps_what_was_possible(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let one_more = ann.memory(world.id(), "first", "good", Scope::Private)?;
    let id = one_more.id;
    let intents = vec![
        store(one_more, OnConflict::Error),
        retitled(world.id(), "nothing", None)?,
        retitled(id, "renamed", Some(1))?,
    ];
    let receipt = world.store.write(world.request(&ann, intents)).await?;
    let kinds: Vec<bool> = receipt.results.iter().map(Result::is_ok).collect();
    same!(kinds, [true, false, true], "results in order");
    same!(world.get(&ann, id).await?.title, "renamed", "later intents see earlier ones");
    same!(world.position(), receipt.position, "position of the receipt");
    Ok(())
}

async fn only_those_who_see_a_memory_may_change_it(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "acme/eng/core")?;
    let eve = Person::new("eve", "beta/eng/core")?;
    let id = world.note(&ann, "ours", Scope::Org).await?;
    let archive = Intent::Archive { id: IdRef::Full(id), reason: "x".into() };
    let delete =
        Intent::Delete { id: IdRef::Full(id), reason: String::new(), expected_version: None };
    for intent in [retitled(id, "theirs", None)?, archive, delete] {
        let receipt = world.store.write(world.request(&eve, vec![intent])).await?;
        refused(one(receipt), Reason::NotFound, "a change by one who may not see it")?;
    }
    same!(world.get(&ann, id).await?.version, 1, "version after the refusals");
    Ok(())
}

async fn invalid_values_are_refused_by_field(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let mut memory = ann.memory(world.id(), "x", "y", Scope::Private)?;
    memory.priority = 11;
    match world.act(&ann, store(memory, OnConflict::Error)).await {
        Err(StoreError::Rejected(reject)) if reject.reason == Reason::InvalidArgument => {
            same!(reject.fact("field"), Some("priority"), "the field named");
        }
        other => return Err(Problem::new(format!("got {other:?}, expected invalid_argument"))),
    }
    Ok(())
}
