//! The MCP door: stdio and Streamable HTTP, through the official SDK.
//!
//! MCP is a client of the HTTP contract: a tool is a request of that contract with a description
//! for a model. So a tool call is authorised, limited and answered exactly like any other request,
//! and over stdio the node may be in this process or a daemon elsewhere.
//!
//! Invariants: `MCP-1` over stdio nothing but protocol goes to standard output; `MCP-2` over HTTP a
//! call carries the credentials and the peer of the request that brought it, nothing better;
//! `MCP-3` every tool has an output schema and answers with structured content that fits it.
//!
//! Not here: what tools do.

mod handler;
mod schema;
mod tools;

use std::sync::Arc;

use axum::{Router, middleware};
use rmcp::{
    ServiceExt,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use runtime::task::{self, Shutdown};

use self::{handler::Handler, tools::Profile};
use super::call::ApiClient;
use crate::cli::exit::Failure;

/// Serves MCP on standard input and output until the client closes it.
///
/// # Errors
/// [`Failure`] when the profile is unknown or the handshake fails.
pub async fn stdio(caller: ApiClient, profile: &str) -> Result<(), Failure> {
    let profile: Profile = profile.parse().map_err(Failure::usage)?;
    let handler = Handler::new(caller, profile, false);
    let running = handler.serve(rmcp::transport::stdio()).await.map_err(|e| {
        Failure::start(format!("the MCP client did not complete the handshake: {e}"))
    })?;
    running.waiting().await.map_err(|e| Failure::start(format!("the MCP session broke: {e}")))?;
    Ok(())
}

/// MCP over Streamable HTTP at `/mcp`, calling `api` in this process.
///
/// The default host check of the SDK (loopback names only) is kept for a loopback listener and
/// lifted for any other, which needs a key anyway; a browser's `Origin` is never accepted.
pub fn router(api: &Router, loopback: bool, shutdown: Shutdown) -> Router {
    let mut settings = StreamableHttpServerConfig::default().enforce_origin_validation();
    if !loopback {
        settings = settings.disable_allowed_hosts();
    }
    let stop = settings.cancellation_token.clone();
    task::spawn_named("mcp sessions", async move {
        shutdown.cancelled().await;
        stop.cancel();
    });
    let caller = ApiClient::in_process(api.clone(), types::AgentId::local().as_str());
    let factory = move || Ok(Handler::new(caller.clone(), Profile::Default, true));
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(factory, sessions, settings);
    let guard = ApiClient::in_process(api.clone(), types::AgentId::local().as_str());
    Router::new()
        .route_service("/mcp", service)
        .layer(middleware::from_fn_with_state(guard, handler::admit))
}
