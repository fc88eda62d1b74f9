//! What every member has seen is forgotten, and taken as state by who comes later.

use std::collections::BTreeSet;

use types::{DeadLetter, OpId, Reason, Relation, SignedHead, VersionVector};

use super::{
    feeds::{catch_up, live, log, passing, peer, refusing, signature, taking},
    world::*,
};
use crate::{
    answer::{Applied, Said},
    port::{ReadStore, WriteStore},
    request::{Event, Intent, LackingQuery, Reader},
    rows::RowStore,
    state::{
        CoveredFeed, Forget, Forgot, Holding, Item, ItemDigest, ItemKey, KeyRange, Table, Visible,
    },
};

fn everything() -> Visible {
    Visible(vec![vec!["**".parse().unwrap()]])
}

async fn covers(store: &RowStore) -> VersionVector {
    store.feeds().await.unwrap().values().map(|feed| (feed.origin, feed.seq)).collect()
}

async fn items(store: &RowStore) -> Vec<ItemDigest> {
    store.items(KeyRange::ALL, everything()).await.unwrap()
}

/// Forgets all it can of what is stable, in small steps.
async fn forget(store: &RowStore, stable: VersionVector) -> Forgot {
    while store.recall.indexes().unwrap().is_filling() {
        runtime::clock::sleep(std::time::Duration::from_millis(1)).await;
    }
    let (mut sum, mut after) = (Forgot::default(), 0);
    loop {
        let forget = Forget { stable: stable.clone(), before_ms: u64::MAX, after, rows_max: 4 };
        let intents = vec![Intent::Forget(Box::new(forget))];
        let receipt = store.write(request(&peer(), intents)).await.unwrap();
        let Ok(Applied::Forgot(forgot)) = receipt.results[0] else { panic!("{receipt:?}") };
        sum.operations += forgot.operations;
        sum.tombstones += forgot.tombstones;
        match forgot.next {
            Some(next) => after = next,
            None => return sum,
        }
    }
}

fn link_key(number: u128) -> ItemKey {
    ItemKey { table: Table::Link, id: *uuid::Uuid::from_u128(number).as_bytes() }
}

fn told(name: &str) -> Intent {
    Intent::Event(Box::new(Event {
        name: name.to_owned(),
        agent: "node".parse().unwrap(),
        event_type: "state.taken".to_owned(),
        at_ms: NOW_MS,
        payload: Vec::new(),
    }))
}

/// Takes all state of another store that is not here, and covers what that one covers.
async fn take_state(from: &RowStore, to: &RowStore, name: &str) {
    let keys = items(from).await.into_iter().map(|item| item.key).collect();
    let (states, looked_at) = from.states(keys, everything(), u64::MAX).await.unwrap();
    assert_eq!(looked_at as usize, states.len());
    let mut intents = vec![told(name)];
    intents.extend(states.into_iter().map(|item| Intent::Join(Box::new(item))));
    let feeds = from.covered_feeds().await.unwrap();
    intents.extend(feeds.into_iter().map(Intent::CoverFeed));
    let receipt = to.write(request(&peer(), intents)).await.unwrap();
    assert!(receipt.results.iter().all(|result| result.is_ok()), "{receipt:?}");
}

#[tokio::test]
async fn what_all_have_seen_is_forgotten_and_the_rest_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let a = open(folder.path());
    live(&a).await;
    let (before, operations) = (items(&a).await, log(folder.path()).len());
    assert_eq!(forget(&a, VersionVector::default()).await, Forgot::default(), "nothing is stable");
    let own = covers(&a).await;
    let some: VersionVector = own.iter().map(|(origin, seq)| (origin, seq - 3)).collect();
    let forgot = forget(&a, some).await;
    assert_eq!(forgot.operations as usize, operations - 3, "FGT-1");
    assert_eq!(forgot.tombstones, 0, "FGT-2: its deletion is not stable");
    let forgot = forget(&a, own.clone()).await;
    assert_eq!((forgot.operations, forgot.tombstones), (3, 1), "FGT-2");
    assert!(log(folder.path()).is_empty());
    let dead = ItemKey::memory(id(4));
    let left: Vec<ItemDigest> = before.into_iter().filter(|item| item.key != dead).collect();
    assert_eq!(items(&a).await, left);
    // Nothing is broken by it, and who wants the past is told that it is gone.
    assert_eq!(a.verify_chain(0).await.unwrap().chain_break, None);
    assert_eq!(a.check().await.unwrap(), Vec::new());
    let watched = a.changes(Reader::Operator, 0, 10).await.unwrap_err();
    assert_eq!(watched.reason(), Reason::PositionTooOld);
    let query = LackingQuery {
        has: VersionVector::default(),
        lost: BTreeSet::new(),
        items_max: 9,
        bytes_max: 1 << 20,
    };
    let lacking = a.lacking(query).await.unwrap();
    assert!(lacking.is_cut && lacking.items.is_empty() && !lacking.more, "FDR-4");
    let query = LackingQuery { has: own, lost: BTreeSet::new(), items_max: 9, bytes_max: 1 << 20 };
    assert!(!a.lacking(query).await.unwrap().is_cut, "FDR-4");
    // The index is built again from the rows, and what follows goes on from the cut.
    put(&a, &viewer("ann"), 9, "nine").await;
    a.close().await.unwrap();
    let a = open(folder.path());
    assert_eq!(a.verify_chain(0).await.unwrap().chain_break, None);
    assert_eq!(log(folder.path()).len(), 1);
    a.close().await.unwrap();
}

