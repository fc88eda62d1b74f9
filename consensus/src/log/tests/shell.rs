//! The log with its thread, on real files.

use std::sync::Arc;

use parking_lot::Mutex;
use runtime::disk::{DiskRef, OsDisk, faulty::Fault, faulty::When};
use tokio::sync::oneshot;

use super::*;
use crate::log::Log;

const VOTE: Vote = Vote { term: 1, member: 2, committed: true };

fn open_log(disk: &DiskRef, dir: &Path) -> Log {
    Log::open(disk, dir, IDENTITY, OPTIONS).unwrap()
}

async fn append(log: &Log, indices: std::ops::Range<u64>, bytes: usize) -> std::io::Result<()> {
    let (reply, durable) = oneshot::channel();
    let entries =
        indices.map(|index| (id(1, index), Bytes::from(vec![index as u8; bytes]))).collect();
    log.append(entries, Box::new(|result| drop(reply.send(result)))).await?;
    durable.await.unwrap()
}

async fn indices(log: &Log) -> Vec<u64> {
    let entries = log.reader().entries(0..u64::MAX, u64::MAX).await.unwrap();
    entries
        .into_iter()
        .map(|(id, payload)| {
            assert!(payload.iter().all(|byte| *byte == id.index as u8));
            id.index
        })
        .collect()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_and_old_entries_come_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, dir) = (OsDisk::shared(), folder.path().join("log"));
    let log = open_log(&disk, &dir);
    log.save_vote(VOTE).await.unwrap();
    for first in (0..40).step_by(4) {
        append(&log, first..first + 4, 600).await.unwrap();
    }
    log.set_committed(Some(id(1, 30))).await.unwrap();
    log.purge(id(1, 9)).await.unwrap();
    log.truncate(Some(id(1, 35))).await.unwrap();
    let expected: Vec<u64> = (10..36).collect();
    assert_eq!(indices(&log).await, expected);
    assert!(log.truncate(Some(id(1, 20))).await.is_err(), "committed");
    log.close().await.unwrap();
    assert!(append(&log, 36..37, 1).await.is_err(), "closed");
    let log = open_log(&disk, &dir);
    assert_eq!(indices(&log).await, expected);
    assert_eq!((log.vote(), log.bounds().committed), (Some(VOTE), Some(id(1, 30))));
    append(&log, 36..40, 600).await.unwrap();
    assert_eq!(log.reader().entries(20..40, 1300).await.unwrap().len(), 2);
    log.close().await.unwrap();
}

#[tokio::test]
async fn appends_that_queue_up_share_syncs_and_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_log(&OsDisk::shared(), &folder.path().join("log"));
    log.save_vote(VOTE).await.unwrap();
    let done = Arc::new(Mutex::new(Vec::new()));
    for index in 0..300 {
        let done = done.clone();
        let entries = vec![(id(1, index), Bytes::from(vec![index as u8; 20]))];
        let note = move |result: std::io::Result<()>| {
            result.unwrap();
            done.lock().push(index);
        };
        log.append(entries, Box::new(note)).await.unwrap();
        assert_eq!(log.bounds().next_index(), Some(index + 1), "readable at once");
    }
    log.flush().await.unwrap();
    assert_eq!(*done.lock(), (0..300).collect::<Vec<u64>>());
    assert_eq!(indices(&log).await.len(), 300);
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_failed_sync_fails_the_append_poisons_the_log_and_stops_the_node() {
    let disk = FaultyDisk::new(3);
    let stopped = Arc::new(Mutex::new(Vec::new()));
    let heard = stopped.clone();
    let fatal = Box::new(move |reason: &str| heard.lock().push(reason.to_owned()));
    let log = Log::open_with(&disk.shared(), &dir(), IDENTITY, OPTIONS, fatal).unwrap();
    log.save_vote(VOTE).await.unwrap();
    append(&log, 0..1, 10).await.unwrap();
    disk.inject(Fault::SyncEio, When::Nth(1), "");
    assert!(append(&log, 1..2, 10).await.is_err());
    assert!(stopped.lock()[0].contains("cannot sync"), "{:?}", stopped.lock());
    for _ in 0..2 {
        let refused = append(&log, 2..3, 10).await.unwrap_err();
        assert!(refused.to_string().contains("poisoned"), "{refused}");
        assert!(log.save_vote(Vote { term: 2, ..VOTE }).await.is_err());
        assert!(log.reader().entries(0..1, 10).await.is_err());
    }
}

#[tokio::test]
async fn an_entry_that_rots_on_the_disk_is_never_returned() {
    let disk = FaultyDisk::new(3);
    let quiet = Box::new(|_: &str| {});
    let log = Log::open_with(&disk.shared(), &dir(), IDENTITY, OPTIONS, quiet).unwrap();
    log.save_vote(VOTE).await.unwrap();
    append(&log, 0..4, 700).await.unwrap();
    let oldest = &files(&disk, ".seg")[0];
    disk.tamper(oldest, |bytes| bytes[700] ^= 1);
    let refused = log.reader().entries(0..4, u64::MAX).await.unwrap_err();
    assert!(refused.to_string().contains("byte 512"), "{refused}");
    assert!(append(&log, 4..5, 1).await.is_err(), "poisoned");
}
