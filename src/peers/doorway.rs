//! How far a peer's call gets before anybody looks at its signature: certificate and key.
//!
//! Invariants: `DWY-1` over TLS nobody gets in without a certificate that was accepted in the handshake, and
//! where the peers' list names certificates of a node, with none but those; `DWY-2` where this node has a
//! key for its peers, nobody gets in without it, and it is compared in constant time; `DWY-3` both hold
//! for gRPC and HTTP alike, because both ask here.
//!
//! Not here: the handshake (`wire::tls`), signatures, nonces and scopes (`federation`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use federation::driver::PEER_ID;
use http::HeaderMap;
use subtle::ConstantTimeEq;
use types::{NodeId, Reason, Reject};
use uuid::Uuid;
use wire::{auth::Presented, serve::Peer, tls::Fingerprint};

use crate::node::service::caller::{SecretDigest, secret_digest};

/// The certificates of nodes, as the list of peers has them.
pub type Certificates = BTreeMap<NodeId, BTreeSet<Fingerprint>>;

/// What a call has to show.
pub struct Doorway {
    key: Option<SecretDigest>,
    certificates: ArcSwap<Certificates>,
}

impl Doorway {
    /// A doorway that asks for this key, if there is one, and these certificates.
    pub fn new(key: Option<&str>, certificates: Certificates) -> Self {
        Self { key: key.map(secret_digest), certificates: ArcSwap::from_pointee(certificates) }
    }

    /// Takes other certificates over; they count from the next call on, on open connections too.
    pub fn set(&self, certificates: Certificates) {
        self.certificates.store(Arc::new(certificates));
    }

    /// All certificates of peers, for the handshake.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.certificates.load().values().flatten().copied().collect()
    }

    /// Lets a call in; answers which node it says it is from.
    ///
    /// # Errors
    /// [`Reason::Forbidden`] for a certificate that is not that node's, [`Reason::Unauthenticated`] without the
    /// key or without a node.
    pub fn admit(&self, headers: &HeaderMap, connection: Option<&Peer>) -> Result<NodeId, Reject> {
        let encrypted = connection.filter(|peer| peer.encrypted);
        let certificate = encrypted.map(|peer| peer.tls_fingerprint);
        if certificate == Some(None) {
            let detail = "certificate: this connection shows none; the calling node needs server.tls_cert, and \
                          this one server.tls_client_allowlist";
            return Err(Reject::new(Reason::Forbidden, detail).with("field", "certificate"));
        }
        self.check_key(headers)?;
        let node = named(headers)?;
        let certificates = self.certificates.load();
        let listed = certificates.get(&node).filter(|listed| !listed.is_empty());
        match (certificate.flatten(), listed) {
            (Some(shown), Some(listed)) if !listed.contains(&shown) => {
                let detail = format!(
                    "certificate: {shown} is not listed for node {node}; add it to certificates in the list of \
                     peers, if it is the node's"
                );
                Err(Reject::new(Reason::Forbidden, detail).with("field", "certificate"))
            }
            _ => Ok(node),
        }
    }

    /// `DWY-2`.
    fn check_key(&self, headers: &HeaderMap) -> Result<(), Reject> {
        let Some(key) = &self.key else { return Ok(()) };
        let presented = Presented::from_headers(headers)?.secret_sha256;
        if presented.is_some_and(|shown| bool::from(key.ct_eq(&shown))) {
            return Ok(());
        }
        let detail = "x-api-key: is missing, or is not the key of this node's peers";
        Err(Reject::new(Reason::Unauthenticated, detail).with("field", "x-api-key"))
    }
}

fn named(headers: &HeaderMap) -> Result<NodeId, Reject> {
    let Some(value) = headers.get(PEER_ID) else {
        let detail = format!("{PEER_ID}: is missing; it names the node that calls");
        return Err(Reject::new(Reason::Unauthenticated, detail).with("field", PEER_ID));
    };
    let node = value.to_str().ok().and_then(|text| Uuid::try_parse(text).ok());
    node.map(NodeId).ok_or_else(|| {
        let detail = format!("{PEER_ID}: needs the UUID of a node");
        Reject::new(Reason::Malformed, detail).with("field", PEER_ID)
    })
}

#[cfg(test)]
mod tests {
    use wire::net::PeerAddress;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn over(encrypted: bool, certificate: Option<u8>) -> Peer {
        let tls_fingerprint = certificate.map(|byte| Fingerprint([byte; 32]));
        Peer { address: PeerAddress::Unix, tls_fingerprint, encrypted }
    }

    fn doorway(key: Option<&str>) -> Doorway {
        let listed = |bytes: &[u8]| bytes.iter().map(|byte| Fingerprint([*byte; 32])).collect();
        Doorway::new(key, [(node(1), listed(&[1, 2])), (node(2), listed(&[]))].into())
    }

    #[test]
    fn a_call_over_tls_shows_a_certificate_of_its_node() {
        let doorway = doorway(None);
        let admit = |number: u128, connection: &Peer| {
            let id = node(number).to_string();
            let admitted = doorway.admit(&headers(&[(PEER_ID, &id)]), Some(connection));
            admitted.map_err(|refused| refused.reason)
        };
        assert_eq!(admit(1, &over(true, Some(2))), Ok(node(1)));
        assert_eq!(admit(1, &over(true, Some(3))), Err(Reason::Forbidden), "DWY-1");
        assert_eq!(admit(1, &over(true, None)), Err(Reason::Forbidden), "DWY-1");
        assert_eq!(admit(2, &over(true, None)), Err(Reason::Forbidden), "DWY-1");
        assert_eq!(
            admit(2, &over(true, Some(3))),
            Ok(node(2)),
            "one that an authority vouches for"
        );
        assert_eq!(admit(1, &over(false, None)), Ok(node(1)), "a door without TLS");
        doorway.set([(node(1), [Fingerprint([3; 32])].into())].into());
        assert_eq!(admit(1, &over(true, Some(2))), Err(Reason::Forbidden), "the list has changed");
        assert_eq!(admit(1, &over(true, Some(3))), Ok(node(1)));
        assert_eq!(doorway.fingerprints(), [Fingerprint([3; 32])]);
    }

    #[test]
    fn a_call_shows_the_key_and_says_whose_it_is() {
        let doorway = doorway(Some("between peers"));
        let id = node(1).to_string();
        let admit = |pairs: &[(&'static str, &str)]| {
            doorway.admit(&headers(pairs), None).map_err(|refused| refused.reason)
        };
        let named = (PEER_ID, id.as_str());
        assert_eq!(admit(&[named, ("x-api-key", "between peers")]), Ok(node(1)));
        assert_eq!(admit(&[named, ("authorization", "Bearer between peers")]), Ok(node(1)));
        assert_eq!(admit(&[named]), Err(Reason::Unauthenticated), "DWY-2");
        assert_eq!(admit(&[named, ("x-api-key", "other")]), Err(Reason::Unauthenticated), "DWY-2");
        assert_eq!(admit(&[("x-api-key", "between peers")]), Err(Reason::Unauthenticated));
        let odd = admit(&[(PEER_ID, "b"), ("x-api-key", "between peers")]);
        assert_eq!(odd, Err(Reason::Malformed));
    }
}
