//! Arguments. Their help texts are the command line's documentation.
//!
//! Invariant: everything here is parsed; nothing is done.
//!
//! Not here: validation that the service does for every door.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::bench_args::BenchCommand;
use super::pki_args::PkiCommand;
use super::root_args::{AuditArgs, GovernanceCommand, LockCommand, PendingCommand, RootCommand};
use super::up_args::{ClusterFolder, UpArgs};

/// Shared memory for fleets of AI agents.
#[derive(Parser, Debug)]
#[command(name = "hivemem", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Configuration file (default: hivemem.toml in the data folder, if there is one).
    #[arg(long, global = true, env = "HIVEMEM_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the database, indexes and keys.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Database that has the rows, postgres://… (default: a file in the data folder).
    #[arg(long, global = true, value_name = "URL")]
    pub store_url: Option<String>,
    /// Node to talk to, e.g. http://127.0.0.1:7747 (default: the one on the data folder).
    #[arg(long, global = true, env = "HIVEMEM_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Key to present at --url.
    // Clap passes a global value to whatever has its id, and locks have keys too.
    #[arg(
        id = "presented",
        long = "key",
        global = true,
        env = "HIVEMEM_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub key: Option<String>,
    /// Agent to act as.
    #[arg(long, global = true, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Any setting, e.g. --set memory.default_scope=team.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Fencing token of the lock that is held; `lock run` gives it to its program.
    #[arg(long, global = true, env = "HIVEMEM_FENCE", value_name = "NUMBER")]
    pub fence: Option<u64>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What a recall, a listing or an export may return.
#[derive(Args, Debug, Default, Clone)]
pub struct FilterArgs {
    /// Only this namespace (and those above it; see --namespace-mode).
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// ancestors, exact or within.
    #[arg(long, value_name = "MODE")]
    pub namespace_mode: Option<String>,
    /// Only these kinds.
    #[arg(long, value_delimiter = ',')]
    pub kind: Vec<String>,
    /// Only these tiers.
    #[arg(long, value_delimiter = ',')]
    pub tier: Vec<String>,
    /// All of these tags.
    #[arg(long, value_delimiter = ',')]
    pub tag: Vec<String>,
    /// Only this author.
    #[arg(long)]
    pub author: Option<String>,
    /// Created at or after (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub created_from: Option<String>,
    /// Created before (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub created_until: Option<String>,
    /// What was true at this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<String>,
}

