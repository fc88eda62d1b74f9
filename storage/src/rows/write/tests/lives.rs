//! Names under which a node speaks: stores that were put back to an earlier time.

use std::{collections::BTreeSet, fs, path::Path};

use runtime::disk::OsDisk;
use types::{OpId, Reason, SignedHead, VersionVector};

use super::{
    feeds::{catch_up, log, peer, refusing, signature, taking},
    world::*,
};
use crate::{
    answer::{Made, Said},
    port::{ReadStore, WriteStore},
    request::{Intent, LackingQuery, Life},
    rows::RowStore,
    rows::config::StoreConfig,
    sqlite::open_store,
};

fn open_mute(folder: &Path) -> RowStore {
    let config = StoreConfig { has_peers: true, ..config() };
    open_store(OsDisk::shared(), folder, config).unwrap()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A store that said three things, was copied, said a fourth and told it to another one; and its copy.
async fn put_back(folders: &[tempfile::TempDir; 3]) -> [RowStore; 2] {
    let [a, b] = [0, 1].map(|at| open(folders[at].path()));
    for number in 1..=3 {
        put(&a, &viewer("ann"), number, &format!("m{number}")).await;
    }
    a.close().await.unwrap();
    drop(a);
    copy(folders[0].path(), folders[2].path());
    let a = open(folders[0].path());
    put(&a, &viewer("ann"), 4, "m4").await;
    catch_up(&a, &b, 9).await;
    a.close().await.unwrap();
    [open_mute(folders[2].path()), b]
}

#[tokio::test]
async fn a_store_that_was_put_back_goes_on_behind_what_it_had_said() {
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [again, b] = put_back(&folders).await;
    let five = || store_intent(memory(&viewer("ann"), 5, "m5", types::Scope::Private));
    let refused = act(&again, &viewer("ann"), five()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Starting, "HEAD-2");
    catch_up(&b, &again, 9).await;
    let own = again.own_feed().await.unwrap();
    assert_eq!((own.origin, own.seq), (again.node_id(), 4));
    let life = Life { origin: own.origin, word: None };
    act(&again, &peer(), Intent::SpeakAs(life)).await.unwrap();
    let made = again.write(request(&viewer("ann"), vec![five()])).await.unwrap().operations;
    assert_eq!(made, Some(Made { origin: again.node_id(), first: 5, last: 5 }), "FDS-5");
    catch_up(&again, &b, 9).await;
    assert_eq!(b.content_digest().await.unwrap(), again.content_digest().await.unwrap());
    for store in [again, b] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_cannot_know_what_it_had_said_takes_another_name() {
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [again, b] = put_back(&folders).await;
    let (node, head) = (again.node_id(), again.own_feed().await.unwrap());
    let life = Life {
        origin: node.life(77),
        word: Some(SignedHead { head, signature: signature(&head) }),
    };
    act(&again, &peer(), Intent::SpeakAs(life)).await.unwrap();
    let five = store_intent(memory(&viewer("ann"), 5, "m5", types::Scope::Private));
    let made = again.write(request(&viewer("ann"), vec![five])).await.unwrap().operations;
    assert_eq!(made, Some(Made { origin: node.life(77), first: 1, last: 1 }));
    let query = LackingQuery {
        has: VersionVector::default(),
        lost: BTreeSet::new(),
        items_max: 9,
        bytes_max: 1 << 20,
    };
    let told = again.lacking(query).await.unwrap();
    let names: Vec<OpId> = told.items.iter().map(|item| item.id).collect();
    let one = |seq| OpId { origin: node, seq };
    assert_eq!(names, [one(1), one(2), one(3), OpId { origin: node.life(77), seq: 1 }]);
    assert!(told.proofs.iter().any(|proof| proof.head == head && proof.signature.is_some()));
    // What it had said last comes back to it as anybody's.
    catch_up(&again, &b, 9).await;
    catch_up(&b, &again, 9).await;
    assert_eq!(b.content_digest().await.unwrap(), again.content_digest().await.unwrap());
    let covers = again.feeds().await.unwrap();
    assert_eq!((covers[&node].seq, covers[&node.life(77)].seq), (4, 1));
    // A name is kept across a start, and none is taken twice.
    again.close().await.unwrap();
    drop(again);
    let again = open_mute(folders[2].path());
    assert_eq!(again.own_feed().await.unwrap(), covers[&node.life(77)]);
    let used = Intent::SpeakAs(Life { origin: node, word: None });
    assert_eq!(act(&again, &peer(), used).await.unwrap_err().reason, Reason::InvalidArgument);
    for store in [again, b] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_nobody_took_of_it_is_told_to_a_store_that_was_put_back() {
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let a = open(folders[0].path());
    put(&a, &viewer("ann"), 1, "m1").await;
    a.close().await.unwrap();
    drop(a);
    copy(folders[0].path(), folders[2].path());
    let [a, b] = [0, 1].map(|at| open(folders[at].path()));
    put(&a, &viewer("ann"), 2, "m2").await;
    put(&a, &viewer("ann"), 3, "m3").await;
    let feed = log(folders[0].path());
    act(&b, &peer(), taking(&feed[0])).await.unwrap();
    act(&b, &peer(), refusing(&feed[1], Reason::Forbidden)).await.unwrap();
    catch_up(&a, &b, 9).await;
    let again = open_mute(folders[2].path());
    let lost = |nodes: &[types::NodeId]| LackingQuery {
        has: [(a.node_id(), 1)].into_iter().collect(),
        lost: nodes.iter().copied().collect(),
        items_max: 9,
        bytes_max: 1 << 20,
    };
    assert!(b.lacking(lost(&[])).await.unwrap().items.is_empty(), "who has it may bring it");
    let told = b.lacking(lost(&[again.node_id()])).await.unwrap().items;
    let names: Vec<u64> = told.iter().map(|item| item.id.seq).collect();
    assert_eq!(names, [2, 3], "FDR-4");
    assert!(matches!(told[0].said, Said::Hash(_)), "FDR-4");
    for store in [a, b, again] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_others_may_not_have_yet_is_not_merely_called_known() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_mute(folder.path());
    let life = Life { origin: store.node_id(), word: None };
    act(&store, &peer(), Intent::SpeakAs(life)).await.unwrap();
    let again = || {
        let entity = memory(&viewer("ann"), 1, "m1", types::Scope::Private);
        store_intent(types::NewMemory { kind: types::Kind::Entity, ..entity })
    };
    let named = || Intent::Alias { id: full(1), alias: "em one".into(), remove: false };
    for (intent, seq) in [again(), again(), named(), named()].into_iter().zip(1..) {
        let receipt = store.write(request(&viewer("ann"), vec![intent])).await.unwrap();
        assert_eq!(receipt.operations.map(|made| made.last), Some(seq), "a quorum can be asked");
    }
    store.close().await.unwrap();
}