#[tokio::test]
async fn who_comes_later_takes_state_and_goes_on_with_the_log() {
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b, c] = folders.each_ref().map(|folder| open(folder.path()));
    live(&a).await;
    catch_up(&a, &b, 100).await;
    let stable = covers(&a).await;
    forget(&a, stable.clone()).await;
    forget(&b, stable).await;
    put(&b, &viewer("bob"), 20, "twenty").await;
    catch_up(&b, &a, 100).await;
    take_state(&b, &c, "first").await;
    assert_eq!(items(&c).await, items(&b).await, "JOI-1");
    assert_eq!(covers(&c).await, covers(&b).await, "JOI-3");
    // Once more changes nothing.
    take_state(&a, &c, "second").await;
    assert_eq!(items(&c).await, items(&b).await, "JOI-1");
    assert_eq!(c.check().await.unwrap(), Vec::new());
    put(&a, &viewer("ann"), 21, "twenty-one").await;
    catch_up(&a, &c, 100).await;
    catch_up(&a, &b, 100).await;
    assert_eq!(items(&c).await, items(&a).await);
    assert_eq!(a.feeds().await.unwrap(), c.feeds().await.unwrap(), "the chains are the same");
    c.close().await.unwrap();
    let c = open(folders[2].path());
    assert_eq!(items(&c).await, items(&a).await);
    assert_eq!(c.stats().await.unwrap().memories, a.stats().await.unwrap().memories);
    for store in [a, b, c] {
        store.close().await.unwrap();
    }
}

/// What is held of one memory.
async fn held(store: &RowStore, number: u128) -> Vec<Holding> {
    store.holdings(vec![ItemKey::memory(id(number))]).await.unwrap()
}

