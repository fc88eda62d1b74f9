//! Rows of what the root decides, over a real store: none lost, none doubled, and a store that takes
//! none holds nobody back who leaves.

use std::{os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use consensus::machine::{Body, Command, RegisterAgent};
use futures::{StreamExt, stream};
use runtime::{clock::Instant, disk::OsDisk};
use storage::answer::AuditRow;
use tempfile::TempDir;
use types::{NodeId, Outcome};
use uuid::Uuid;

use super::*;
use crate::{
    config::{Config, Layers, Origin},
    node::open_store,
    root::Root,
};

/// More than may wait for rows.
const MANY: u64 = WAITING_MAX as u64 + 10;
/// Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(90);

/// The store in a folder; one that keeps so much free that the disk counts as full takes nothing.
async fn store(folder: &Path, takes: bool) -> Arc<dyn Store> {
    let mut config = Config::build(&Layers::default(), folder.to_path_buf()).expect("defaults");
    config.reserve_bytes = if takes { 0 } else { u64::MAX };
    open_store(OsDisk::shared(), &config).await.expect("a store")
}

async fn ears(store: &Arc<dyn Store>) -> (Arc<Ears>, Unwritten) {
    let cluster = ClusterId(Uuid::from_u128(7));
    Ears::open(store.clone(), cluster, Feed::new()).await.expect("ears")
}

fn event(index: u64, event_type: &'static str) -> Vec<Effect> {
    vec![Effect::Audit(AuditEvent {
        index,
        ordinal: 0,
        at_ms: 1_000 + index,
        by: "ann".parse().expect("an agent"),
        event_type,
        subject: "stuck".to_owned(),
        facts: vec![("reason", index.to_string())],
    })]
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    clock::timeout(SOON, what).await.expect("in time")
}

async fn rows(store: &Arc<dyn Store>) -> Vec<AuditRow> {
    store.audit_rows(0, None, u32::MAX).await.expect("rows")
}

async fn names(store: &Arc<dyn Store>) -> Vec<String> {
    rows(store).await.into_iter().map(|row| row.id).collect()
}

async fn covered(store: &Arc<dyn Store>) -> Option<u64> {
    store.event_logs().await.expect("logs").values().next().copied()
}

fn wanted(indexes: impl Iterator<Item = u64>) -> Vec<String> {
    indexes.map(|index| format!("root:{index}:0")).collect()
}

#[tokio::test]
async fn what_a_full_disk_delayed_is_written_once_after_the_next_start() {
    let folder: TempDir = tempfile::tempdir().expect("a folder");
    let full = store(folder.path(), false).await;
    let (hears, unwritten) = ears(&full).await;
    let task = unwritten.start(hears.clone());
    for index in 1..=MANY {
        hears.tell(index, event(index, "lock.force_release"));
    }
    let mut room = hears.room().expect("no room: RTH-9");
    assert!(room.as_mut().now_or_never().is_none(), "RTH-9");
    let mut settled = hears.settled(MANY);
    assert!(settled.as_mut().now_or_never().is_none(), "RFT-20");
    hears.leave();
    soon(room).await;
    assert!(!soon(settled).await, "what is not kept is not settled");
    assert!(hears.room().is_none(), "who leaves waits for nothing");
    hears.close();
    soon(task).await.expect("it ends");
    assert_eq!((covered(&full).await, rows(&full).await.len()), (None, 0));
    full.close().await.expect("closed");
    drop((full, hears));

    // Everything is heard again, before and after there is somebody who writes.
    let kept = store(folder.path(), true).await;
    for _ in 0..2 {
        let (hears, unwritten) = ears(&kept).await;
        for index in 1..=MANY {
            hears.tell(index, event(index, "lock.force_release"));
        }
        let room = hears.room();
        assert_eq!(room.is_some(), covered(&kept).await.is_none(), "kept rows need no room");
        let task = unwritten.start(hears.clone());
        if let Some(room) = room {
            soon(room).await;
        }
        assert!(soon(hears.settled(MANY)).await);
        assert_eq!(*hears.kept().borrow(), MANY);
        hears.close();
        soon(task).await.expect("it ends");
        assert_eq!(names(&kept).await, wanted(1..=MANY), "RTH-7");
    }
    assert_eq!(covered(&kept).await, Some(MANY));
    assert!(kept.verify_chain(0).await.expect("a report").holds());
    kept.close().await.expect("closed");
}

#[tokio::test]
async fn nothing_is_kept_behind_what_could_not_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), true).await;
    let (hears, unwritten) = ears(&store).await;
    // The store takes no event without a type; more than one batch waits behind it.
    hears.tell(1, event(1, ""));
    let end = 3 * BATCH_MAX as u64;
    for index in 2..=end {
        hears.tell(index, event(index, "rule.put"));
    }
    hears.close();
    soon(unwritten.start(hears.clone())).await.expect("it ends");
    assert_eq!((covered(&store).await, names(&store).await), (Some(0), Vec::new()), "RTH-7");
    drop(hears);
    let (hears, unwritten) = ears(&store).await;
    for index in 1..=end {
        hears.tell(index, event(index, "rule.put"));
    }
    let task = unwritten.start(hears.clone());
    assert!(soon(hears.settled(end)).await);
    hears.close();
    soon(task).await.expect("it ends");
    assert_eq!(names(&store).await, wanted(1..=end));
    store.close().await.expect("closed");
}

