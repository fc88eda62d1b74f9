//! Effects of which none may be missed: no snapshot before they are settled, across restarts.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::watch;
use types::Outcome;

use super::{
    cluster::{CLUSTER, Cluster, soon},
    machine::{Table, set},
};
use crate::raft::{Group, Home, Listener, Role};

/// Notes what it hears, and settles when it is told to.
struct Notes {
    heard: Mutex<Vec<u64>>,
    /// Where the state came from a snapshot, what was applied before, and how far it reaches.
    skipped: Mutex<Vec<(u64, u64)>>,
    settled: watch::Sender<u64>,
}

impl Notes {
    fn new() -> Arc<Self> {
        let (heard, skipped) = (Mutex::default(), Mutex::default());
        Arc::new(Self { heard, skipped, settled: watch::Sender::new(0) })
    }
}

impl<E: Send> Listener<E> for Notes {
    fn tell(&self, index: u64, _: Vec<E>) {
        self.heard.lock().push(index);
    }

    fn skipped(&self, applied: u64, index: u64) {
        self.skipped.lock().push((applied, index));
    }

    fn room(&self) -> Option<BoxFuture<'_, ()>> {
        None
    }

    fn settled(&self, index: u64) -> BoxFuture<'_, bool> {
        async move {
            let mut settled = self.settled.subscribe();
            settled.wait_for(|settled| *settled >= index).await.is_ok()
        }
        .boxed()
    }
}

async fn start(cluster: &Cluster, notes: &Arc<Notes>) -> Group<Table> {
    let home = Home {
        disk: runtime::disk::OsDisk::shared(),
        dir: cluster.dir(1),
        identity: crate::log::Identity { cluster: CLUSTER, member: 1 },
    };
    let way = Arc::new(super::cluster::Way { hub: cluster.hub.clone(), me: 1 });
    let options = cluster.options.clone();
    let group = Group::start_with(home, options, Table::default(), notes.clone(), way);
    let group = group.await.unwrap();
    group.wait_for(soon(), |status| status.role == Role::Leader).await.unwrap();
    group
}

async fn put(group: &Group<Table>, value: u64) {
    let done = group.propose(set(1, value).into(), soon()).await;
    assert!(matches!(done, Outcome::Done(_)), "{done:?}");
}

#[tokio::test]
async fn no_snapshot_is_kept_before_its_effects_are_settled() {
    let cluster = Cluster::founded(1).await;
    cluster.stop(1).await;
    let notes = Notes::new();
    let group = start(&cluster, &notes).await;
    for value in 0..5 {
        put(&group, value).await;
    }
    let heard = notes.heard.lock().clone();
    group.snapshot().await.unwrap();
    put(&group, 5).await;
    assert_eq!(group.status().snapshot, None, "RFT-20");
    // It stops all the same, and what was not settled is heard again.
    group.stop().await.unwrap();
    drop(group);
    let again = Notes::new();
    let group = start(&cluster, &again).await;
    put(&group, 6).await;
    assert!(again.heard.lock().starts_with(&heard), "RFT-20: {heard:?} {:?}", again.heard.lock());
    assert!(again.skipped.lock().is_empty());
    group.snapshot().await.unwrap();
    again.settled.send_replace(u64::MAX);
    let kept = group.wait_for(soon(), |status| status.snapshot.is_some()).await.unwrap();
    group.stop().await.unwrap();
    drop(group);
    let last = Notes::new();
    let group = start(&cluster, &last).await;
    let reached = kept.snapshot.unwrap().index;
    assert_eq!(*last.skipped.lock(), [(0, reached)]);
    assert!(last.heard.lock().iter().all(|index| *index > reached), "they were settled");
    group.stop().await.unwrap();
}
