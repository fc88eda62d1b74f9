//! Arguments of the commands that the root answers: locks, rules, pending actions, the group.
//!
//! Invariant: everything here is parsed; nothing is done.
//!
//! Not here: validation that the service does for every door.

use std::time::Duration;

use clap::{Args, Subcommand};

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration(text)?.ok_or_else(|| "must not be never".to_owned())
}

/// How a key is wanted, and for how long.
#[derive(Args, Debug, Clone)]
pub struct WantArgs {
    /// exclusive, shared, or PERMITS/CAPACITY of a semaphore.
    #[arg(long, default_value = "exclusive")]
    pub mode: String,
    /// How long the session lives without a sign of life, 1s to 10m.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub ttl: Duration,
    /// How long to wait for the key.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub wait: Duration,
    /// How long the key rests when the session is lost, 0s to 60s.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub lock_delay: Duration,
}

/// Which rows of the audit chain.
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// Behind this sequence.
    #[arg(long, default_value_t = 0)]
    pub after: i64,
    /// Only types that begin with this, e.g. `lock.` or `governance.`.
    #[arg(long = "type")]
    pub type_prefix: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    pub limit: u32,
}

/// Locks.
#[derive(Subcommand, Debug)]
pub enum LockCommand {
    /// Take a key in a session of its own, which ends after --ttl.
    Acquire {
        /// Which.
        key: String,
        /// How.
        #[command(flatten)]
        want: WantArgs,
    },
    /// Give a key back that `acquire` took.
    Release {
        /// Which.
        key: String,
        /// The session.
        #[arg(long)]
        session: u64,
        /// The fence of the grant.
        #[arg(long)]
        fence: u64,
    },
    /// Show keys that are held, waited for or rest.
    List {
        /// Only keys that begin with this.
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Show who holds a key and who waits for it.
    Explain {
        /// Which.
        key: String,
    },
    /// Take a key from its holder.
    ForceRelease {
        /// Which.
        key: String,
        /// The fence of the grant that is taken.
        #[arg(long)]
        fence: u64,
        /// Why, for the audit chain.
        #[arg(long)]
        reason: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Run a program while holding a key, e.g. hivemem lock run deploy -- ./deploy.sh
    ///
    /// The program finds the fence in HIVEMEM_FENCE and the key in HIVEMEM_LOCK_KEY. It is stopped
    /// (TERM, then KILL) before the lease can end elsewhere. The exit code is the program's; 9 when
    /// the lease was lost, 6 when the key was not to be had.
    Run {
        /// Which.
        key: String,
        /// How.
        #[command(flatten)]
        want: WantArgs,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
}

/// Rules and policies.
#[derive(Subcommand, Debug)]
pub enum GovernanceCommand {
    /// Show all rules and policies.
    Show {
        /// As the node knows them, without asking anybody; also when there is no majority.
        #[arg(long)]
        local: bool,
    },
    /// Make or replace a rule, e.g. hivemem governance put-rule freeze --operation write --effect refuse
    PutRule {
        /// Its name.
        id: String,
        /// refuse, warn, log or escalate:APPROVER.
        #[arg(long)]
        effect: String,
        /// write, read, delete, promote, link or export; any without one.
        #[arg(long, value_delimiter = ',')]
        operation: Vec<String>,
        /// Glob of namespaces.
        #[arg(long, short)]
        namespace: Option<String>,
        /// Pattern of agents' names.
        #[arg(long)]
        by: Option<String>,
        /// Only these kinds.
        #[arg(long, value_delimiter = ',')]
        kind: Vec<String>,
        /// Only these tiers.
        #[arg(long, value_delimiter = ',')]
        tier: Vec<String>,
        /// Why.
        #[arg(long, default_value = "")]
        note: String,
        /// Version that it replaces, 0 for none.
        #[arg(long)]
        expected_version: Option<u64>,
    },
    /// Take a rule away.
    RemoveRule {
        /// Its name.
        id: String,
    },
    /// Make or replace the policy of a namespace from a JSON object.
    PutPolicy {
        /// The policy, e.g. '{"namespace":"acme","hot_keys":["deploy*"]}'.
        policy: String,
    },
    /// Take the policy of a namespace away.
    RemovePolicy {
        /// Which.
        namespace: String,
    },
    /// Ask what the rules would say.
    Evaluate {
        /// write, read, delete, promote, link or export.
        operation: String,
        /// Where.
        namespace: String,
        /// Title of the memory.
        #[arg(long)]
        title: Option<String>,
    },
}

/// Actions that wait for an approval.
#[derive(Subcommand, Debug)]
pub enum PendingCommand {
    /// List them.
    List,
    /// Show one.
    Show {
        /// Its number.
        id: u64,
    },
    /// Propose one.
    Propose {
        /// What it is, e.g. memory.promote.
        kind: String,
        /// write, delete, promote, link or export.
        operation: String,
        /// Where.
        namespace: String,
        /// Title of the memory.
        #[arg(long)]
        title: Option<String>,
        /// What is to be done.
        #[arg(long, default_value = "")]
        payload: String,
        /// Who must approve besides those whom the rules name.
        #[arg(long)]
        approver: Option<String>,
        /// How long it waits.
        #[arg(long, value_parser = duration)]
        ttl: Option<Duration>,
    },
    /// Approve one.
    Approve {
        /// Its number.
        id: u64,
        /// Why.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Reject one; its proposer withdraws it thereby.
    Reject {
        /// Its number.
        id: u64,
        /// Why.
        #[arg(long, default_value = "")]
        note: String,
    },
}

/// What to go on with.
#[derive(Args, Debug)]
pub struct RecoverArgs {
    /// Data folders of members (default: --data-dir). Of several the best is taken.
    pub folders: Vec<std::path::PathBuf>,
    /// Say what there is and what would be lost, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Why, for the log and the audit chain.
    #[arg(long, default_value = "the quorum was lost for ever")]
    pub reason: String,
}

/// The group.
#[derive(Subcommand, Debug)]
pub enum RootCommand {
    /// Found the group with its first voters, on one of them, e.g. hivemem root init 1=10.0.0.1:7747
    Init {
        /// MEMBER=HOST:PORT, one for each.
        #[arg(required = true)]
        members: Vec<String>,
    },
    /// Show how the node sees the group.
    Status,
    /// Add a member; with --vote, give it a vote once it copies the log.
    Add {
        /// MEMBER=HOST:PORT.
        member: String,
        /// Give it a vote.
        #[arg(long)]
        vote: bool,
    },
    /// Take a member out.
    Remove {
        /// Its number.
        member: u64,
        /// Even if fewer than a majority of the others answer.
        #[arg(long)]
        force: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Put a new member in the place of one that is gone.
    Replace {
        /// Number of the one that is gone.
        gone: u64,
        /// MEMBER=HOST:PORT of the new one.
        member: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Hand the leadership to another voter.
    Transfer {
        /// Its number.
        member: u64,
    },
    /// Make the node write a snapshot.
    Snapshot,
    /// Go on after a majority is lost for ever: judge what is left in data folders, and make the best
    /// survivor the only voter. No daemon may run on them.
    Recover(RecoverArgs),
    /// Let a member take part again that was refused because it came from a backup.
    Readmit {
        /// The id that the refusal of its start, and its status, name.
        node: String,
        /// Why, for the audit chain.
        #[arg(long)]
        reason: String,
    },
    /// Show digests of the node's copy of the state.
    Digest,
    /// Register an agent with the root, so that its approvals count.
    Agent {
        /// Its name.
        name: String,
        /// org, org/unit or org/unit/team.
        #[arg(long, default_value = "")]
        affiliation: String,
        /// It is a person.
        #[arg(long)]
        human: bool,
        /// Its Ed25519 public key, hexadecimal, if it signs for itself.
        #[arg(long)]
        public_key: Option<String>,
    },
    /// List the agents that the root knows.
    Agents {
        /// Only names behind this one.
        #[arg(long, default_value = "")]
        after: String,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Give an agent another key; the one before verifies what it signed.
    RotateKey {
        /// Its name.
        name: String,
        /// The new Ed25519 public key, hexadecimal.
        public_key: String,
    },
    /// Shut an agent out at every member, for ever.
    Revoke {
        /// Its name.
        name: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}
