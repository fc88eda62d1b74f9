//! Writing and reading memories, and every way to be refused.

use std::time::Duration;

use prost_types::FieldMask;
use serde_json::{Value, json};
use tonic::{Code, Request};
use types::Reason;
use wire::{admission::Admission, convert::object_to_struct, v1};

use super::{World, assert_refused, new_memory, refusal};
use crate::node::service::{AccessKeys, caller::secret_digest};

fn object(value: Value) -> prost_types::Struct {
    let Value::Object(fields) = value else { panic!("an object") };
    object_to_struct(fields)
}

#[tokio::test]
async fn what_is_stored_is_read_with_its_receipt() {
    let world = World::new().await;
    let memory = v1::NewMemory {
        namespace: "acme/eng".into(),
        kind: v1::Kind::Decision.into(),
        priority: Some(8),
        tags: vec!["b".into(), "a".into()],
        metadata: Some(object(json!({"n": 3, "deep": {"list": [true, null]}}))),
        ..new_memory("Tabs or spaces", "Spaces, four of them.")
    };
    let request = v1::StoreRequest { memory: Some(memory.clone()), ..Default::default() };
    let stored = world.memories().store(request).await.expect("stored").into_inner();
    let receipt = stored.receipt.expect("a receipt");
    let durability = receipt.durability.expect("a durability");
    assert!(durability.fsynced && !receipt.replayed);
    assert_eq!((durability.acks, durability.needed), (1, 1));

    let read = v1::ReadOptions { min_position: durability.position, ..Default::default() };
    let id = stored.change.expect("a change").id;
    let request = v1::GetRequest { id: id.clone(), read: Some(read) };
    let got = world.memories().get(request).await.expect("found").into_inner();
    let got = got.memory.expect("a memory");
    assert_eq!((got.id, got.title, got.content), (id, memory.title, memory.content));
    assert_eq!(got.metadata, memory.metadata);
    assert_eq!(got.tags, ["a", "b"]);
    assert_eq!((got.tier, got.kind), (v1::Tier::Mid.into(), v1::Kind::Decision.into()));
    assert_eq!((got.priority, got.content_sha256.len()), (8, 32));
    assert!(got.created_at.is_some() && got.hlc.is_some() && got.version_vector.len() == 1);
    assert!(got.last_accessed_at.is_none() && got.validity.is_none());
    assert!(got.archived_reason.is_none());
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_and_another_body_is_refused() {
    let world = World::new().await;
    let call = |content: &str| {
        let memory = Some(new_memory("t", content));
        let mut request = Request::new(v1::StoreRequest { memory, ..Default::default() });
        request.metadata_mut().insert("idempotency-key", "k1".parse().expect("a value"));
        request
    };
    let first = world.memories().store(call("a")).await.expect("stored").into_inner();
    let again = world.memories().store(call("a")).await.expect("replayed").into_inner();
    assert_eq!(first.change, again.change);
    assert!(again.receipt.expect("a receipt").replayed);
    let other = world.memories().store(call("b")).await;
    assert_refused(other, Code::FailedPrecondition, Reason::IdempotencyMismatch);
}

#[tokio::test]
async fn a_mask_changes_what_it_names_and_nothing_else() {
    let world = World::new().await;
    let (id, _) = world.store("title", "content").await;
    let update = |memory: v1::NewMemory, paths: &[&str], expected_version: Option<u64>| {
        let paths = paths.iter().map(|p| (*p).to_owned()).collect();
        v1::UpdateRequest {
            id: id.clone(),
            memory: Some(memory),
            update_mask: Some(FieldMask { paths }),
            expected_version,
            ..Default::default()
        }
    };
    let tagged = |tags: &[&str]| v1::NewMemory {
        tags: tags.iter().map(|t| (*t).to_owned()).collect(),
        ..new_memory("other", "ignored")
    };
    let mut client = world.memories();
    client.update(update(tagged(&["a", "b"]), &["tags"], None)).await.expect("tagged");
    let mask = ["tags", "title", "expires_at"];
    client.update(update(tagged(&["b", "c"]), &mask, None)).await.expect("changed");
    let now = world.get(&id).await;
    assert_eq!((now.title.as_str(), now.content.as_str()), ("other", "content"));
    assert_eq!(now.tags, ["b", "c"]);
    assert_eq!(now.expires_at, None);

    let stale = client.update(update(new_memory("x", ""), &["title"], Some(1))).await;
    let (code, reject) = refusal(stale);
    assert_eq!((code, reject.reason), (Code::Aborted, Reason::VersionConflict));
    assert_eq!(reject.fact("current_version"), Some(now.version.to_string().as_str()));
    let unknown = client.update(update(new_memory("x", ""), &["titel"], None)).await;
    let (code, reject) = refusal(unknown);
    assert_eq!((code, reject.fact("field")), (Code::InvalidArgument, Some("update_mask")));
}

#[tokio::test]
async fn refusals_say_why_in_a_way_a_program_can_read() {
    let world = World::new().await;
    let mut client = world.memories();
    let id = "01920000-0000-7000-8000-000000000000".to_owned();
    let missing = client.get(v1::GetRequest { id, read: None }).await;
    assert_refused(missing, Code::NotFound, Reason::NotFound);

    let memory = Some(v1::NewMemory { kind: 99, ..new_memory("t", "c") });
    let unknown = client.store(v1::StoreRequest { memory, ..Default::default() }).await;
    let (code, reject) = refusal(unknown);
    assert_eq!((code, reject.fact("field")), (Code::InvalidArgument, Some("kind")));

    let list = |level: v1::Consistency| {
        let read = Some(v1::ReadOptions { consistency: level.into(), ..Default::default() });
        v1::ListRequest { read, ..Default::default() }
    };
    client.list(list(v1::Consistency::Quorum)).await.expect("this node is its own majority");
    let root = client.list(list(v1::Consistency::Root)).await;
    assert_refused(root, Code::Unimplemented, Reason::Unimplemented);

    let big = "x".repeat(65 * 1024);
    let memory = Some(new_memory("t", &big));
    let (code, reject) =
        refusal(client.store(v1::StoreRequest { memory, ..Default::default() }).await);
    assert_eq!((code, reject.fact("field")), (Code::InvalidArgument, Some("content")));
}

#[tokio::test]
async fn one_bad_item_of_a_batch_is_refused_alone() {
    let world = World::new().await;
    let memories = vec![new_memory("good", "c"), new_memory("", "c")];
    let request = v1::BulkStoreRequest { memories: memories.clone(), ..Default::default() };
    let answer = world.memories().bulk_store(request).await.expect("done").into_inner();
    use v1::bulk_store_result::Result as One;
    let results: Vec<_> = answer.results.into_iter().filter_map(|r| r.result).collect();
    assert!(matches!(results[0], One::Change(_)));
    let One::Refusal(refused) = &results[1] else { panic!("a refusal") };
    assert_eq!(refused.reason, "invalid_argument");
    assert_eq!(refused.facts.get("field").map(String::as_str), Some("title"));
    let atomic = v1::BulkStoreRequest { memories, atomic: true, ..Default::default() };
    let refused = world.memories().bulk_store(atomic).await;
    assert_refused(refused, Code::InvalidArgument, Reason::InvalidArgument);
}

#[tokio::test]
async fn keys_are_asked_for_where_they_are_set() {
    let api_key = Some(secret_digest("api"));
    let world = World::with(AccessKeys { api_key, operator_key: None }, |_| {}).await;
    let without = world.memories().list(v1::ListRequest::default()).await;
    assert_refused(without, Code::Unauthenticated, Reason::Unauthenticated);
    let mut call = Request::new(v1::ListRequest::default());
    call.metadata_mut().insert("authorization", "Bearer api".parse().expect("a value"));
    world.memories().list(call).await.expect("with the key");
}

#[tokio::test]
async fn a_deadline_that_passed_leaves_the_outcome_open() {
    let world = World::new().await;
    let memory = Some(new_memory("t", "c"));
    let mut call = Request::new(v1::StoreRequest { memory, ..Default::default() });
    call.metadata_mut().insert("grpc-timeout", "1n".parse().expect("a value"));
    let late = world.memories().store(call).await;
    let status = late.expect_err("too late");
    let outcome = wire::errors::outcome_of_status::<()>(&status);
    // Refused before it began, or cut while it ran; never taken for done.
    match status.code() {
        Code::DeadlineExceeded => assert!(matches!(outcome, types::Outcome::Unknown { .. })),
        code => assert_eq!(code, Code::Unavailable),
    }
}

#[tokio::test]
async fn load_is_shed_with_the_time_to_wait() {
    let full = Admission::new(0, 0, Duration::from_millis(1500));
    let world = World::with(AccessKeys::default(), |s| s.admission = full).await;
    let (code, reject) = refusal(world.memories().list(v1::ListRequest::default()).await);
    assert_eq!((code, reject.reason), (Code::Unavailable, Reason::Overloaded));
    assert_eq!(reject.fact("retry_after_ms"), Some("1500"));
}

#[tokio::test]
async fn what_is_forgotten_can_be_listed_restored_and_purged() {
    let world = World::new().await;
    let (first, _) = world.store("draft one", "a").await;
    let (second, _) = world.store("draft two", "b").await;
    let mut client = world.memories();
    let select = v1::namespace_selector::Select::Exactly("global".into());
    let forget = |dry_run: bool| v1::ForgetRequest {
        namespace: Some(v1::NamespaceSelector { select: Some(select.clone()) }),
        title_glob: "draft*".into(),
        dry_run,
        ..Default::default()
    };
    let dry = client.forget(forget(true)).await.expect("a dry run").into_inner();
    assert_eq!((dry.memories.len(), dry.receipt.is_some()), (2, false));
    assert_eq!(world.get(&first).await.archived_reason, None);
    let done = client.forget(forget(false)).await.expect("forgotten").into_inner();
    assert!(done.receipt.is_some() && done.memories.iter().all(|m| m.archived_reason.is_some()));
    let listed = client.archive_list(v1::ArchiveListRequest::default()).await.expect("listed");
    assert_eq!(listed.into_inner().memories.len(), 2);

    let restore = v1::RestoreRequest { id: first.clone(), write: None };
    client.restore(restore).await.expect("restored");
    let ids = vec![first.clone(), second.clone()];
    let purge = |ids: Vec<String>| v1::PurgeRequest { ids, ..Default::default() };
    let mixed = client.purge(purge(ids)).await;
    assert_refused(mixed, Code::FailedPrecondition, Reason::FailedPrecondition);
    let purged = client.purge(purge(vec![second.clone()])).await.expect("purged").into_inner();
    assert_eq!(purged.ids, std::slice::from_ref(&second));
    let gone = client.get(v1::GetRequest { id: second, read: None }).await;
    assert_refused(gone, Code::NotFound, Reason::NotFound);
    assert_eq!(world.get(&first).await.archived_reason, None);
}

#[tokio::test]
async fn links_are_walked_both_ways() {
    let world = World::new().await;
    let (old, _) = world.store("old", "a").await;
    let (new, _) = world.store("new", "b").await;
    let mut client = world.memories();
    let link = v1::LinkRequest {
        source_id: new.clone(),
        target_id: old.clone(),
        relation: v1::Relation::DerivedFrom.into(),
        ..Default::default()
    };
    let linked = client.link(link).await.expect("linked").into_inner();
    let lineage = |id: &str| v1::LineageRequest { id: id.to_owned(), ..Default::default() };
    let back = client.lineage(lineage(&new)).await.expect("a lineage").into_inner();
    let ids = |nodes: Vec<v1::GraphNode>| -> Vec<String> {
        nodes.into_iter().filter_map(|n| n.memory).map(|m| m.id).collect()
    };
    assert_eq!(ids(back.ancestors), std::slice::from_ref(&old));
    assert!(back.descendants.is_empty());
    assert_eq!(back.links[0].id, linked.link_id);
    let forth = client.lineage(lineage(&old)).await.expect("a lineage").into_inner();
    assert_eq!(ids(forth.descendants), std::slice::from_ref(&new));
    let paths =
        v1::FindPathsRequest { from_id: old.clone(), to_id: new.clone(), ..Default::default() };
    let paths = client.find_paths(paths).await.expect("paths").into_inner().paths;
    assert_eq!(paths[0].memory_ids, [old, new]);
    let unlink = v1::UnlinkRequest { link_id: linked.link_id, write: None };
    client.unlink(unlink.clone()).await.expect("unlinked");
    assert_refused(client.unlink(unlink).await, Code::NotFound, Reason::NotFound);
}
