//! Recall, watches and health as streams, and the door behind a real socket.

use std::sync::Arc;

use axum::Router;
use runtime::{
    clock,
    disk::OsDisk,
    task::{Shutdown, spawn},
};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use types::Reason;
use wire::{
    client::{Channel, ChannelTimes},
    dial::Endpoint,
    net::{Address, Listener},
    serve::{ServeLimits, serve},
    v1::{
        self, recall_response::Message as Recalled, watch_response::Message as Watched,
        watch_service_client::WatchServiceClient,
    },
};

use super::{World, assert_refused, new_memory};

/// Longest time to wait for what must come.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

async fn recalled(world: &World, request: v1::RecallRequest) -> Vec<Recalled> {
    let mut stream = world.recalls().recall(request).await.expect("an answer").into_inner();
    let mut all = Vec::new();
    while let Some(message) = stream.message().await.expect("a message") {
        all.extend(message.message);
    }
    all
}

#[tokio::test]
async fn a_recall_streams_its_summary_and_then_the_hits() {
    let world = World::new().await;
    let (id, position) = world.store("Database migrations", "Run them with sqlx migrate.").await;
    world.store("Lunch", "The canteen closes at two.").await;
    let request = v1::RecallRequest {
        query: "how do database migrations run".into(),
        explain: true,
        ..Default::default()
    };
    let all = recalled(&world, request).await;
    let Recalled::Summary(summary) = &all[0] else { panic!("a summary first") };
    assert_eq!(summary.returned as usize, all.len() - 1);
    assert!(summary.eligible >= 2 && summary.position >= position && summary.took.is_some());
    let Recalled::Hit(best) = &all[1] else { panic!("then hits") };
    assert_eq!((best.rank, best.memory.as_ref().map(|m| &m.id)), (1, Some(&id)));
    let why = best.explanation.as_ref().expect("an explanation");
    assert!(why.signals.iter().any(|s| s.name == "lexical" && s.value > 0.0));
    assert!(!why.terms.is_empty() && all[1..].iter().all(|m| matches!(m, Recalled::Hit(_))));
}

#[tokio::test]
async fn a_recall_without_words_needs_a_vector_of_this_space() {
    let world = World::new().await;
    let empty = world.recalls().recall(v1::RecallRequest::default()).await;
    assert_refused(empty, Code::InvalidArgument, Reason::InvalidArgument);
    let embedding =
        v1::Embedding { model: "other".into(), version: "1".into(), values: vec![1.0; 3] };
    let request = v1::RecallRequest { embedding: Some(embedding), ..Default::default() };
    let other = world.recalls().recall(request).await;
    assert_refused(other, Code::FailedPrecondition, Reason::EmbeddingMismatch);
}

async fn next(stream: &mut Streaming<v1::WatchResponse>) -> Result<Watched, Status> {
    let message = clock::timeout(PATIENCE, stream.message()).await.expect("in time")?;
    Ok(message.and_then(|m| m.message).expect("a message"))
}

async fn next_change(stream: &mut Streaming<v1::WatchResponse>) -> v1::Change {
    loop {
        if let Watched::Change(change) = next(stream).await.expect("a change") {
            return change;
        }
    }
}

fn titles(change: &v1::Change) -> Option<&str> {
    change.memory.as_ref().map(|m| m.title.as_str())
}

#[tokio::test]
async fn a_watch_is_resumed_where_it_ended() {
    let world = World::new().await;
    let from = |after_position| v1::WatchRequest {
        after_position,
        event_types: vec!["memory.store".into()],
        ..Default::default()
    };
    let mut stream = world.watches().watch(from(None)).await.expect("a watch").into_inner();
    let first = next(&mut stream).await.expect("the first message");
    let Watched::Heartbeat(start) = first else { panic!("a heartbeat first") };
    world.store("one", "a").await;
    world.store("two", "b").await;
    let one = next_change(&mut stream).await;
    assert_eq!(titles(&one), Some("one"));
    drop(stream);
    let resumed = world.watches().watch(from(Some(one.position))).await;
    let mut resumed = resumed.expect("resumed").into_inner();
    assert_eq!(titles(&next_change(&mut resumed).await), Some("two"));
    let all = world.watches().watch(from(Some(start.covered_position))).await;
    let mut all = all.expect("from the start").into_inner();
    for title in ["one", "two"] {
        assert_eq!(titles(&next_change(&mut all).await), Some(title));
    }
}

