//! The settings of a member of the root.
//!
//! Invariant: a member has a key for its peers: without one nobody could be told from them.
//!
//! Not here: founding the group, and who is in it (the group's own log).

use std::path::PathBuf;

use uuid::Uuid;

use super::{
    layers::{ConfigError, Layers},
    settings::Reader,
};

/// A member of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootConfig {
    /// Its number, from 1.
    pub member: u64,
    /// The cluster.
    pub cluster: Uuid,
    /// Where the others reach it, `host:port`.
    pub endpoint: String,
    /// File with the key that members present to each other.
    pub peer_key_file: PathBuf,
    /// PEM file of the certificates that members believe; only with TLS.
    pub peer_ca_file: Option<PathBuf>,
    /// Whether the leader may answer reads within its lease.
    pub lease_reads: bool,
    /// A leader's heartbeat, in milliseconds.
    pub heartbeat_ms: u64,
    /// Shortest silence of a leader before a follower stands, in milliseconds.
    pub election_ms: u64,
    /// Entries after which a snapshot is made.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot.
    pub kept_entries: u64,
    /// Size of a segment of the log, in KiB.
    pub segment_kib: u64,
}

pub(super) fn read(
    layers: &Layers,
    reader: &Reader<'_>,
    has_tls: bool,
) -> Result<Option<RootConfig>, ConfigError> {
    let member = reader.count("root.member", 0, 1 << 53)?;
    if member == 0 {
        return Ok(None);
    }
    let why = "for a member of the root";
    let cluster = reader.required("root.cluster", why)?;
    let peer_ca_file = reader.path("root.peer_ca_file")?;
    let refused = |key: &'static str, problem: String| {
        Err(ConfigError::Value { origin: layers.get(key).1, key, problem })
    };
    if has_tls != peer_ca_file.is_some() {
        let problem = "members believe each other by it when server.tls_cert is set, and only then";
        return refused("root.peer_ca_file", problem.to_owned());
    }
    let (heartbeat_ms, election_ms) = (
        reader.count("root.heartbeat_ms", 10, 60_000)?,
        reader.count("root.election_ms", 30, 600_000)?,
    );
    if heartbeat_ms * 3 > election_ms {
        let problem = format!("needs three heartbeats of {heartbeat_ms} ms at least");
        return refused("root.election_ms", problem);
    }
    Ok(Some(RootConfig {
        member,
        cluster: reader.parse("root.cluster", |_| {
            Uuid::try_parse(&cluster).map_err(|_| format!("{cluster:?} is not a UUID"))
        })?,
        endpoint: reader.required("root.endpoint", why)?,
        peer_key_file: reader.required("root.peer_key_file", why)?.into(),
        peer_ca_file,
        lease_reads: reader.flag("root.lease_reads")?,
        heartbeat_ms,
        election_ms,
        snapshot_entries: reader.count("root.snapshot_entries", 10, 10_000_000)?,
        kept_entries: reader.count("root.kept_entries", 0, 10_000_000)?,
        segment_kib: reader.count("root.segment_kib", 64, 1 << 20)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Origin};
    use super::*;

    fn build(settings: &[(&str, &str)]) -> Result<Option<RootConfig>, ConfigError> {
        let mut layers = Layers::default();
        for (key, value) in settings {
            layers.add(key, (*value).to_owned(), Origin::Flag).expect("a known key");
        }
        Config::build(&layers, "data".into()).map(|config| config.root)
    }

    const MEMBER: [(&str, &str); 4] = [
        ("root.member", "1"),
        ("root.cluster", "6b0fd3b2-6a61-4d3e-9b3e-111111111111"),
        ("root.endpoint", "127.0.0.1:7747"),
        ("root.peer_key_file", "peer.key"),
    ];

    #[test]
    fn a_member_needs_everything_and_a_node_without_one_nothing() {
        assert_eq!(build(&[]).expect("no root"), None);
        let root = build(&MEMBER).expect("complete").expect("a member");
        assert_eq!((root.member, root.heartbeat_ms, root.election_ms), (1, 50, 150));
        for lacking in 1..MEMBER.len() {
            let mut some = MEMBER.to_vec();
            let (key, _) = some.remove(lacking);
            let error = build(&some).expect_err(key).to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (key, value) in [
            ("root.election_ms", "100"),
            ("root.cluster", "x"),
            ("root.lease_reads", "yes"),
            ("root.peer_ca_file", "ca.pem"),
        ] {
            let settings: Vec<_> =
                MEMBER.into_iter().filter(|(k, _)| *k != key).chain([(key, value)]).collect();
            assert!(build(&settings).is_err(), "{key}");
        }
    }
}
