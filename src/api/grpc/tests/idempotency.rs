//! `SVC-4` at this door: every method with a receipt, and both that change agents, under a key.

use tonic::{Code, Request};
use types::Reason;
use wire::v1;

use super::{World, as_operator, assert_refused, new_memory};

/// The key in the metadata; the message's own field means the same (`auth`).
fn keyed<T>(message: T, key: &str) -> Request<T> {
    let mut call = as_operator(message);
    call.metadata_mut().insert("idempotency-key", key.parse().expect("a value"));
    call
}

/// Calls a method twice with a message, then with another one under the same key.
macro_rules! done_once {
    ($client:expr, $method:ident, $message:expr, $other:expr) => {{
        let name = stringify!($method);
        let mut client = $client;
        let first = client.$method(keyed($message, name)).await.expect(name).into_inner();
        let mut again = client.$method(keyed($message, name)).await.expect(name).into_inner();
        let receipt = again.receipt.as_mut().expect(name);
        assert!(std::mem::take(&mut receipt.replayed), "{name} is remembered");
        assert_eq!(again, first, "{name} answers what it answered");
        let other = client.$method(keyed($other, name)).await;
        assert_refused(other, Code::FailedPrecondition, Reason::IdempotencyMismatch);
        first
    }};
}

#[tokio::test]
async fn every_change_of_memories_is_done_once_under_one_key() {
    use v1::*;
    let world = World::new().await;
    let client = || world.memories();
    let stored = |title, content| StoreRequest {
        memory: Some(new_memory(title, content)),
        ..Default::default()
    };
    let change = done_once!(client(), store, stored("a", "x"), stored("a", "y")).change;
    let a = change.expect("a change").id;
    let memories = |content: &str| vec![new_memory("b", content), new_memory("c", "c")];
    let bulk =
        |content: &str| BulkStoreRequest { memories: memories(content), ..Default::default() };
    let bulk = done_once!(client(), bulk_store, bulk("b"), bulk("d"));
    assert_eq!(bulk.results.len(), 2);
    let (b, _) = world.store("e", "e").await;
    let (c, _) = world.store("f", "f").await;

    let update = |priority| UpdateRequest {
        id: a.clone(),
        memory: Some(NewMemory { priority: Some(priority), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["priority".into()] }),
        ..Default::default()
    };
    done_once!(client(), update, update(7), update(8));
    let promote =
        |tier: Tier| PromoteRequest { id: a.clone(), tier: tier.into(), ..Default::default() };
    done_once!(client(), promote, promote(Tier::Long), promote(Tier::Short));

    let link = |relation: Relation| LinkRequest {
        source_id: a.clone(),
        target_id: b.clone(),
        relation: relation.into(),
        ..Default::default()
    };
    let made = done_once!(client(), link, link(Relation::DependsOn), link(Relation::Advances));
    let validity = |from: i64| UpdateLinkRequest {
        link_id: made.link_id.clone(),
        validity: Some(Validity {
            valid_from: Some(prost_types::Timestamp { seconds: from, nanos: 0 }),
            valid_until: None,
        }),
        write: None,
    };
    done_once!(client(), update_link, validity(1), validity(2));
    let unlink = |id: &str| UnlinkRequest { link_id: id.to_owned(), write: None };
    done_once!(client(), unlink, unlink(&made.link_id), unlink(&a));

    let consolidate = |content: &str| ConsolidateRequest {
        ids: vec![a.clone(), b.clone()],
        memory: Some(new_memory("both", content)),
        ..Default::default()
    };
    done_once!(client(), consolidate, consolidate("x"), consolidate("y"));
    let delete = |reason: &str| DeleteRequest {
        id: c.clone(),
        reason: reason.to_owned(),
        ..Default::default()
    };
    done_once!(client(), delete, delete("x"), delete("y"));
}

#[tokio::test]
async fn every_change_of_the_archive_and_of_names_is_done_once_under_one_key() {
    use v1::*;
    let world = World::new().await;
    let client = || world.memories();
    for title in ["note 1", "note 2"] {
        world.store(title, title).await;
    }
    let forget = |glob: &str| ForgetRequest {
        namespace: Some(NamespaceSelector {
            select: Some(namespace_selector::Select::Exactly("global".into())),
        }),
        title_glob: glob.to_owned(),
        ..Default::default()
    };
    let forgotten = done_once!(client(), forget, forget("note*"), forget("memo*"));
    let ids: Vec<String> = forgotten.memories.into_iter().map(|memory| memory.id).collect();
    assert_eq!(ids.len(), 2);
    let restore = |id: &String| RestoreRequest { id: id.clone(), write: None };
    done_once!(client(), restore, restore(&ids[0]), restore(&ids[1]));
    let purge = |reason: &str| PurgeRequest {
        ids: vec![ids[1].clone()],
        reason: reason.to_owned(),
        ..Default::default()
    };
    done_once!(client(), purge, purge("x"), purge("y"));

    let entity = NewMemory { kind: Kind::Entity.into(), ..new_memory("Ann", "a person") };
    let entity = StoreRequest { memory: Some(entity), ..Default::default() };
    let entity = client().store(entity).await.expect("stored").into_inner();
    let entity = entity.change.expect("a change").id;
    let add =
        |alias: &str| AddAliasRequest { id: entity.clone(), alias: alias.to_owned(), write: None };
    done_once!(client(), add_alias, add("Annie"), add("Nan"));
    let remove = |alias: &str| RemoveAliasRequest {
        id: entity.clone(),
        alias: alias.to_owned(),
        write: None,
    };
    done_once!(client(), remove_alias, remove("Annie"), remove("Nan"));
}

#[tokio::test]
async fn agents_are_changed_once_under_one_key_and_a_token_is_shown_once() {
    let world = World::new().await;
    let mut admin = world.admin();
    let register = |issue_token| v1::RegisterAgentRequest {
        agent_id: "ann".into(),
        issue_token,
        ..Default::default()
    };
    let first = admin.register_agent(keyed(register(true), "r")).await.expect("made").into_inner();
    let again = admin.register_agent(keyed(register(true), "r")).await.expect("made").into_inner();
    assert_eq!(first.agent, again.agent);
    assert!(!first.token.is_empty() && again.token.is_empty());
    let other = admin.register_agent(keyed(register(false), "r")).await;
    assert_refused(other, Code::FailedPrecondition, Reason::IdempotencyMismatch);
    // The token of the first answer is the one that counts.
    let mut call = Request::new(v1::QuotaStatusRequest::default());
    let bearer = format!("Bearer {}", first.token).parse().expect("a value");
    call.metadata_mut().insert("authorization", bearer);
    admin.quota_status(call).await.expect("the token is hers still");

    let revoke = |name: &str| keyed(v1::RevokeAgentRequest { agent_id: name.into() }, "v");
    let first = admin.revoke_agent(revoke("ann")).await.expect("revoked").into_inner();
    assert_eq!(admin.revoke_agent(revoke("ann")).await.expect("revoked").into_inner(), first);
    let other = admin.revoke_agent(revoke("bob")).await;
    assert_refused(other, Code::FailedPrecondition, Reason::IdempotencyMismatch);
}
