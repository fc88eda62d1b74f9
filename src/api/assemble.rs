//! All doors as one router, for sockets and for callers in this process.
//!
//! Invariant: what a request gets does not depend on the socket it came over, but for its peer.
//!
//! Not here: sockets (`doors`).

use std::{sync::Arc, time::Duration};

use axum::Router;
use runtime::task::Shutdown;
use wire::{admission::Admission, net::Address};

use super::{grpc, http};
use crate::{
    config::Config,
    node::service::Service,
    telemetry::{health::ReadyProbe, metrics::Metrics},
};

/// How long a caller that was shed is asked to wait.
const RETRY_AFTER: Duration = Duration::from_millis(200);

fn requests_max(config: &Config) -> u32 {
    u32::try_from(config.server.requests_max).unwrap_or(u32::MAX)
}

/// The HTTP contract alone, as callers in this process use it.
pub fn contract(service: &Arc<Service>, config: &Config, ready: ReadyProbe) -> Router {
    let limits = http::HttpLimits {
        running_max: requests_max(config),
        timeout: config.server.request_timeout,
        backup_folder: Some(config.backup_folder.clone()),
        ..http::HttpLimits::default()
    };
    http::router(service.clone(), limits, Arc::new(Metrics::new()), ready)
}

/// Everything that is served: the HTTP contract, gRPC, and MCP.
pub fn router(
    service: &Arc<Service>,
    config: &Config,
    ready: ReadyProbe,
    shutdown: &Shutdown,
) -> Router {
    let http = contract(service, config, ready.clone());
    let settings = grpc::GrpcSettings {
        admission: Admission::new(requests_max(config), requests_max(config), RETRY_AFTER),
        backup_folder: Some(config.backup_folder.clone()),
        ..grpc::GrpcSettings::new(ready, shutdown.clone())
    };
    let grpc = grpc::router(service.clone(), settings);
    let http = with_mcp(http, Address::Tcp(config.server.listen).is_local(), shutdown);
    grpc::beside(grpc, http)
}

#[cfg(feature = "host")]
fn with_mcp(http: Router, loopback: bool, shutdown: &Shutdown) -> Router {
    let mcp = super::mcp::router(&http, loopback, shutdown.clone());
    mcp.fallback_service(http)
}

#[cfg(not(feature = "host"))]
fn with_mcp(http: Router, _loopback: bool, _shutdown: &Shutdown) -> Router {
    http
}
