//! Records that are shown as one: two stores made them without having heard of each other.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tempfile::TempDir;
use types::{
    Hlc, Kind, MemoryId, NewMemory, NodeId, Op, OpId, Patch, Payload, Reason, Record, Relation,
    Scope, Tag, Tier, VersionVector, arbitrary,
    ids::IdRef,
    op::{Accessed, UpdateBody},
    record::view,
};
use uuid::Uuid;

use super::{
    super::store_memory::fold,
    feeds::{log, take_all},
    world::*,
};
use crate::{
    answer::{Applied, MemoryView},
    port::{ReadStore, WriteStore},
    request::{
        CandidateQuery, ConflictQuery, Direction, GraphQuery, Intent, ListQuery, MemoryFilter,
        OnConflict, Reader, Viewer, WriteRequest,
    },
    rows::RowStore,
};

/// Two stores that hear of each other when they are told to.
struct Two {
    folders: [TempDir; 2],
    stores: [RowStore; 2],
}

impl Two {
    fn new() -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let stores = folders.each_ref().map(|folder| open(folder.path()));
        Self { folders, stores }
    }

    /// Tells each what the other has.
    async fn meet(&self) {
        for (from, to) in [(0, 1), (1, 0)] {
            take_all(&self.stores[to], &log(self.folders[from].path())).await;
        }
        self.are_alike().await;
    }

    async fn are_alike(&self) {
        let [a, b] = &self.stores;
        assert_eq!(a.content_digest().await.unwrap(), b.content_digest().await.unwrap());
        for store in &self.stores {
            assert!(store.verify_chain(0).await.unwrap().holds());
            assert_eq!(store.check().await.unwrap(), [], "ROW-1, VWW-1");
        }
    }
}

async fn at(store: &RowStore, ms: u64, intent: Intent) -> Result<Applied, types::Reject> {
    let now_ms = NOW_MS + ms;
    let asked = WriteRequest { now_ms, ..request(&ann(), vec![intent]) };
    store.write(asked).await.unwrap().results.into_iter().next().unwrap()
}

fn ann() -> Viewer {
    viewer("ann")
}

fn titled(number: u128, content: &str, change: impl FnOnce(&mut NewMemory)) -> NewMemory {
    let mut new = memory(&ann(), number, "same title", Scope::Private);
    new.content = content.parse().unwrap();
    change(&mut new);
    new
}

async fn get(store: &RowStore, number: u128) -> MemoryView {
    store.get(Reader::Agent(&ann()), full(number), NOW_MS + 100).await.unwrap()
}

async fn list(store: &RowStore) -> Vec<MemoryView> {
    let query = ListQuery {
        filter: MemoryFilter::default(),
        archived: false,
        after: None,
        limit: 10,
        now_ms: NOW_MS + 100,
    };
    store.list(Reader::Agent(&ann()), query).await.unwrap().items
}

async fn recall(store: &RowStore, words: &str) -> Vec<MemoryId> {
    let query = CandidateQuery {
        text: words.to_owned(),
        vector: None,
        filter: MemoryFilter::default(),
        depth: 10,
        now_ms: NOW_MS + 100,
        explain: false,
    };
    let found = store.candidates(Reader::Agent(&ann()), query).await.unwrap();
    found.items.into_iter().map(|candidate| candidate.memory.id).collect()
}

