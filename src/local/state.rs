//! What is written about a cluster in its folder, so that every later command finds it.
//!
//! Invariants: `LOC-2` one command at a time changes a cluster: it holds the folder's lock; `LOC-3` what runs is noted:
//! a process is in the file before the command that started it goes on.
//!
//! Not here: the nodes' own files (`files`).

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use runtime::disk::{Disk, LockGuard, OsDisk, read_all, write_atomically};
use serde::{Deserialize, Serialize};

use super::{
    LocalError,
    network::Network,
    process::{Process, State},
    shape::{Part, Shape},
};

/// Name of the file.
const FILE: &str = "cluster.json";
/// Name of the file whose lock is the cluster's.
const LOCK: &str = "lock";
/// Version of the file's form.
const FORMAT: u32 = 1;

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is there for.
    pub part: Part,
    /// The region it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The process that was started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

impl Node {
    /// How its process is.
    pub fn state(&self) -> State {
        self.process.map_or(State::Gone, |process| process.state())
    }
}

/// How far a cluster has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Its nodes have names and addresses.
    Planned,
    /// Their files are written.
    Written,
    /// Its root decides, and its peers know each other.
    Founded,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    format: u32,
    /// Which nodes there are.
    pub shape: Shape,
    /// What it runs on.
    pub network: Network,
    /// Whether the network was made for it, and goes with it.
    #[serde(default)]
    pub owns_network: bool,
    /// Settings of all nodes beyond their files, `key=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// How far it has come.
    pub stage: Stage,
    /// Its nodes, those that decide first.
    pub nodes: Vec<Node>,
}

/// A cluster's folder, locked for a change.
pub struct Held {
    /// Where.
    pub folder: PathBuf,
    /// What is there.
    pub cluster: Cluster,
    _lock: LockGuard,
}

fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Whether there is nothing in a folder but the lock.
fn is_empty(folder: &Path) -> Result<bool, LocalError> {
    let names = OsDisk.list(folder);
    let names = names
        .map_err(|cause| LocalError::system(format!("look into {}", folder.display()), cause))?;
    Ok(names.iter().all(|name| name == LOCK))
}

impl Cluster {
    /// A cluster to be, its nodes at these addresses.
    pub fn planned(
        shape: Shape,
        network: Network,
        settings: &[String],
        addresses: &[SocketAddr],
    ) -> Self {
        let nodes = shape.nodes().into_iter().zip(addresses).map(|(planned, address)| Node {
            name: planned.name,
            part: planned.part,
            region: planned.region.map(str::to_owned),
            address: *address,
            process: None,
        });
        let (nodes, settings) = (nodes.collect(), settings.to_vec());
        let (format, stage, owns_network) = (FORMAT, Stage::Planned, false);
        Self { format, shape, network, owns_network, settings, stage, nodes }
    }

    /// Reads what a folder has.
    ///
    /// # Errors
    /// [`LocalError::NoCluster`], or what is wrong with the file.
    pub fn read(folder: &Path) -> Result<Self, LocalError> {
        let path = file(folder);
        let bytes = read_all(&OsDisk, &path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => LocalError::NoCluster { folder: folder.to_owned() },
            _ => LocalError::system(format!("read {}", path.display()), cause),
        })?;
        let cluster: Self = serde_json::from_slice(&bytes).map_err(|error| {
            LocalError::system(format!("understand {}", path.display()), io::Error::other(error))
        })?;
        if cluster.format != FORMAT {
            return Err(LocalError::Format { path, found: cluster.format, known: FORMAT });
        }
        Ok(cluster)
    }

    /// The node of a name.
    ///
    /// # Errors
    /// [`LocalError::NoNode`], with the names that there are.
    pub fn node(&self, name: &str) -> Result<&Node, LocalError> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| LocalError::NoNode {
            name: name.to_owned(),
            names: self.nodes.iter().map(|node| node.name.clone()).collect(),
        })
    }

    /// The voters of its root, by number.
    pub fn voters(&self) -> Vec<(u64, &Node)> {
        let number = |node: &Node| match node.part {
            Part::Voter(number) => Some(number),
            Part::Alone | Part::Peer => None,
        };
        self.nodes.iter().filter_map(|node| Some((number(node)?, node))).collect()
    }

    /// Its peers.
    pub fn peers(&self) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.part == Part::Peer).collect()
    }
}

