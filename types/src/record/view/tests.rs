//! The laws of views, over records that several nodes made without hearing of each other.

use proptest::{prelude::*, sample::Index};
use uuid::Uuid;

use super::*;
use crate::{
    Hlc, NewMemory, NodeId, Op, OpId, Patch, Payload, Tier,
    arbitrary::{self, History},
    op::UpdateBody,
};

/// Records of different memories, each with the parts that some replicas have of it.
fn replicas() -> impl Strategy<Value = Vec<Vec<Record>>> {
    let cuts = prop::collection::vec(any::<Index>(), 1..4);
    prop::collection::vec((arbitrary::history(), cuts), 1..4).prop_map(|all| {
        let each = all.into_iter().enumerate();
        each.map(|(number, (history, cuts))| of_others(history, number as u128, &cuts)).collect()
    })
}

/// The history as if other nodes had made it, as far as replicas that stopped listening somewhere have it; the
/// first has all.
fn of_others(mut history: History, number: u128, cuts: &[Index]) -> Vec<Record> {
    for op in &mut history.ops {
        op.id.origin = NodeId(Uuid::from_u128((number << 32) + op.id.origin.0.as_u128()));
    }
    let upto = |count: usize| History::replay(&history.ops[..count]);
    let cuts = cuts.iter().map(|cut| upto(1 + cut.index(history.ops.len())));
    std::iter::once(upto(history.ops.len())).chain(cuts).collect()
}

fn whole(replicas: &[Vec<Record>]) -> Vec<Record> {
    replicas.iter().map(|parts| parts[0].clone()).collect()
}

/// An operation after all others.
fn last_op(payload: Payload) -> Op {
    Op {
        id: OpId { origin: NodeId(Uuid::max()), seq: 1 },
        hlc: Hlc::new(Hlc::WALL_MS_MAX, u16::MAX),
        author: crate::AgentId::local(),
        fence: u64::MAX,
        context: crate::VersionVector::default(),
        payload,
    }
}

/// Has the record with the smallest id changed by who has seen the whole view, as a node does it.
fn change(records: &mut [Record], patch: &Patch) {
    let seen = fold(records.to_vec()).expect("at least one");
    let dots = patch.remove_tags.iter().flat_map(|tag| seen.tags.dots(tag)).cloned().collect();
    let body = UpdateBody { id: seen.id, patch: patch.clone(), removed_dots: dots };
    let op = last_op(Payload::Update(Box::new(body)));
    let face = records.iter_mut().find(|record| record.id == seen.id).expect("one of them");
    assert!(face.apply(&op));
}

proptest! {
    #![proptest_config(arbitrary::laws())]

    #[test]
    fn neither_order_nor_repetition_nor_stale_copies_matter(
        replicas in replicas(),
        again in prop::collection::vec((any::<Index>(), any::<Index>()), 0..6),
        turn: Index,
    ) {
        let all = whole(&replicas);
        let view = fold(all.clone());
        let mut heard: Vec<Record> = again
            .iter()
            .map(|(which, part)| part.get(which.get::<Vec<Record>>(&replicas)).clone())
            .chain(all.iter().rev().cloned())
            .collect();
        let middle = turn.index(heard.len());
        heard.rotate_left(middle);
        prop_assert_eq!(fold(heard), view, "VIW-1");
    }

    #[test]
    fn the_view_of_one_record_is_that_record(record in arbitrary::record()) {
        prop_assert_eq!(fold([record.clone()]), Some(record), "VIW-2");
    }

    #[test]
    fn a_change_that_has_seen_the_view_is_what_it_shows(
        replicas in replicas(),
        patch in arbitrary::patch(),
    ) {
        let mut all = whole(&replicas);
        all.retain(|record| record.deleted.is_none());
        prop_assume!(!all.is_empty());
        let before = fold(all.clone()).expect("at least one");
        change(&mut all, &patch);
        let after = fold(all).expect("at least one");
        let tags: BTreeSet<Tag> = before
            .tags
            .iter()
            .filter(|tag| !patch.remove_tags.contains(*tag))
            .chain(&patch.add_tags)
            .cloned()
            .collect();
        prop_assert_eq!(after.tags.iter().cloned().collect::<BTreeSet<Tag>>(), tags, "VIW-3");
        let or = |new: Option<u8>, old: u8| new.unwrap_or(old);
        prop_assert_eq!(after.priority.value, or(patch.priority, before.priority.value), "VIW-3");
        prop_assert_eq!(after.tier(), patch.tier.unwrap_or(before.tier()), "VIW-3");
        let expiry = patch.expires_at_ms.unwrap_or(before.expires_at_ms());
        prop_assert_eq!(after.expires_at_ms(), expiry, "VIW-3");
        let texts = patch.content.is_some() || patch.title.is_some();
        let vector = match (&patch.embedding, texts) {
            (Some(given), _) => Some(given.clone()),
            (None, true) => None,
            (None, false) => before.embedding.value.clone(),
        };
        prop_assert_eq!(after.embedding.value, vector, "VIW-3");
        prop_assert_eq!(after.content.value, patch.content.unwrap_or(before.content.value));
        prop_assert_eq!(after.metadata.value, patch.metadata.unwrap_or(before.metadata.value));
        prop_assert_eq!(after.source.value, patch.source.unwrap_or(before.source.value));
        prop_assert_eq!(after.kind.value, patch.kind.unwrap_or(before.kind.value));
        prop_assert_eq!(after.validity.value, patch.validity.unwrap_or(before.validity.value));
        prop_assert_eq!(after.legal_hold.value, patch.legal_hold.unwrap_or(before.legal_hold.value));
        prop_assert_eq!(after.pii_flags.value, patch.pii_flags.unwrap_or(before.pii_flags.value));
        prop_assert_eq!(
            after.confidence_permille.value,
            patch.confidence_permille.unwrap_or(before.confidence_permille.value)
        );
        prop_assert_eq!(after.edits.total(), before.edits.total() + 1);
    }

    #[test]
    fn what_is_created_late_brings_nothing_back(
        replicas in replicas(),
        (tier, priority, expires) in
            (arbitrary::tier(), 1u8..=10, proptest::option::of(arbitrary::time_ms())),
        late in arbitrary::new_memory(),
    ) {
        let mut all = whole(&replicas);
        all.retain(|record| record.deleted.is_none());
        prop_assume!(!all.is_empty());
        let patch = Patch {
            tier: Some(tier),
            priority: Some(priority),
            expires_at_ms: Some(expires),
            ..Patch::default()
        };
        change(&mut all, &patch);
        let id = OpId { origin: NodeId(Uuid::max()), seq: 2 };
        // Later than everything by its stamp, and made without knowing any of it.
        let store = Op { id, ..last_op(Payload::Store(Box::new(late.clone()))) };
        all.push(Record::create(&store, &late));
        let after = fold(all).expect("at least one");
        let shown = (after.tier(), after.priority.value, after.expires_at_ms());
        prop_assert_eq!(shown, (tier, priority, expires), "VIW-4");
    }

    #[test]
    fn counts_are_added_whoever_counted(replicas in replicas()) {
        let all = whole(&replicas);
        let sum = |count: fn(&Record) -> u64| all.iter().map(count).sum::<u64>();
        let (versions, recalls) = (sum(Record::version), sum(|r| r.accesses.total()));
        let view = fold(all).expect("at least one");
        prop_assert_eq!((view.version(), view.accesses.total()), (versions, recalls));
    }
}

