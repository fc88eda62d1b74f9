//! The HTTP door: `/api/v1` in JSON, the probes and `/metrics`.
//!
//! | module | what |
//! |---|---|
//! | [`memories`], [`recalls`], [`links`], [`conflicts`], [`archive`], [`agents`], [`transfer`], [`watch`], [`admin`], [`locks`], [`governance`], [`root`], [`peers`], [`sync`], [`probes`] | the routes, by family |
//! | [`who`], [`body`], [`params`], [`etag`] | from a request to typed values |
//! | [`decode`] | the strict decoder below them |
//! | [`admit`], [`finish`] | what every request passes through |
//! | [`problem`] | refusals (RFC 9457) |
//! | [`routes`], [`openapi`] | one list that is both the router and the document |
//!
//! Invariants: `HTTP-1` a route exists exactly when the OpenAPI document describes it; `HTTP-2`
//! every response with a status of 400 or above is a problem document; `HTTP-3` nothing a client
//! sends ends the process or yields a response without a body that explains it.
//!
//! Not here: sockets, TLS and HTTP framing (`wire::serve`), what a request means (`node::service`).

mod admin;
mod admit;
mod agents;
mod archive;
mod audit;
mod body;
mod conflicts;
mod decode;
mod etag;
mod finish;
mod governance;
mod links;
mod locks;
mod memories;
mod openapi;
mod params;
mod peers;
mod probes;
mod problem;
mod recalls;
mod registry;
mod root;
mod routes;
mod sync;
#[cfg(test)]
mod tests;
mod transfer;
mod vectors;
mod watch;
mod who;

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, middleware};
use bytes::Bytes;
use tokio::sync::Semaphore;
use types::limits::BODY_BYTES_MAX;
use wire::admission::Admission;

use self::routes::{Operations, Routes};
use crate::{
    node::service::Service,
    telemetry::{health::ReadyProbe, metrics::Metrics},
};

pub use self::openapi::document;

/// When a client that was shed should come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bounds of the HTTP door.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Requests worked on at the same time.
    pub running_max: u32,
    /// Requests that wait for their turn; more are refused with `overloaded`.
    pub waiting_max: u32,
    /// Open watches and exports; more are refused with `overloaded`.
    pub streams_max: usize,
    /// Largest request body, in bytes; at most [`BODY_BYTES_MAX`].
    pub body_bytes_max: usize,
    /// Time for an answer when the request names none.
    pub timeout: Duration,
    /// Longest time a request may ask for with `X-Timeout-Ms`.
    pub timeout_max: Duration,
    /// A watch without changes says so this often.
    pub heartbeat: Duration,
    /// Where `POST /admin/backup` writes; without it the route refuses.
    pub backup_folder: Option<PathBuf>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            running_max: 256,
            waiting_max: 1024,
            streams_max: 256,
            body_bytes_max: BODY_BYTES_MAX,
            timeout: Duration::from_secs(30),
            timeout_max: Duration::from_secs(300),
            heartbeat: Duration::from_secs(15),
            backup_folder: None,
        }
    }
}

/// What every handler can reach.
struct Shared {
    service: Arc<Service>,
    limits: HttpLimits,
    metrics: Arc<Metrics>,
    ready: ReadyProbe,
    admission: Admission,
    streams: Arc<Semaphore>,
    operations: Operations,
    openapi: Bytes,
}

/// State of the router.
type App = Arc<Shared>;

/// The routes that ask for credentials and count against the limits.
fn guarded() -> Routes {
    let mut all = Routes::default();
    memories::add(&mut all);
    archive::add(&mut all);
    recalls::add(&mut all);
    links::add(&mut all);
    conflicts::add(&mut all);
    agents::add(&mut all);
    transfer::add(&mut all);
    watch::add(&mut all);
    admin::add(&mut all);
    locks::add(&mut all);
    audit::add(&mut all);
    governance::add(&mut all);
    root::add(&mut all);
    peers::add(&mut all);
    vectors::add(&mut all);
    sync::add(&mut all);
    registry::add(&mut all);
    all
}

/// The routes that are always admitted.
fn open() -> Routes {
    let mut all = Routes::default();
    probes::add(&mut all);
    all
}

/// What the handlers of one door share.
fn shared(
    service: Arc<Service>,
    limits: HttpLimits,
    metrics: Arc<Metrics>,
    ready: ReadyProbe,
) -> App {
    Arc::new(Shared {
        service,
        admission: Admission::new(limits.running_max, limits.waiting_max, RETRY_AFTER),
        streams: Arc::new(Semaphore::new(limits.streams_max)),
        limits,
        metrics,
        ready,
        operations: guarded().operations.merged(&open().operations),
        openapi: Bytes::from(openapi::text()),
    })
}

/// The HTTP door as a service: the daemon serves it on sockets, in-process clients call it.
///
/// A request carries [`wire::serve::Peer`] in its extensions when it came over a socket; without it
/// nothing is assumed in the caller's favour.
pub fn router(
    service: Arc<Service>,
    limits: HttpLimits,
    metrics: Arc<Metrics>,
    ready: ReadyProbe,
) -> Router {
    let app = shared(service, limits, metrics, ready);
    guarded()
        .router
        .layer(middleware::from_fn_with_state(app.clone(), admit::admit))
        .merge(open().router)
        .fallback(problem::no_such_route)
        .layer(middleware::from_fn_with_state(app.clone(), finish::finish))
        .with_state(app)
}