#[tokio::test]
async fn a_watcher_sees_only_what_it_may() {
    let world = World::new().await;
    let mut call = Request::new(v1::WatchRequest::default());
    call.metadata_mut().insert("x-agent-id", "bob".parse().expect("a value"));
    let mut stream = world.watches().watch(call).await.expect("a watch").into_inner();
    world.store("private to the other", "a").await;
    let memory =
        Some(v1::NewMemory { scope: v1::Scope::Collective.into(), ..new_memory("for all", "b") });
    let request = v1::StoreRequest { memory, ..Default::default() };
    world.memories().store(request).await.expect("stored");
    assert_eq!(titles(&next_change(&mut stream).await), Some("for all"));
}

#[tokio::test]
async fn too_many_watches_are_refused_and_a_bad_heartbeat_is_named() {
    let world = World::with(Default::default(), |settings| settings.streams_max = 1).await;
    let first = world.watches().watch(v1::WatchRequest::default()).await.expect("room for one");
    let second = world.watches().watch(v1::WatchRequest::default()).await;
    assert_refused(second, Code::Unavailable, Reason::Overloaded);
    drop(first);
    world.watches().watch(v1::WatchRequest::default()).await.expect("room again");
    let bad = v1::WatchRequest { heartbeat_ms: 1, ..Default::default() };
    assert_refused(
        world.watches().watch(bad).await,
        Code::InvalidArgument,
        Reason::InvalidArgument,
    );
}

#[tokio::test]
async fn health_follows_readiness() {
    let world = World::new().await;
    let mut client = HealthClient::new(world.router.clone());
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "hivemem.v1.MemoryService"] {
        let answer = client.check(ask(service)).await.expect("known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    assert_refused(client.check(ask("nonsense")).await, Code::NotFound, Reason::NotFound);
    let mut watch = client.watch(ask("")).await.expect("a watch").into_inner();
    let first = watch.message().await.expect("a message").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);
    world.shutdown.trigger();
    let then = clock::timeout(PATIENCE, watch.message()).await.expect("in time");
    assert_eq!(then.expect("a message").expect("a status").status(), ServingStatus::NotServing);
    let stopping = client.check(ask("")).await.expect("known").into_inner();
    assert_eq!(stopping.status(), ServingStatus::NotServing);
}

/// Serves a router on a port of the loopback interface.
async fn serve_on_loopback(router: Router, shutdown: &Shutdown) -> (Address, impl Future) {
    let any = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(&any, &*OsDisk::shared()).await.expect("a port");
    let address = listener.local_address().expect("an address");
    let served = spawn(serve(listener, None, router, ServeLimits::default(), shutdown.clone()));
    (address, served)
}

#[tokio::test]
async fn a_stop_ends_watches_so_that_the_sockets_drain() {
    let world = World::new().await;
    let (address, served) = serve_on_loopback(world.router.clone(), &world.shutdown).await;
    let channel = Channel::new(Endpoint::plain(&address), ChannelTimes::default());
    let mut client = WatchServiceClient::new(channel);
    let mut stream = client.watch(v1::WatchRequest::default()).await.expect("a watch").into_inner();
    next(&mut stream).await.expect("a heartbeat");
    world.shutdown.trigger();
    let ended = next(&mut stream).await;
    assert_refused(ended, Code::Unavailable, Reason::Stopping);
    drop(client);
    clock::timeout(PATIENCE, served).await.expect("the server drains");
    assert!(Arc::strong_count(&world.service) >= 1);
}
