//! The accept loop and the gRPC channel, against each other, over real sockets.

use std::time::Duration;

use futures::StreamExt;
use runtime::clock::{self, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request, Status};
use types::{Outcome, Reason};

use super::ServeLimits;
use crate::admission::Admission;
use crate::client::{Channel, ChannelTimes};
use crate::errors;
use crate::loopback::{self, BODY_MAX, Loopback, Options, reason};
use crate::net::{Address, Socket};
use crate::v1::recall_response::Message;
use crate::v1::recall_service_client::RecallServiceClient;
use crate::v1::{RecallRequest, RecallResponse};

/// Far longer than anything here takes on a healthy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn client(server: &Loopback) -> RecallServiceClient<Channel> {
    RecallServiceClient::new(Channel::new(server.endpoint(), ChannelTimes::default()))
}

fn query(text: &str) -> RecallRequest {
    RecallRequest { query: text.to_owned(), ..RecallRequest::default() }
}

fn within(text: &str, limit: Duration) -> Request<RecallRequest> {
    let mut request = Request::new(query(text));
    request.set_timeout(limit);
    request
}

async fn recall(
    client: &mut RecallServiceClient<Channel>,
    request: impl tonic::IntoRequest<RecallRequest>,
) -> Result<Vec<RecallResponse>, Status> {
    let stream = client.recall(request).await?.into_inner();
    stream.collect::<Vec<_>>().await.into_iter().collect()
}

#[tokio::test]
async fn a_call_is_answered_over_tcp_and_knows_its_peer() {
    let server = loopback::start(Options::default()).await;
    let answers = recall(&mut client(&server), query("tea")).await.expect("answers");
    let Some(Message::Summary(summary)) = &answers[0].message else {
        panic!("the first message is the summary: {answers:?}");
    };
    assert_eq!(summary.plan.as_ref().expect("a plan").terms, ["tea"]);
    let Some(Message::Hit(hit)) = &answers[1].message else {
        panic!("then a hit: {answers:?}");
    };
    assert!(hit.memory.as_ref().expect("a memory").title.contains("127.0.0.1"), "{hit:?}");
}

#[tokio::test]
async fn a_call_is_answered_over_a_unix_socket_and_a_stale_one_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = Address::Unix(folder.path().join("h.sock"));
    let options = || Options { address: address.clone(), ..Options::default() };
    let first = loopback::start(options()).await;
    assert_eq!(recall(&mut client(&first), query("x")).await.expect("answers").len(), 2);
    first.shutdown.trigger();
    first.served.await.expect("drains");
    let second = loopback::start(options()).await;
    assert_eq!(recall(&mut client(&second), query("x")).await.expect("answers").len(), 2);
    let disk = runtime::disk::OsDisk;
    let taken = crate::net::Listener::bind(&address, &disk).await.expect_err("in use");
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_missed_deadline_is_unknown_and_the_channel_recovers() {
    let server = loopback::start(Options::default()).await;
    let mut client = client(&server);
    let status =
        recall(&mut client, within("hang", Duration::from_millis(50))).await.expect_err("late");
    assert_eq!(reason(&status), Reason::DeadlineExceeded);
    assert!(matches!(errors::outcome_of_status::<()>(&status), Outcome::Unknown { .. }));
    assert!(recall(&mut client, query("again")).await.is_ok(), "CH-2");
}

#[tokio::test]
async fn a_stated_deadline_bounds_the_stream_of_answers_too() {
    let server = loopback::start(Options::default()).await;
    let request = within("stall", Duration::from_millis(200));
    let mut stream = client(&server).recall(request).await.expect("starts").into_inner();
    assert!(stream.next().await.expect("a message").is_ok());
    let status = stream.next().await.expect("an end").expect_err("GRPC-1");
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::DeadlineExceeded, Reason::DeadlineExceeded)
    );
}

#[tokio::test]
async fn a_malformed_deadline_is_refused_by_name() {
    let server = loopback::start(Options::default()).await;
    let mut request = Request::new(query("x"));
    request.metadata_mut().insert("grpc-timeout", "soon".parse().expect("a value"));
    let status = recall(&mut client(&server), request).await.expect_err("malformed");
    assert_eq!(errors::reject_from_status(&status).fact("field"), Some("grpc-timeout"));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    let server = loopback::start(Options::default()).await;
    let status =
        recall(&mut client(&server), query(&"x".repeat(BODY_MAX + 1))).await.expect_err("large");
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
}

