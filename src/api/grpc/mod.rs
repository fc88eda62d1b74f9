//! The gRPC door: `hivemem.v1`, health and reflection.
//!
//! | module | what |
//! |---|---|
//! | [`memory`], [`recall`], [`watch`], [`admin`], [`lock`], [`governance`], [`root`] | the services, method by method |
//! | [`health`] | `grpc.health.v1` and the two versions of reflection |
//! | [`auth`] | from metadata to a caller |
//! | [`bare`] | words for refusals made before a handler ran |
//! | [`convert`] | messages to and from the words of `node::model` |
//!
//! Invariants: `GRPC-1` every refusal is a `google.rpc.Status` with the reason of `wire::errors`,
//! unknown methods included; `GRPC-2` a number or a path that has no meaning is refused by name, and
//! a field that is not set never becomes a value that is; `GRPC-3` nothing is buffered without bound:
//! a stream makes its next message when the client can take it.
//!
//! Not here: sockets and HTTP/2 (`wire::serve`), deadlines and load shedding (`wire::grpc`, which is
//! put around every service here), what a call means (`node::service`).

mod admin;
mod auth;
mod bare;
mod convert;
mod governance;
mod health;
mod lock;
mod memory;
mod recall;
mod root;
#[cfg(all(test, not(madsim)))]
mod tests;
mod watch;

use std::{panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use futures::FutureExt;
use http::header::CONTENT_TYPE;
use runtime::{
    clock::{self, Instant},
    task::Shutdown,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status, server::NamedService};
use tower::ServiceExt;
use types::{NodeId, Reason, Reject, limits::BODY_BYTES_MAX};
use wire::{
    admission::Admission,
    errors::status,
    grpc::{CallTimes, GrpcGuard},
    v1::{
        admin_service_server::AdminServiceServer,
        governance_service_server::GovernanceServiceServer, lock_service_server::LockServiceServer,
        memory_service_server::MemoryServiceServer, recall_service_server::RecallServiceServer,
        root_service_server::RootServiceServer, watch_service_server::WatchServiceServer,
    },
};

use crate::{
    api::spans,
    node::service::{Caller, Reply, Service},
    telemetry::health::{Phase, ReadyProbe},
};

/// Calls worked on at the same time, and waiting for their turn, unless set otherwise.
const RUNNING_MAX: u32 = 256;
const WAITING_MAX: u32 = 256;
/// How long a refused client is asked to wait.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Longest a health check waits for the store.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// Settings of the gRPC door.
#[derive(Clone)]
pub struct GrpcSettings {
    /// The node's id, as `Status` shows it.
    pub node_id: Option<NodeId>,
    /// When the node was started.
    pub started: Instant,
    /// Bounds the calls worked on at the same time; may be shared with other doors.
    pub admission: Admission,
    /// How long calls may take.
    pub times: CallTimes,
    /// Open watches; more are refused with `overloaded`.
    pub streams_max: usize,
    /// Where `Backup` writes when the call names no folder.
    pub backup_folder: Option<PathBuf>,
    /// What health checks ask.
    pub ready: ReadyProbe,
    /// Ends the watches, so that a stop can drain.
    pub shutdown: Shutdown,
}

impl GrpcSettings {
    /// Defaults for a node with this readiness and this end.
    pub fn new(ready: ReadyProbe, shutdown: Shutdown) -> Self {
        Self {
            node_id: None,
            started: Instant::now(),
            admission: Admission::new(RUNNING_MAX, WAITING_MAX, RETRY_AFTER),
            times: CallTimes::default(),
            streams_max: 256,
            backup_folder: None,
            ready,
            shutdown,
        }
    }
}

/// What the services of the door share.
struct Door {
    service: Arc<Service>,
    settings: GrpcSettings,
    streams: Arc<Semaphore>,
}

/// What a method of a generated service answers.
type Answer<T> = Result<tonic::Response<T>, Status>;

impl Door {
    /// Whether a write and a read would work now, and if not, why not.
    async fn ready(&self) -> Result<(), String> {
        if self.settings.shutdown.is_cancelled() {
            return Err("the node is stopping".to_owned());
        }
        match self.settings.ready.phase() {
            Phase::Ready => {}
            Phase::Starting => return Err("the node is starting".to_owned()),
            Phase::Stopping => return Err("the node is stopping".to_owned()),
            Phase::NotReady { cause } => return Err(cause),
        }
        match clock::timeout(STORE_WAIT, self.service.try_read()).await {
            Ok(read) => read.map_err(|refusal| refusal.detail),
            Err(_) => Err("the store does not answer".to_owned()),
        }
    }

    /// Establishes who calls, then runs one operation of the service.
    async fn attend<Q, A, F, R>(&self, request: tonic::Request<Q>, run: F) -> Reply<A>
    where
        F: FnOnce(Arc<Service>, Caller, Q) -> R,
        R: Future<Output = Reply<A>>,
    {
        let caller = auth::caller(&self.service, request.metadata(), request.extensions())?;
        let service = self.service.clone();
        let message = request.into_inner();
        // Without this a panic would end the connection and every other call on it.
        let run = AssertUnwindSafe(async { run(service, caller, message).await });
        run.catch_unwind().await.unwrap_or_else(|cause| Err(super::panic::refusal(cause)))
    }

    /// [`Self::attend`] for a method with one answer.
    async fn call<Q, A, F, R>(&self, request: tonic::Request<Q>, run: F) -> Answer<A>
    where
        F: FnOnce(Arc<Service>, Caller, Q) -> R,
        R: Future<Output = Reply<A>>,
    {
        let answered = self.attend(request, run).await;
        answered.map(tonic::Response::new).map_err(|refusal| status(&refusal))
    }
}

/// The gRPC door as a service: the daemon serves it on sockets, in-process clients call it.
///
/// A request carries [`wire::serve::Peer`] in its extensions when it came over a socket; without it
/// nothing is assumed in the caller's favour.
pub fn router(service: Arc<Service>, settings: GrpcSettings) -> Router {
    let door = Arc::new(Door {
        service,
        streams: Arc::new(Semaphore::new(settings.streams_max)),
        settings,
    });
    let memories = MemoryServiceServer::new(memory::Memories(door.clone()))
        .max_decoding_message_size(BODY_BYTES_MAX);
    let recalls = RecallServiceServer::new(recall::Recalls(door.clone()))
        .max_decoding_message_size(BODY_BYTES_MAX);
    let watches = WatchServiceServer::new(watch::Watches(door.clone()))
        .max_decoding_message_size(BODY_BYTES_MAX);
    let admin = AdminServiceServer::new(admin::Admin(door.clone()))
        .max_decoding_message_size(BODY_BYTES_MAX);
    let locks =
        LockServiceServer::new(lock::Locks(door.clone())).max_decoding_message_size(BODY_BYTES_MAX);
    let rules = GovernanceServiceServer::new(governance::Governance(door.clone()))
        .max_decoding_message_size(BODY_BYTES_MAX);
    let group =
        RootServiceServer::new(root::Group(door.clone())).max_decoding_message_size(BODY_BYTES_MAX);
    let GrpcSettings { admission, times, .. } = &door.settings;
    let peers = door.service.root().map(crate::root::peer_services).unwrap_or_default();
    let sync = door.service.peers().map(crate::peers::service).unwrap_or_default();
    Router::new()
        .merge(peers)
        .merge(sync)
        .route_service(&path_of(&memories), guard(memories, admission, times))
        .route_service(&path_of(&recalls), guard(recalls, admission, times))
        .route_service(&path_of(&watches), guard(watches, admission, times))
        .route_service(&path_of(&admin), guard(admin, admission, times))
        .route_service(&path_of(&locks), guard(locks, admission, times))
        .route_service(&path_of(&rules), guard(rules, admission, times))
        .route_service(&path_of(&group), guard(group, admission, times))
        .merge(health::routes(&door))
        .fallback(unknown_method)
        .layer(middleware::from_fn(bare::explain))
        .layer(middleware::from_fn_with_state(door.clone(), traced))
}

/// Traces a call, if it belongs to a trace. Its name is the method's, which only an answer shows to exist.
async fn traced(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let Some(mut span) = spans::begin(&door.service, request.headers(), "grpc") else {
        return next.run(request).await;
    };
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let response = spans::within(Some(&span), next.run(request)).await;
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |bare| bare.code());
    if code != Code::Unimplemented {
        span.rename(method);
    }
    span.set("rpc.system", "grpc");
    span.set("rpc.grpc.status_code", u64::from(code as i32 as u32));
    if matches!(code, Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable) {
        span.fail();
    }
    response
}

