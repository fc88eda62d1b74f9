//! The files of a cluster, below its folder: `pki/`, the keys, and of each node `NAME/` with its configuration,
//! certificate, list, log and data.
//!
//! Invariants: each node's configuration says everything, so that `hivemem --config FILE serve` starts it by hand;
//! secrets are drawn for each cluster, mode 0600.
//!
//! Not here: starting anything.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use runtime::disk::{Disk, OsDisk, read_all, write_atomically};
use toml::{Table, Value};
use uuid::Uuid;

use super::{
    LocalError,
    shape::Part,
    state::{Cluster, Node},
};
use crate::pki::{Authority, Host, Leaf};

/// Days that the certificates of a cluster for trying are good for.
const DAYS: u32 = 365;
/// Of agents and of the command line.
pub(super) const CLIENT: &str = "client";

/// The log of a node.
pub fn log(folder: &Path, node: &str) -> PathBuf {
    Files::of(folder).log(node)
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(super) struct Files(PathBuf);

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> LocalError {
    let what = format!("write {}", path.display());
    move |cause| LocalError::system(what, cause)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), LocalError> {
    write_atomically(&OsDisk, path, text.as_bytes(), mode).map_err(unwritable(path))
}

fn secret() -> String {
    let mut bytes = [0; 32];
    runtime::random::fill(&mut bytes);
    hex::encode(bytes)
}

impl Files {
    pub(super) fn of(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.0.clone()
    }

    pub(super) fn pki(&self, name: &str) -> PathBuf {
        self.0.join("pki").join(name)
    }

    pub(super) fn key(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(name)
    }

    /// A file of a node.
    pub(super) fn node(&self, node: &str, name: &str) -> PathBuf {
        self.0.join(node).join(name)
    }

    pub(super) fn data(&self, node: &str) -> PathBuf {
        self.node(node, "data")
    }

    pub(super) fn log(&self, node: &str) -> PathBuf {
        self.node(node, "log")
    }

    pub(super) fn config(&self, node: &str) -> PathBuf {
        self.node(node, "hivemem.toml")
    }

    pub(super) fn secret(&self, name: &str) -> Result<String, LocalError> {
        let path = self.key(name);
        let bytes = read_all(&OsDisk, &path)
            .map_err(|cause| LocalError::system(format!("read {}", path.display()), cause))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Writes everything that can be known before a node has run; what an interrupted command left goes first.
    pub(super) fn write(&self, cluster: &Cluster) -> Result<(), LocalError> {
        let names = cluster.nodes.iter().map(|node| node.name.as_str());
        for name in ["pki", "keys"].into_iter().chain(names) {
            match std::fs::remove_dir_all(self.0.join(name)) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    return Err(unwritable(&self.0.join(name))(cause));
                }
                _ => {}
            }
        }
        for folder in ["pki", "keys"].map(|name| self.0.join(name)) {
            OsDisk.create_dir_all(&folder).map_err(unwritable(&folder))?;
        }
        for name in ["api.key", "operator.key", "peer.key", "root.key"] {
            write(&self.key(name), &secret(), 0o600)?;
        }
        let allowed = self.certificates(cluster)?;
        let root = Uuid::from_bytes(*b"hivemem up\0\0\0\0\0\0");
        for node in &cluster.nodes {
            let data = self.data(&node.name);
            OsDisk.create_dir_all(&data).map_err(unwritable(&data))?;
            write(&self.node(&node.name, "allowed"), &allowed, 0o644)?;
            let text = self.settings(cluster, node, root).to_string();
            write(&self.config(&node.name), &text, 0o644)?;
        }
        Ok(())
    }

    /// Issues certificates for all; the lines of an allowlist with all of them.
    fn certificates(&self, cluster: &Cluster) -> Result<String, LocalError> {
        let folder = self.0.join("pki");
        Authority::found(&OsDisk, &folder, &"hivemem-up".parse()?, DAYS)?;
        let authority = Authority::open(&OsDisk, &folder)?;
        let mut lines = String::new();
        let nodes = cluster.nodes.iter().map(|node| (node.name.as_str(), Some(node.address)));
        for (name, address) in nodes.chain([(CLIENT, None)]) {
            let hosts = address.iter().map(|address: &SocketAddr| Host::Ip(address.ip())).collect();
            // A day less than the authority.
            let issued = authority.issue(&Leaf { name: name.parse()?, hosts, days: DAYS - 1 })?;
            lines.push_str(&format!("{} # {name}\n", issued.fingerprint));
        }
        Ok(lines)
    }

    fn settings(&self, cluster: &Cluster, node: &Node, root: Uuid) -> Table {
        let path = |path: PathBuf| Value::String(path.display().to_string());
        let table = |pairs: Vec<(&str, Value)>| -> Value {
            Value::Table(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        };
        let address = || Value::String(node.address.to_string());
        let mut all = vec![
            ("data_dir", path(self.data(&node.name))),
            (
                "server",
                table(vec![
                    ("listen", address()),
                    ("tls_cert", path(self.pki(&format!("{}.crt", node.name)))),
                    ("tls_key", path(self.pki(&format!("{}.key", node.name)))),
                    ("tls_client_allowlist", path(self.node(&node.name, "allowed"))),
                ]),
            ),
            (
                "auth",
                table(vec![
                    ("api_key_file", path(self.key("api.key"))),
                    ("operator_key_file", path(self.key("operator.key"))),
                ]),
            ),
        ];
        let authority = || ("peer_ca_file", path(self.pki("ca.crt")));
        match node.part {
            Part::Alone => {}
            Part::Voter(number) => {
                let member = Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
                let root = table(vec![
                    ("member", member),
                    ("cluster", Value::String(root.to_string())),
                    ("endpoint", address()),
                    ("peer_key_file", path(self.key("root.key"))),
                    authority(),
                ]);
                all.push(("root", root));
            }
            Part::Peer => {
                let mut settings = vec![
                    ("peers_file", path(self.node(&node.name, "peers.toml"))),
                    ("peer_key_file", path(self.key("peer.key"))),
                ];
                if let Some(quorum) = cluster.shape.quorum() {
                    settings.push(("quorum", Value::String(quorum.to_string())));
                    settings.push(("quorum_below_majority", Value::Boolean(true)));
                }
                all.push(("federation", table(settings)));
            }
        }
        match table(all) {
            Value::Table(table) => table,
            _ => Table::new(),
        }
    }

    /// Writes the same list of peers for all peers.
    pub(super) fn list(&self, cluster: &Cluster, rows: &str) -> Result<(), LocalError> {
        for node in cluster.peers() {
            write(&self.node(&node.name, "peers.toml"), rows, 0o644)?;
        }
        Ok(())
    }
}
