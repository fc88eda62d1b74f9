//! Guarded keys: no holder of before writes under them again, in whichever memory.

use types::{Reason, Scope};

use super::world::*;
use crate::{
    port::{ReadStore, WriteStore},
    request::{Intent, Viewer, WriteRequest},
    rows::RowStore,
};

async fn write(
    store: &RowStore,
    by: &Viewer,
    number: u128,
    key: &str,
    fence: u64,
) -> Option<Reason> {
    let memory = memory(by, number, &format!("{key} {number}"), Scope::Private);
    let intent = Box::new(store_intent(memory));
    let guarded = Intent::Guarded { keys: vec![key.to_owned()], intent };
    let request = WriteRequest { fence, ..request(by, vec![guarded]) };
    let receipt = store.write(request).await.unwrap();
    receipt.results.into_iter().next().unwrap().err().map(|reject| reject.reason)
}

#[tokio::test]
async fn a_smaller_fence_writes_nothing_more_under_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let (ann, bob) = (viewer("ann"), viewer("bob"));
    let store = open(folder.path());
    assert_eq!(write(&store, &ann, 1, "deploy", 5).await, None);
    assert_eq!(write(&store, &bob, 2, "deploy", 9).await, None);
    assert_eq!(write(&store, &ann, 3, "deploy", 5).await, Some(Reason::FenceTooSmall), "FNC-1");
    assert_eq!(write(&store, &ann, 4, "other", 5).await, None, "another key");
    store.close().await.unwrap();
    drop(store);

    let store = open(folder.path());
    assert_eq!(write(&store, &ann, 5, "deploy", 8).await, Some(Reason::FenceTooSmall), "FNC-1");
    assert_eq!(write(&store, &bob, 6, "deploy", 9).await, None, "the same holder again");
    let operator = Viewer { operator: true, ..viewer("op") };
    assert_eq!(write(&store, &operator, 7, "deploy", 0).await, None, "operators pass");
    assert_eq!(write(&store, &ann, 8, "deploy", 8).await, Some(Reason::FenceTooSmall));
    assert!(store.verify_chain(0).await.unwrap().holds());
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_was_refused_guards_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (ann, bob) = (viewer("ann"), viewer("bob"));
    let store = open(folder.path());
    assert_eq!(write(&store, &ann, 1, "deploy", 5).await, None);
    // The same id again is refused, and its greater fence with it.
    assert!(write(&store, &bob, 1, "deploy", 50).await.is_some());
    assert_eq!(write(&store, &ann, 2, "deploy", 6).await, None);
    store.close().await.unwrap();
}
