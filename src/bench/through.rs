//! By which way the measured requests reach the node: in the process, or over a loopback socket with a real client.
//!
//! Invariant: every way asks for the same thing, and a refusal counts as an error whichever way it came.
//!
//! Not here: filling the store, which always happens in the process.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use types::{Reason, Reject};
use wire::{
    client::{Channel, ChannelTimes},
    dial::Endpoint,
    errors::reject_from_status,
    http_client::HttpClient,
    v1::{
        self, memory_service_client::MemoryServiceClient,
        recall_service_client::RecallServiceClient,
    },
};

use crate::node::{
    model::{MemoryDraft, RecallInput, write::BulkInput},
    service::{Caller, Credentials, Service},
};

/// A way to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// Calls in the process.
    Process,
    /// gRPC over a loopback socket; clients share a connection, as HTTP/2 has it.
    Grpc,
    /// HTTP over a loopback socket; each client has its connection.
    Http,
}

impl Through {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Through::Process => "process",
            Through::Grpc => "grpc",
            Through::Http => "http",
        }
    }
}

/// One client.
pub(super) enum Client {
    Process(Arc<Service>, Caller),
    Grpc(Channel),
    Http(HttpClient, HeaderMap),
}

/// What clients over a socket need: where it is and, for gRPC, the connection they share.
pub(super) enum Way {
    Process(Arc<Service>),
    Grpc(Channel),
    Http(Endpoint, HeaderMap),
}

/// Who asks within the process: the user of this machine.
pub(super) fn caller(service: &Service) -> Result<Caller, Reject> {
    let credentials = Credentials { local_socket: true, ..Credentials::default() };
    let viewer = service.authenticate(&credentials)?;
    Ok(Caller { viewer, idempotency_key: None, deadline: None, fence: 0 })
}

impl Way {
    /// The way to a service whose door, if it is needed, is at `address`.
    pub(super) fn to(
        through: Through,
        service: &Arc<Service>,
        address: Option<&str>,
    ) -> Result<Self, Reject> {
        let endpoint = || -> Result<Endpoint, Reject> {
            let address = address.unwrap_or_default();
            address.parse().map_err(|_| {
                Reject::new(Reason::InvalidArgument, format!("no door at {address:?}"))
            })
        };
        Ok(match through {
            Through::Process => Way::Process(service.clone()),
            Through::Grpc => Way::over_grpc(endpoint()?),
            Through::Http => Way::Http(endpoint()?, any_answer()),
        })
    }

    /// The way to a gRPC door.
    pub(super) fn over_grpc(endpoint: Endpoint) -> Self {
        Way::Grpc(Channel::new(endpoint, ChannelTimes::default()))
    }

    /// A client of its own.
    pub(super) fn client(&self) -> Result<Client, Reject> {
        Ok(match self {
            Way::Process(service) => Client::Process(service.clone(), caller(service)?),
            Way::Grpc(channel) => Client::Grpc(channel.clone()),
            Way::Http(endpoint, headers) => {
                Client::Http(HttpClient::new(endpoint.clone()), headers.clone())
            }
        })
    }
}

impl Client {
    /// Stores a memory.
    pub(super) async fn store(&self, draft: MemoryDraft) -> Result<(), Reject> {
        match self {
            Client::Process(service, caller) => service.store(caller, draft).await.map(drop),
            Client::Grpc(channel) => {
                let memory = Some(on_the_wire(draft));
                let request = v1::StoreRequest { memory, ..Default::default() };
                let answer = MemoryServiceClient::new(channel.clone()).store(request).await;
                answer.map(drop).map_err(|status| reject_from_status(&status))
            }
            Client::Http(client, headers) => {
                let body = serde_json::to_value(draft).map_err(unfit)?;
                post(client, headers, "/api/v1/memories", &body).await
            }
        }
    }

    /// Stores memories in one request.
    pub(super) async fn bulk(&self, memories: Vec<MemoryDraft>) -> Result<(), Reject> {
        match self {
            Client::Process(service, caller) => {
                let input = BulkInput { memories, atomic: false };
                service.bulk_store(caller, input).await.map(drop)
            }
            Client::Grpc(channel) => {
                let memories = memories.into_iter().map(on_the_wire).collect();
                let request = v1::BulkStoreRequest { memories, ..Default::default() };
                let answer = MemoryServiceClient::new(channel.clone()).bulk_store(request).await;
                answer.map(drop).map_err(|status| reject_from_status(&status))
            }
            Client::Http(client, headers) => {
                let body = json!({ "memories": memories });
                post(client, headers, "/api/v1/memories/bulk", &body).await
            }
        }
    }

    /// Recalls.
    pub(super) async fn recall(&self, query: String) -> Result<(), Reject> {
        match self {
            Client::Process(service, caller) => {
                let input = RecallInput { query, ..RecallInput::default() };
                service.recall(caller, &input).await.map(drop)
            }
            Client::Grpc(channel) => {
                let request = v1::RecallRequest { query, ..Default::default() };
                let refused = |status: tonic::Status| reject_from_status(&status);
                let mut client = RecallServiceClient::new(channel.clone());
                let mut hits = client.recall(request).await.map_err(refused)?.into_inner();
                while hits.message().await.map_err(refused)?.is_some() {}
                Ok(())
            }
            Client::Http(client, headers) => {
                post(client, headers, "/api/v1/recall", &json!({ "query": query })).await
            }
        }
    }
}

fn on_the_wire(draft: MemoryDraft) -> v1::NewMemory {
    v1::NewMemory {
        namespace: draft.namespace.unwrap_or_default(),
        title: draft.title,
        content: draft.content,
        tier: v1::Tier::Long.into(),
        scope: v1::Scope::Collective.into(),
        tags: draft.tags,
        ..Default::default()
    }
}

fn any_answer() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static("*/*"))])
}

async fn post(
    client: &HttpClient,
    headers: &HeaderMap,
    path: &str,
    body: &serde_json::Value,
) -> Result<(), Reject> {
    let answer = client.request(Method::POST, path, headers, Some(body)).await;
    let answer = answer.map_err(|error| Reject::new(Reason::Stopping, error.to_string()))?;
    answer.reject().map_or(Ok(()), Err)
}

fn unfit(error: serde_json::Error) -> Reject {
    Reject::new(Reason::InvalidArgument, error.to_string())
}
