//! The list of peers, as a file: who belongs, where they are, by which keys they are known, and what each may do.
//!
//! Invariants: `PRL-1` a row that does not fit refuses the whole list, naming the row, the field and what would
//! fit, so that a mistake lets nobody in and nobody out; `PRL-2` what a row does not allow is not allowed.
//!
//! Not here: what the node does with it (`peers`).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use ed25519_dalek::VerifyingKey;
use federation::{
    admit::{AgentPattern, Scope},
    members::Member,
};
use runtime::disk::Disk;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use types::NodeId;
use uuid::Uuid;
use wire::tls::Fingerprint;

use super::doorway::Certificates;

/// Why a list of peers is not taken.
#[derive(Debug, Error)]
pub enum PeersError {
    /// The file.
    #[error("federation.peers_file: cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
    /// What is in it.
    #[error("federation.peers_file: {}: {problem}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where, and what would fit.
        problem: String,
    },
    /// A list cannot be written.
    #[error("federation.peers_file: cannot write {}: {cause}", path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
    /// A peer whom nothing would prove.
    #[error(
        "federation.peers_file: peer {peer:?}: certificates: needs one with server.tls_cert, or set \
         federation.peer_ca_file"
    )]
    Unproven {
        /// Whose row.
        peer: String,
    },
}

/// What a list says.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Who belongs.
    pub members: Vec<Member>,
    /// By which certificates they are known.
    pub certificates: Certificates,
}

/// A peer, as the file has it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What people call it.
    pub name: String,
    /// Its node id, a UUID.
    pub node: String,
    /// `host:port`; none for one that has left, whose memories are still believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Ed25519 public keys, hexadecimal, the current one first.
    pub public_keys: Vec<String>,
    /// SHA-256 of certificates that it shows, hexadecimal, with or without colons and `sha256:`; `#` begins a
    /// comment. None: whichever `federation.peer_ca_file` vouches for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Agents whose operations it may send; `*` is all, and none is none.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Namespaces that it may see, as globs; `**` is all, and none is none.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    #[serde(default, rename = "peer")]
    peers: Vec<Row>,
}

fn key(text: &str) -> Result<VerifyingKey, String> {
    let bytes: Option<[u8; 32]> = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    let key = bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
    let key = key.filter(|key| !key.is_weak());
    key.ok_or_else(|| {
        format!("public_keys: {text:?} is not an Ed25519 key of 64 hexadecimal digits")
    })
}

fn pattern(text: &str) -> Result<AgentPattern, String> {
    match text {
        "*" => Ok(AgentPattern::Any),
        name => match name.parse() {
            Ok(agent) => Ok(AgentPattern::One(agent)),
            Err(error) => Err(format!("agents: {error}")),
        },
    }
}

/// A fingerprint; what follows a `#` is for people.
fn certificate(text: &str) -> Result<Fingerprint, String> {
    let text = text.split('#').next().unwrap_or_default();
    text.parse().map_err(|error| format!("certificates: {error}"))
}

impl Row {
    fn certificates(&self) -> Result<BTreeSet<Fingerprint>, String> {
        self.certificates.iter().map(|text| certificate(text)).collect()
    }

    fn member(self) -> Result<Member, String> {
        let node = Uuid::try_parse(&self.node)
            .map_err(|_| format!("node: {:?} is not a UUID", self.node))?;
        let keys = self.public_keys.iter().map(|text| key(text)).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err("public_keys: needs one at least".to_owned());
        }
        let glob = |text: &String| text.parse().map_err(|e| format!("namespaces: {e}"));
        let scope = Scope {
            agents: self.agents.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?,
            namespaces: self.namespaces.iter().map(glob).collect::<Result<_, _>>()?,
        };
        if let Some(endpoint) = &self.endpoint {
            let parsed = endpoint.parse::<wire::dial::Endpoint>();
            parsed.map_err(|error| format!("endpoint: {error}"))?;
        }
        Ok(Member { node: NodeId(node), name: self.name, endpoint: self.endpoint, keys, scope })
    }
}

/// The rows of a list, as they are written; `path` is how errors name it.
///
/// # Errors
/// [`PeersError::Malformed`].
pub fn rows(path: &Path, text: &str) -> Result<Vec<Row>, PeersError> {
    let refused = |problem: String| PeersError::Malformed { path: path.to_path_buf(), problem };
    toml::from_str::<Rows>(text).map(|rows| rows.peers).map_err(|error| refused(error.to_string()))
}

