//! `hivemem.v1.AdminService`: looking after one node.
//!
//! Invariant: who may ask is decided by the service, method by method.
//!
//! Not here: configuration and process life.

use std::{path::PathBuf, sync::Arc};

use runtime::clock;
use tonic::Request;
use types::Invalid;
use wire::convert::timestamp;
use wire::v1::{self, admin_service_server::AdminService};

use super::{
    Answer, Door,
    convert::{agent, agent_input, capabilities, chain, finding, quota, some_text, store_status},
};
use crate::node::{
    model::time,
    service::{Caller, Reply, Service},
};

/// The service over the shared door.
pub(super) struct Admin(pub Arc<Door>);

/// What a node is part of.
fn topology(service: &Service) -> &'static str {
    match (service.root().is_some(), service.peers().is_some()) {
        (false, false) => "single",
        (true, false) => "root",
        (false, true) => "mesh",
        (true, true) => "root+mesh",
    }
}

impl Door {
    async fn node_status(&self, service: &Service) -> Reply<v1::StatusResponse> {
        let stats = service.stats().await?;
        let space = service.embedder.space();
        let readiness = self.ready().await;
        let embedding = v1::EmbeddingStatus {
            model: space.model,
            version: space.version,
            dimension: u32::from(space.dimension),
            vectors: stats.vectors,
            pending: stats.vectors_pending,
        };
        Ok(v1::StatusResponse {
            node_id: self.settings.node_id.map(|id| id.to_string()).unwrap_or_default(),
            version: service.capabilities().version,
            uptime: prost_types::Duration::try_from(self.settings.started.elapsed()).ok(),
            ready: readiness.is_ok(),
            not_ready_reason: readiness.err().unwrap_or_default(),
            topology: topology(service).to_owned(),
            time: Some(timestamp(clock::now_unix_ms())),
            store: Some(store_status(stats)),
            embedding: Some(embedding),
        })
    }

    /// The folder a backup goes to.
    fn backup_folder(&self, asked: String) -> Reply<PathBuf> {
        if let Some(folder) = some_text(asked) {
            return Ok(folder.into());
        }
        let parent = self.settings.backup_folder.as_ref().ok_or_else(|| {
            Invalid::new("folder", "is required, because no backup folder is configured")
        })?;
        // Colons are no part of a file name everywhere.
        Ok(parent.join(time::to_text(clock::now_unix_ms()).replace(':', "-")))
    }
}

async fn register(
    service: Arc<Service>,
    caller: Caller,
    request: v1::RegisterAgentRequest,
) -> Reply<v1::RegisterAgentResponse> {
    let (agent, token) = agent(service.put_agent(&caller, agent_input(request)?).await?);
    Ok(v1::RegisterAgentResponse { agent: Some(agent), token: token.unwrap_or_default() })
}

async fn list(
    service: Arc<Service>,
    caller: Caller,
    _: v1::ListAgentsRequest,
) -> Reply<v1::ListAgentsResponse> {
    let agents = service.list_agents(&caller).await?;
    Ok(v1::ListAgentsResponse { agents: agents.into_iter().map(|a| agent(a).0).collect() })
}

async fn revoke(
    service: Arc<Service>,
    caller: Caller,
    request: v1::RevokeAgentRequest,
) -> Reply<v1::RevokeAgentResponse> {
    let (agent, _) = agent(service.revoke_agent(&caller, &request.agent_id).await?);
    Ok(v1::RevokeAgentResponse { agent: Some(agent) })
}

async fn quota_status(
    service: Arc<Service>,
    caller: Caller,
    request: v1::QuotaStatusRequest,
) -> Reply<v1::QuotaStatusResponse> {
    let (agent, namespace) = (some_text(request.agent_id), some_text(request.namespace));
    service.quota_status(&caller, agent.as_deref(), namespace.as_deref()).await.map(quota)
}

async fn doctor(
    service: Arc<Service>,
    caller: Caller,
    _: v1::DoctorRequest,
) -> Reply<v1::DoctorResponse> {
    let found = service.check(&caller).await?;
    let healthy = found.is_empty();
    Ok(v1::DoctorResponse { findings: found.into_iter().map(finding).collect(), healthy })
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn status(&self, call: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let door = self.0.clone();
        self.0.call(call, |service, _, _| async move { door.node_status(&service).await }).await
    }

    async fn capabilities(
        &self,
        call: Request<v1::CapabilitiesRequest>,
    ) -> Answer<v1::CapabilitiesResponse> {
        self.0
            .call(call, |service, _, _| async move { Ok(capabilities(service.capabilities())) })
            .await
    }

    async fn register_agent(
        &self,
        call: Request<v1::RegisterAgentRequest>,
    ) -> Answer<v1::RegisterAgentResponse> {
        self.0.call(call, register).await
    }

    async fn list_agents(
        &self,
        call: Request<v1::ListAgentsRequest>,
    ) -> Answer<v1::ListAgentsResponse> {
        self.0.call(call, list).await
    }

    async fn revoke_agent(
        &self,
        call: Request<v1::RevokeAgentRequest>,
    ) -> Answer<v1::RevokeAgentResponse> {
        self.0.call(call, revoke).await
    }

    async fn quota_status(
        &self,
        call: Request<v1::QuotaStatusRequest>,
    ) -> Answer<v1::QuotaStatusResponse> {
        self.0.call(call, quota_status).await
    }

    async fn verify_chain(
        &self,
        call: Request<v1::VerifyChainRequest>,
    ) -> Answer<v1::VerifyChainResponse> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::VerifyChainRequest| async move {
            service.verify_chain(&caller, request.since).await.map(chain)
        };
        self.0.call(call, run).await
    }

    async fn doctor(&self, call: Request<v1::DoctorRequest>) -> Answer<v1::DoctorResponse> {
        self.0.call(call, doctor).await
    }

    async fn backup(&self, call: Request<v1::BackupRequest>) -> Answer<v1::BackupResponse> {
        let door = self.0.clone();
        let run = |service: Arc<Service>, caller: Caller, request: v1::BackupRequest| async move {
            caller.require_operator()?;
            let folder = door.backup_folder(request.folder)?;
            let position = service.watch_start();
            service.backup(&caller, folder.clone()).await?;
            Ok(v1::BackupResponse { folder: folder.display().to_string(), position })
        };
        self.0.call(call, run).await
    }
}