fn patch(number: u128, patch: Patch) -> Intent {
    Intent::Update { id: full(number), patch: Box::new(patch), expected_version: None }
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Each side stores the title: 1 here, 2 there, later.
async fn both() -> Two {
    let two = Two::new();
    let one = titled(1, "walnut", |new| {
        (new.tags, new.priority) = ([tag("here"), tag("both")].into(), 4);
        new.tier = Tier::Long;
    });
    let other = titled(2, "hazel", |new| {
        (new.tags, new.priority) = ([tag("there"), tag("both")].into(), 3);
    });
    at(&two.stores[0], 1, store_intent(one)).await.unwrap();
    at(&two.stores[1], 2, store_intent(other)).await.unwrap();
    two.meet().await;
    two
}

#[tokio::test]
async fn one_title_of_two_sides_is_one_memory_under_either_id() {
    let two = both().await;
    for store in &two.stores {
        let seen = get(store, 1).await;
        assert_eq!(get(store, 2).await, seen, "VWR-1");
        assert_eq!(list(store).await, std::slice::from_ref(&seen), "one row a key");
        assert_eq!((seen.id, seen.other_ids.as_slice()), (id(1), [id(2)].as_slice()));
        assert_eq!((seen.content.as_str(), seen.priority, seen.tier), ("hazel", 7, Tier::Long));
        assert_eq!(seen.tags, [tag("both"), tag("here"), tag("there")]);
        assert_eq!((seen.version, seen.access_count), (2, 0));
        assert_eq!(recall(store, "hazel").await, [id(1)], "the index has what is seen");
        assert!(recall(store, "walnut").await.is_empty(), "and nothing else");
        let tagged =
            MemoryFilter { tags_all: [tag("here"), tag("there")].into(), ..Default::default() };
        let query = ListQuery {
            filter: tagged,
            archived: false,
            after: None,
            limit: 9,
            now_ms: NOW_MS + 9,
        };
        assert_eq!(store.list(Reader::Agent(&ann()), query).await.unwrap().items.len(), 1);
        let stats = store.stats().await.unwrap();
        assert_eq!((stats.memories, stats.tombstones), (1, 0));
        let pending = store.take_texts(9, NOW_MS + 9, 0).await.unwrap();
        assert_eq!(pending.len(), 1);
        assert!(pending[0].id == id(1) && pending[0].text.contains("hazel"));
    }
}

#[tokio::test]
async fn what_has_expired_is_not_shown_with_what_takes_its_title() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let old = titled(1, "walnut", |new| {
        (new.tags, new.expires_at_ms) = ([tag("old")].into(), Some(NOW_MS + 5));
    });
    at(&store, 1, store_intent(old)).await.unwrap();
    at(&store, 10, store_intent(titled(2, "hazel", |_| {}))).await.unwrap();
    let seen = get(&store, 2).await;
    assert_eq!((seen.id, seen.other_ids.len(), seen.tags.len()), (id(2), 0, 0));
    assert_eq!(list(&store).await, [seen]);
    assert_eq!(store.expired(NOW_MS + 100, 9).await.unwrap(), [id(1)]);
    let merged = at(&store, 20, store_intent(titled(3, "beech", |_| {}))).await.unwrap();
    assert_eq!(merged, Applied::Memory { id: id(2), version: 2, merged: true });
}

#[tokio::test]
async fn conflicts_name_the_records_and_what_differs_to_whoever_may_see_them() {
    let two = both().await;
    put(&two.stores[0], &ann(), 9, "no conflict").await;
    let query = |after, limit| ConflictQuery { after, limit, now_ms: NOW_MS + 100 };
    let page = two.stores[0].conflicts(Reader::Agent(&ann()), query(None, 5)).await.unwrap();
    assert!(page.items.len() == 1 && page.next.is_none());
    let conflict = &page.items[0];
    assert_eq!((conflict.id, conflict.title.as_str()), (id(1), "same title"));
    assert_eq!(conflict.differs, ["content", "priority", "tags", "tier"]);
    let origins: Vec<NodeId> = conflict.records.iter().map(|record| record.origin).collect();
    assert_eq!(origins, two.stores.each_ref().map(RowStore::node_id));
    let eve = viewer("eve");
    let hidden = two.stores[0].conflicts(Reader::Agent(&eve), query(None, 5)).await.unwrap();
    assert!(hidden.items.is_empty(), "STO-2");
    // Pages go on behind the last one.
    for (store, number) in [(0, 21), (1, 22)] {
        let new = memory(&ann(), number, "another", Scope::Private);
        at(&two.stores[store], 5, store_intent(new)).await.unwrap();
    }
    two.meet().await;
    let first = two.stores[1].conflicts(Reader::Agent(&ann()), query(None, 1)).await.unwrap();
    assert_eq!((first.items[0].id, first.next), (id(1), Some(id(1).to_string())));
    let second = two.stores[1].conflicts(Reader::Agent(&ann()), query(Some(id(1)), 1)).await;
    let second = second.unwrap();
    assert_eq!((second.items[0].id, second.next), (id(21), None));
}