/// Reads the members out of a list; `path` is how errors name it.
///
/// # Errors
/// [`PeersError::Malformed`].
pub fn parse(path: &Path, text: &str) -> Result<Listed, PeersError> {
    let refused = |problem: String| PeersError::Malformed { path: path.to_path_buf(), problem };
    let mut listed = Listed::default();
    for row in rows(path, text)? {
        let name = row.name.clone();
        let in_row = |problem: String| refused(format!("peer {name:?}: {problem}"));
        let certificates = row.certificates().map_err(in_row)?;
        let member = row.member().map_err(in_row)?;
        let members = &mut listed.members;
        if members.iter().any(|known| known.node == member.node || known.name == member.name) {
            return Err(refused(format!(
                "peer {name:?}: is in the list twice, by node or by name"
            )));
        }
        listed.certificates.insert(member.node, certificates);
        members.push(member);
    }
    Ok(listed)
}

/// Reads the file.
///
/// # Errors
/// [`PeersError`].
pub fn load(disk: &dyn Disk, path: &Path) -> Result<(Listed, Vec<u8>), PeersError> {
    let unreadable = |cause| PeersError::Unreadable { path: path.to_path_buf(), cause };
    let bytes = runtime::disk::read_all(disk, path).map_err(unreadable)?;
    Ok((parse(path, &String::from_utf8_lossy(&bytes))?, bytes))
}

/// A row as text, to be put into a list.
pub fn show(row: Row) -> String {
    toml::to_string(&Rows { peers: vec![row] }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            name: "b".to_owned(),
            node: "6b0fd3b2-6a61-4d3e-9b3e-111111111111".to_owned(),
            endpoint: Some("127.0.0.1:7748".to_owned()),
            public_keys: vec![
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".to_owned(),
            ],
            certificates: vec![],
            agents: vec!["*".to_owned()],
            namespaces: vec!["acme/**".to_owned()],
        }
    }

    fn read(row: Row) -> Result<Vec<Member>, String> {
        let listed = parse(Path::new("peers.toml"), &show(row));
        listed.map(|listed| listed.members).map_err(|error| error.to_string())
    }

    #[test]
    fn certificates_are_read_with_colons_and_comments() {
        let pairs = vec!["ab"; 32].join(":");
        let text = format!("SHA256:{pairs}  # until 2027");
        let with = Row { certificates: vec![text, "cd".repeat(32)], ..row() };
        let listed = parse(Path::new("peers.toml"), &show(with)).expect("fits");
        let found: Vec<Fingerprint> = listed.certificates.into_values().flatten().collect();
        assert_eq!(found, [Fingerprint([0xab; 32]), Fingerprint([0xcd; 32])]);
    }

    #[test]
    fn a_row_is_read_as_it_is_shown() {
        let members = read(row()).expect("fits");
        assert_eq!((members.len(), members[0].name.as_str()), (1, "b"));
        let sees = |name: &str| members[0].scope.sees(Some(&name.parse().expect("a namespace")));
        assert!(sees("acme/eng") && !sees("other"));
    }

    #[test]
    fn what_a_row_leaves_out_is_not_allowed() {
        let members = read(Row { agents: vec![], namespaces: vec![], ..row() }).expect("fits");
        let scope = &members[0].scope;
        assert!(!scope.sends(&"ann".parse().expect("an agent")), "PRL-2");
        assert!(!scope.sees(None), "PRL-2");
    }

    #[test]
    fn a_mistake_is_named_with_its_row() {
        let bad = |row: Row, field: &str| {
            let error = read(row).expect_err(field);
            assert!(error.contains("peer \"b\"") && error.contains(field), "PRL-1: {error}");
        };
        bad(Row { node: "x".to_owned(), ..row() }, "node");
        bad(Row { public_keys: vec![], ..row() }, "public_keys");
        bad(Row { public_keys: vec!["00".repeat(32)], ..row() }, "public_keys");
        bad(Row { namespaces: vec!["a[".to_owned()], ..row() }, "namespaces");
        bad(Row { certificates: vec!["ab:cd".to_owned()], ..row() }, "certificates");
        bad(Row { endpoint: Some("nowhere".to_owned()), ..row() }, "endpoint");
        let twice = format!("{}{}", show(row()), show(row()));
        let error = parse(Path::new("peers.toml"), &twice).expect_err("twice").to_string();
        assert!(error.contains("twice"), "{error}");
        let unknown = show(row()) + "scope = 1\n";
        assert!(parse(Path::new("peers.toml"), &unknown).is_err(), "PRL-1");
    }
}
