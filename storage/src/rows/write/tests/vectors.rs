//! Vectors that a model computes, and the texts they are of.

use types::{Patch, Scope};

use super::world::*;
use crate::{
    port::WriteStore,
    request::{ComputedVector, Intent},
    rows::RowStore,
};

/// Computes what is pending; gives the texts.
async fn compute(store: &RowStore) -> Vec<String> {
    let pending = store.take_texts(10, NOW_MS, 1000).await.unwrap();
    let computed = pending.iter().map(|one| ComputedVector {
        id: one.id,
        text_sha256: one.text_sha256,
        values: vec![1.0, 0.0, 0.0, 0.0],
    });
    let kept = store.put_vectors(computed.collect()).await.unwrap();
    assert_eq!(kept, pending.len() as u64);
    pending.into_iter().map(|one| one.text).collect()
}

#[tokio::test]
async fn a_text_that_changed_needs_its_vector_again_and_no_other_change_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let ann = viewer("ann");
    let new = memory(&ann, 1, "words", Scope::Private);
    act(&store, &ann, store_intent(new)).await.unwrap();
    assert_eq!(compute(&store).await.len(), 1);
    let update =
        |patch| Intent::Update { id: full(1), patch: Box::new(patch), expected_version: None };
    let tagged = Patch {
        add_tags: ["later".parse().unwrap()].into(),
        priority: Some(9),
        ..Patch::default()
    };
    act(&store, &ann, update(tagged)).await.unwrap();
    assert!(compute(&store).await.is_empty(), "the text is what it was");
    let other = Patch { content: Some("quite another text".parse().unwrap()), ..Patch::default() };
    act(&store, &ann, update(other)).await.unwrap();
    let texts = compute(&store).await;
    assert!(texts.len() == 1 && texts[0].contains("quite another text"), "{texts:?}");
    assert!(compute(&store).await.is_empty());
}
