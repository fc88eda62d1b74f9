//! Arguments of `hivemem bench`. Their help texts are the command line's documentation.
//!
//! Invariant: everything here is parsed; nothing is done.
//!
//! Not here: what is measured (`bench`).

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What to measure.
#[derive(Subcommand, Debug, Clone)]
pub enum BenchCommand {
    /// Concurrent durable stores, one memory per request.
    Store(BenchArgs),
    /// Stores of 1000 memories per request.
    Bulk(BenchArgs),
    /// Hybrid recalls of natural questions.
    Recall(BenchArgs),
    /// Nine recalls to one store.
    Mixed(BenchArgs),
    /// Time from start to the first recall.
    Start(BenchArgs),
    /// Stores that two of three nodes must have, all on this machine, and peers that catch up. Starts processes.
    Quorum(QuorumArgs),
}

/// Parameters of a measurement of three nodes.
#[derive(Args, Debug, Clone)]
pub struct QuorumArgs {
    /// Concurrent clients of each run.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    pub clients: Vec<u32>,
    /// By which door they come.
    #[arg(long, value_enum, default_value_t = BenchDoor::Http)]
    pub through: BenchDoor,
    /// Seconds to measure each run; it has run for a quarter of that before.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Memories that an empty peer catches up with.
    #[arg(long, default_value_t = 100_000)]
    pub memories: u64,
    /// Memories that a peer lacks which is put back to a backup.
    #[arg(long, default_value_t = 10)]
    pub differences: u64,
    /// Seed of the generated memories.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder for the nodes, which must not exist (default: a new temporary one, removed afterwards).
    #[arg(long)]
    pub folder: Option<PathBuf>,
}

/// Doors of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchDoor {
    /// HTTP; each client has its connection.
    Http,
    /// gRPC; the clients of a node share one.
    Grpc,
}

/// Parameters of a measurement.
#[derive(Args, Debug, Clone)]
pub struct BenchArgs {
    /// Memories in the store before measuring.
    #[arg(long, default_value_t = 1000)]
    pub memories: u64,
    /// Concurrent clients.
    #[arg(long, default_value_t = 32)]
    pub clients: u32,
    /// By which way requests come: calls in the process, or a client on a loopback socket.
    #[arg(long, value_enum, default_value_t = BenchThrough::Process)]
    pub through: BenchThrough,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Seed of the generated memories and questions.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder to build the store in (default: a new temporary one, removed afterwards). One that exists with
    /// at least --memories memories is used as it is.
    #[arg(long)]
    pub folder: Option<PathBuf>,
}

/// By which way requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchThrough {
    /// Calls in the process.
    Process,
    /// gRPC.
    Grpc,
    /// HTTP.
    Http,
}