impl Held {
    fn lock(folder: &Path) -> Result<LockGuard, LocalError> {
        let lock = OsDisk.lock_exclusive(&folder.join(LOCK));
        lock.map_err(|cause| match cause.kind() {
            io::ErrorKind::WouldBlock => LocalError::Busy { folder: folder.to_owned() },
            _ => LocalError::system(format!("lock {}", folder.display()), cause),
        })
    }

    /// Begins a cluster in a folder, which is made too where it is not there.
    ///
    /// # Errors
    /// [`LocalError::Exists`] when there is one.
    pub fn begin(folder: &Path, cluster: Cluster) -> Result<Self, LocalError> {
        let made = OsDisk.create_dir_all(folder);
        made.map_err(|cause| LocalError::system(format!("make {}", folder.display()), cause))?;
        let lock = Self::lock(folder)?;
        match Cluster::read(folder) {
            Err(LocalError::NoCluster { .. }) if is_empty(folder)? => {}
            Err(LocalError::NoCluster { .. }) => {
                return Err(LocalError::NotEmpty { folder: folder.to_owned() });
            }
            Ok(_) => return Err(LocalError::Exists { folder: folder.to_owned() }),
            Err(error) => return Err(error),
        }
        let held = Self { folder: folder.to_owned(), cluster, _lock: lock };
        held.save()?;
        Ok(held)
    }

    /// Takes a cluster that exists, for a change.
    ///
    /// # Errors
    /// [`LocalError::NoCluster`], [`LocalError::Busy`].
    pub fn take(folder: &Path) -> Result<Self, LocalError> {
        // Without a cluster there is no place for a lock either.
        Cluster::read(folder)?;
        let lock = Self::lock(folder)?;
        let cluster = Cluster::read(folder)?;
        Ok(Self { folder: folder.to_owned(), cluster, _lock: lock })
    }

    /// Notes how far it has come.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn reach(&mut self, stage: Stage) -> Result<(), LocalError> {
        self.cluster.stage = stage;
        self.save()
    }

    /// Writes down how it is.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self) -> Result<(), LocalError> {
        let text = serde_json::to_vec_pretty(&self.cluster).map_err(io::Error::other);
        let path = file(&self.folder);
        text.and_then(|text| write_atomically(&OsDisk, &path, &text, 0o600))
            .map_err(|cause| LocalError::system(format!("write {}", path.display()), cause))
    }

    /// Notes which process a node has now (`LOC-3`).
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn note(&mut self, name: &str, process: Option<Process>) -> Result<(), LocalError> {
        if let Some(node) = self.cluster.nodes.iter_mut().find(|node| node.name == name) {
            node.process = process;
        }
        self.save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        let addresses: Vec<SocketAddr> =
            (1..=3).map(|n| SocketAddr::from(([127, 9, 9, n], 7747))).collect();
        Cluster::planned(Shape::Root(3), Network::Loopback, &[], &addresses)
    }

    #[test]
    fn what_is_written_is_found_and_one_command_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("hive");
        assert!(matches!(Cluster::read(&folder), Err(LocalError::NoCluster { .. })));
        let mut held = Held::begin(&folder, cluster()).unwrap();
        let process = Process { pid: 7, started_ticks: 9 };
        held.note("r2", Some(process)).unwrap();
        assert_eq!(Cluster::read(&folder).unwrap(), held.cluster);
        assert!(matches!(Held::take(&folder), Err(LocalError::Busy { .. })), "LOC-2");
        drop(held);
        let held = Held::take(&folder).unwrap();
        assert_eq!(held.cluster.node("r2").unwrap().process, Some(process), "LOC-3");
        assert_eq!(held.cluster.voters().len(), 3);
        assert_eq!(held.cluster.peers(), Vec::<&Node>::new());
        drop(held);
        assert!(matches!(Held::begin(&folder, cluster()), Err(LocalError::Exists { .. })));
        let used = tempfile::tempdir().unwrap();
        std::fs::write(used.path().join("letter"), "dear").unwrap();
        let begun = Held::begin(used.path(), cluster());
        assert!(matches!(begun, Err(LocalError::NotEmpty { .. })));
        let unknown = cluster().node("r9").unwrap_err().to_string();
        assert!(unknown.contains("r1, r2, r3"), "{unknown}");
    }
}
