//! What was covered at a time.

use types::{OpId, Scope};

use super::world::*;
use crate::{
    port::{ReadStore, WriteStore},
    request::{Incoming, Intent},
    rows::RowStore,
};

async fn put_at(store: &RowStore, number: u128, after_ms: u64) {
    let ann = viewer("ann");
    let intent = store_intent(memory(&ann, number, &format!("memory {number}"), Scope::Private));
    let mut request = request(&ann, vec![intent]);
    request.now_ms += after_ms;
    store.write(request).await.unwrap();
}

#[tokio::test]
async fn what_came_late_was_not_covered_however_old_it_is() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    put_at(&a, 1, 0).await;
    put_at(&b, 2, 10_000).await;
    let id = OpId { origin: a.node_id(), seq: 1 };
    let told = a.operations(vec![id]).await.unwrap();
    let crate::answer::Said::Whole { bytes, .. } = told[0].said.clone() else {
        panic!("{told:?}");
    };
    let op = types::codec::decode_op(&bytes).unwrap();
    let take = Intent::Take(Box::new(Incoming { op, bytes }));
    b.write(request(&viewer("peer"), vec![take])).await.unwrap();
    let covered = async |after_ms| {
        let vector = b.covered_at(NOW_MS + after_ms).await.unwrap();
        (vector.get(a.node_id()), vector.get(b.node_id()))
    };
    assert_eq!(covered(5_000).await, (0, 0));
    assert_eq!(covered(10_000).await, (0, 0), "before, not at");
    assert_eq!(covered(20_000).await, (0, 1), "TIM-1");
    put_at(&b, 3, 30_000).await;
    assert_eq!(covered(30_001).await, (1, 2));
    for store in [a, b] {
        store.close().await.unwrap();
    }
}
