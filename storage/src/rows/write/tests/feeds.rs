//! Operations of other nodes: in order, once, as they came, and past what cannot be had.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use types::{
    AgentRecord, DeadLetter, FeedHead, Hlc, Kind, NodeId, Op, OpId, Payload, Reason, Relation,
    Scope, SignedHead, Tier, VersionVector, codec, memory::Validity, op::Accessed,
};
use uuid::Uuid;

use super::world::*;
use crate::{
    answer::{Applied, FeedItem, Lacking, Proof, Said},
    port::{ReadStore, WriteStore},
    request::{Incoming, Intent, LackingQuery, Passed, Viewer, WriteRequest},
    rows::RowStore,
};

/// The operations in a store, as they stand in its log.
pub(super) fn log(folder: &Path) -> Vec<Vec<u8>> {
    let connection = look(folder);
    let mut statement = connection.prepare("SELECT bytes FROM ops ORDER BY position").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

fn incoming(bytes: &[u8]) -> Incoming {
    Incoming { op: codec::decode_op(bytes).unwrap(), bytes: bytes.to_vec() }
}

pub(super) fn taking(bytes: &[u8]) -> Intent {
    Intent::Take(Box::new(incoming(bytes)))
}

pub(super) fn passing(bytes: &[u8]) -> Intent {
    Intent::Pass(Passed {
        id: incoming(bytes).op.id,
        hash: codec::op_hash(bytes),
        refused: None,
        about: None,
    })
}

pub(super) fn refusing(bytes: &[u8], reason: Reason) -> Intent {
    let (id, hash) = (incoming(bytes).op.id, codec::op_hash(bytes));
    Intent::Pass(Passed { id, hash, refused: Some(reason), about: None })
}

pub(super) fn peer() -> Viewer {
    Viewer { operator: true, ..viewer("peer") }
}

pub(super) async fn take_all(store: &RowStore, log: &[Vec<u8>]) -> Vec<Applied> {
    let intents = log.iter().map(|bytes| taking(bytes)).collect();
    let receipt = store.write(request(&peer(), intents)).await.unwrap();
    receipt.results.into_iter().map(|result| result.unwrap()).collect()
}

/// A bit of everything that can happen on one node.
pub(super) async fn live(store: &RowStore) {
    let ann = viewer("ann");
    for (number, title) in [(1, "one"), (2, "two"), (3, "three"), (4, "four")] {
        put(store, &ann, number, title).await;
    }
    let mut entity = memory(&ann, 5, "Acme", Scope::Private);
    entity.kind = Kind::Entity;
    let patch = types::Patch { priority: Some(9), ..types::Patch::default() };
    let link = new_link(77, 1, Relation::DependsOn, 2);
    let agent = AgentRecord {
        agent_id: "bob".parse().unwrap(),
        affiliation: "acme/eng/core".parse().unwrap(),
        token_sha256: None,
        public_key: None,
        revoked: false,
        changed: Hlc::default(),
    };
    let intents = vec![
        store_intent(entity),
        Intent::Update { id: full(1), patch: Box::new(patch), expected_version: None },
        Intent::Promote {
            id: full(2),
            tier: Tier::Long,
            expires_at_ms: None,
            automatic: false,
            expected_version: None,
        },
        Intent::Link(link),
        Intent::Alias { id: full(5), alias: "ACME Inc".into(), remove: false },
        Intent::Access(vec![Accessed { id: id(1), count: 3, at_ms: NOW_MS }]),
        Intent::Archive { id: full(3), reason: "old".into() },
        Intent::Delete { id: full(4), reason: String::new(), expected_version: None },
        Intent::Agent(Box::new(agent)),
    ];
    for intent in intents {
        act(store, &ann, intent).await.unwrap();
    }
}

async fn same(a: &RowStore, b: &RowStore) -> bool {
    a.content_digest().await.unwrap() == b.content_digest().await.unwrap()
}

#[tokio::test]
async fn two_stores_that_took_each_others_feeds_hold_the_same() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    live(&a).await;
    let feed = log(folders[0].path());
    let taken = take_all(&b, &feed).await;
    assert!(taken.iter().all(|applied| *applied == Applied::Other), "{taken:?}");
    assert!(same(&a, &b).await);
    // Again, and all of it is known; nothing is written twice.
    let position = *b.position().borrow();
    let again = take_all(&b, &feed).await;
    assert!(again.iter().all(|applied| *applied == Applied::Known), "FDS-4");
    assert_eq!(*b.position().borrow(), position, "FDS-4");
    // What the other one adds rests on it, and comes back.
    let patch = types::Patch { priority: Some(2), ..types::Patch::default() };
    let update = Intent::Update { id: full(1), patch: Box::new(patch), expected_version: None };
    act(&b, &viewer("ann"), update).await.unwrap();
    put(&b, &viewer("bob"), 6, "six").await;
    let added = log(folders[1].path()).split_off(feed.len());
    assert!(incoming(&added[0]).op.context.iter().next().is_some(), "it says what it rests on");
    take_all(&a, &added).await;
    assert!(same(&a, &b).await);
    assert_eq!(log(folders[0].path()), log(folders[1].path()), "FDS-3");
    for (store, folder) in [(a, &folders[0]), (b, &folders[1])] {
        assert!(store.verify_chain(0).await.unwrap().holds());
        let digest = store.content_digest().await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let store = open(folder.path());
        assert_eq!(store.content_digest().await.unwrap(), digest);
        let known = take_all(&store, &feed).await;
        assert!(known.iter().all(|applied| *applied == Applied::Known), "after a restart too");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_feed_has_no_gaps_and_no_second_opinion() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    let ann = viewer("ann");
    put(&a, &ann, 1, "one").await;
    put(&a, &ann, 2, "two").await;
    let feed = log(folders[0].path());
    let gap = act(&b, &peer(), taking(&feed[1])).await.unwrap_err();
    assert_eq!(gap.reason, Reason::PositionNotReached, "FDS-1");
    assert_eq!(gap.fact("expected_seq"), Some("1"));
    take_all(&b, &feed).await;
    let mut other = incoming(&feed[1]).op;
    other.payload = Payload::Delete { id: id(1), reason: "forged".into() };
    let forged = act(&b, &peer(), taking(&codec::encode_op(&other))).await.unwrap_err();
    assert_eq!(forged.reason, Reason::ChainBroken, "FDS-5");
    assert!(same(&a, &b).await);
    a.close().await.unwrap();
    b.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_had_is_passed_and_taken_later() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    let ann = viewer("ann");
    put(&a, &ann, 1, "one").await;
    let patch = types::Patch { priority: Some(9), ..types::Patch::default() };
    let update = Intent::Update { id: full(1), patch: Box::new(patch), expected_version: None };
    act(&a, &ann, update).await.unwrap();
    put(&a, &ann, 2, "two").await;
    let feed = log(folders[0].path());
    let intents = vec![passing(&feed[0]), taking(&feed[1]), taking(&feed[2])];
    let receipt = b.write(request(&peer(), intents)).await.unwrap();
    let results: Vec<Applied> = receipt.results.into_iter().map(|r| r.unwrap()).collect();
    assert_eq!((&results[0], &results[2]), (&Applied::Other, &Applied::Other));
    let Applied::Refused(refused) = &results[1] else { panic!("FDS-2: {results:?}") };
    assert_eq!(refused.reason, Reason::NotFound);
    // It survives a restart, and the places are still there to be taken.
    b.close().await.unwrap();
    drop(b);
    let b = open(folders[1].path());
    assert_eq!(count(&look(folders[1].path()), "unheld"), 2);
    assert_eq!(act(&b, &peer(), passing(&feed[0])).await, Ok(Applied::Known));
    let taken = take_all(&b, &feed).await;
    assert_eq!(taken, [Applied::Other, Applied::Other, Applied::Known], "FDS-1");
    assert_eq!(count(&look(folders[1].path()), "unheld"), 0);
    assert!(same(&a, &b).await);
    assert!(b.verify_chain(0).await.unwrap().holds());
    a.close().await.unwrap();
    b.close().await.unwrap();
}

/// What stands in for the signature of an origin.
pub(super) fn signature(head: &FeedHead) -> [u8; 64] {
    [head.digest(), head.digest()].concat().try_into().unwrap()
}

/// Checks that what was told of a feed leads to the head that its origin has signed.
fn proven(feeds: &BTreeMap<NodeId, FeedHead>, items: &[FeedItem], proof: &Proof) -> SignedHead {
    let origin = proof.head.origin;
    let told = items.iter().filter(|item| item.id.origin == origin);
    let told = told.map(|item| match &item.said {
        Said::Whole { bytes, .. } => codec::op_hash(bytes),
        Said::Hash(hash) => *hash,
    });
    let stands = feeds.get(&origin).copied().unwrap_or(FeedHead::empty(origin));
    let feed = told.chain(proof.tail.iter().copied()).fold(stands, |feed, hash| feed.with(&hash));
    assert_eq!(feed, proof.head, "FDR-3");
    let signature = proof.signature.unwrap_or(signature(&proof.head));
    assert_eq!(signature, self::signature(&proof.head), "FDR-3: as its origin made it");
    SignedHead { head: proof.head, signature }
}

/// Passes what `from` has and `to` lacks, in parts of so many operations.
pub(super) async fn catch_up(from: &RowStore, to: &RowStore, items_max: u32) -> usize {
    for parts in 1.. {
        let feeds = to.feeds().await.unwrap();
        let has = feeds.values().map(|feed| (feed.origin, feed.seq)).collect();
        let query = LackingQuery { has, lost: BTreeSet::new(), items_max, bytes_max: 1 << 20 };
        let Lacking { items, proofs, more, .. } = from.lacking(query).await.unwrap();
        let vouches = proofs.iter().map(|proof| Intent::Vouch(proven(&feeds, &items, proof)));
        let vouches: Vec<Intent> = vouches.collect();
        let intents: Vec<Intent> = items
            .into_iter()
            .map(|item| match item.said {
                Said::Whole { bytes, .. } => taking(&bytes),
                Said::Hash(hash) => {
                    Intent::Pass(Passed { id: item.id, hash, refused: None, about: None })
                }
            })
            .chain(vouches)
            .collect();
        if !intents.is_empty() {
            let receipt = to.write(request(&peer(), intents)).await.unwrap();
            assert!(receipt.results.iter().all(|result| result.is_ok()), "FDR-1: {receipt:?}");
        }
        if !more {
            return parts;
        }
    }
    unreachable!("the loop ends by itself")
}

#[tokio::test]
async fn a_store_catches_up_from_any_other_in_parts() {
    let folders: [tempfile::TempDir; 4] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b, c, d] = folders.each_ref().map(|folder| open(folder.path()));
    live(&a).await;
    catch_up(&a, &b, 100).await;
    // The second one's operations rest on the first one's, and are told between them.
    for number in 10..15 {
        put(&b, &viewer("bob"), number, &format!("memory {number}")).await;
        put(&a, &viewer("ann"), number + 10, &format!("memory {number}")).await;
        catch_up(&b, &a, 100).await;
        catch_up(&a, &b, 100).await;
    }
    assert!(same(&a, &b).await);
    assert!(catch_up(&b, &c, 3).await > 5, "in parts");
    assert!(same(&a, &c).await);
    assert_eq!(a.feeds().await.unwrap(), c.feeds().await.unwrap(), "the chains are the same");
    // What one refuses as everybody would is told on as its hash, without a gap.
    let feed = log(folders[0].path());
    act(&d, &peer(), refusing(&feed[0], Reason::Malformed)).await.unwrap();
    catch_up(&a, &d, 4).await;
    let query = LackingQuery {
        has: types::VersionVector::default(),
        lost: BTreeSet::new(),
        items_max: 1000,
        bytes_max: 1 << 20,
    };
    let told = d.lacking(query).await.unwrap();
    assert!(matches!(told.items[0].said, Said::Hash(_)), "FDR-2");
    let mut next = std::collections::BTreeMap::new();
    for item in &told.items {
        let expected = next.entry(item.id.origin).or_insert(1);
        assert_eq!(item.id.seq, *expected, "FDR-2");
        *expected += 1;
    }
    assert_eq!(d.feeds().await.unwrap(), a.feeds().await.unwrap());
    for store in [a, b, c, d] {
        store.close().await.unwrap();
    }
}

