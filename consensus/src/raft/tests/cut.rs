//! Cuts of the log (`RFT-24`), also across restarts.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use openraft::{
    EntryPayload,
    storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt},
};
use runtime::disk::OsDisk;

use super::{
    cluster::{CLUSTER, Cluster, soon},
    machine::Table,
};
use crate::{
    log::{EntryId, Identity, Log, LogOptions, Vote},
    raft::{
        Member,
        apply::{State, take},
        log_store::LogStore,
        snapshot::SnapshotStore,
        types::{Entry, Membership, entry_id, log_id},
    },
};

fn open(folder: &Path) -> Log {
    let identity = Identity { cluster: CLUSTER, member: 1 };
    let options = LogOptions { segment_bytes: 4096, cache_bytes: 64, spares_max: 1 };
    Log::open(&OsDisk::shared(), folder, identity, options).unwrap()
}

fn entry(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(EntryId { term, index }), payload: EntryPayload::Blank }
}

async fn ids(store: &mut LogStore) -> Vec<(u64, u64)> {
    let entries = store.try_get_log_entries(0..100).await.unwrap();
    let ids = entries.iter().map(|entry| entry_id(&entry.log_id));
    ids.map(|id| (id.term, id.index)).collect()
}

#[tokio::test]
async fn entries_are_kept_until_what_replaces_them_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut store = LogStore::new(log.clone(), 1);
    store.blocking_append((0..5).map(|index| entry(1, index))).await.unwrap();
    store.truncate_after(Some(log_id(EntryId { term: 1, index: 1 }))).await.unwrap();
    assert_eq!(ids(&mut store).await, [(1, 0), (1, 1)]);
    assert_eq!(store.get_log_state().await.unwrap().last_log_id.unwrap().index, 1);
    store
        .save_vote(&super::super::types::raft_vote(Vote { term: 2, member: 2, committed: true }))
        .await
        .unwrap();
    log.close().await.unwrap();
    // A start in between finds them all.
    let log = open(folder.path());
    let mut store = LogStore::new(log.clone(), 1);
    assert_eq!(ids(&mut store).await, [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4)], "RFT-24");
    store.truncate_after(Some(log_id(EntryId { term: 1, index: 1 }))).await.unwrap();
    store.blocking_append([entry(2, 2)]).await.unwrap();
    log.close().await.unwrap();
    let mut store = LogStore::new(open(folder.path()), 1);
    assert_eq!(ids(&mut store).await, [(1, 0), (1, 1), (2, 2)]);
    // A snapshot up to 7 was installed.
    store.truncate_after(Some(log_id(EntryId { term: 1, index: 1 }))).await.unwrap();
    store.purge(log_id(EntryId { term: 2, index: 7 })).await.unwrap();
    assert_eq!(ids(&mut store).await, []);
    assert_eq!(store.get_log_state().await.unwrap().last_log_id.unwrap().index, 7);
}

#[tokio::test]
async fn a_start_between_a_snapshot_and_the_cut_goes_by_the_snapshot() {
    let cluster = Cluster::founded(1).await;
    for value in 0..5 {
        cluster.put(1, value).await;
    }
    let known = cluster.leader().await.status().applied.unwrap();
    cluster.stop(1).await;
    // Two entries more, that nobody confirmed; and another leader's snapshot, with one of its own instead.
    let log = open(&cluster.dir(1));
    let mut store = LogStore::new(log.clone(), 1);
    let more = (1..=2).map(|more| entry(known.term, known.index + more));
    store.blocking_append(more).await.unwrap();
    log.save_vote(Vote { term: 9, member: 1, committed: false }).await.unwrap();
    log.close().await.unwrap();
    let snapshots = SnapshotStore::open(OsDisk::shared(), &cluster.dir(1)).unwrap();
    let members = BTreeMap::from([(1, Member::default())]);
    let voters = Membership::new(vec![BTreeSet::from([1])], members).unwrap();
    let last = EntryId { term: 9, index: known.index + 1 };
    let state = State::open(&snapshots, Table::default()).unwrap();
    snapshots.save(take(&state.moved_to(log_id(last), voters))).await.unwrap();
    let group = cluster.start(1).await;
    group.wait_for(soon(), |s| s.role == crate::raft::Role::Leader).await.unwrap();
    assert_eq!(group.status().snapshot, Some(last), "RFT-24");
    assert!(group.query(|table| table.values.is_empty()), "the snapshot's state, not the log's");
    cluster.put(1, 7).await;
    cluster.stop_all().await;
}