#[tokio::test]
async fn what_came_in_a_snapshot_is_a_row_that_says_what_was_not_heard() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), true).await;
    let (hears, unwritten) = ears(&store).await;
    let task = unwritten.start(hears.clone());
    // Entries up to 20 were applied here, and only the third had something to tell.
    hears.tell(3, event(3, "rule.put"));
    hears.skipped(20, 90);
    // A start from that snapshot, and one that it contains.
    hears.skipped(0, 90);
    hears.skipped(0, 50);
    hears.tell(95, event(95, "rule.put"));
    assert!(soon(hears.settled(95)).await);
    hears.close();
    soon(task).await.expect("it ends");
    assert_eq!(names(&store).await, ["root:3:0", "root:90:snapshot", "root:95:0"], "RTH-8");
    let payload = rows(&store).await[1].payload.clone().expect("details");
    let facts = EventDetails::decode(&payload).expect("details").facts;
    assert_eq!((&*facts["from"], &*facts["to"]), ("21", "90"), "RTH-8");
    store.close().await.expect("closed");
}

#[tokio::test]
async fn a_store_belongs_to_one_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), true).await;
    let (hears, unwritten) = ears(&store).await;
    let task = unwritten.start(hears.clone());
    assert!(soon(hears.settled(0)).await);
    hears.tell(1, event(1, "rule.put"));
    assert!(soon(hears.settled(1)).await);
    hears.close();
    soon(task).await.expect("it ends");
    let other = ClusterId(Uuid::from_u128(8));
    let refused = Ears::open(store.clone(), other, Feed::new()).await.map(|_| ());
    assert!(matches!(refused, Err(RootStartError::OtherCluster { .. })), "{refused:?}");
    store.close().await.expect("closed");
}

/// A member that is a root of its own, and its store.
async fn alone(folder: &Path, store: &Arc<dyn Store>) -> Root {
    let key = folder.join("peer.key");
    let options = std::fs::OpenOptions::new().write(true).create(true).mode(0o600).clone();
    std::io::Write::write_all(&mut options.open(&key).expect("a file"), b"secret").expect("kept");
    let cluster = Uuid::from_u128(7).to_string();
    let mut layers = Layers::default();
    for (name, value) in [
        ("root.member", "1"),
        ("root.cluster", &*cluster),
        ("root.endpoint", "127.0.0.1:9"),
        ("root.peer_key_file", &*key.display().to_string()),
    ] {
        layers.add(name, value.to_owned(), Origin::Flag).expect("a known key");
    }
    let config = Config::build(&layers, folder.to_path_buf()).expect("settings");
    let settings = config.root.as_ref().expect("a member");
    let node = NodeId(Uuid::from_u128(1));
    let started = Root::start(OsDisk::shared(), folder, settings, None, node, store.clone());
    soon(started).await.expect("it starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_starts_whose_store_has_none_of_more_rows_than_may_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    let kept = store(&before, true).await;
    let root = alone(folder.path(), &kept).await;
    let deadline = Instant::now() + SOON;
    let voters = [(1, "127.0.0.1:9".to_owned())].into();
    root.initialise(voters, deadline).await.expect("founded");
    let register = |number: u64| {
        let agent = RegisterAgent {
            agent: format!("agent-{number}").parse().expect("an agent"),
            affiliation: Default::default(),
            public_key: None,
            token_sha256: None,
            human: false,
        };
        let command = Command::new(AgentId::node(), Body::RegisterAgent(agent));
        let root = root.clone();
        async move {
            let done = root.propose(command, deadline).await;
            assert!(matches!(done, Outcome::Done(_)), "{done:?}");
        }
    };
    stream::iter((0..MANY).map(register)).buffer_unordered(256).collect::<Vec<()>>().await;
    soon(root.stop()).await;
    let told = names(&kept).await;
    assert!(told.len() as u64 >= MANY, "{}", told.len());
    kept.close().await.expect("closed");
    drop((root, kept));

    // The store is lost and begins anew; the log is not, and has not been cut.
    let anew = store(&after, true).await;
    let root = alone(folder.path(), &anew).await;
    let last = root.look(|machine| machine.applied());
    soon(root.audited().wait_for(|kept| *kept + 100 >= last)).await.expect("it writes");
    soon(root.stop()).await;
    let again = names(&anew).await;
    assert_eq!(again[..told.len().min(again.len())], told, "RTH-7");
    anew.close().await.expect("closed");
}