#[tokio::test]
async fn what_was_seen_and_is_not_here_is_gone() {
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, stale, hidden] = folders.each_ref().map(|folder| open(folder.path()));
    put(&a, &viewer("ann"), 1, "one").await;
    put(&a, &viewer("ann"), 2, "two").await;
    let feed = log(folders[0].path());
    catch_up(&a, &stale, 100).await;
    // One may not see the first of them.
    act(&hidden, &peer(), passing(&feed[0])).await.unwrap();
    catch_up(&a, &hidden, 100).await;
    let deletion = Intent::Delete { id: full(1), reason: String::new(), expected_version: None };
    act(&a, &viewer("ann"), deletion).await.unwrap();
    let one = held(&stale, 1).await;
    assert_eq!(one.len(), 1);
    assert_eq!(a.gone(one.clone()).await.unwrap(), [], "a tombstone is something");
    let stable = covers(&a).await;
    forget(&a, stable).await;
    assert_eq!(a.gone(one.clone()).await.unwrap(), [ItemKey::memory(id(1))], "STT-2");
    assert_eq!(hidden.gone(one.clone()).await.unwrap(), [], "STT-2: it was hidden from it");
    assert_eq!(a.gone(held(&stale, 2).await).await.unwrap(), [], "it is here");
    let mut newer = one;
    let OpId { origin, seq } = OpId { origin: stale.node_id(), seq: 1 };
    newer[0].vector.raise(origin, seq);
    assert_eq!(a.gone(newer).await.unwrap(), [], "STT-2: not everything was seen");
    // The one that has forgotten it does not take it back, not even as a tombstone.
    let (states, _) =
        stale.states(vec![ItemKey::memory(id(1))], everything(), u64::MAX).await.unwrap();
    let intents = vec![told("back"), Intent::Join(Box::new(states[0].clone()))];
    let receipt = a.write(request(&peer(), intents)).await.unwrap();
    assert_eq!(receipt.results[1], Ok(Applied::Known), "JOI-5");
    assert_eq!(held(&a, 1).await, []);
    let intents = vec![told("dropped"), Intent::Drop(ItemKey::memory(id(1)))];
    stale.write(request(&peer(), intents)).await.unwrap();
    assert_eq!(held(&stale, 1).await, []);
    assert_eq!(stale.stats().await.unwrap().memories, 1);
    assert_eq!(stale.check().await.unwrap(), Vec::new());
    for store in [a, stale, hidden] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_refused_does_not_come_in_with_a_record() {
    let folders: [tempfile::TempDir; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    put(&a, &viewer("ann"), 1, "one").await;
    put(&a, &viewer("ann"), 2, "two").await;
    let feed = log(folders[0].path());
    let Intent::Pass(mut passed) = passing(&feed[0]) else { panic!("a passed one") };
    (passed.refused, passed.about) = (Some(Reason::Forbidden), Some(Some(id(1))));
    act(&b, &peer(), Intent::Pass(passed)).await.unwrap();
    let keys = items(&a).await.into_iter().map(|item| item.key).collect();
    let (states, _) = a.states(keys, everything(), u64::MAX).await.unwrap();
    let mut intents = vec![told("once")];
    intents.extend(states.into_iter().map(|item: Item| Intent::Join(Box::new(item))));
    let receipt = b.write(request(&peer(), intents)).await.unwrap();
    assert!(matches!(receipt.results[1], Ok(Applied::Refused(_))), "JOI-2: {receipt:?}");
    assert_eq!(receipt.results[2], Ok(Applied::Other));
    assert_eq!(held(&b, 1).await, []);
    for store in [a, b] {
        store.close().await.unwrap();
    }
}

/// A refused operation is kept when the log is cut; once its memory is forgotten, nobody is told what it said.
#[tokio::test]
async fn what_was_refused_is_kept_and_told_as_a_hash_once_its_memory_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let a = open(folder.path());
    put(&a, &viewer("ann"), 1, "one").await;
    let letter = DeadLetter {
        id: OpId { origin: a.node_id(), seq: 1 },
        reason: Reason::QuotaExceeded,
        detail: String::new(),
        tries: 1,
        first_ms: NOW_MS,
        next_ms: None,
    };
    let peer_node = types::NodeId(uuid::Uuid::from_u128(9));
    let keep = Intent::KeepLetter { peer: peer_node, letter: Box::new(letter) };
    act(&a, &peer(), keep).await.unwrap();
    let name = OpId { origin: a.node_id(), seq: 1 };
    let stable = covers(&a).await;
    forget(&a, stable).await;
    let told = a.operations(vec![name]).await.unwrap();
    assert!(matches!(told[0].said, Said::Whole { namespace: Some(_), .. }), "FGT-1");
    let deletion = Intent::Delete { id: full(1), reason: String::new(), expected_version: None };
    act(&a, &viewer("ann"), deletion).await.unwrap();
    let stable = covers(&a).await;
    assert_eq!(forget(&a, stable).await.tombstones, 1);
    let told = a.operations(vec![name]).await.unwrap();
    assert!(matches!(told[0].said, Said::Hash(_)), "FDR-6");
    a.close().await.unwrap();
}

