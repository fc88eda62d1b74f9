//! The settings of a node that shares its memories with peers.
//!
//! Invariants: fewer nodes than a majority are never enough by accident: whoever wants that says so; with TLS,
//! peers are asked for their certificates.
//!
//! Not here: the peers themselves (`federation.peers_file`, read by `peers::list`).

use std::{path::PathBuf, time::Duration};

use super::{
    layers::{ConfigError, Layers},
    settings::{Reader, TlsConfig},
};

/// How many nodes must have a write before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// More than half of them.
    Majority,
    /// So many, the node that was asked among them.
    Nodes(u32),
}

impl Quorum {
    /// How many of so many nodes must have a write. A list that has grown makes no minority enough: unless
    /// `below_majority` says otherwise it is a majority of the nodes that there are.
    pub fn needed(self, nodes: u32, below_majority: bool) -> u32 {
        let majority = nodes / 2 + 1;
        match self {
            Self::Majority => majority,
            Self::Nodes(wanted) if below_majority => wanted,
            Self::Nodes(wanted) => wanted.max(majority),
        }
    }
}

/// A node with peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederationConfig {
    /// The list of peers.
    pub peers_file: PathBuf,
    /// How many nodes must have a write.
    pub quorum: Quorum,
    /// Whether that may be half of them or fewer.
    pub below_majority: bool,
    /// How long a write waits for them.
    pub quorum_timeout: Duration,
    /// Time between two rounds of catching up.
    pub catch_up: Duration,
    /// Time between two comparisons with one peer.
    pub compare: Duration,
    /// How long operations and tombstones are kept at least.
    pub keep: Duration,
    /// PEM file of certificates that vouch for peers whose own are not in the list; only with TLS.
    pub peer_ca_file: Option<PathBuf>,
    /// File with the key that peers present to each other; the API key where there is none.
    pub peer_key_file: Option<PathBuf>,
}

pub(super) fn read(
    layers: &Layers,
    reader: &Reader<'_>,
    tls: Option<&TlsConfig>,
) -> Result<Option<FederationConfig>, ConfigError> {
    let Some(peers_file) = reader.path("federation.peers_file")? else { return Ok(None) };
    let peer_ca_file = reader.path("federation.peer_ca_file")?;
    let refused = |key: &'static str, problem: &str| {
        let problem = problem.to_owned();
        Err(ConfigError::Value { origin: layers.get(key).1, key, problem })
    };
    if tls.is_none() && peer_ca_file.is_some() {
        return refused("federation.peer_ca_file", "counts only when server.tls_cert is set");
    }
    if tls.is_some_and(|tls| tls.client_allowlist.is_none()) {
        let problem = "is needed with server.tls_cert and federation.peers_file, or peers could not be told by \
                       their certificates; an empty file lets in those that the list of peers names";
        return refused("server.tls_client_allowlist", problem);
    }
    Ok(Some(FederationConfig {
        peers_file,
        quorum: reader.parse("federation.quorum", |text| match text {
            "majority" => Ok(Quorum::Majority),
            text => match text.parse() {
                Ok(nodes @ 1..=1000) => Ok(Quorum::Nodes(nodes)),
                _ => Err(format!("{text:?} is neither majority nor a number from 1 to 1000")),
            },
        })?,
        below_majority: reader.flag("federation.quorum_below_majority")?,
        quorum_timeout: reader.timeout("federation.quorum_timeout")?,
        catch_up: reader.timeout("federation.catch_up")?,
        compare: reader.timeout("federation.compare")?,
        keep: reader.timeout("federation.keep")?,
        peer_ca_file,
        peer_key_file: reader.path("federation.peer_key_file")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Origin};
    use super::*;

    fn build(settings: &[(&str, &str)]) -> Result<Option<FederationConfig>, ConfigError> {
        let mut layers = Layers::default();
        for (key, value) in settings {
            layers.add(key, (*value).to_owned(), Origin::Flag).expect("a known key");
        }
        Config::build(&layers, "data".into()).map(|config| config.federation)
    }

    const PEERS: (&str, &str) = ("federation.peers_file", "peers.toml");

    #[test]
    fn peers_make_a_federation() {
        assert_eq!(build(&[]).expect("alone"), None);
        let with = build(&[PEERS]).expect("complete").expect("a federation");
        assert_eq!((with.quorum, with.below_majority), (Quorum::Majority, false));
        assert_eq!(with.quorum_timeout, Duration::from_secs(2));
        let two = build(&[PEERS, ("federation.quorum", "2")]).expect("fits").expect("set");
        assert_eq!(two.quorum, Quorum::Nodes(2));
    }

    #[test]
    fn a_list_that_grows_makes_no_minority_enough() {
        assert_eq!([1, 2, 3, 4, 5].map(|n| Quorum::Majority.needed(n, false)), [1, 2, 2, 3, 3]);
        assert_eq!([3, 4, 7].map(|n| Quorum::Nodes(2).needed(n, false)), [2, 3, 4]);
        assert_eq!([3, 4, 7].map(|n| Quorum::Nodes(2).needed(n, true)), [2, 2, 2]);
        assert_eq!(Quorum::Nodes(3).needed(2, false), 3, "more than there are is never met");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (key, value) in [
            ("federation.quorum", "0"),
            ("federation.quorum", "most"),
            ("federation.quorum_below_majority", "perhaps"),
            ("federation.catch_up", "never"),
            ("federation.compare", "never"),
            ("federation.keep", "never"),
            ("federation.peer_ca_file", "ca.pem"),
        ] {
            let error = build(&[PEERS, (key, value)]).expect_err(key).to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn with_tls_peers_are_told_by_their_certificates() {
        let tls = [("server.tls_cert", "c.pem"), ("server.tls_key", "k.pem"), PEERS];
        let error = build(&tls).expect_err("nobody would be asked for one").to_string();
        assert!(error.contains("server.tls_client_allowlist"), "{error}");
        let listed = [tls.as_slice(), &[("server.tls_client_allowlist", "a.txt")]].concat();
        assert!(build(&listed).expect("complete").is_some());
        let vouched = [listed.as_slice(), &[("federation.peer_ca_file", "ca.pem")]].concat();
        assert!(build(&vouched).expect("complete").is_some());
    }
}