#[tokio::test]
async fn a_change_by_either_id_is_what_is_seen_and_stays_so() {
    let two = both().await;
    let [here, there] = &two.stores;
    let lower = Patch {
        priority: Some(2),
        tier: Some(Tier::Short),
        expires_at_ms: Some(Some(NOW_MS + 5_000)),
        remove_tags: [tag("both"), tag("here")].into(),
        ..Patch::default()
    };
    let stale =
        Intent::Update { id: full(2), patch: Box::new(lower.clone()), expected_version: Some(1) };
    let refused = at(there, 10, stale).await.unwrap_err();
    assert_eq!(
        (refused.reason, refused.fact("current_version")),
        (Reason::VersionConflict, Some("2"))
    );
    let done = at(there, 10, patch(2, lower)).await.unwrap();
    assert_eq!(done, Applied::Memory { id: id(1), version: 3, merged: false });
    // One more that had heard of nothing comes late.
    let third = Two::new();
    let late = titled(3, "beech", |new| (new.priority, new.tier) = (9, Tier::Long));
    at(&third.stores[0], 50, store_intent(late)).await.unwrap();
    two.meet().await;
    for store in [here, there] {
        take_all(store, &log(third.folders[0].path())).await;
        let seen = get(store, 3).await;
        assert_eq!(seen.id, id(1));
        assert_eq!((seen.priority, seen.tier), (2, Tier::Short), "VIW-4");
        assert_eq!(seen.expires_at_ms, Some(NOW_MS + 5_000), "VIW-4");
        assert_eq!(seen.tags, [tag("there")], "what was taken away stays away");
        assert_eq!((seen.content.as_str(), seen.other_ids.len()), ("beech", 2));
        let gone = store.get(Reader::Agent(&ann()), full(2), NOW_MS + 6_000).await;
        assert!(gone.is_err(), "all of it expires");
        assert_eq!(store.expired(NOW_MS + 6_000, 9).await.unwrap(), [id(1)]);
    }
    // Upkeep archives all of it.
    let archive = Intent::Archive { id: full(1), reason: "expired".into() };
    let upkeep = Viewer { operator: true, ..ann() };
    let asked = WriteRequest { now_ms: NOW_MS + 6_000, ..request(&upkeep, vec![archive]) };
    here.write(asked).await.unwrap().results.into_iter().for_each(|done| drop(done.unwrap()));
    assert!(here.expired(NOW_MS + 6_000, 9).await.unwrap().is_empty());
    assert_eq!(here.stats().await.unwrap().archived, 3);
    assert_eq!(here.check().await.unwrap(), []);
}

#[tokio::test]
async fn a_new_title_or_scope_is_that_of_all_of_it() {
    let two = both().await;
    let [here, there] = &two.stores;
    let rename = Patch { title: Some("another title".parse().unwrap()), ..Patch::default() };
    at(here, 10, patch(2, rename)).await.unwrap();
    two.meet().await;
    for store in [here, there] {
        let all = list(store).await;
        assert_eq!((all.len(), all[0].title.as_str()), (1, "another title"));
        assert_eq!(get(store, 2).await, all[0]);
    }
    // The old title is free, and a store under it is a memory of its own.
    at(there, 20, store_intent(titled(7, "ash", |_| {}))).await.unwrap();
    two.meet().await;
    assert_eq!(list(here).await.len(), 2);
    // Renamed to it, it is shown with it.
    let back = Patch { title: Some("same title".parse().unwrap()), ..Patch::default() };
    at(here, 30, patch(7, Patch { priority: Some(6), ..Patch::default() })).await.unwrap();
    at(here, 31, patch(1, back)).await.unwrap();
    two.meet().await;
    for store in [here, there] {
        assert_eq!((list(store).await.len(), get(store, 7).await.id), (1, id(1)));
        assert_eq!(get(store, 1).await.priority, 6, "what was set counts");
    }
}

#[tokio::test]
async fn a_deletion_by_either_id_takes_all_that_was_seen_and_nothing_else() {
    let two = both().await;
    let [here, there] = &two.stores;
    // A third record that the deletion has not seen.
    let third = Two::new();
    at(&third.stores[0], 3, store_intent(titled(3, "beech", |_| {}))).await.unwrap();
    take_all(there, &log(third.folders[0].path())).await;
    assert_eq!(get(there, 2).await.other_ids, [id(2), id(3)]);
    let delete = Intent::Delete { id: full(2), reason: String::new(), expected_version: Some(2) };
    let done = at(here, 10, delete).await.unwrap();
    assert_eq!(done, Applied::Memory { id: id(1), version: 4, merged: false });
    assert!(list(here).await.is_empty() && recall(here, "hazel").await.is_empty());
    take_all(there, &log(two.folders[0].path())).await;
    let left = list(there).await;
    assert_eq!((left.len(), left[0].id, left[0].content.as_str()), (1, id(3), "beech"));
    assert!(left[0].other_ids.is_empty() && left[0].tags.is_empty());
    assert_eq!(recall(there, "beech").await, [id(3)]);
    assert_eq!(there.check().await.unwrap(), []);
    for number in [1, 2] {
        let gone = there.get(Reader::Agent(&ann()), full(number), NOW_MS + 100).await;
        assert!(gone.is_err(), "{number} is deleted");
    }
    assert_eq!(there.stats().await.unwrap().tombstones, 2);
}