/// Everything that a store tells who has nothing.
async fn told_by(store: &RowStore) -> Vec<FeedItem> {
    let query = LackingQuery {
        has: VersionVector::default(),
        lost: BTreeSet::new(),
        items_max: 1000,
        bytes_max: 1 << 20,
    };
    store.lacking(query).await.unwrap().items
}

#[tokio::test]
async fn what_an_author_had_seen_is_told_before_what_the_author_did() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    put(&a, &viewer("ann"), 1, "one").await;
    let feed = log(folders[0].path());
    let head = FeedHead::empty(a.node_id()).with(&codec::op_hash(&feed[0]));
    let vouch = Intent::Vouch(SignedHead { head, signature: signature(&head) });
    let intents = vec![refusing(&feed[0], Reason::Malformed), vouch];
    b.write(request(&peer(), intents)).await.unwrap();
    // Its author has seen that there is something that it does not take.
    put(&b, &viewer("bob"), 2, "two").await;
    put(&a, &viewer("ann"), 3, "three").await;
    catch_up(&a, &b, 100).await;
    let mut covered = VersionVector::default();
    for item in told_by(&b).await {
        if let Said::Whole { bytes, .. } = &item.said {
            assert!(covered.covers(&incoming(bytes).op.context), "FDR-1: {}", item.id);
        }
        assert!(covered.advance(item.id), "FDR-2: {}", item.id);
    }
    assert_eq!(covered, b.feeds().await.unwrap().values().map(|f| (f.origin, f.seq)).collect());
    for store in [a, b] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_hidden_here_is_passed_over_by_nobody_else() {
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b, c] = folders.each_ref().map(|folder| open(folder.path()));
    for (number, title) in [(1, "one"), (2, "two"), (3, "three")] {
        put(&a, &viewer("ann"), number, title).await;
    }
    let feed = log(folders[0].path());
    for (store, second) in [(&b, passing(&feed[1])), (&c, refusing(&feed[1], Reason::ClockSkew))] {
        act(store, &peer(), taking(&feed[0])).await.unwrap();
        act(store, &peer(), second).await.unwrap();
        catch_up(&a, store, 100).await;
        assert_eq!(store.feeds().await.unwrap(), a.feeds().await.unwrap());
        let told: Vec<u64> = told_by(store).await.iter().map(|item| item.id.seq).collect();
        assert_eq!(told, [1], "FDR-4");
        // Once its origin has left, nobody waits for it any more.
        let query = LackingQuery {
            has: VersionVector::default(),
            lost: BTreeSet::from([a.node_id()]),
            items_max: 9,
            bytes_max: 1 << 20,
        };
        let told: Vec<u64> =
            store.lacking(query).await.unwrap().items.iter().map(|item| item.id.seq).collect();
        assert_eq!(told, [1, 2, 3], "FDR-4");
    }
    for store in [a, b, c] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_kept_is_told_in_parts_too() {
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b, c] = folders.each_ref().map(|folder| open(folder.path()));
    live(&a).await;
    let feed = log(folders[0].path());
    let head = a.feeds().await.unwrap()[&a.node_id()];
    let word = SignedHead { head, signature: signature(&head) };
    // What nobody can read is told on as its hash.
    let all = feed.iter().map(|bytes| refusing(bytes, Reason::Malformed));
    b.write(request(&peer(), all.chain([Intent::Vouch(word)]).collect())).await.unwrap();
    let query = LackingQuery {
        has: VersionVector::default(),
        lost: BTreeSet::new(),
        items_max: 3,
        bytes_max: 1 << 20,
    };
    let told = b.lacking(query).await.unwrap();
    assert_eq!((told.items.len(), told.more, told.is_cut), (3, true, false), "FDR-1");
    assert!(catch_up(&b, &c, 3).await >= feed.len().div_ceil(3), "in parts");
    assert_eq!(c.feeds().await.unwrap()[&a.node_id()], head);
    for store in [a, b, c] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn links_join_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let b = open(folder.path());
    let op = |origin: u128, seq, ms, payload| Op {
        id: OpId { origin: types::NodeId(Uuid::from_u128(origin)), seq },
        hlc: Hlc::new(NOW_MS + ms, 0),
        author: "ann".parse().unwrap(),
        fence: 0,
        context: types::VersionVector::default(),
        payload,
    };
    let link = new_link(77, 1, Relation::DependsOn, 2);
    let until = |ms| Validity { from_ms: None, until_ms: Some(ms) };
    let ops = [
        op(1, 1, 0, Payload::Link(link.clone())),
        op(2, 1, 9, Payload::LinkValidity { id: link.id, validity: until(9) }),
        op(1, 2, 5, Payload::LinkValidity { id: link.id, validity: until(5) }),
        op(3, 1, 3, Payload::Unlink { id: link.id }),
        op(3, 2, 99, Payload::LinkValidity { id: link.id, validity: until(99) }),
    ];
    let log: Vec<Vec<u8>> = ops.iter().map(codec::encode_op).collect();
    take_all(&b, &log).await;
    let row: (i64, bool) = look(folder.path())
        .query_row("SELECT valid_until_ms, removed FROM links", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(row, (99, true), "the newest span, and gone for good");
    b.close().await.unwrap();
}

