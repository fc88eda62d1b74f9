//! The rules of each intent, as refusals and as what is kept.

use types::{
    Kind, LinkId, NewMemory, Patch, Reason, Reject, Relation, Scope, Tag, Tier, limits::TAGS_MAX,
    memory::Embedding, op::Accessed,
};
use uuid::Uuid;

use super::world::*;
use crate::{
    answer::Applied,
    port::WriteStore,
    request::{Intent, OnConflict, QuotaLimits},
    rows::RowStore,
};

fn tags(names: &[&str]) -> std::collections::BTreeSet<Tag> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn update(number: u128, patch: Patch, expected_version: Option<u64>) -> Intent {
    Intent::Update { id: full(number), patch: Box::new(patch), expected_version }
}

fn retitle(title: &str) -> Patch {
    Patch { title: Some(title.parse().unwrap()), ..Patch::default() }
}

fn delete(number: u128) -> Intent {
    Intent::Delete { id: full(number), reason: "test".into(), expected_version: None }
}

fn reason<T: std::fmt::Debug>(result: Result<T, Reject>) -> Reason {
    result.unwrap_err().reason
}

async fn fresh() -> (tempfile::TempDir, RowStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (folder, store)
}

#[tokio::test]
async fn the_same_title_folds_into_one_memory() {
    let (folder, store) = fresh().await;
    let ann = viewer("ann");
    let first = NewMemory {
        tags: tags(&["a", "b"]),
        priority: 9,
        ..memory(&ann, 1, "plan", Scope::Private)
    };
    act(&store, &ann, store_intent(first)).await.unwrap();
    let second = NewMemory {
        tags: tags(&["b", "c"]),
        tier: Tier::Long,
        content: "newer".parse().unwrap(),
        ..memory(&ann, 2, "plan", Scope::Private)
    };
    let merged = act(&store, &ann, store_intent(second)).await.unwrap();
    assert_eq!(merged, Applied::Memory { id: id(1), version: 2, merged: true });
    // Nothing new to say: no operation.
    let again =
        NewMemory { content: "newer".parse().unwrap(), ..memory(&ann, 3, "plan", Scope::Private) };
    let merged = act(&store, &ann, store_intent(again)).await.unwrap();
    assert_eq!(merged, Applied::Memory { id: id(1), version: 2, merged: true });
    store.close().await.unwrap();
    let file = look(folder.path());
    assert_eq!((count(&file, "memories"), count(&file, "ops")), (1, 2));
    assert_eq!(count(&file, "memory_tags"), 3);
    let kept: (i64, i64, String) = file
        .query_row("SELECT tier, priority, content FROM memories", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(kept, (3, 9, "newer".to_owned()));
}

#[tokio::test]
async fn folding_happens_within_one_batch_and_not_across_authors_or_audiences() {
    let (folder, store) = fresh().await;
    let (ann, bob) = (viewer("ann"), viewer("bob"));
    let batch = vec![
        store_intent(memory(&ann, 1, "plan", Scope::Team)),
        store_intent(memory(&ann, 2, "plan", Scope::Team)),
        store_intent(memory(&ann, 3, "plan", Scope::Private)),
    ];
    let receipt = store.write(request(&ann, batch)).await.unwrap();
    assert!(matches!(receipt.results[1], Ok(Applied::Memory { merged: true, .. })), "GRP-2");
    assert!(matches!(receipt.results[2], Ok(Applied::Memory { merged: false, .. })));
    act(&store, &bob, store_intent(memory(&bob, 4, "plan", Scope::Team))).await.unwrap();
    let refused = Intent::Store {
        memory: Box::new(memory(&bob, 5, "plan", Scope::Team)),
        on_conflict: OnConflict::Error,
    };
    let reject = act(&store, &bob, refused).await.unwrap_err();
    assert_eq!(reject.reason, Reason::AlreadyExists);
    assert_eq!(reject.fact("id"), Some(id(4).to_string().as_str()));
    let taken = NewMemory { title: "other".parse().unwrap(), ..memory(&bob, 4, "x", Scope::Team) };
    assert_eq!(reason(act(&store, &bob, store_intent(taken)).await), Reason::AlreadyExists);
    store.close().await.unwrap();
    assert_eq!(count(&look(folder.path()), "memories"), 3);
}

#[tokio::test]
async fn tags_stay_within_their_limit_after_a_merge() {
    let (_folder, store) = fresh().await;
    let ann = viewer("ann");
    let many: Vec<String> = (0..TAGS_MAX).map(|n| format!("t{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let first = NewMemory { tags: tags(&many), ..memory(&ann, 1, "full", Scope::Private) };
    act(&store, &ann, store_intent(first)).await.unwrap();
    let more = NewMemory { tags: tags(&["one-more"]), ..memory(&ann, 2, "full", Scope::Private) };
    let reject = act(&store, &ann, store_intent(more)).await.unwrap_err();
    assert_eq!(reject.fact("field"), Some("tags"), "STM-2");
    let swap =
        Patch { add_tags: tags(&["one-more"]), remove_tags: tags(&["t0"]), ..Patch::default() };
    act(&store, &ann, update(1, swap, None)).await.unwrap();
}

#[tokio::test]
async fn what_is_not_seen_does_not_exist_and_others_may_not_delete() {
    let (_folder, store) = fresh().await;
    let (ann, bob) = (viewer("ann"), viewer("bob"));
    put(&store, &ann, 1, "secret").await;
    act(&store, &ann, store_intent(memory(&ann, 2, "shared", Scope::Team))).await.unwrap();
    let unseen = act(&store, &bob, update(1, retitle("x"), None)).await.unwrap_err();
    let missing = act(&store, &bob, update(7, retitle("x"), None)).await.unwrap_err();
    assert_eq!(unseen.reason, Reason::NotFound);
    assert_eq!(
        unseen.detail.replace(&id(1).to_string(), ""),
        missing.detail.replace(&id(7).to_string(), ""),
        "the two say the same"
    );
    act(&store, &bob, update(2, retitle("ours"), None)).await.unwrap();
    assert_eq!(reason(act(&store, &bob, delete(2)).await), Reason::Forbidden);
    let hide =
        Patch { scope: Some((Scope::Private, bob.audiences[0].clone())), ..Patch::default() };
    assert_eq!(reason(act(&store, &bob, update(2, hide, None)).await), Reason::Forbidden);
    let operator = crate::request::Viewer { operator: true, ..viewer("root") };
    act(&store, &operator, delete(1)).await.unwrap();
    assert_eq!(reason(act(&store, &ann, update(1, retitle("x"), None)).await), Reason::NotFound);
}

#[tokio::test]
async fn a_wrong_version_says_the_right_one() {
    let (_folder, store) = fresh().await;
    let ann = viewer("ann");
    put(&store, &ann, 1, "one").await;
    act(&store, &ann, update(1, retitle("two"), Some(1))).await.unwrap();
    let reject = act(&store, &ann, update(1, retitle("three"), Some(1))).await.unwrap_err();
    assert_eq!(reject.reason, Reason::VersionConflict);
    assert_eq!(reject.fact("current_version"), Some("2"));
}

#[tokio::test]
async fn a_legal_hold_keeps_and_a_tombstone_forgets() {
    let (folder, store) = fresh().await;
    let ann = viewer("ann");
    put(&store, &ann, 1, "evidence").await;
    let hold = |held| Patch { legal_hold: Some(held), ..Patch::default() };
    act(&store, &ann, update(1, hold(true), None)).await.unwrap();
    assert_eq!(reason(act(&store, &ann, delete(1)).await), Reason::LegalHold);
    let archive = Intent::Archive { id: full(1), reason: "old".into() };
    assert_eq!(reason(act(&store, &ann, archive.clone()).await), Reason::LegalHold);
    act(&store, &ann, update(1, hold(false), None)).await.unwrap();
    act(&store, &ann, archive).await.unwrap();
    assert_eq!(store.recall.indexes().unwrap().serving().recall.snapshot().live(), 0);
    let change = act(&store, &ann, update(1, retitle("x"), None)).await;
    assert_eq!(reason(change), Reason::FailedPrecondition);
    act(&store, &ann, Intent::Restore { id: full(1) }).await.unwrap();
    assert_eq!(store.recall.indexes().unwrap().serving().recall.snapshot().live(), 1);
    act(&store, &ann, delete(1)).await.unwrap();
    assert_eq!(store.recall.indexes().unwrap().serving().recall.snapshot().live(), 0);
    let reborn = act(&store, &ann, store_intent(memory(&ann, 1, "again", Scope::Private))).await;
    assert_eq!(reason(reborn), Reason::AlreadyExists, "STM-1");
    store.close().await.unwrap();
    let file = look(folder.path());
    let left = "memories WHERE content <> '' OR title LIKE '%evidence%'";
    assert_eq!(count(&file, left), 0, "ROW-2");
    assert_eq!(count(&file, "quota WHERE bytes = 0"), 1, "QUO-1");
}

#[tokio::test]
async fn reflections_know_their_depth_and_stop_at_the_cap() {
    let (_folder, store) = fresh().await;
    let (ann, bob) = (viewer("ann"), viewer("bob"));
    put(&store, &ann, 1, "fact").await;
    let reflect = |who, number: u128, source: u128| NewMemory {
        kind: Kind::Reflection,
        sources: [id(source)].into(),
        ..memory(who, number, &format!("thought {number}"), Scope::Private)
    };
    for number in 2..=4 {
        act(&store, &ann, store_intent(reflect(&ann, number, number - 1))).await.unwrap();
    }
    let reject = act(&store, &ann, store_intent(reflect(&ann, 5, 4))).await.unwrap_err();
    assert_eq!(reject.reason, Reason::ReflectionDepth, "STM-3");
    assert_eq!(reject.fact("depth"), Some("4"));
    let unseen = act(&store, &bob, store_intent(reflect(&bob, 6, 1))).await;
    assert_eq!(reason(unseen), Reason::NotFound);
    let itself = act(&store, &ann, store_intent(reflect(&ann, 7, 7))).await;
    assert_eq!(reason(itself), Reason::Cycle);
}

#[tokio::test]
async fn links_make_no_cycle_and_what_is_superseded_ends() {
    let (folder, store) = fresh().await;
    let ann = viewer("ann");
    for number in 1..=3 {
        put(&store, &ann, number, &format!("m{number}")).await;
    }
    act(&store, &ann, link_intent(1, 1, Relation::DependsOn, 2)).await.unwrap();
    let batch =
        vec![link_intent(2, 2, Relation::DependsOn, 3), link_intent(3, 3, Relation::DependsOn, 1)];
    let receipt = store.write(request(&ann, batch)).await.unwrap();
    assert!(receipt.results[0].is_ok());
    assert_eq!(receipt.results[1].as_ref().unwrap_err().reason, Reason::Cycle, "LNK-2");
    act(&store, &ann, link_intent(3, 3, Relation::RelatedTo, 1)).await.unwrap();
    let twice = act(&store, &ann, link_intent(4, 1, Relation::RelatedTo, 3)).await;
    assert_eq!(reason(twice), Reason::AlreadyExists, "symmetric");
    act(&store, &ann, link_intent(5, 3, Relation::Supersedes, 2)).await.unwrap();
    let unlink = Intent::Unlink { id: LinkId(Uuid::from_u128(1)) };
    act(&store, &ann, unlink.clone()).await.unwrap();
    assert_eq!(reason(act(&store, &ann, unlink).await), Reason::NotFound);
    act(&store, &ann, link_intent(6, 3, Relation::DependsOn, 1)).await.unwrap();
    store.close().await.unwrap();
    let file = look(folder.path());
    let ended = format!("memories WHERE valid_until_ms = {NOW_MS}");
    assert_eq!(count(&file, &ended), 1, "LNK-3");
    assert_eq!(count(&file, "links WHERE removed = 0"), 4);
}

#[tokio::test]
async fn an_atomic_request_is_done_whole_or_not_at_all() {
    let (folder, store) = fresh().await;
    let ann = viewer("ann");
    let intents = vec![
        store_intent(memory(&ann, 1, "one", Scope::Private)),
        update(9, retitle("nobody"), None),
        store_intent(memory(&ann, 2, "two", Scope::Private)),
    ];
    let mut atomic = request(&ann, intents.clone());
    atomic.atomic = true;
    let reject = rejected(store.write(atomic).await);
    assert_eq!((reject.reason, reject.fact("index")), (Reason::NotFound, Some("1")));
    assert_eq!(*store.position().borrow(), 0, "GRP-1");
    let receipt = store.write(request(&ann, intents)).await.unwrap();
    let oks: Vec<bool> = receipt.results.iter().map(Result::is_ok).collect();
    assert_eq!(oks, [true, false, true]);
    store.close().await.unwrap();
    let file = look(folder.path());
    assert_eq!((count(&file, "memories"), count(&file, "ops")), (2, 2));
    let dense = "ops WHERE seq = position";
    assert_eq!(count(&file, dense), 2, "OP-2: a refused intent takes no number");
}

#[tokio::test]
async fn quotas_are_charged_and_say_when_they_reset() {
    let (_folder, store) = fresh().await;
    let ann = viewer("ann");
    let limited = |number: u128, now_ms: u64| {
        let new = memory(&ann, number, &format!("m{number}"), Scope::Private);
        let mut request = request(&ann, vec![store_intent(new)]);
        request.now_ms = now_ms;
        request.quota = Some(QuotaLimits { memories_per_day: Some(2), ..QuotaLimits::default() });
        request
    };
    for number in 1..=2 {
        assert!(store.write(limited(number, NOW_MS)).await.unwrap().results[0].is_ok());
    }
    let receipt = store.write(limited(3, NOW_MS)).await.unwrap();
    let reject = receipt.results[0].as_ref().unwrap_err();
    assert_eq!(reject.reason, Reason::QuotaExceeded);
    let reset_at_ms: u64 = reject.fact("reset_at_ms").unwrap().parse().unwrap();
    assert!(reset_at_ms > NOW_MS && reset_at_ms <= NOW_MS + 86_400_000);
    assert!(store.write(limited(3, reset_at_ms)).await.unwrap().results[0].is_ok());
    let mut small = limited(4, reset_at_ms);
    small.quota = Some(QuotaLimits { bytes_total: Some(10), ..QuotaLimits::default() });
    let receipt = store.write(small).await.unwrap();
    assert_eq!(receipt.results[0].as_ref().unwrap_err().reason, Reason::QuotaExceeded);
}

#[tokio::test]
async fn access_counts_and_raises_once() {
    let (folder, store) = fresh().await;
    let (ann, bob) = (viewer("ann"), viewer("bob"));
    put(&store, &ann, 1, "often").await;
    let access = |count| Intent::Access(vec![Accessed { id: id(1), count, at_ms: NOW_MS }]);
    act(&store, &bob, access(100)).await.unwrap();
    act(&store, &ann, access(4)).await.unwrap();
    assert_eq!(*store.position().borrow(), 2, "ACC-1: bob does not see it");
    act(&store, &ann, access(1)).await.unwrap();
    act(&store, &ann, access(1)).await.unwrap();
    store.close().await.unwrap();
    let file = look(folder.path());
    let kept = "memories WHERE access_count = 6 AND tier = 3 AND version = 2";
    assert_eq!(count(&file, kept), 1, "ACC-2");
    assert_eq!(count(&file, "signed_events WHERE event_type = 'memory.promote'"), 1);
}

#[tokio::test]
async fn a_smaller_fence_is_refused() {
    let (_folder, store) = fresh().await;
    let ann = viewer("ann");
    put(&store, &ann, 1, "guarded").await;
    let fenced = |fence: u64| {
        let mut request = request(&ann, vec![update(1, retitle(&format!("f{fence}")), None)]);
        request.fence = fence;
        request
    };
    assert!(store.write(fenced(7)).await.unwrap().results[0].is_ok());
    for fence in [0, 6] {
        let receipt = store.write(fenced(fence)).await.unwrap();
        let reject = receipt.results[0].as_ref().unwrap_err();
        assert_eq!(reject.reason, Reason::FenceTooSmall, "CHG-3");
        assert_eq!(reject.fact("current_fence"), Some("7"));
    }
    assert!(store.write(fenced(7)).await.unwrap().results[0].is_ok());
    let operator = crate::request::Viewer { operator: true, ..viewer("root") };
    let archive = Intent::Archive { id: full(1), reason: "old".into() };
    act(&store, &operator, archive).await.unwrap();
    assert_eq!(store.recall.indexes().unwrap().serving().recall.snapshot().live(), 0, "it counts");
}

#[tokio::test]
async fn vectors_of_another_space_and_oversized_batches_are_refused() {
    let (_folder, store) = fresh().await;
    let ann = viewer("ann");
    let with = |number: u128, model: &str, values: Vec<f32>| NewMemory {
        embedding: Some(Embedding { model: model.into(), version: "1".into(), values }),
        ..memory(&ann, number, &format!("v{number}"), Scope::Private)
    };
    let other = act(&store, &ann, store_intent(with(1, "other", vec![1.0; 4]))).await;
    assert_eq!(reason(other), Reason::EmbeddingMismatch);
    let short = act(&store, &ann, store_intent(with(1, "test", vec![1.0; 3]))).await;
    assert_eq!(reason(short), Reason::EmbeddingMismatch);
    act(&store, &ann, store_intent(with(1, "test", vec![1.0; 4]))).await.unwrap();
    assert_eq!(
        store
            .recall
            .indexes()
            .unwrap()
            .serving()
            .vectors
            .as_ref()
            .map(|vectors| vectors.stats().live),
        Some(1)
    );
    let batch = (0..1001).map(|_| delete(1)).collect();
    assert_eq!(rejected(store.write(request(&ann, batch)).await).reason, Reason::TooLarge);
    let nothing = rejected(store.write(request(&ann, Vec::new())).await);
    assert_eq!(nothing.fact("field"), Some("intents"));
}