#[tokio::test]
async fn links_of_either_id_are_links_of_what_is_seen() {
    let two = Two::new();
    let [here, there] = &two.stores;
    at(here, 1, store_intent(titled(1, "walnut", |_| {}))).await.unwrap();
    at(there, 2, store_intent(titled(2, "hazel", |_| {}))).await.unwrap();
    put(there, &ann(), 8, "other").await;
    put(there, &ann(), 9, "third").await;
    // Made before the two met.
    at(there, 3, link_intent(71, 2, Relation::DependsOn, 8)).await.unwrap();
    at(there, 3, link_intent(72, 9, Relation::Contradicts, 2)).await.unwrap();
    two.meet().await;
    // The same once more is refused, whichever id it is said with.
    let again = at(here, 5, link_intent(73, 2, Relation::DependsOn, 8)).await.unwrap_err();
    assert_eq!(again.reason, Reason::AlreadyExists);
    let itself = at(here, 5, link_intent(74, 1, Relation::RelatedTo, 2)).await.unwrap_err();
    assert_eq!(itself.reason, Reason::InvalidArgument);
    let back = at(here, 5, link_intent(75, 8, Relation::DependsOn, 1)).await.unwrap_err();
    assert_eq!(back.reason, Reason::Cycle);
    at(here, 6, link_intent(76, 9, Relation::Advances, 2)).await.unwrap();
    two.meet().await;
    for store in [here, there] {
        for number in [1, 2] {
            let links = store.links(Reader::Agent(&ann()), id(number)).await.unwrap();
            let ends: Vec<_> = links.iter().map(|l| (l.source, l.relation, l.target)).collect();
            let expected = [
                (id(1), Relation::DependsOn, id(8)),
                (id(1), Relation::Contradicts, id(9)),
                (id(9), Relation::Advances, id(1)),
            ];
            assert_eq!(ends, expected, "LRD-1");
        }
        // A contradiction is seen from both of its ends.
        let from = |start: u128| GraphQuery {
            start: IdRef::Full(id(start)),
            depth: 1,
            relations: [Relation::Contradicts].into(),
            direction: Direction::Outgoing,
            as_of_ms: None,
            now_ms: NOW_MS + 100,
        };
        for (start, end) in [(2, 9), (9, 1)] {
            let graph = store.graph(Reader::Agent(&ann()), from(start)).await.unwrap();
            let ids: BTreeSet<MemoryId> = graph.nodes.iter().map(|(_, seen)| seen.id).collect();
            assert_eq!(ids, [id(1), id(9)].into(), "from {start} to {end}");
            assert_eq!(graph.links.len(), 1);
        }
    }
}

#[tokio::test]
async fn recalls_of_either_id_are_counted_together() {
    let two = both().await;
    let recalled = |number: u128, count| Accessed { id: id(number), count, at_ms: NOW_MS };
    at(&two.stores[0], 10, Intent::Access(vec![recalled(1, 2), recalled(2, 3)])).await.unwrap();
    at(&two.stores[1], 10, Intent::Access(vec![recalled(2, 4)])).await.unwrap();
    two.meet().await;
    for store in &two.stores {
        assert_eq!(get(store, 2).await.access_count, 9);
    }
}

#[tokio::test]
async fn who_wants_both_has_both() {
    let two = Two::new();
    let [here, there] = &two.stores;
    let new = |number, content| Intent::Store {
        memory: Box::new(titled(number, content, |_| {})),
        on_conflict: OnConflict::New,
    };
    at(here, 1, new(1, "walnut")).await.unwrap();
    at(here, 2, new(2, "hazel")).await.unwrap();
    at(there, 3, store_intent(titled(3, "beech", |_| {}))).await.unwrap();
    two.meet().await;
    for store in [here, there] {
        assert_eq!(list(store).await.len(), 3);
        assert!(get(store, 3).await.other_ids.is_empty());
    }
}

