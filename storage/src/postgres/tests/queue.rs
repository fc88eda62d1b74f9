//! The queue of texts that wait for a vector, on a file and on a server (`WRK-1` to `WRK-3`).

use std::collections::BTreeSet;

use types::Patch;

use super::*;
use crate::{
    answer::PendingVector,
    request::{ComputedVector, ReturnedText},
    sqlite,
};

const LEASE_MS: u64 = 1_000;

/// Vectors come from a model that takes its time.
fn slow() -> StoreConfig {
    let mut config = config();
    config.space.vectorizer = None;
    config
}

async fn take(store: &RowStore, limit: u32, at_ms: u64) -> Vec<PendingVector> {
    store.take_texts(limit, NOW_MS + at_ms, LEASE_MS).await.unwrap()
}

async fn does(store: &RowStore, intent: Intent) {
    let request = WriteRequest { intents: vec![intent], idempotency: None, ..storing(0, 0) };
    store.write(request).await.unwrap().results[0].as_ref().unwrap();
}

fn ids(texts: &[PendingVector]) -> BTreeSet<MemoryId> {
    texts.iter().map(|text| text.id).collect()
}

fn computed(texts: &[PendingVector]) -> Vec<ComputedVector> {
    let one = |text: &PendingVector| ComputedVector {
        id: text.id,
        text_sha256: text.text_sha256,
        values: vec![0.5; 32],
    };
    texts.iter().map(one).collect()
}

fn back(text: &PendingVector, again_at_ms: Option<u64>) -> Vec<ReturnedText> {
    let problem = "the model was not in the mood".to_owned();
    vec![ReturnedText { id: text.id, text_sha256: text.text_sha256, problem, again_at_ms }]
}

async fn waiting(store: &RowStore) -> (u64, u64) {
    let stats = store.stats().await.unwrap();
    (stats.vectors_pending, stats.vectors_dead)
}

/// Two workers, on two nodes where there are two.
async fn keeps_its_promises(one: &RowStore, two: &RowStore) {
    for number in 0..10 {
        assert!(put(one, number).await.unwrap().results[0].is_ok());
    }
    assert_eq!(waiting(one).await, (10, 0), "WRK-1");
    let (some, rest) = (take(one, 4, 0).await, take(two, 20, 0).await);
    assert_eq!((some.len(), rest.len()), (4, 6));
    assert!(ids(&some).is_disjoint(&ids(&rest)), "WRK-2");
    assert!(take(one, 20, LEASE_MS - 1).await.is_empty(), "WRK-2");
    // Those come back in time, these do not.
    assert_eq!(two.put_vectors(computed(&rest)).await.unwrap(), 6);
    let again = take(two, 20, LEASE_MS).await;
    assert_eq!(ids(&again), ids(&some));
    assert_eq!(waiting(one).await, (4, 0));

    // One later, one never, one that changes, one that is deleted.
    let at = NOW_MS + 10 * LEASE_MS;
    assert_eq!(one.return_texts(back(&again[0], Some(at))).await.unwrap(), 1);
    assert_eq!(one.return_texts(back(&again[1], None)).await.unwrap(), 1);
    let (changed, gone) = (again[2].id, again[3].id);
    let patch = Patch { content: Some("something else".parse().unwrap()), ..Patch::default() };
    let (id, expected_version) = (IdRef::Full(changed), None);
    does(one, Intent::Update { id, patch: Box::new(patch), expected_version }).await;
    assert_eq!(one.return_texts(back(&again[2], None)).await.unwrap(), 0, "another text");
    let (id, reason) = (IdRef::Full(gone), String::new());
    does(two, Intent::Delete { id, reason, expected_version: None }).await;
    assert_eq!(waiting(one).await, (2, 1));
    let next = take(one, 20, 10 * LEASE_MS - 1).await;
    assert_eq!(ids(&next), [changed].into());
    assert!(next[0].text.contains("something else"));
    assert_eq!(ids(&take(two, 20, 10 * LEASE_MS).await), [again[0].id].into());
    let dead = one.dead_texts(10).await.unwrap();
    assert_eq!((dead.len(), dead[0].id), (1, again[1].id), "WRK-3");
    assert!(dead[0].problem.contains("mood"));

    // Whoever takes one and never comes back does so a few times only.
    let mut at = 20 * LEASE_MS;
    while !take(one, 20, at).await.is_empty() {
        at += LEASE_MS;
        assert!(at < 40 * LEASE_MS);
    }
    assert_eq!(waiting(two).await, (0, 3), "WRK-3");
    assert_eq!(two.revive_texts().await.unwrap(), 3);
    let all = take(two, 20, at).await;
    assert_eq!(two.put_vectors(computed(&all)).await.unwrap(), 3);
    assert_eq!((waiting(one).await, one.stats().await.unwrap().vectors), ((0, 0), 9));

    // What is put away waits for nothing, and needs nothing when it is back.
    let id = IdRef::Full(changed);
    does(one, Intent::Archive { id: id.clone(), reason: "later".into() }).await;
    does(one, Intent::Restore { id }).await;
    assert!(take(one, 20, at).await.is_empty());
    is_whole(one).await;
    is_whole(two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_wait_in_a_file() {
    let folder = TempDir::new().unwrap();
    let store = sqlite::open_store(OsDisk::shared(), folder.path(), slow()).unwrap();
    keeps_its_promises(&store, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_wait_in_a_database_that_two_nodes_have() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let one = Daemon::new(&database, StoreConfig { ..slow() }).await;
    let two = Daemon::new(&database, StoreConfig { signer: signing(8).signer, ..slow() }).await;
    keeps_its_promises(&one, &two).await;
    // Many at once take each its own.
    for number in 100..160 {
        assert!(put(&one, number).await.unwrap().results[0].is_ok());
    }
    let takes =
        (0..12).map(|number| take(if number % 2 == 0 { &one } else { &two }, 5, 100 * LEASE_MS));
    let taken = futures::future::join_all(takes).await;
    let all: BTreeSet<MemoryId> = taken.iter().flat_map(|texts| ids(texts)).collect();
    assert_eq!(all.len(), taken.iter().map(Vec::len).sum::<usize>(), "WRK-2");
    // What is missing in the queue is found, and put there.
    ask(&database.url, &["DELETE FROM vector_work"]).await;
    let findings = one.check().await.unwrap();
    assert!(findings.iter().any(|f| f.problem.contains("60 memories")), "{findings:?}");
    assert_eq!(two.review_texts().await.unwrap(), 60);
    assert_eq!(take(&two, 200, 200 * LEASE_MS).await.len(), 60, "WRK-1");
    is_whole(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_has_everything_wait_again() {
    let folder = TempDir::new().unwrap();
    let store = sqlite::open_store(OsDisk::shared(), folder.path(), slow()).unwrap();
    for number in 0..9 {
        assert!(put(&store, number).await.unwrap().results[0].is_ok());
    }
    let all = take(&store, 20, 0).await;
    assert_eq!(store.put_vectors(computed(&all)).await.unwrap(), 9);
    store.close().await.unwrap();
    drop(store);
    let mut other = slow();
    other.space.version = "2".into();
    let store = sqlite::open_store(OsDisk::shared(), folder.path(), other).unwrap();
    assert_eq!(store.review_texts().await.unwrap(), 9);
    assert_eq!(take(&store, 20, 0).await.len(), 9);
    assert_eq!(store.review_texts().await.unwrap(), 0, "they wait already");
    assert_eq!(take(&store, 20, 0).await.len(), 9, "whoever had taken them has ended");
}
