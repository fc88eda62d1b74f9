//! Candidates: words, phrases, near-duplicates, and what is said about how they were found.
//!
//! Not here: how good the ranking is, which is measured, not tried.

use types::{MemoryId, Patch, Reason, Scope, ids::IdRef};

use super::{
    cases,
    world::{Outcome, Person, World, holds, refused, same},
};
use crate::request::{CandidateQuery, DuplicateQuery, Intent};

cases![
    words_find_memories_by_title_and_content,
    a_phrase_means_exactly_this,
    an_old_text_is_not_found_any_more,
    candidates_come_in_order_of_id_with_their_scores,
    an_empty_question_finds_nothing,
    a_duplicate_is_found_by_what_it_shares,
    a_vector_finds_what_the_words_do_not,
];

async fn words_find_memories_by_title_and_content(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let title = ann.memory(world.id(), "Bandicoot burrow", "under the shed", Scope::Private)?;
    let title = world.keep(&ann, title).await?;
    let content = ann.memory(world.id(), "Garden", "a bandicoot digs at night", Scope::Private)?;
    let content = world.keep(&ann, content).await?;
    world.note(&ann, "nothing to do with it", Scope::Private).await?;
    let mut found = lexical(world, &ann, "bandicoots").await?;
    found.sort();
    same!(found, [title, content], "memories about bandicoots");
    same!(lexical(world, &ann, "burrow").await?, [title], "memories about burrows");
    same!(lexical(world, &ann, "zeppelin").await?, [], "memories about zeppelins");
    Ok(())
}

/// Memories that the words found, whatever the vectors say.
async fn lexical(
    world: &World<'_>,
    who: &Person,
    text: &str,
) -> Result<Vec<MemoryId>, super::world::Problem> {
    let found = world.store.candidates(who.eyes(), world.words(text)).await?;
    let hits = found.items.into_iter().filter(|c| c.lexical.is_some_and(|score| score > 0.0));
    Ok(hits.map(|candidate| candidate.memory.id).collect())
}

async fn a_phrase_means_exactly_this(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let exact = world.note(&ann, "the red queen runs", Scope::Private).await?;
    world.note(&ann, "the queen is red", Scope::Private).await?;
    same!(world.recall(&ann, "\"red queen\"").await?, [exact], "a quoted phrase");
    same!(lexical(world, &ann, "red queen").await?.len(), 2, "the words alone");
    Ok(())
}

async fn an_old_text_is_not_found_any_more(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let id = world.note(&ann, "kookaburra", Scope::Private).await?;
    let patch = Patch {
        title: Some("lyrebird".parse()?),
        content: Some("lyrebird".parse()?),
        ..Patch::default()
    };
    let update =
        Intent::Update { id: IdRef::Full(id), patch: Box::new(patch), expected_version: None };
    world.act(&ann, update).await?;
    same!(lexical(world, &ann, "kookaburra").await?, [], "recall of the old text");
    same!(lexical(world, &ann, "lyrebird").await?, [id], "recall of the new text");
    Ok(())
}

async fn candidates_come_in_order_of_id_with_their_scores(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    for number in 0..10 {
        world.note(&ann, &format!("galah number {number}"), Scope::Private).await?;
    }
    let query = CandidateQuery { explain: true, ..world.words("galah number") };
    let found = world.store.candidates(ann.eyes(), query).await?;
    same!(found.items.len(), 10, "candidates");
    same!(found.eligible, 10, "rows that pass the filter");
    holds!(!found.rebuilding, "nothing is being rebuilt");
    same!(found.position, world.position(), "position of the indexes");
    holds!(found.items.is_sorted_by_key(|c| c.memory.id), "candidates are in order of id");
    for candidate in &found.items {
        let score = candidate.lexical.unwrap_or(0.0);
        let terms: f32 = candidate.terms.iter().map(|(_, part)| part).sum();
        holds!(score > 0.0 && (score - terms).abs() < 0.02, "score {score}, terms add to {terms}");
    }
    let few = CandidateQuery { depth: 3, ..world.words("galah number") };
    let found = world.store.candidates(ann.eyes(), few).await?;
    let hits = found.items.iter().filter(|c| c.lexical.is_some()).count();
    holds!((3..=6).contains(&hits), "{hits} lexical candidates for a depth of 3");
    Ok(())
}

