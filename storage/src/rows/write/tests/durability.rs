//! What is there after a restart, and what the audit chain says about it.

use types::{Reason, Scope};

use super::world::*;
use crate::{
    answer::Applied,
    error::OpenError,
    port::WriteStore,
    request::{Idempotency, Intent},
    sqlite::open_store,
};

#[tokio::test]
async fn a_write_survives_a_restart_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let ann = viewer("ann");
    let store = open(folder.path());
    let node = store.node_id();
    put(&store, &ann, 1, "first").await;
    store.close().await.unwrap();
    drop(store);

    let store = open(folder.path());
    assert_eq!(store.node_id(), node);
    assert_eq!(*store.position().borrow(), 1);
    assert_eq!(store.recall.indexes().unwrap().serving().recall.snapshot().live(), 1);
    put(&store, &ann, 2, "second").await;
    assert_eq!(*store.position().borrow(), 2);
    assert_eq!(store.recall.indexes().unwrap().serving().recall.snapshot().live(), 2);
    store.close().await.unwrap();

    let file = look(folder.path());
    assert_eq!(count(&file, "memories"), 2);
    assert_eq!(count(&file, "ops"), 2);
    assert_eq!(count(&file, "signed_events e JOIN ops o ON o.position = e.sequence"), 2);
    let seqs: Vec<i64> = file
        .prepare("SELECT seq FROM ops ORDER BY position")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(seqs, [1, 2], "OP-2");
}

#[tokio::test]
async fn two_processes_cannot_have_one_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let refused = open_store(runtime::disk::OsDisk::shared(), folder.path(), config());
    let Err(OpenError::Locked { holder, .. }) = refused else { panic!("OPN-1") };
    assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    store.close().await.unwrap();
    open(folder.path()).close().await.unwrap();
}

#[tokio::test]
async fn what_is_remembered_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, &viewer("ann"), 1, "secret").await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.path());
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_is_no_database_is_refused_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hivemem.db"), vec![7u8; 8192]).unwrap();
    let refused = open_store(runtime::disk::OsDisk::shared(), folder.path(), config());
    let Err(error) = refused else { panic!("opened") };
    assert!(error.to_string().contains("hivemem restore"), "{error}");
}

#[tokio::test]
async fn a_cut_chain_refuses_writes() {
    let folder = tempfile::tempdir().unwrap();
    let ann = viewer("ann");
    let store = open(folder.path());
    for number in 1..=3 {
        put(&store, &ann, number, &format!("title {number}")).await;
    }
    store.close().await.unwrap();
    drop(store);
    look(folder.path())
        .execute_batch(
            "DELETE FROM signed_events WHERE sequence = 3; DELETE FROM ops WHERE position = 3",
        )
        .unwrap();
    let store = open(folder.path());
    let new = memory(&ann, 9, "late", Scope::Private);
    let reject = rejected(store.write(request(&ann, vec![store_intent(new)])).await);
    assert_eq!(reject.reason, Reason::ChainBroken);
    assert_eq!(count(&look(folder.path()), "ops"), 2);
}

#[tokio::test]
async fn an_idempotent_request_is_done_once_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ann = viewer("ann");
    let keyed = |body: u8, number: u128| {
        let new = memory(&ann, number, "once", Scope::Private);
        let mut request = request(&ann, vec![store_intent(new)]);
        request.idempotency =
            Some(Idempotency { key: "k".into(), body_sha256: [body; 32], note: b"n".to_vec() });
        request
    };
    let store = open(folder.path());
    let first = store.write(keyed(1, 1)).await.unwrap();
    assert!(!first.replayed);
    store.close().await.unwrap();
    drop(store);

    let store = open(folder.path());
    let again = store.write(keyed(1, 2)).await.unwrap();
    assert!(again.replayed);
    assert_eq!((&again.results, again.position), (&first.results, first.position));
    let reject = rejected(store.write(keyed(2, 3)).await);
    assert_eq!(reject.reason, Reason::IdempotencyMismatch);
    let mut late = keyed(2, 3);
    late.now_ms += types::limits::IDEMPOTENCY_TTL_MS;
    assert!(!store.write(late).await.unwrap().replayed, "forgotten after 24 h");
    store.close().await.unwrap();
    assert_eq!(count(&look(folder.path()), "memories"), 1);
}

#[tokio::test]
async fn stamps_grow_over_a_restart_with_a_clock_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let ann = viewer("ann");
    let store = open(folder.path());
    put(&store, &ann, 1, "first").await;
    store.close().await.unwrap();
    drop(store);
    let store = open(folder.path());
    let new = memory(&ann, 2, "second", Scope::Private);
    let mut early = request(&ann, vec![store_intent(new)]);
    early.now_ms = NOW_MS - 3_600_000;
    store.write(early).await.unwrap();
    store.close().await.unwrap();
    let growing = "ops a JOIN ops b ON b.position = a.position + 1 AND b.hlc > a.hlc";
    assert_eq!(count(&look(folder.path()), growing), 1);
}

#[tokio::test]
async fn a_closed_store_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let ann = viewer("ann");
    let store = open(folder.path());
    store.close().await.unwrap();
    store.close().await.unwrap();
    let delete = Intent::Delete { id: full(1), reason: String::new(), expected_version: None };
    let reject = rejected(store.write(request(&ann, vec![delete])).await);
    assert_eq!(reject.reason, Reason::Stopping);
}

#[tokio::test]
async fn many_callers_share_commits_and_all_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let ann = viewer("ann");
    let store = open(folder.path());
    let writes = (1..=200u128).map(|number| {
        let new = memory(&ann, number, &format!("title {number}"), Scope::Private);
        store.write(request(&ann, vec![store_intent(new)]))
    });
    let receipts = futures::future::join_all(writes).await;
    for receipt in receipts {
        assert!(matches!(receipt.unwrap().results[0], Ok(Applied::Memory { merged: false, .. })));
    }
    let commits: u64 = store.counters.commits().iter().sum();
    assert!(commits < 200, "{commits} commits");
    store.close().await.unwrap();
    assert_eq!(count(&look(folder.path()), "memories"), 200);
    assert_eq!(count(&look(folder.path()), "signed_events"), 200);
}