#[tokio::test]
async fn one_call_too_many_is_refused_at_once_and_nothing_was_done() {
    let admission = Admission::new(1, 0, Duration::from_millis(700));
    let server = loopback::start(Options { admission, ..Options::default() }).await;
    let mut slow = client(&server);
    let waiting = runtime::task::spawn(async move { recall(&mut slow, query("wait")).await });
    server.echo.arrived.notified().await;
    let status = recall(&mut client(&server), query("x")).await.expect_err("ADM-1");
    assert_eq!(reason(&status), Reason::Overloaded);
    let outcome = errors::outcome_of_status::<()>(&status);
    let Outcome::Rejected(reject) = outcome else { panic!("not a refusal: {outcome:?}") };
    assert_eq!(reject.fact("retry_after_ms"), Some("700"));
    server.echo.release.notify_one();
    assert!(waiting.await.expect("runs").is_ok());
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_takes_nothing_new() {
    let server = loopback::start(Options::default()).await;
    let mut slow = client(&server);
    let waiting = runtime::task::spawn(async move { recall(&mut slow, query("wait")).await });
    server.echo.arrived.notified().await;
    server.shutdown.trigger();
    // The listener is gone once the loop has noticed; until then a connection may still succeed.
    let refused = async {
        while Socket::connect(&server.address).await.is_ok() {
            runtime::task::yield_now().await;
        }
    };
    clock::timeout(PATIENCE, refused).await.expect("SRV-2: the listener closes");
    let status = recall(&mut client(&server), query("new")).await.expect_err("SRV-2");
    assert!(!errors::was_sent(&status), "CH-1");
    assert!(matches!(errors::outcome_of_status::<()>(&status), Outcome::Rejected(_)));
    assert!(!server.served.is_finished());
    server.echo.release.notify_one();
    assert_eq!(waiting.await.expect("runs").expect("SRV-2: finishes").len(), 2);
    clock::timeout(PATIENCE, server.served).await.expect("SRV-2: drains").expect("ends well");
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut_when_the_drain_time_is_over() {
    let limits = ServeLimits { drain_timeout: Duration::from_millis(20), ..ServeLimits::default() };
    let server = loopback::start(Options { limits, ..Options::default() }).await;
    let mut slow = client(&server);
    let waiting = runtime::task::spawn(async move { recall(&mut slow, query("wait")).await });
    server.echo.arrived.notified().await;
    server.shutdown.trigger();
    clock::timeout(PATIENCE, server.served).await.expect("SRV-2: ends").expect("ends well");
    let status = waiting.await.expect("runs").expect_err("cut");
    assert!(matches!(errors::outcome_of_status::<()>(&status), Outcome::Unknown { .. }), "ERR-3");
}

#[tokio::test]
async fn a_silent_connection_neither_stays_nor_delays_the_drain() {
    let limits =
        ServeLimits { header_read_timeout: Duration::from_millis(30), ..ServeLimits::default() };
    let server = loopback::start(Options { limits, ..Options::default() }).await;
    let mut silent = Socket::connect(&server.address).await.expect("connects");
    let mut nothing = Vec::new();
    let closed = clock::timeout(PATIENCE, silent.read_to_end(&mut nothing)).await;
    assert!(closed.is_ok(), "SRV-1");

    let patient = loopback::start(Options::default()).await;
    let mut silent = Socket::connect(&patient.address).await.expect("connects");
    assert!(recall(&mut client(&patient), query("x")).await.is_ok(), "the silent one was accepted");
    let start = Instant::now();
    patient.shutdown.trigger();
    patient.served.await.expect("SRV-2: drains");
    assert!(start.elapsed() < ServeLimits::default().drain_timeout, "SRV-2");
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let limits = ServeLimits { header_bytes_max: 8192, ..ServeLimits::default() };
    let server = loopback::start(Options { limits, ..Options::default() }).await;
    let mut socket = Socket::connect(&server.address).await.expect("connects");
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(9000));
    socket.write_all(head.as_bytes()).await.expect("sends");
    socket.flush().await.expect("sends");
    let mut answer = Vec::new();
    let _ = clock::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("SRV-1");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let limits = ServeLimits { connections_max: 1, ..ServeLimits::default() };
    let server = loopback::start(Options { limits, ..Options::default() }).await;
    let first = client(&server);
    recall(&mut first.clone(), query("x")).await.expect("answers");
    let mut second = client(&server);
    let late = recall(&mut second, within("x", Duration::from_millis(100))).await;
    assert!(late.is_err(), "SRV-1");
    drop(first);
    assert!(recall(&mut second, within("x", PATIENCE)).await.is_ok());
}