async fn an_empty_question_finds_nothing(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    world.note(&ann, "something", Scope::Private).await?;
    same!(world.recall(&ann, "").await?, [], "candidates for no words");
    Ok(())
}

async fn a_duplicate_is_found_by_what_it_shares(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let text = "the night train to the coast leaves at nine from platform four";
    let near = ann.memory(world.id(), "Train", text, Scope::Private)?;
    let near = world.keep(&ann, near).await?;
    let far = "the night train to the hills leaves at noon from another station";
    let far = ann.memory(world.id(), "Train two", far, Scope::Private)?;
    world.keep(&ann, far).await?;
    let query = DuplicateQuery {
        title: "Train".into(),
        content: text.replace("four", "five"),
        namespace: types::Namespace::global(),
        similarity_min_permille: 600,
        now_ms: world.now_ms(),
    };
    let found = world.store.duplicates(ann.eyes(), query.clone()).await?;
    let ids: Vec<MemoryId> = found.iter().map(|(_, view)| view.id).collect();
    same!(ids, [near], "near duplicates");
    holds!((600..1000).contains(&found[0].0), "similarity {}", found[0].0);
    let all = DuplicateQuery { similarity_min_permille: 100, ..query.clone() };
    let found = world.store.duplicates(ann.eyes(), all).await?;
    holds!(found.is_sorted_by(|a, b| a.0 >= b.0), "most similar first");
    let elsewhere = DuplicateQuery { namespace: "elsewhere".parse()?, ..query };
    same!(world.store.duplicates(ann.eyes(), elsewhere).await?.len(), 0, "in another namespace");
    Ok(())
}

async fn a_vector_finds_what_the_words_do_not(world: &World<'_>) -> Outcome {
    let ann = Person::new("ann", "")?;
    let eve = Person::new("eve", "")?;
    let near = world.note(&ann, "bilby", Scope::Private).await?;
    let far = world.note(&ann, "xxxx", Scope::Private).await?;
    let query = CandidateQuery { depth: 1, ..world.near("bilby")? };
    let found = world.store.candidates(ann.eyes(), query.clone()).await?;
    same!(found.items.len(), 1, "candidates at a depth of 1");
    let first = &found.items[0];
    same!((first.memory.id, first.lexical), (near, None), "the nearest, without words");
    holds!(first.dense.is_some_and(|score| score > 0.99), "its similarity is {:?}", first.dense);
    holds!(found.vector_plan != "none", "the plan is named");
    let both = CandidateQuery { depth: 10, text: "xxxx".into(), ..query.clone() };
    let found = world.store.candidates(ann.eyes(), both).await?;
    same!(found.items.len(), 2, "candidates of both signals");
    holds!(found.items.iter().all(|c| c.dense.is_some()), "each has its similarity");
    let hit = found.items.iter().find(|c| c.lexical.is_some()).map(|c| c.memory.id);
    same!(hit, Some(far), "what the words found");
    let hidden = world.store.candidates(eve.eyes(), query.clone()).await?;
    same!(hidden.items.len(), 0, "a stranger's candidates by vector");
    let delete =
        Intent::Delete { id: IdRef::Full(near), reason: String::new(), expected_version: None };
    world.act(&ann, delete).await?;
    let after = world.store.candidates(ann.eyes(), query).await?;
    holds!(after.items.iter().all(|c| c.memory.id == far), "a deleted memory has no vector");
    let stats = world.store.stats().await?;
    same!((stats.vectors, stats.vectors_pending), (1, 0), "vectors and those to come");
    let mut wrong = world.near("bilby")?;
    wrong.vector = wrong.vector.map(|vector| [vector, vec![0.5]].concat());
    let answer = world.store.candidates(ann.eyes(), wrong).await;
    refused(answer, Reason::InvalidArgument, "a vector of another dimension")
}
