//! Events of other logs: one row each, whatever is told twice, and how far a log is kept.

use types::Reason;

use super::world::*;
use crate::{
    answer::AuditRow,
    port::{ReadStore, WriteStore},
    request::{Event, Intent, WriteRequest},
    rows::RowStore,
};

fn event(index: u64, ordinal: u32) -> Intent {
    Intent::Event(Box::new(Event {
        name: format!("root:{index}:{ordinal}"),
        agent: "ann".parse().unwrap(),
        event_type: "lock.force_release".into(),
        at_ms: NOW_MS + index,
        payload: format!("why {index}").into_bytes(),
    }))
}

fn told(intents: Vec<Intent>, through: u64) -> WriteRequest {
    let covered = Intent::Covered { log: "root".into(), through };
    let intents = intents.into_iter().chain([covered]).collect();
    WriteRequest { atomic: true, ..request(&viewer("node"), intents) }
}

async fn names(store: &RowStore) -> Vec<String> {
    let rows = store.audit_rows(0, Some("lock.".into()), 100).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

async fn covered(store: &RowStore) -> Option<u64> {
    store.event_logs().await.unwrap().get("root").copied()
}

#[tokio::test]
async fn an_event_is_one_row_however_often_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, &viewer("ann"), 1, "before").await;
    store.write(told(vec![event(4, 0), event(4, 1), event(4, 0)], 4)).await.unwrap();
    put(&store, &viewer("ann"), 2, "between").await;
    store.write(told(vec![event(4, 1), event(7, 0)], 7)).await.unwrap();
    assert_eq!(names(&store).await, ["root:4:0", "root:4:1", "root:7:0"], "EVT-1");
    store.close().await.unwrap();
    drop(store);

    let store = open(folder.path());
    assert_eq!(*store.position().borrow(), 5, "rows have places in the chain");
    store.write(told(vec![event(7, 0), event(9, 0)], 9)).await.unwrap();
    put(&store, &viewer("ann"), 3, "after").await;
    assert_eq!(names(&store).await, ["root:4:0", "root:4:1", "root:7:0", "root:9:0"], "EVT-1");
    let rows = store.audit_rows(1, None, 1).await.unwrap();
    let shown = AuditRow {
        sequence: 2,
        id: "root:4:0".into(),
        agent: "ann".into(),
        event_type: "lock.force_release".into(),
        at_ms: NOW_MS + 4,
        payload: Some(b"why 4".to_vec()),
    };
    assert_eq!(rows, [shown]);
    let report = store.verify_chain(0).await.unwrap();
    assert!(report.holds(), "{report:?}");
    assert_eq!(report.rows_checked, 7);
    let (changes, covered) = store.changes(crate::request::Reader::Operator, 0, 100).await.unwrap();
    assert_eq!((changes.len(), covered), (3, 7), "events are no changes of memories");
    store.close().await.unwrap();
}

#[tokio::test]
async fn how_far_a_log_is_kept_never_goes_back_and_stands_with_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert_eq!(covered(&store).await, None);
    store.write(told(vec![], 12)).await.unwrap();
    store.write(told(vec![event(3, 0)], 3)).await.unwrap();
    assert_eq!(covered(&store).await, Some(12), "EVT-2");
    let nameless = Intent::Event(Box::new(Event {
        name: String::new(),
        agent: "ann".parse().unwrap(),
        event_type: "x".into(),
        at_ms: 0,
        payload: Vec::new(),
    }));
    let broken =
        told(vec![event(20, 0), Intent::Covered { log: "root".into(), through: 20 }, nameless], 21);
    let refused = rejected(store.write(broken).await);
    assert_eq!(refused.reason, Reason::InvalidArgument);
    assert_eq!(covered(&store).await, Some(12), "all or nothing");
    assert_eq!(names(&store).await, ["root:3:0"]);
    store.close().await.unwrap();
    drop(store);
    assert_eq!(covered(&open(folder.path())).await, Some(12));
}

#[tokio::test]
async fn what_an_event_says_is_signed() {
    for tamper in ["UPDATE event_payloads SET bytes = x'00'", "DELETE FROM event_payloads"] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.write(told(vec![event(4, 0)], 4)).await.unwrap();
        look(folder.path()).execute(tamper, []).unwrap();
        let report = store.verify_chain(0).await.unwrap();
        assert_eq!(report.chain_break.map(|(at, _)| at), Some(1), "{tamper}");
        store.close().await.unwrap();
    }
}
