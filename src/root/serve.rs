//! Answering other members.
//!
//! Invariant: `RTH-4` whoever does not present the peers' key is refused before its message is read;
//! where the doors have TLS with an allowlist, its certificate was checked in the handshake as well.
//!
//! Not here: agents and operators (`api`).

use std::time::Duration;

use axum::Router;
use consensus::{machine::Command, raft::PeerService};
use futures::{FutureExt, future::join_all};
use http::{HeaderMap, Request};
use runtime::clock::Instant;
use subtle::ConstantTimeEq;
use tonic::{Response, Status, server::NamedService};
use types::{Outcome, Reason, Reject};
use wire::{
    admission::{Admission, Deadline},
    auth::Presented,
    errors::status,
    grpc::{CallTimes, GrpcGuard},
    v1::{
        Refusal, RootOutcome, RootOutcomes, RootProposals, RootReadIndexRequest,
        RootReadIndexResponse,
        root_outcome::Outcome as Told,
        root_peer_server::{RootPeer, RootPeerServer},
    },
};

use super::Root;
use crate::gather::TOGETHER_MAX;

/// Calls of peers that are answered at the same time, apart from those of agents: a busy door must
/// not cost the leader its followers.
const RUNNING_MAX: u32 = 256;
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Time for a peer's call that states none.
const CALL: Duration = Duration::from_secs(30);

struct Peer(Root);

impl Peer {
    /// One hop only: who does not lead says so, and the asker looks again.
    async fn propose_one(&self, command: Vec<u8>, deadline: Instant) -> RootOutcome {
        let outcome = match Command::decode(&command) {
            Ok(_) => self.0.0.group.propose(command.into(), deadline).boxed().await,
            Err(error) => Outcome::Rejected(Reject::new(Reason::Malformed, error.to_string())),
        };
        let told = match outcome {
            Outcome::Done(answer) => Told::Answer(answer),
            Outcome::Rejected(Reject { reason, detail, .. }) => Told::Refused(Refusal {
                reason: reason.code().to_owned(),
                detail,
                ..Refusal::default()
            }),
            Outcome::Unknown { detail } => Told::Unknown(detail),
        };
        RootOutcome { outcome: Some(told) }
    }

    fn same_cluster(&self, cluster: &[u8]) -> Result<(), Status> {
        if cluster == self.0.cluster().as_bytes() {
            return Ok(());
        }
        let reject = Reject::new(Reason::Forbidden, "this is a member of another cluster");
        Err(status(&reject))
    }
}

fn deadline<T>(request: &tonic::Request<T>) -> Instant {
    let stated = request.extensions().get::<Deadline>().map(Deadline::at);
    stated.unwrap_or_else(|| Instant::now() + CALL)
}

#[tonic::async_trait]
impl RootPeer for Peer {
    async fn propose(
        &self,
        request: tonic::Request<RootProposals>,
    ) -> Result<Response<RootOutcomes>, Status> {
        let deadline = deadline(&request);
        let RootProposals { cluster, commands } = request.into_inner();
        self.same_cluster(&cluster)?;
        if commands.len() > TOGETHER_MAX {
            let detail = format!("{} commands, at most {TOGETHER_MAX} at a time", commands.len());
            return Err(status(&Reject::new(Reason::TooLarge, detail)));
        }
        let proposed = commands.into_iter().map(|command| self.propose_one(command, deadline));
        Ok(Response::new(RootOutcomes { outcomes: join_all(proposed).await }))
    }

    async fn read_index(
        &self,
        request: tonic::Request<RootReadIndexRequest>,
    ) -> Result<Response<RootReadIndexResponse>, Status> {
        let deadline = deadline(&request);
        self.same_cluster(&request.into_inner().cluster)?;
        let index = self.0.own_read_index(deadline).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(RootReadIndexResponse { index }))
    }
}

impl Root {
    /// Whether the headers are a peer's (`RTH-4`).
    fn admit(&self, headers: &HeaderMap) -> Result<(), Reject> {
        let presented = Presented::from_headers(headers)?.secret_sha256;
        let is_peer = presented.is_some_and(|key| bool::from(key.ct_eq(&self.0.peer_key)));
        match is_peer {
            true => Ok(()),
            false => {
                Err(Reject::new(Reason::Unauthenticated, "only members of the root may call this"))
            }
        }
    }
}

fn path_of<S: NamedService>(_: &S) -> String {
    format!("/{}/{{*method}}", S::NAME)
}

/// The services that other members call, as routes of the gRPC door.
pub fn peer_services(root: &Root) -> Router {
    let admission = Admission::new(RUNNING_MAX, RUNNING_MAX, RETRY_AFTER);
    let times = CallTimes { default: CALL, max: CALL };
    let raft = PeerService::server(root.0.group.clone());
    let peer = RootPeerServer::new(Peer(root.clone()));
    let asked = root.clone();
    Router::new()
        .route_service(&path_of(&raft), GrpcGuard::new(raft, admission.clone(), times))
        .route_service(&path_of(&peer), GrpcGuard::new(peer, admission, times))
        .layer(axum::middleware::from_fn(
            move |request: Request<axum::body::Body>, next: axum::middleware::Next| {
                let admitted = asked.admit(request.headers());
                async move {
                    match admitted {
                        Ok(()) => next.run(request).await,
                        Err(refused) => status(&refused).into_http(),
                    }
                }
            },
        ))
}
