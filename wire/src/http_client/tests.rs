//! The HTTP client against the accept loop, over real sockets.

use http::{HeaderMap, Method};
use serde_json::json;
use types::Reason;

use super::{HttpClient, HttpError};
use crate::loopback::{self, BODY_MAX, Options};
use crate::net::Address;

#[tokio::test]
async fn a_request_is_answered_and_the_connection_used_again() {
    let server = loopback::start(Options::default()).await;
    let client = HttpClient::new(server.endpoint());
    let body = json!({"title": "tea"});
    for _ in 0..3 {
        let answer = client
            .request(Method::POST, "/echo?x=1", &HeaderMap::new(), Some(&body))
            .await
            .expect("answers");
        assert_eq!((answer.status, answer.json()), (200, Some(body.clone())));
        assert_eq!(client.idle.lock().len(), 1, "one connection serves all");
    }
}

#[tokio::test]
async fn a_problem_document_comes_back_as_the_refusal_it_was() {
    let server = loopback::start(Options::default()).await;
    let client = HttpClient::new(server.endpoint());
    let body = json!("x".repeat(BODY_MAX));
    let answer = client
        .request(Method::POST, "/echo", &HeaderMap::new(), Some(&body))
        .await
        .expect("answers");
    assert_eq!(answer.status, 413);
    let reject = answer.reject().expect("a problem document");
    assert_eq!((reject.reason, reject.fact("limit_bytes")), (Reason::TooLarge, Some("1000")));
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let server = loopback::start(Options::default()).await;
    let client = HttpClient::new(server.endpoint());
    let mut stream =
        client.stream(Method::GET, "/events", &HeaderMap::new(), None).await.expect("starts");
    assert_eq!(stream.status, 200);
    let mut events = Vec::new();
    while let Some(event) = stream.next_event().await.expect("reads") {
        events.push((event.event, event.data));
    }
    assert_eq!(events, [("change".into(), "1".into()), (String::new(), "2".into())]);
}

#[tokio::test]
async fn a_server_that_restarts_is_reached_again_and_one_that_is_gone_was_sent_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = Address::Unix(folder.path().join("h.sock"));
    let options = || Options { address: address.clone(), ..Options::default() };
    let first = loopback::start(options()).await;
    let client = HttpClient::new(first.endpoint());
    let get = || client.request(Method::GET, "/echo", &EMPTY, None);
    assert!(get().await.is_ok());
    first.shutdown.trigger();
    first.served.await.expect("drains");
    let gone = get().await.expect_err("nobody listens");
    assert!(matches!(gone, HttpError::NotSent { .. }), "HC-1: {gone}");
    let _second = loopback::start(options()).await;
    assert!(get().await.is_ok());
}

static EMPTY: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