#[tokio::test]
async fn who_has_dropped_a_link_tells_nobody_of_its_making() {
    let folders: [tempfile::TempDir; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    for number in [1, 2] {
        put(&a, &viewer("ann"), number, &format!("m{number}")).await;
    }
    act(&a, &viewer("ann"), link_intent(7, 1, Relation::RelatedTo, 2)).await.unwrap();
    catch_up(&a, &b, 9).await;
    let query = || LackingQuery {
        has: VersionVector::default(),
        lost: BTreeSet::new(),
        items_max: 9,
        bytes_max: 1 << 20,
    };
    let told = b.lacking(query()).await.unwrap().items;
    assert!(matches!(told[2].said, Said::Whole { .. }));
    // Another one had seen the removal, and forgot it.
    act(&b, &peer(), Intent::Drop(link_key(7))).await.unwrap();
    let told = b.lacking(query()).await.unwrap().items;
    assert!(matches!(told[2].said, Said::Hash(_)), "FDR-6");
    for store in [a, b] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_heard_before_something_was_hidden_is_still_known_to_be_gone() {
    let folders: [tempfile::TempDir; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    for number in [1, 2, 3] {
        put(&a, &viewer("ann"), number, &format!("m{number}")).await;
    }
    act(&a, &viewer("ann"), link_intent(7, 1, Relation::RelatedTo, 2)).await.unwrap();
    catch_up(&a, &b, 9).await;
    let (link, three) = (link_key(7), ItemKey::memory(id(3)));
    let known = a.holdings(vec![link, three]).await.unwrap();
    for key in [link, three] {
        act(&b, &peer(), Intent::Drop(key)).await.unwrap();
    }
    // What follows is covered by the word of one that has only a part of it.
    put(&a, &viewer("ann"), 4, "m4").await;
    act(&a, &viewer("ann"), link_intent(8, 1, Relation::RelatedTo, 4)).await.unwrap();
    let head = a.feeds().await.unwrap()[&a.node_id()];
    let word = SignedHead { head, signature: signature(&head) };
    let cover = Intent::CoverFeed(CoveredFeed { word, unseen_seq: head.seq });
    act(&b, &peer(), cover).await.unwrap();
    let gone = b.gone(known.clone()).await.unwrap();
    assert_eq!(gone, [link, three], "JOI-5");
    let later = a.holdings(vec![link_key(8), ItemKey::memory(id(4))]).await.unwrap();
    assert_eq!(later.len(), 2);
    assert!(b.gone(later).await.unwrap().is_empty(), "it may have been hidden");
    for store in [a, b] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_covered_by_state_and_is_not_here_is_not_called_known() {
    let folders: [tempfile::TempDir; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    put(&a, &viewer("ann"), 1, "m1").await;
    put(&a, &viewer("ann"), 2, "m2").await;
    act(&a, &viewer("ann"), link_intent(7, 1, Relation::RelatedTo, 2)).await.unwrap();
    // Who told it showed the first memory, and covers all three.
    let (items, _) = a.states(vec![ItemKey::memory(id(1))], everything(), 1 << 20).await.unwrap();
    for item in items {
        act(&b, &peer(), Intent::Join(Box::new(item))).await.unwrap();
    }
    let head = a.feeds().await.unwrap()[&a.node_id()];
    let word = SignedHead { head, signature: signature(&head) };
    let cover = Intent::CoverFeed(CoveredFeed { word, unseen_seq: head.seq });
    act(&b, &peer(), cover).await.unwrap();
    let mut found = Vec::new();
    for op in &log(folders[0].path()) {
        found.push(act(&b, &peer(), taking(op)).await.unwrap());
    }
    assert_eq!(found, [Applied::Known, Applied::Passed, Applied::Passed], "FDS-6");
    // Nor is it when the rules refuse it.
    let refused = refusing(&log(folders[0].path())[1], Reason::Forbidden);
    assert_eq!(act(&b, &peer(), refused).await, Ok(Applied::Other), "FDS-6");
    for store in [a, b] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_change_by_who_took_the_memory_as_state_is_refused_until_the_memory_comes() {
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b, c] = folders.each_ref().map(|folder| open(folder.path()));
    put(&a, &viewer("ann"), 1, "m1").await;
    // State covers no feed, so what is made on it does not say that its author had seen how it came to be.
    let (items, _) = a.states(vec![ItemKey::memory(id(1))], everything(), 1 << 20).await.unwrap();
    for item in items {
        act(&c, &peer(), Intent::Join(Box::new(item))).await.unwrap();
    }
    let deletion = Intent::Delete { id: full(1), reason: String::new(), expected_version: None };
    act(&c, &viewer("ann"), deletion).await.unwrap();
    let deleted = &log(folders[2].path())[0];
    let refused = act(&b, &peer(), taking(deleted)).await.unwrap();
    assert!(
        matches!(&refused, Applied::Refused(reject) if reject.reason == Reason::NotFound),
        "an acknowledgement of what is not there: {refused:?}"
    );
    catch_up(&a, &b, 9).await;
    assert_eq!(act(&b, &peer(), taking(deleted)).await, Ok(Applied::Other));
    assert!(a.get(Reader::Operator, full(1), NOW_MS).await.is_ok());
    assert!(b.get(Reader::Operator, full(1), NOW_MS).await.is_err());
    for store in [a, b, c] {
        store.close().await.unwrap();
    }
}