/// One router for both doors: calls by their content type to `grpc`, everything else to `http`.
pub fn beside(grpc: Router, http: Router) -> Router {
    Router::new().fallback(move |request: Request| {
        let door = if is_grpc(&request) { grpc.clone() } else { http.clone() };
        door.oneshot(request)
    })
}

/// Whether a request is a gRPC call, by its content type.
pub fn is_grpc<B>(request: &http::Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let rest = content_type.and_then(|value| value.strip_prefix(b"application/grpc"));
    // `application/grpc-web` is another protocol.
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The route of a generated service.
fn path_of<S: NamedService>(_: &S) -> String {
    format!("/{}/{{*method}}", S::NAME)
}

fn guard<S>(server: S, admission: &Admission, times: &CallTimes) -> GrpcGuard<S> {
    GrpcGuard::new(server, admission.clone(), *times)
}

/// A place among those that are limited.
///
/// # Errors
/// `overloaded`, with the time to wait.
fn place(places: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Reject> {
    places.clone().try_acquire_owned().map_err(|_| {
        Reject::new(Reason::Overloaded, format!("too many {what} at the same time; try again"))
            .with("retry_after_ms", RETRY_AFTER.as_millis())
    })
}

async fn unknown_method(request: Request) -> Response {
    status(&bare::unknown_method(request.uri().path())).into_http()
}
