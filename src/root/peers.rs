//! Asking the leader, from a member that does not lead.
//!
//! Invariant: a call that was not sent is told apart from one that was not answered (`ERR-3`).
//!
//! Not here: the messages of Raft (`consensus::raft`), which go over connections of their own.

use std::{collections::BTreeMap, sync::Arc};

use consensus::raft::PEER_TIMES;
use parking_lot::Mutex;
use runtime::{clock::Instant, disk::DiskRef};
use tonic::Request;
use types::{Invalid, Outcome, Reject};
use wire::{
    client::Channel,
    dial::Endpoint,
    errors::{outcome_of_status, reject_from_status},
    tls::{ClientIdentity, ServerTrust, TlsError, client_config},
    v1::{RootProposal, RootReadIndexRequest, root_peer_client::RootPeerClient},
};

use super::RootStartError;
use crate::config::{RootConfig, TlsConfig};

/// How members reach each other: with TLS if the doors have it, and always with the peers' key.
#[derive(Clone)]
pub(super) struct Way {
    tls: Option<Secure>,
    key: Arc<str>,
}

/// Puts TLS around an endpoint.
type Secure = Arc<dyn Fn(Endpoint) -> Endpoint + Send + Sync>;

fn secure(
    disk: &DiskRef,
    config: &RootConfig,
    tls: Option<&TlsConfig>,
) -> Result<Option<Secure>, TlsError> {
    let (Some(tls), Some(authority)) = (tls, &config.peer_ca_file) else { return Ok(None) };
    let identity = ClientIdentity { certificate: tls.cert.clone(), key: tls.key.clone() };
    let trust = ServerTrust::AuthorityFile(authority.clone());
    let client = client_config(&**disk, &trust, Some(&identity))?;
    Ok(Some(Arc::new(move |endpoint: Endpoint| endpoint.with_tls(client.clone()))))
}

impl Way {
    pub(super) fn new(
        disk: &DiskRef,
        config: &RootConfig,
        tls: Option<&TlsConfig>,
        key: &str,
    ) -> Result<Self, RootStartError> {
        Ok(Self { tls: secure(disk, config, tls)?, key: key.into() })
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
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Peers {
    pub(super) fn new(way: Way, cluster: [u8; 16]) -> Self {
        Self { way, cluster, channels: Mutex::default() }
    }

    fn client(&self, endpoint: &str) -> Result<RootPeerClient<Channel>, Reject> {
        let mut channels = self.channels.lock();
        let channel = match channels.get(endpoint) {
            Some(channel) => channel.clone(),
            None => {
                let channel = Channel::new(self.way.endpoint(endpoint)?, PEER_TIMES);
                channels.insert(endpoint.to_owned(), channel.clone());
                channel
            }
        };
        Ok(RootPeerClient::new(channel))
    }

    /// Proposes at the member at `endpoint`.
    pub(super) async fn propose(
        &self,
        endpoint: &str,
        command: Vec<u8>,
        deadline: Instant,
    ) -> Outcome<Vec<u8>> {
        let mut client = match self.client(endpoint) {
            Ok(client) => client,
            Err(refused) => return Outcome::Rejected(refused),
        };
        let mut request = Request::new(RootProposal { cluster: self.cluster.to_vec(), command });
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        match client.propose(request).await {
            Ok(answer) => Outcome::Done(answer.into_inner().answer),
            Err(status) => outcome_of_status(&status),
        }
    }

    /// Asks the member at `endpoint` for a read index.
    pub(super) async fn read_index(
        &self,
        endpoint: &str,
        deadline: Instant,
    ) -> Result<u64, Reject> {
        let mut client = self.client(endpoint)?;
        let mut request = Request::new(RootReadIndexRequest { cluster: self.cluster.to_vec() });
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        let answer = client.read_index(request).await;
        answer.map(|a| a.into_inner().index).map_err(|status| reject_from_status(&status))
    }
}
