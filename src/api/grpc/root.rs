//! `hivemem.v1.RootService`: the group of the root. What members ask each other is in `crate::root`.
//!
//! Invariant: who may ask is decided by the service, method by method.
//!
//! Not here: how changes are made safe (`consensus::raft`).

use std::sync::Arc;

use tonic::Request;
use types::Invalid;
use wire::v1::{self, root_service_server::RootService};

use super::{Answer, Door};
use crate::node::service::{
    Caller, Reply, Service,
    group::{InitInput, MemberInput, ReadmitInput, RootStatusOut},
};

/// The service over the shared door.
pub(super) struct Group(pub Arc<Door>);

fn member(message: v1::RootMember) -> MemberInput {
    MemberInput { member: message.member, endpoint: message.endpoint }
}

fn required(message: Option<v1::RootMember>) -> Reply<MemberInput> {
    message.map(member).ok_or_else(|| Invalid::new("member", "is required").into())
}

fn status(out: RootStatusOut) -> v1::RootStatusResponse {
    let members = out.members.into_iter().map(|m| v1::RootMember {
        member: m.member,
        endpoint: m.endpoint,
        voter: m.voter,
    });
    v1::RootStatusResponse {
        cluster: out.cluster.unwrap_or_default(),
        member: out.member,
        role: out.role,
        term: out.term,
        leader: out.leader.unwrap_or_default(),
        last_index: out.last_index,
        committed: out.committed,
        applied: out.applied,
        snapshot: out.snapshot,
        members: members.collect(),
        changing: out.changing,
        fenced: out.fenced,
        rules_version: out.rules_version,
        confirmed: out.confirmed,
        pending_actions: out.pending_actions,
        sessions: out.sessions,
        locks: out.locks,
        known_to: out.known_to,
    }
}

fn changed(_: RootStatusOut) -> v1::RootChanged {
    v1::RootChanged {}
}

#[tonic::async_trait]
impl RootService for Group {
    async fn init(&self, call: Request<v1::RootInitRequest>) -> Answer<v1::RootInitResponse> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RootInitRequest| async move {
            let members = request.members.into_iter().map(member).collect();
            let status = service.init_root(&caller, &InitInput { members }).await?;
            Ok(v1::RootInitResponse { cluster: status.cluster.unwrap_or_default() })
        };
        self.0.call(call, run).await
    }

    async fn status(&self, call: Request<v1::RootStatusRequest>) -> Answer<v1::RootStatusResponse> {
        let run = |service: Arc<Service>, _: Caller, _: v1::RootStatusRequest| async move {
            Ok(status(service.root_status()))
        };
        self.0.call(call, run).await
    }

    async fn add_learner(
        &self,
        call: Request<v1::RootAddLearnerRequest>,
    ) -> Answer<v1::RootChanged> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RootAddLearnerRequest| async move {
            service.add_member(&caller, &required(request.member)?).await.map(changed)
        };
        self.0.call(call, run).await
    }

    async fn promote(&self, call: Request<v1::RootPromoteRequest>) -> Answer<v1::RootChanged> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RootPromoteRequest| async move {
            service.promote_member(&caller, request.member).await.map(changed)
        };
        self.0.call(call, run).await
    }

    async fn remove(&self, call: Request<v1::RootRemoveRequest>) -> Answer<v1::RootChanged> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RootRemoveRequest| async move {
            let v1::RootRemoveRequest { member, force } = request;
            service.remove_member(&caller, member, force).await.map(changed)
        };
        self.0.call(call, run).await
    }

    async fn replace(&self, call: Request<v1::RootReplaceRequest>) -> Answer<v1::RootChanged> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RootReplaceRequest| async move {
            let new = required(request.member)?;
            service.replace_member(&caller, request.gone, &new).await.map(changed)
        };
        self.0.call(call, run).await
    }

    async fn transfer(&self, call: Request<v1::RootTransferRequest>) -> Answer<v1::RootChanged> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RootTransferRequest| async move {
            service.transfer_root(&caller, request.member).await.map(changed)
        };
        self.0.call(call, run).await
    }

    async fn snapshot(&self, call: Request<v1::RootSnapshotRequest>) -> Answer<v1::RootChanged> {
        let run = |service: Arc<Service>, caller: Caller, _: v1::RootSnapshotRequest| async move {
            service.snapshot_root(&caller).await.map(changed)
        };
        self.0.call(call, run).await
    }

    async fn readmit(&self, call: Request<v1::RootReadmitRequest>) -> Answer<v1::RootChanged> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::RootReadmitRequest| async move {
            let v1::RootReadmitRequest { node, reason } = request;
            service.readmit(&caller, &ReadmitInput { node, reason }).await.map(changed)
        };
        self.0.call(call, run).await
    }
}