#[tokio::test]
async fn nobody_is_told_what_cannot_be_shown_to_be_all_there() {
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b, c] = folders.each_ref().map(|folder| open(folder.path()));
    for number in 1..=5 {
        put(&a, &viewer("ann"), number, &format!("memory {number}")).await;
    }
    let feed = log(folders[0].path());
    take_all(&b, &feed[..4]).await;
    let everything = || LackingQuery {
        has: VersionVector::default(),
        lost: BTreeSet::new(),
        items_max: 100,
        bytes_max: 1 << 20,
    };
    let told = b.lacking(everything()).await.unwrap();
    assert!(told.items.is_empty() && told.proofs.is_empty() && !told.more, "FDR-3");
    let head = |last: usize| {
        let empty = FeedHead::empty(a.node_id());
        feed[..last].iter().fold(empty, |feed, bytes| feed.with(&codec::op_hash(bytes)))
    };
    let vouch = |head| Intent::Vouch(SignedHead { head, signature: signature(&head) });
    assert_eq!(
        act(&b, &peer(), vouch(head(5))).await,
        Ok(Applied::Known),
        "DEA-1: more than is here"
    );
    let other = FeedHead { chain: [7; 32], ..head(4) };
    let forged = act(&b, &peer(), vouch(other)).await.unwrap_err();
    assert_eq!(forged.reason, Reason::ChainBroken, "DEA-1");
    act(&b, &peer(), vouch(head(4))).await.unwrap();
    assert_eq!(catch_up(&b, &c, 3).await, 2, "three, shown by the head behind the fourth");
    assert_eq!(c.feeds().await.unwrap()[&a.node_id()], head(4));
    // Of heads that are close together the last is enough.
    take_all(&b, &feed[4..]).await;
    act(&b, &peer(), vouch(head(5))).await.unwrap();
    assert_eq!(count(&look(folders[1].path()), "feed_heads"), 1, "DEA-3");
    for store in [a, b, c] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn dead_letters_and_nonces_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let b = open(folder.path());
    let [one, two] = [1, 2].map(|number| NodeId(Uuid::from_u128(number)));
    let name = OpId { origin: b.node_id(), seq: 4 };
    let letter = |seq, tries| DeadLetter {
        id: OpId { seq, ..name },
        reason: Reason::QuotaExceeded,
        detail: "full".to_owned(),
        tries,
        first_ms: NOW_MS,
        next_ms: (tries < 3).then_some(NOW_MS + 5),
    };
    let keep = |peer, letter| Intent::KeepLetter { peer, letter: Box::new(letter) };
    let kept = [keep(one, letter(4, 1)), keep(two, letter(4, 1)), keep(one, letter(4, 3))];
    b.write(request(&peer(), kept.to_vec())).await.unwrap();
    let use_once = |peer, until_ms| Intent::Nonce { peer, nonce: [9; 16], until_ms };
    act(&b, &peer(), use_once(one, NOW_MS + 10)).await.unwrap();
    b.close().await.unwrap();
    drop(b);
    let b = open(folder.path());
    assert_eq!(b.letters().await.unwrap(), [(one, letter(4, 3)), (two, letter(4, 1))]);
    act(&b, &peer(), Intent::DropLetter { peer: one, id: name }).await.unwrap();
    assert_eq!(b.letters().await.unwrap(), [(two, letter(4, 1))]);
    let again = act(&b, &peer(), use_once(one, NOW_MS + 10)).await.unwrap_err();
    assert_eq!(again.reason, Reason::NonceReplay, "DEA-2");
    act(&b, &peer(), use_once(two, NOW_MS + 10)).await.expect("another's");
    let late =
        WriteRequest { now_ms: NOW_MS + 11, ..request(&peer(), vec![use_once(two, NOW_MS + 20)]) };
    let replayed = b.write(late.clone()).await.unwrap().results.remove(0).unwrap_err();
    assert_eq!(replayed.reason, Reason::NonceReplay);
    let other = Intent::Nonce { peer: two, nonce: [8; 16], until_ms: NOW_MS + 20 };
    b.write(WriteRequest { intents: vec![other], ..late }).await.unwrap();
    assert_eq!(count(&look(folder.path()), "nonces"), 1, "what is too old is forgotten");
    b.close().await.unwrap();
}
