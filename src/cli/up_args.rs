//! Arguments of `hivemem up` and `hivemem down`.
//!
//! Not here: what they do (`commands::up`).

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Subcommand};

/// Which cluster.
#[derive(Args, Debug, Clone)]
pub struct ClusterFolder {
    /// Folder of the cluster.
    #[arg(long, value_name = "FOLDER", default_value = "hive", global = true)]
    pub folder: PathBuf,
}

/// What a new cluster runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkChoice {
    /// Namespaces where they can be had, else loopback.
    Auto,
    /// Addresses of this machine's loopback.
    Loopback,
    /// A switch and network namespaces, under this number or any that is free. Those of a number that are there
    /// already are used as they are.
    Namespaces(Option<u8>),
}

impl FromStr for NetworkChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            let number = digits.parse().ok().filter(|number| (1..=254).contains(number));
            number.ok_or_else(|| format!("{digits:?} is no number of a network; use 1 to 254"))
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "loopback" => Ok(Self::Loopback),
            None if text == "namespaces" => Ok(Self::Namespaces(None)),
            Some(("namespaces", digits)) => Ok(Self::Namespaces(Some(number(digits)?))),
            _ => Err(format!(
                "{text:?} is no network; use auto, loopback, namespaces or namespaces:NUMBER"
            )),
        }
    }
}

/// Starting a cluster, and what may befall it.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct UpArgs {
    /// single, root3 (1 to 9), mesh3 or mesh5 (2 to 9), or hive; mesh3 if there is none yet.
    #[arg(long)]
    pub shape: Option<String>,
    /// What a new one runs on: auto, loopback, or namespaces (as root, with iproute2 and nftables), which can be cut.
    #[arg(long, default_value = "auto")]
    pub network: NetworkChoice,
    /// Which cluster.
    #[command(flatten)]
    pub folder: ClusterFolder,
    /// What to do with one that was started.
    #[command(subcommand)]
    pub command: Option<UpCommand>,
}

/// What may befall a cluster.
#[derive(Subcommand, Debug)]
pub enum UpCommand {
    /// Show its nodes, again each second at a terminal.
    Status {
        /// Show them once.
        #[arg(long)]
        once: bool,
    },
    /// End nodes with SIGKILL.
    Kill {
        /// Their names.
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Let nodes finish what they do, and end them.
    Stop {
        /// Their names.
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Start nodes that do not run.
    Start {
        /// Their names.
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Let nodes stand still (SIGSTOP).
    Pause {
        /// Their names.
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Let nodes that stand still go on.
    Resume {
        /// Their names.
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Cut the network between sides: n1,n2|n3. Who is on no side stays with the first.
    Partition {
        /// The sides.
        sides: String,
    },
    /// Let every node reach every other.
    Heal,
    /// Print a node's log.
    Logs {
        /// Its name.
        node: String,
        /// At most so many lines from its end.
        #[arg(long, short = 'n', default_value_t = 100)]
        lines: usize,
        /// Go on with what comes.
        #[arg(long, short)]
        follow: bool,
    },
    /// End all nodes; what they know stays in the folder.
    Down,
}
