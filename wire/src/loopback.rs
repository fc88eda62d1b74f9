//! A server on the loopback interface for tests: an echo over gRPC and HTTP.
//!
//! Invariant: what is tested is the real accept loop over real sockets.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use runtime::disk::OsDisk;
use runtime::task::{JoinHandle, Shutdown, spawn};
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tower_service::Service;

use crate::admission::{Admission, read_body};
use crate::dial::Endpoint;
use crate::errors::{self, Problem};
use crate::grpc::{CallTimes, GrpcGuard};
use crate::net::{Address, Listener};
use crate::serve::{Peer, ServeLimits, serve};
use crate::tls::TlsReload;
use crate::v1::recall_response::Message;
use crate::v1::recall_service_server::{RecallService, RecallServiceServer};
use crate::v1::{RecallHit, RecallPlan, RecallRequest, RecallResponse, RecallSummary};

/// Largest body that the echo takes over HTTP.
pub(crate) const BODY_MAX: usize = 1000;

/// Answers a recall by its query: `hang` never, `stall` after the summary never again, `wait` once
/// it is released, anything else with the query as the only term and the peer as the only hit.
#[derive(Clone, Default)]
pub(crate) struct Echo {
    /// Number of `wait` calls that have arrived.
    pub(crate) arrived: Arc<Notify>,
    /// Releases one `wait` call.
    pub(crate) release: Arc<Notify>,
}

type Answers = Pin<Box<dyn Stream<Item = Result<RecallResponse, tonic::Status>> + Send>>;

fn answer(message: Message) -> Result<RecallResponse, tonic::Status> {
    Ok(RecallResponse { message: Some(message) })
}

#[tonic::async_trait]
impl RecallService for Echo {
    type RecallStream = Answers;

    async fn recall(
        &self,
        request: tonic::Request<RecallRequest>,
    ) -> Result<tonic::Response<Answers>, tonic::Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let query = request.into_inner().query;
        let mut stalls = false;
        match query.as_str() {
            "hang" => std::future::pending().await,
            "stall" => stalls = true,
            "wait" => {
                self.arrived.notify_one();
                self.release.notified().await;
            }
            _ => {}
        }
        let plan = RecallPlan { terms: vec![query], ..RecallPlan::default() };
        let summary = RecallSummary { plan: Some(plan), returned: 1, ..RecallSummary::default() };
        let memory = crate::v1::Memory { title: format!("{peer:?}"), ..Default::default() };
        let hit = RecallHit { rank: 1, memory: Some(memory), ..RecallHit::default() };
        let answers = [answer(Message::Summary(summary)), answer(Message::Hit(hit))];
        let shown = if stalls { 1 } else { 2 };
        let stream = futures::stream::iter(answers.into_iter().take(shown));
        let tail = futures::stream::pending();
        let stream: Answers = if stalls {
            Box::pin(futures::StreamExt::chain(stream, tail))
        } else {
            Box::pin(stream)
        };
        Ok(tonic::Response::new(stream))
    }
}

/// Sends gRPC to the echo and answers anything else itself.
#[derive(Clone)]
struct Door {
    grpc: GrpcGuard<RecallServiceServer<Echo>>,
}

impl Service<Request<Incoming>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        if request.uri().path().starts_with("/hivemem.v1.") {
            return self.grpc.call(request);
        }
        Box::pin(async move { Ok(plain_http(request).await) })
    }
}

async fn plain_http(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if path == "/events" {
        let events = Full::from("event: change\ndata: 1\n\ndata: 2\n\n");
        return Response::new(Body::new(events.map_err(|never| match never {})));
    }
    let (status, bytes) = match read_body(request.into_body(), BODY_MAX).await {
        Ok(bytes) => (200, bytes.to_vec()),
        Err(reject) => {
            let problem = Problem::from(reject).at(path);
            (problem.status(), problem.to_bytes())
        }
    };
    let mut response = Response::new(Body::new(Full::from(bytes)));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status of the table");
    response
}

/// A running server.
pub(crate) struct Loopback {
    pub(crate) address: Address,
    pub(crate) echo: Echo,
    pub(crate) shutdown: Shutdown,
    pub(crate) served: JoinHandle<()>,
}

/// What a test may want otherwise.
pub(crate) struct Options {
    pub(crate) address: Address,
    pub(crate) tls: Option<Arc<TlsReload>>,
    pub(crate) limits: ServeLimits,
    pub(crate) admission: Admission,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:0".parse().expect("an address"),
            tls: None,
            limits: ServeLimits::default(),
            admission: Admission::new(64, 64, Duration::from_secs(1)),
        }
    }
}

pub(crate) async fn start(options: Options) -> Loopback {
    let listener = Listener::bind(&options.address, &OsDisk).await.expect("binds");
    let address = listener.local_address().expect("has an address");
    let echo = Echo::default();
    let server = RecallServiceServer::new(echo.clone()).max_decoding_message_size(BODY_MAX);
    let grpc = GrpcGuard::new(server, options.admission, CallTimes::default());
    let shutdown = Shutdown::new();
    let running = serve(listener, options.tls, Door { grpc }, options.limits, shutdown.clone());
    Loopback { address, echo, shutdown, served: spawn(running) }
}

impl Loopback {
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::plain(&self.address)
    }
}

/// The refusal inside a failed call.
pub(crate) fn reason(status: &tonic::Status) -> types::Reason {
    errors::reject_from_status(status).reason
}
