//! A cluster on this machine, in one command: real processes, with keys, certificates, lists and ports of their own
//! below one folder.
//!
//! | file | what |
//! |---|---|
//! | `shape` | which nodes there are |
//! | `state` | what is written about a cluster |
//! | `files` | each node's keys, certificate, list and configuration |
//! | `network` | loopback or namespaces; partitions |
//! | `process` | processes that outlive the command |
//! | `talk` | asking the nodes |
//! | `found` | from nothing to a cluster that answers, and back |
//!
//! Invariants: `LOC-1` no signal is sent to a process that the cluster did not start; `LOC-2` one command at a time
//! changes a cluster; `LOC-3` what runs is noted; `LOC-4` what a signal was to do has happened when it is told;
//! `LOC-5` what is made outside of the folder is named after the cluster, and taken away with it.
//!
//! Not here: what a node is (`node`), faults that are drawn by chance and judged (`chaos`).

mod files;
mod found;
mod network;
mod process;
mod shape;
mod state;
mod talk;

use std::{io, path::PathBuf};

use thiserror::Error;

pub use self::{
    files::log,
    found::{down, start_some, up},
    network::{Network, obstacle},
    process::{Process, Signal, State},
    shape::{Part, Shape},
    state::{Cluster, Held, Node, Stage},
    talk::Talk,
};

/// Why something cannot be done to a cluster of this machine.
#[derive(Debug, Error)]
pub enum LocalError {
    /// There is none in the folder.
    #[error("there is no cluster in {}; make one with `hivemem up --folder {}`", folder.display(), folder.display())]
    NoCluster {
        /// Which folder.
        folder: PathBuf,
    },
    /// There is one already.
    #[error("there is a cluster in {} already; see `hivemem up status --folder {}`", folder.display(), folder.display())]
    Exists {
        /// Which folder.
        folder: PathBuf,
    },
    /// There is one, and it is not what was asked for.
    #[error("the cluster in {} was made {made}; leave {asked} out, or choose another --folder", folder.display())]
    Other {
        /// Which folder.
        folder: PathBuf,
        /// How it was made.
        made: String,
        /// What was asked for, as it is written.
        asked: String,
    },
    /// Something else is in the folder.
    #[error("{} is not empty; choose another --folder", folder.display())]
    NotEmpty {
        /// Which folder.
        folder: PathBuf,
    },
    /// Another command is at work on it.
    #[error("another command is at work on the cluster in {}; wait for it to end", folder.display())]
    Busy {
        /// Which folder.
        folder: PathBuf,
    },
    /// It was written by another version.
    #[error("{} has form {found}, and this binary knows form {known}; use the binary that made it", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its form.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// No node has the name.
    #[error("{name:?} is no node of this cluster; its nodes are {}", names.join(", "))]
    NoNode {
        /// What was asked for.
        name: String,
        /// What there is.
        names: Vec<String>,
    },
    /// Loopback cannot be cut.
    #[error(
        "this cluster runs on loopback, which cannot be cut; `hivemem up --network namespaces` (as root, with iproute2 \
         and nftables) makes one that can, and `hivemem up pause NODE` makes a node silent on any"
    )]
    CannotCut,
    /// A folder whose local sockets would have too long a name.
    #[error("{} is too long for the nodes' local sockets; choose a shorter --folder", folder.display())]
    LongPath {
        /// Which folder.
        folder: PathBuf,
    },
    /// Groups that do not fit.
    #[error("{problem}; write the two sides as r1,r2|r3")]
    Groups {
        /// What is wrong.
        problem: String,
    },
    /// A node is not as it should be in time.
    #[error("{node}: {problem}; its log is {}", log.display())]
    Node {
        /// Which.
        node: String,
        /// What is wrong.
        problem: String,
        /// Where its log is.
        log: PathBuf,
    },
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] crate::pki::PkiError),
    /// The system refused.
    #[error("cannot {what}: {cause}")]
    System {
        /// What was attempted.
        what: String,
        /// Why it failed.
        cause: io::Error,
    },
}

impl LocalError {
    fn system(what: impl Into<String>, cause: io::Error) -> Self {
        Self::System { what: what.into(), cause }
    }
}
