//! `grpc.health.v1` and server reflection, which anyone may ask.
//!
//! Invariants: health is what the ready probe says at that moment, for every service alike;
//! reflection shows exactly the services that are served.
//!
//! Not here: finding out whether the node is ready (its upkeep).

use std::{sync::Arc, time::Duration};

use axum::Router;
use futures::stream::{self, BoxStream, StreamExt};
use runtime::clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, server::NamedService};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};
use types::{Reason, Reject};
use wire::{
    errors::status,
    v1::{
        self, admin_service_server, memory_service_server, recall_service_server,
        watch_service_server,
    },
};

use super::{Answer, Door, path_of, place};
use crate::telemetry::health::ReadyProbe;

/// How often a health watch asks.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// Open health watches. They need no key, so they have a small limit of their own.
const WATCHES_MAX: usize = 64;

/// The services whose health can be asked for; the empty name is the whole server.
const SERVED: [&str; 5] = [
    "",
    memory_service_server::SERVICE_NAME,
    recall_service_server::SERVICE_NAME,
    watch_service_server::SERVICE_NAME,
    admin_service_server::SERVICE_NAME,
];

/// Health over the shared door.
struct Probe {
    door: Arc<Door>,
    watches: Arc<Semaphore>,
}

async fn serving(door: &Door, service: &str) -> ServingStatus {
    if !SERVED.contains(&service) {
        return ServingStatus::ServiceUnknown;
    }
    match door.ready().await {
        Ok(()) => ServingStatus::Serving,
        Err(_) => ServingStatus::NotServing,
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// One open health watch.
struct HealthWatch {
    door: Arc<Door>,
    service: String,
    shown: Option<ServingStatus>,
    /// Its own view, which remembers what it has seen; the door's would tell of old changes.
    ready: ReadyProbe,
    _place: OwnedSemaphorePermit,
}

impl HealthWatch {
    /// The next status that differs from the one shown.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            let settings = &self.door.settings;
            // Asked before the probe: who stops while it runs must still be told.
            let stopping = settings.shutdown.is_cancelled();
            let now = serving(&self.door, &self.service).await;
            if self.shown != Some(now) {
                self.shown = Some(now);
                return Some((Ok(answer(now)), self));
            }
            if stopping {
                // It has been told; an open stream would only hold up the drain.
                return None;
            }
            tokio::select! {
                () = clock::sleep(PROBE_INTERVAL) => {}
                () = self.ready.changed() => {}
                () = settings.shutdown.cancelled() => {}
            }
        }
    }
}

#[tonic::async_trait]
impl Health for Probe {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(&self, call: Request<HealthCheckRequest>) -> Answer<HealthCheckResponse> {
        let service = call.into_inner().service;
        match serving(&self.door, &service).await {
            ServingStatus::ServiceUnknown => Err(status(&Reject::new(
                Reason::NotFound,
                format!("no service {service:?} is served here"),
            ))),
            known => Ok(Response::new(answer(known))),
        }
    }

    async fn watch(&self, call: Request<HealthCheckRequest>) -> Answer<Self::WatchStream> {
        let place = place(&self.watches, "health watches").map_err(|r| status(&r))?;
        let watch = HealthWatch {
            door: self.door.clone(),
            service: call.into_inner().service,
            shown: None,
            ready: self.door.settings.ready.clone(),
            _place: place,
        };
        Ok(Response::new(stream::unfold(watch, HealthWatch::next).boxed()))
    }
}

/// Health and both versions of reflection.
pub(super) fn routes(door: &Arc<Door>) -> Router {
    let watches = Arc::new(Semaphore::new(WATCHES_MAX));
    let health = HealthServer::new(Probe { door: door.clone(), watches });
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let current = reflection().build_v1().expect("the descriptors are made by this build");
    let alpha = reflection().build_v1alpha().expect("the descriptors are made by this build");
    fn route<S>(router: Router, server: S) -> Router
    where
        S: tower_service::Service<axum::extract::Request, Error = std::convert::Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        let path = path_of(&server);
        router.route_service(&path, server)
    }
    let router = route(Router::new(), health);
    route(route(router, current), alpha)
}
