//! The laws of the record, over histories that three nodes made.

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::arbitrary::{self, History};

fn join(mut a: Record, b: Record) -> Record {
    a.join(b);
    a
}

/// What a replica has that got the first `share` parts in 16 of every origin's operations, and at
/// least one `Store`.
fn part(history: &History, shares: [usize; 3]) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    for (origin, share) in history.by_origin().into_iter().zip(shares) {
        // The history's own first operation makes every part a record.
        let first = usize::from(origin.first() == history.ops.first());
        let count = (origin.len() * share / 16).max(first);
        ops.extend(origin.into_iter().take(count));
    }
    ops.sort_by_key(|op| history.ops.iter().position(|other| other.id == op.id));
    ops
}

fn shares() -> impl Strategy<Value = [usize; 3]> {
    prop::array::uniform3(0usize..=16)
}

proptest! {
    #![proptest_config(arbitrary::laws())]

    #[test]
    fn the_join_is_commutative_associative_and_idempotent(
        history in arbitrary::history(),
        shares in prop::array::uniform3(shares()),
    ) {
        let [a, b, c] = shares.map(|shares| History::replay(&part(&history, shares)));
        prop_assert_eq!(join(a.clone(), a.clone()), a.clone(), "REC-1");
        prop_assert_eq!(join(a.clone(), b.clone()), join(b.clone(), a.clone()), "REC-1");
        prop_assert_eq!(
            join(join(a.clone(), b.clone()), c.clone()),
            join(a, join(b, c)),
            "REC-1"
        );
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(
        history in arbitrary::history(),
        choices in prop::collection::vec(0usize..3, 1..20),
    ) {
        let reordered = history.reordered(&choices);
        prop_assert_eq!(History::replay(&reordered), History::replay(&history.ops), "REC-2");
    }

    #[test]
    fn an_operation_that_arrives_again_changes_nothing(
        history in arbitrary::history(),
        again in prop::collection::vec(any::<Index>(), 1..6),
    ) {
        let once = History::replay(&history.ops);
        let mut twice = once.clone();
        for at in again {
            prop_assert!(!twice.apply(at.get(&history.ops)), "REC-2");
        }
        prop_assert_eq!(twice, once, "REC-2");
    }

    #[test]
    fn joining_records_is_applying_what_either_has(
        history in arbitrary::history(),
        left in shares(),
        right in shares(),
    ) {
        let either = [0, 1, 2].map(|n| left[n].max(right[n]));
        let whole = History::replay(&part(&history, either));
        let [left, right] = [left, right].map(|shares| part(&history, shares));
        let joined = join(History::replay(&left), History::replay(&right));
        prop_assert_eq!(&joined, &whole, "REC-2");

        let mut applied = History::replay(&left);
        for op in &right {
            let news = !left.contains(op);
            prop_assert_eq!(applied.apply(op), news);
        }
        prop_assert_eq!(applied, whole, "REC-2");
    }

    #[test]
    fn records_made_by_different_stores_of_one_id_agree(
        history in arbitrary::history(),
        other in arbitrary::history(),
    ) {
        let record = |mut history: History, from: u128| {
            for op in &mut history.ops {
                op.id.origin = crate::NodeId(uuid::Uuid::from_u128(from + op.id.origin.0.as_u128()));
            }
            let mut record = History::replay(&history.ops);
            record.id = crate::MemoryId(uuid::Uuid::nil());
            record
        };
        let (a, b) = (record(history, 0), record(other, 8));
        let joined = join(a.clone(), b.clone());
        prop_assert_eq!(&joined, &join(b.clone(), a.clone()), "REC-1");
        prop_assert_eq!(joined.created, a.created.min(b.created));
        prop_assert_eq!(joined.version(), a.version() + b.version());
    }

    #[test]
    fn a_deleted_record_stays_deleted_and_blank(
        history in arbitrary::history(),
        shares in shares(),
        at: Index,
    ) {
        let some = part(&history, shares);
        let mut record = History::replay(&some);
        let delete = Op {
            id: crate::OpId { origin: crate::NodeId(uuid::Uuid::max()), seq: 1 },
            payload: Payload::Delete { id: record.id, reason: String::new() },
            ..at.get(&history.ops).clone()
        };
        record.apply(&delete);
        for op in &history.ops {
            record.apply(op);
            prop_assert!(record.deleted.is_some() && !record.is_live(), "REC-3");
        }
        record.join(History::replay(&history.ops));
        prop_assert!(record.deleted.is_some() && !record.is_live(), "REC-3");
        prop_assert_eq!(&record.title.value, &Title::erased(), "REC-5");
        prop_assert!(record.content.value.as_str().is_empty(), "REC-5");
        prop_assert!(record.embedding.value.is_none() && record.metadata.value.is_empty(), "REC-5");
        prop_assert_eq!(record.tags.iter().count(), 0, "REC-5");
    }

    #[test]
    fn an_automatic_promotion_never_lowers(
        history in arbitrary::history(),
        tier in arbitrary::tier(),
        expires_at_ms in proptest::option::of(arbitrary::time_ms()),
        stamp in arbitrary::stamp(),
    ) {
        let mut record = History::replay(&history.ops);
        let (tier_before, expiry_before) = (record.tier(), record.expiry.value());
        let op = Op {
            id: crate::OpId { origin: crate::NodeId(uuid::Uuid::max()), seq: 1 },
            hlc: stamp.hlc,
            fence: stamp.fence,
            payload: Payload::Promote { id: record.id, tier, automatic: true, expires_at_ms },
            ..history.ops[0].clone()
        };
        prop_assert!(record.apply(&op));
        prop_assert!(record.tier() >= tier_before, "REC-4");
        prop_assert!(record.expiry.value() >= expiry_before, "REC-4");
    }

    #[test]
    fn the_version_counts_edits_and_recalls_are_none(history in arbitrary::history()) {
        let record = History::replay(&history.ops);
        let recalls: Vec<u64> = history
            .ops
            .iter()
            .filter_map(|op| match &op.payload {
                Payload::Access(accessed) => Some(accessed.iter().map(|a| u64::from(a.count)).sum()),
                _ => None,
            })
            .collect();
        prop_assert_eq!(record.version(), (history.ops.len() - recalls.len()) as u64);
        prop_assert_eq!(record.accesses.total(), recalls.iter().sum::<u64>());
        let edits = history.ops.iter().filter(|op| !matches!(op.payload, Payload::Access(_)));
        prop_assert_eq!(Some(record.updated), edits.map(Op::stamp).max());
    }
}

fn op(origin: u128, seq: u64, ms: u64, payload: Payload) -> Op {
    Op {
        id: crate::OpId { origin: crate::NodeId(uuid::Uuid::from_u128(origin)), seq },
        hlc: crate::Hlc::new(ms, 0),
        author: AgentId::local(),
        fence: 0,
        context: VersionVector::default(),
        payload,
    }
}

fn memory() -> NewMemory {
    NewMemory::new(
        MemoryId(uuid::Uuid::from_u128(1)),
        "a title".parse().expect("a title"),
        "text".parse().expect("a content"),
        Audience::everyone(),
    )
}

fn promote(origin: u128, ms: u64, tier: Tier, automatic: bool, expires: Option<u64>) -> Op {
    let id = memory().id;
    op(origin, 1, ms, Payload::Promote { id, tier, automatic, expires_at_ms: expires })
}

/// A lower automatic promotion, a higher explicit change and their two orders of arrival.
#[test]
fn an_automatic_promotion_yields_to_a_higher_explicit_tier_in_both_orders() {
    let new = NewMemory { tier: Tier::Short, expires_at_ms: Some(10), ..memory() };
    let store = op(1, 1, 1, Payload::Store(Box::new(new)));
    let explicit = promote(2, 5, Tier::Long, false, None);
    let automatic = promote(3, 6, Tier::Mid, true, Some(99));
    let forward = History::replay(&[store.clone(), explicit.clone(), automatic.clone()]);
    let backward = History::replay(&[store, automatic, explicit]);
    assert_eq!(forward, backward, "REC-2");
    assert_eq!((forward.tier(), forward.expires_at_ms()), (Tier::Long, None), "REC-4");
    assert_eq!(forward.version(), 3);
}

#[test]
fn an_explicit_change_may_go_down_after_an_automatic_promotion() {
    let store = op(1, 1, 1, Payload::Store(Box::new(memory())));
    let up = promote(2, 5, Tier::Long, true, None);
    let down = promote(3, 6, Tier::Short, false, Some(50));
    let record = History::replay(&[store, up, down]);
    assert_eq!((record.tier(), record.expires_at_ms()), (Tier::Short, Some(50)));
}

#[test]
fn a_change_of_text_drops_the_vector_of_the_old_text() {
    let embedding = Embedding { model: "m".into(), version: "1".into(), values: vec![1.0] };
    let new = NewMemory { embedding: Some(embedding), ..memory() };
    let store = op(1, 1, 1, Payload::Store(Box::new(new)));
    let patch = crate::Patch { content: Some("new".parse().expect("text")), ..Default::default() };
    let body = UpdateBody { id: memory().id, patch, removed_dots: vec![] };
    let update = op(1, 2, 2, Payload::Update(Box::new(body)));
    let mut record = History::replay(&[store]);
    assert!(record.embedding.value.is_some());
    record.apply(&update);
    assert_eq!(record.embedding.value, None);
}

#[test]
fn an_operation_on_another_memory_changes_nothing() {
    let store = op(1, 1, 1, Payload::Store(Box::new(memory())));
    let mut record = History::replay(&[store]);
    let before = record.clone();
    let other = MemoryId(uuid::Uuid::from_u128(2));
    assert!(!record.apply(&op(1, 2, 2, Payload::Delete { id: other, reason: String::new() })));
    let recall = crate::op::Accessed { id: other, count: 1, at_ms: 1 };
    assert!(!record.apply(&op(1, 3, 3, Payload::Access(vec![recall]))));
    assert_eq!(record, before);
}

#[test]
fn newer_metadata_wins_key_by_key() {
    let parse = |text: &str| text.parse::<Metadata>().expect("an object");
    let merged = merge_metadata(&parse(r#"{"a":1,"b":1}"#), &parse(r#"{"b":2,"c":2}"#));
    assert_eq!(merged, parse(r#"{"a":1,"b":2,"c":2}"#));
}

#[test]
fn never_is_the_latest_expiry() {
    assert!(Expiry(None) > Expiry(Some(u64::MAX)) && Expiry(Some(2)) > Expiry(Some(1)));
}
