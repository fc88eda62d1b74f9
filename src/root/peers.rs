//! Asking the leader, from a member that does not lead.
//!
//! Invariant: a call that was not sent is told apart from one that was not answered (`ERR-3`).
//!
//! Not here: the messages of Raft (`consensus::raft`), which go over connections of their own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use consensus::raft::PEER_TIMES;
use futures::FutureExt;
use parking_lot::Mutex;
use runtime::{
    clock::Instant,
    disk::DiskRef,
    span::{self, Traced},
};
use tonic::Request;
use types::{Invalid, Outcome, Reason, Reject};
use wire::{
    client::Channel,
    dial::Endpoint,
    errors::{outcome_of_status, reject_from_status},
    v1::{
        Refusal, RootProposals, RootReadIndexRequest, root_outcome::Outcome as Told,
        root_peer_client::RootPeerClient,
    },
};

use super::{
    RootStartError,
    read::{self, ASKING_MAX, Reads},
};
use crate::{
    config::{RootConfig, TlsConfig},
    gather::{Gather, NoAnswer, Question},
    secure::{Secure, secure},
};

/// Calls with proposals under way to one member. More would carry fewer each.
const PROPOSING_MAX: usize = 8;

/// How members reach each other: with TLS if the doors have it, and always with the peers' key.
#[derive(Clone)]
pub(super) struct Way {
    tls: Option<Secure>,
    key: Arc<str>,
}

impl Way {
    pub(super) fn new(
        disk: &DiskRef,
        config: &RootConfig,
        tls: Option<&TlsConfig>,
        key: &str,
    ) -> Result<Self, RootStartError> {
        let authority = config.peer_ca_file.as_deref();
        Ok(Self { tls: secure(disk, authority, tls)?, key: key.into() })
    }

    /// What is dialled for an endpoint of the membership.
    pub(super) fn endpoint(&self, text: &str) -> Result<Endpoint, Invalid> {
        let endpoint = text.parse::<Endpoint>()?;
        let endpoint = match &self.tls {
            Some(secure) => secure(endpoint),
            None => endpoint,
        };
        endpoint.presenting(&self.key)
    }
}

/// Connections to other members.
pub(super) struct Peers {
    way: Way,
    cluster: [u8; 16],
    members: Mutex<BTreeMap<String, Member>>,
}

/// A command, and when its asker stops waiting.
struct Proposal {
    command: Vec<u8>,
    deadline: Instant,
    /// The trace that it is part of, if it is.
    traced: Option<Traced>,
}

impl Question for Proposal {
    fn bytes(&self) -> usize {
        self.command.len()
    }
}

/// What another member is asked.
#[derive(Clone)]
struct Member {
    proposals: Gather<Proposal, Outcome<Vec<u8>>>,
    reads: Reads,
}

/// Time that is left until the last of these.
fn left(deadlines: impl Iterator<Item = Instant>) -> Duration {
    let last = deadlines.max();
    last.map_or(Duration::ZERO, |last| last.saturating_duration_since(Instant::now()))
}

fn outcome(told: Option<Told>) -> Outcome<Vec<u8>> {
    match told {
        Some(Told::Answer(answer)) => Outcome::Done(answer),
        Some(Told::Refused(Refusal { reason, detail, .. })) => match Reason::from_code(&reason) {
            Some(reason) => Outcome::Rejected(Reject::new(reason, detail)),
            None => Outcome::Unknown { detail: format!("{reason}: {detail}") },
        },
        Some(Told::Unknown(detail)) => Outcome::Unknown { detail },
        None => Outcome::Unknown { detail: "the leader's answer has no outcome".to_owned() },
    }
}

async fn propose(
    mut client: RootPeerClient<Channel>,
    cluster: [u8; 16],
    proposals: Vec<Proposal>,
) -> Vec<Outcome<Vec<u8>>> {
    let count = proposals.len();
    let within = left(proposals.iter().map(|proposal| proposal.deadline));
    // One message has several proposals: it is part of the first trace.
    let traced = proposals.iter().find_map(|proposal| proposal.traced.clone());
    let commands = proposals.into_iter().map(|proposal| proposal.command).collect();
    let mut request = Request::new(RootProposals { cluster: cluster.to_vec(), commands });
    request.set_timeout(within);
    let asked = client.propose(request);
    let told = match traced {
        Some(traced) => span::within(traced, asked).await,
        None => asked.await,
    };
    let told = match told {
        Ok(answer) => answer.into_inner().outcomes,
        Err(status) => return vec![outcome_of_status(&status); count],
    };
    let outcomes = told.into_iter().map(|told| outcome(told.outcome));
    // Whatever is missing is not known.
    outcomes.chain(std::iter::repeat_with(|| outcome(None))).take(count).collect()
}

async fn read_index(
    mut client: RootPeerClient<Channel>,
    cluster: [u8; 16],
    asked: Vec<Instant>,
) -> Vec<Result<u64, Reject>> {
    let mut request = Request::new(RootReadIndexRequest { cluster: cluster.to_vec() });
    request.set_timeout(left(asked.iter().copied()));
    let answer = client.read_index(request).await;
    let index = answer.map(|a| a.into_inner().index).map_err(|status| reject_from_status(&status));
    vec![index; asked.len()]
}

impl Member {
    fn new(channel: Channel, cluster: [u8; 16]) -> Self {
        let client = RootPeerClient::new(channel);
        let reader = client.clone();
        Self {
            proposals: Gather::new(PROPOSING_MAX, move |proposals| {
                propose(client.clone(), cluster, proposals).boxed()
            }),
            reads: Gather::new(ASKING_MAX, move |asked| {
                read_index(reader.clone(), cluster, asked).boxed()
            }),
        }
    }
}

impl Peers {
    pub(super) fn new(way: Way, cluster: [u8; 16]) -> Self {
        Self { way, cluster, members: Mutex::default() }
    }

    fn member(&self, endpoint: &str) -> Result<Member, Reject> {
        let mut members = self.members.lock();
        if let Some(member) = members.get(endpoint) {
            return Ok(member.clone());
        }
        let channel = Channel::new(self.way.endpoint(endpoint)?, PEER_TIMES);
        let member = Member::new(channel, self.cluster);
        members.insert(endpoint.to_owned(), member.clone());
        Ok(member)
    }

    /// Proposes at the member at `endpoint`.
    pub(super) async fn propose(
        &self,
        endpoint: &str,
        command: Vec<u8>,
        deadline: Instant,
    ) -> Outcome<Vec<u8>> {
        let member = match self.member(endpoint) {
            Ok(member) => member,
            Err(refused) => return Outcome::Rejected(refused),
        };
        let asked =
            member.proposals.ask(Proposal { command, deadline, traced: span::current() }, deadline);
        asked.await.unwrap_or_else(|no_answer| match no_answer {
            NoAnswer::NotAsked => {
                let detail = "the leader was not asked in time: nothing was changed";
                Outcome::Rejected(Reject::new(Reason::NotLeader, detail))
            }
            NoAnswer::Open => {
                Outcome::Unknown { detail: "the leader did not answer in time".to_owned() }
            }
        })
    }

    /// Asks the member at `endpoint` for a read index.
    pub(super) async fn read_index(
        &self,
        endpoint: &str,
        deadline: Instant,
    ) -> Result<u64, Reject> {
        read::ask(&self.member(endpoint)?.reads, deadline).await
    }
}