#[tokio::test]
async fn views_and_their_index_outlive_a_restart() {
    let two = both().await;
    let Two { folders, stores } = two;
    let [here, there] = stores;
    for store in [here, there] {
        store.close().await.unwrap();
    }
    let stores = folders.each_ref().map(|folder| open(folder.path()));
    for store in &stores {
        assert_eq!(recall(store, "hazel").await, [id(1)]);
        assert_eq!(store.check().await.unwrap(), []);
    }
    // A view that ends leaves nothing behind in an image of before.
    let delete =
        |number| Intent::Delete { id: full(number), reason: String::new(), expected_version: None };
    let alone = Two::new();
    at(&alone.stores[0], 1, store_intent(titled(1, "walnut", |_| {}))).await.unwrap();
    at(&alone.stores[0], 2, delete(1)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let third = open(folder.path());
    at(&third, 3, store_intent(titled(5, "beech", |_| {}))).await.unwrap();
    take_all(&third, &log(alone.folders[0].path())).await;
    third.close().await.unwrap();
    drop(third);
    let third = open(folder.path());
    assert_eq!(recall(&third, "beech").await, [id(5)]);
    assert_eq!(third.check().await.unwrap(), []);
}

#[tokio::test]
async fn a_store_from_before_views_finds_its_titles_once() {
    let two = both().await;
    let Two { folders, stores } = two;
    let [here, _there] = stores;
    here.close().await.unwrap();
    drop(here);
    let connection = look(folders[0].path());
    connection
        .execute_batch(
            "UPDATE memories SET life = 0, others = 0 WHERE life IN (0, 3);
             INSERT INTO meta (key, value) VALUES ('views_due', 1);",
        )
        .unwrap();
    drop(connection);
    let store = open(folders[0].path());
    let seen = get(&store, 2).await;
    assert_eq!((seen.id, list(&store).await.len()), (id(1), 1));
    assert_eq!(recall(&store, "hazel").await, [id(1)]);
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
    assert_eq!(count(&look(folders[0].path()), "meta WHERE key = 'views_due'"), 0);
}

/// One node's record after storing these, one after the other.
fn on_one_node(all: &[(NewMemory, Op)]) -> Record {
    let (first, op) = &all[0];
    let mut record = Record::create(op, first);
    for (new, op) in &all[1..] {
        let patch = fold(&record, new.clone()).expect("few tags");
        let body = UpdateBody { id: record.id, patch, removed_dots: Vec::new() };
        let merge = Op { payload: Payload::Update(Box::new(body)), ..op.clone() };
        record.apply(&merge);
    }
    record
}

fn stored(number: u128, new: &NewMemory) -> Op {
    Op {
        id: OpId { origin: NodeId(Uuid::from_u128(number + 1)), seq: 1 },
        hlc: Hlc::new(NOW_MS + number as u64, 0),
        author: "ann".parse().unwrap(),
        fence: 0,
        context: VersionVector::default(),
        payload: Payload::Store(Box::new(new.clone())),
    }
}

proptest! {
    #![proptest_config(arbitrary::laws())]

    /// Nodes that have not heard of each other show what one node would, but for priorities, which are added.
    #[test]
    fn the_view_of_stores_is_what_one_node_makes_of_them(
        stores in prop::collection::vec(arbitrary::new_memory(), 1..5),
    ) {
        let all: Vec<(NewMemory, Op)> = (0..)
            .zip(stores)
            .map(|(number, new)| {
                let foldable = !matches!(new.kind, Kind::Reflection | Kind::Persona);
                let kind = if foldable { new.kind } else { Kind::Claim };
                let new = NewMemory { id: id(number), kind, sources: BTreeSet::new(), ..new };
                let op = stored(number, &new);
                (new, op)
            })
            .collect();
        let apart = all.iter().map(|(new, op)| Record::create(op, new));
        let seen = view::fold(apart).expect("at least one");
        let one = on_one_node(&all);
        prop_assert_eq!(&seen.content.value, &one.content.value);
        prop_assert_eq!((seen.tier.value(), seen.expiry.value()), (one.tier.value(), one.expiry.value()));
        prop_assert_eq!(seen.tags.iter().collect::<Vec<_>>(), one.tags.iter().collect::<Vec<_>>());
        prop_assert_eq!(seen.metadata.value, one.metadata.value);
        prop_assert_eq!(seen.confidence_permille.value, one.confidence_permille.value);
        prop_assert_eq!((seen.source.value, seen.kind.value), (one.source.value, one.kind.value));
        prop_assert_eq!((seen.validity.value, seen.legal_hold.value), (one.validity.value, one.legal_hold.value));
        prop_assert_eq!(seen.pii_flags.value, one.pii_flags.value);
        // A vector of the same text will do where the last store brought none.
        let same_text = |new: &NewMemory| new.content == seen.content.value;
        let fits = |new: &NewMemory| same_text(new) && new.embedding == seen.embedding.value;
        let fits = one.embedding.value.is_none() && all.iter().any(|(new, _)| fits(new));
        prop_assert!(fits || seen.embedding.value == one.embedding.value);
        let sum: u32 = all.iter().map(|(new, _)| u32::from(new.priority)).sum();
        prop_assert_eq!(u32::from(seen.priority.value), sum.min(10));
    }
}