/// A memory to store.
#[derive(Args, Debug, Default, Clone)]
pub struct DraftArgs {
    /// What it is about.
    pub title: String,
    /// The memory itself; - or nothing reads standard input.
    pub content: Option<String>,
    /// Where it belongs.
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// short, mid or long.
    #[arg(long)]
    pub tier: Option<String>,
    /// Labels.
    #[arg(long, value_delimiter = ',')]
    pub tag: Vec<String>,
    /// 1 to 10.
    #[arg(long)]
    pub priority: Option<u8>,
    /// 0 to 1.
    #[arg(long)]
    pub confidence: Option<f64>,
    /// Where it came from.
    #[arg(long)]
    pub source: Option<String>,
    /// What it is, e.g. claim, decision, instruction.
    #[arg(long)]
    pub kind: Option<String>,
    /// private, team, unit, org or collective.
    #[arg(long)]
    pub scope: Option<String>,
    /// A JSON object of free-form facts.
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<String>,
    /// When it expires (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub expires_at: Option<String>,
    /// merge, new or error.
    #[arg(long, value_name = "RULE")]
    pub on_conflict: Option<String>,
    /// At-most-once key.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// Commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve gRPC, HTTP and MCP until interrupted.
    Serve,
    /// Start a cluster of real processes on this machine, to try things out on.
    Up(UpArgs),
    /// End the processes of a cluster; what they know stays in its folder.
    Down {
        /// Which cluster.
        #[command(flatten)]
        folder: ClusterFolder,
    },
    /// See a hive of nine nodes lose one, be cut in two, and agree: a minute of real processes.
    Demo {
        /// Where; kept afterwards (default: a folder that is removed in the end).
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        /// Record it as an asciicast.
        #[arg(long, value_name = "FILE")]
        cast: Option<PathBuf>,
    },
    /// Store a memory.
    Store(DraftArgs),
    /// Ask memory a question.
    Recall {
        /// The question, in natural words.
        query: String,
        /// At most so many answers.
        #[arg(long, short, default_value_t = 10)]
        limit: u32,
        /// Stop before the contents exceed about this many tokens.
        #[arg(long)]
        token_budget: Option<u32>,
        /// hybrid, lexical or dense.
        #[arg(long)]
        mode: Option<String>,
        /// Show how every score came about.
        #[arg(long)]
        explain: bool,
        /// How new.
        #[command(flatten)]
        fresh: FreshArgs,
        /// What may be returned.
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Show a memory.
    Get {
        /// Its id, or a unique prefix.
        id: String,
        /// How new.
        #[command(flatten)]
        fresh: FreshArgs,
    },
    /// List memories, newest first.
    List {
        /// At most so many.
        #[arg(long, short, default_value_t = 20)]
        limit: u32,
        /// The cursor that the page before ended with.
        #[arg(long)]
        after: Option<String>,
        /// How new.
        #[command(flatten)]
        fresh: FreshArgs,
        /// What may be returned.
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Change fields of a memory.
    Update(UpdateArgs),
    /// Change the tier of a memory.
    Promote {
        /// Its id, or a unique prefix.
        id: String,
        /// short, mid or long.
        tier: String,
    },
    /// Delete a memory for good.
    Delete {
        /// Its id, or a unique prefix.
        id: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Only show what would be deleted.
        #[arg(long)]
        dry_run: bool,
    },
    /// Archive the memories a pattern names; shows them first.
    Forget {
        /// Where.
        #[arg(long, short)]
        namespace: String,
        /// Namespaces below it too.
        #[arg(long)]
        within: bool,
        /// Glob over titles.
        #[arg(long)]
        title: Option<String>,
        /// Only this tier.
        #[arg(long)]
        tier: Option<String>,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Only show what would be forgotten.
        #[arg(long)]
        dry_run: bool,
    },
    /// The archive of forgotten memories.
    Archive {
        /// What to do.
        #[command(subcommand)]
        command: ArchiveCommand,
    },
    /// Link two memories.
    Link {
        /// Id it starts at.
        source: String,
        /// related_to, supersedes, contradicts, derived_from, reflects_on, decomposes_into,
        /// depends_on or advances.
        relation: String,
        /// Id it ends at.
        target: String,
    },
    /// Remove a link.
    Unlink {
        /// Its id.
        id: String,
    },
    /// Show the neighbourhood of a memory.
    Graph {
        /// Its id, or a unique prefix.
        id: String,
        /// How many links deep, 1 to 5.
        #[arg(long, default_value_t = 1)]
        depth: u32,
    },
    /// Show the shortest paths between two memories.
    Paths {
        /// One end.
        from: String,
        /// The other.
        to: String,
    },
    /// Show the history of a memory, or of a namespace.
    Timeline {
        /// Its id, or a unique prefix.
        id: Option<String>,
        /// At most so many.
        #[arg(long, short, default_value_t = 50)]
        limit: u32,
        /// What may be returned.
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Find stored memories that say nearly the same.
    CheckDuplicate(DraftArgs),
    /// List namespaces with what you may see in them.
    Namespaces,
    /// Follow changes as they happen.
    Watch {
        /// Resume after this position.
        #[arg(long)]
        after: Option<u64>,
    },
    /// Write memories and links as NDJSON.
    Export {
        /// File to write; - is standard output.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Archived memories too.
        #[arg(long)]
        archived: bool,
        /// What may be returned.
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Read memories and links from NDJSON, or from the SQLite file of ai-memory 0.7 to 0.10.
    Import {
        /// File to read; - is standard input.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Import a file of ai-memory although its audit chain does not hold; what is wrong is carried with it.
        #[arg(long)]
        despite_breaks: bool,
    },
    /// Registered agents.
    Agents {
        /// What to do.
        #[command(subcommand)]
        command: AgentsCommand,
    },
    /// Show what is used of a quota.
    Quota {
        /// Whose (default: yours).
        #[arg(long)]
        of: Option<String>,
        /// Where.
        #[arg(long, short)]
        namespace: Option<String>,
    },
    /// Locks of the root.
    Lock {
        /// What to do.
        #[command(subcommand)]
        command: LockCommand,
    },
    /// Rules and policies of the root.
    Governance {
        /// What to do.
        #[command(subcommand)]
        command: GovernanceCommand,
    },
    /// Actions that wait for an approval.
    Pending {
        /// What to do.
        #[command(subcommand)]
        command: PendingCommand,
    },
    /// The group that decides on rules and locks.
    Root {
        /// What to do.
        #[command(subcommand)]
        command: RootCommand,
    },
    /// The nodes that this one shares its memories with.
    Peers {
        /// What to do.
        #[command(subcommand)]
        command: PeersCommand,
    },
    /// How this node keeps up with its peers.
    Sync {
        /// What to do.
        #[command(subcommand)]
        command: SyncCommand,
    },
    /// What peers refuse of this node's operations.
    Dlq {
        /// What to do.
        #[command(subcommand)]
        command: DeadLetterCommand,
    },
    /// Texts that got no vector from the embedder; their words still find them.
    Vectors {
        /// What to do.
        #[command(subcommand)]
        command: VectorsCommand,
    },
    /// Memories that several nodes made without having heard of each other.
    Conflicts {
        /// What to do.
        #[command(subcommand)]
        command: ConflictsCommand,
    },
    /// Show what the node says of itself.
    Status,
    /// Serve MCP on standard input and output.
    Mcp {
        /// Tools offered: default or full.
        #[arg(long, default_value = "default")]
        profile: String,
    },
    /// The node's signing key.
    Identity {
        /// What to do.
        #[command(subcommand)]
        command: IdentityCommand,
    },
    /// Certificates for nodes and agents, from an authority of one's own.
    Pki {
        /// What to do.
        #[command(subcommand)]
        command: PkiCommand,
    },
    /// Bring the database of storage.url to the schema of this build, before nodes start on it.
    SchemaInit,
    /// Move a node's memories from its file into a PostgreSQL database, or back. The node goes on meanwhile, until it is
    /// asked to be stopped for what is left; whatever is interrupted goes on when it is given again.
    Migrate(MigrateArgs),
    /// Write a consistent, verified copy of the store while it is in use.
    Backup {
        /// Name of its folder below backup.folder (default: by the time, and the oldest beyond
        /// backup.keep are removed).
        #[arg(long)]
        name: Option<String>,
    },
    /// Install a backup into an empty data folder, after verifying it.
    Restore {
        /// The backup's folder.
        from: PathBuf,
    },
    /// Show rows of the audit chain.
    Audit(AuditArgs),
    /// Verify the audit chain: hashes, order, signatures, payloads.
    VerifySignedEventsChain {
        /// From this sequence on.
        #[arg(long, default_value_t = 0)]
        since: i64,
        /// text or json.
        #[arg(long, default_value = "text")]
        format: String,
    },
    /// Check integrity, schema, indexes, vectors, chain and settings.
    Doctor {
        /// Check the security list too.
        #[arg(long)]
        hardening: bool,
    },
    /// Show or check the configuration.
    Config {
        /// What to do.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Measure stores and recalls on this machine, on data made for it.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Print a completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// Fields to change.
#[derive(Args, Debug, Default, Clone)]
pub struct UpdateArgs {
    /// Its id, or a unique prefix.
    pub id: String,
    /// New title.
    #[arg(long)]
    pub title: Option<String>,
    /// New content.
    #[arg(long)]
    pub content: Option<String>,
    /// New tier.
    #[arg(long)]
    pub tier: Option<String>,
    /// Tags to add.
    #[arg(long, value_delimiter = ',')]
    pub add_tag: Vec<String>,
    /// Tags to remove.
    #[arg(long, value_delimiter = ',')]
    pub remove_tag: Vec<String>,
    /// New priority.
    #[arg(long)]
    pub priority: Option<u8>,
    /// New confidence.
    #[arg(long)]
    pub confidence: Option<f64>,
    /// New kind.
    #[arg(long)]
    pub kind: Option<String>,
    /// New scope.
    #[arg(long)]
    pub scope: Option<String>,
    /// New metadata (JSON object).
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<String>,
    /// New expiry (RFC 3339), or never.
    #[arg(long, value_name = "TIME")]
    pub expires_at: Option<String>,
    /// Refuse unless this is the current version.
    #[arg(long)]
    pub expected_version: Option<u64>,
}

/// The archive.
#[derive(Subcommand, Debug)]
pub enum ArchiveCommand {
    /// List archived memories.
    List {
        /// At most so many.
        #[arg(long, short, default_value_t = 20)]
        limit: u32,
        /// What may be returned.
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Take a memory back.
    Restore {
        /// Its id, or a unique prefix.
        id: String,
    },
    /// Delete an archived memory for good.
    Purge {
        /// Its id, or a unique prefix.
        id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Agents.
#[derive(Subcommand, Debug)]
pub enum AgentsCommand {
    /// List registered agents.
    List,
    /// Register an agent, or change it.
    Register {
        /// Its name.
        name: String,
        /// org, org/unit or org/unit/team.
        #[arg(long, default_value = "")]
        affiliation: String,
        /// Issue an access token; shown once.
        #[arg(long)]
        token: bool,
    },
    /// Refuse an agent everywhere from now on.
    Revoke {
        /// Its name.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// The signing key.
#[derive(Subcommand, Debug)]
pub enum IdentityCommand {
    /// Make a new key.
    Generate {
        /// Retire the key there is.
        #[arg(long)]
        force: bool,
    },
    /// Take over a private key from a PEM file (PKCS#8, mode 0600).
    Restore {
        /// The file.
        file: PathBuf,
        /// Retire the key there is.
        #[arg(long)]
        force: bool,
    },
    /// List the current and all retired keys.
    List,
    /// Print this node's row for the lists of others, with a fingerprint to compare by another way.
    Export(IdentityExportArgs),
    /// Add another node's row to the list of peers, once its fingerprint has been compared.
    Import(IdentityImportArgs),
}

/// This node, for others.
#[derive(Args, Debug)]
pub struct IdentityExportArgs {
    /// What others call it.
    #[arg(long)]
    pub name: String,
    /// Where others reach it, host:port.
    #[arg(long)]
    pub endpoint: String,
    /// Write the row to this file, and print the fingerprint alone.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Another node, for this one.
#[derive(Args, Debug)]
pub struct IdentityImportArgs {
    /// What `identity export` wrote there.
    pub file: PathBuf,
    /// The fingerprint that its operator told you by another way; without it you are asked.
    #[arg(long)]
    pub fingerprint: Option<String>,
    /// What to call it here.
    #[arg(long)]
    pub name: Option<String>,
    /// Agents whose operations it may send, with commas between them; * is all.
    #[arg(long, value_delimiter = ',')]
    pub agents: Vec<String>,
    /// Namespaces that it may see, as globs with commas between them; ** is all.
    #[arg(long, value_delimiter = ',')]
    pub namespaces: Vec<String>,
}

/// The peers.
#[derive(Subcommand, Debug)]
pub enum PeersCommand {
    /// Print this node's row, for the lists of others; narrow what it may send and see there.
    Row {
        /// What others call it.
        #[arg(long)]
        name: String,
        /// Where others reach it, host:port.
        #[arg(long)]
        endpoint: String,
    },
    /// Show how they stand.
    List,
}

/// Keeping up with peers.
#[derive(Subcommand, Debug)]
pub enum SyncCommand {
    /// Show of each peer how far it is, when it was heard, and what it refuses.
    Status,
}

/// Conflicts.
#[derive(Subcommand, Debug)]
pub enum ConflictsCommand {
    /// List them, oldest first: the ids that stand for one memory, and what differs.
    List {
        /// At most so many.
        #[arg(long, short, default_value_t = 20)]
        limit: u32,
        /// The cursor that the page before ended with.
        #[arg(long)]
        after: Option<String>,
    },
}

/// How new an answer must be.
#[derive(Args, Debug, Default, Clone)]
pub struct FreshArgs {
    /// Token of a write that must be seen, or a position of the node that is asked.
    #[arg(long, value_name = "TOKEN")]
    pub min_position: Option<String>,
    /// local, or quorum: every write that was acknowledged before is seen.
    #[arg(long, value_name = "LEVEL")]
    pub consistency: Option<String>,
}

/// Dead letters.
#[derive(Subcommand, Debug)]
pub enum DeadLetterCommand {
    /// Show them.
    List,
    /// Try them again at once.
    Retry {
        /// Name of the peer.
        peer: String,
        /// One operation; without it all of that peer's.
        #[arg(long)]
        seq: Option<u64>,
    },
    /// Give them up: the peer will not have them.
    Purge {
        /// Name of the peer.
        peer: String,
        /// One operation; without it all of that peer's.
        #[arg(long)]
        seq: Option<u64>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// The configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Show every setting.
    Show {
        /// And where it comes from.
        #[arg(long)]
        origin: bool,
    },
    /// Check the configuration and the files it names.
    Check,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn positionals(command: &clap::Command, found: &mut Vec<String>) {
        found.extend(command.get_positionals().map(|arg| arg.get_id().to_string()));
        command.get_subcommands().for_each(|sub| positionals(sub, found));
    }

    #[test]
    fn no_argument_takes_the_value_of_a_global_one() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut found = Vec::new();
        positionals(&command, &mut found);
        assert!(found.iter().any(|id| id == "key"), "locks have keys");
        for global in command.get_arguments().filter(|arg| arg.is_global_set()) {
            assert!(!found.iter().any(|id| id == global.get_id().as_str()), "{}", global.get_id());
        }
    }
}

/// What to do about texts without a vector.
#[derive(Subcommand, Debug)]
pub enum VectorsCommand {
    /// Those that are not tried again by themselves, and why.
    Dead,
    /// Try them again.
    Retry,
}

/// From where to where.
#[derive(Args, Debug)]
pub struct MigrateArgs {
    /// Where the memories are: sqlite:FOLDER (the node's data folder), postgres://…, or file:PATH, a file that has the
    /// address in it and that its owner alone can read.
    #[arg(long, value_name = "PLACE")]
    pub from: String,
    /// Where they shall be, likewise: the one is a folder, the other a database.
    #[arg(long, value_name = "PLACE")]
    pub to: String,
    /// End with code 8 when everything is copied and the node still runs, instead of waiting until it is stopped.
    #[arg(long)]
    pub no_wait: bool,
}