fn store(origin: u128, ms: u64, change: impl FnOnce(&mut NewMemory)) -> Record {
    let id = MemoryId(Uuid::from_u128(origin));
    let (title, content) = ("a title".parse().expect("a title"), "text".parse().expect("text"));
    let mut new = NewMemory::new(id, title, content, Audience::everyone());
    change(&mut new);
    let id = OpId { origin: NodeId(Uuid::from_u128(origin)), seq: 1 };
    let hlc = Hlc::new(ms, 0);
    let op = Op { id, hlc, fence: 0, ..last_op(Payload::Store(Box::new(new.clone()))) };
    Record::create(&op, &new)
}

#[test]
fn two_creations_make_one() {
    let metadata = |text: &str| text.parse::<crate::Metadata>().expect("an object");
    let one = store(2, 10, |new| {
        (new.priority, new.tier) = (3, Tier::Long);
        new.tags = ["a".parse().expect("a tag")].into();
        (new.source, new.metadata) = ("here".to_owned(), metadata(r#"{"a":1,"b":1}"#));
    });
    let other = store(1, 20, |new| {
        (new.priority, new.tier) = (4, Tier::Short);
        (new.content, new.expires_at_ms) = ("newer".parse().expect("text"), Some(50));
        new.tags = ["b".parse().expect("a tag")].into();
        new.metadata = metadata(r#"{"b":2}"#);
    });
    assert_eq!(one.key(), other.key());
    let names = differing(&[&one, &other]);
    assert_eq!(names, ["content", "expires_at", "metadata", "priority", "source", "tags", "tier"]);
    assert!(differing(&[&one, &one]).is_empty());
    let view = fold([one.clone(), other.clone()]).expect("two");
    assert_eq!((view.id, view.created), (other.id, one.created));
    assert_eq!((view.priority.value, view.tier(), view.expires_at_ms()), (7, Tier::Long, None));
    assert_eq!((view.content.value.as_str(), view.source.value.as_str()), ("newer", "here"));
    assert_eq!(view.metadata.value, metadata(r#"{"a":1,"b":2}"#));
    assert_eq!((view.tags.iter().count(), view.version()), (2, 2));
    let both = fold([store(1, 1, |new| new.priority = 9), store(2, 2, |new| new.priority = 9)]);
    assert_eq!(both.expect("two").priority.value, 10, "the greatest there is");
}

#[test]
fn some_are_shown_by_themselves() {
    let apart = store(1, 1, |new| new.apart = true);
    let reflection = store(1, 1, |new| new.kind = Kind::Reflection);
    assert_eq!((apart.key(), reflection.key()), (None, None));
    let mut archived = store(1, 1, |_| {});
    let op = last_op(Payload::Archive { id: archived.id, reason: "old".to_owned() });
    assert!(archived.key().is_some() && archived.apply(&op));
    assert_eq!(archived.key(), None);
    assert!(fold([]).is_none());
}
