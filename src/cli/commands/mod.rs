//! Commands against a node: each builds one request of the HTTP contract and renders the answer.
//!
//! Invariant: no command decides anything that the service decides.
//!
//! Not here: commands that need no node (`local`).

mod ai_memory;
pub mod bench;
pub mod demo;
mod hardening;
pub mod local;
mod lock;
mod memory;
pub mod migrate;
mod operate;
mod peers;
pub mod pki;
pub mod recover;
mod root;
pub mod transfer;
pub mod trust;
pub mod up;

use std::io::{IsTerminal, Write};

use serde_json::{Map, Value, json};

use super::{
    args::{Cli, Command, FilterArgs, IdentityCommand, SyncCommand},
    client::Client,
    exit::Failure,
    render,
};
use crate::config::Config;

pub(super) use crate::api::{encode, query};

/// Runs a command that needs a node.
///
/// # Errors
/// [`Failure`] with the exit code.
pub async fn run(client: &Client, cli: &Cli, config: &Config) -> Result<(), Failure> {
    let json = cli.json;
    match &cli.command {
        Command::Store(_)
        | Command::Recall { .. }
        | Command::Get { .. }
        | Command::List { .. }
        | Command::Update(_)
        | Command::Promote { .. }
        | Command::Delete { .. }
        | Command::Forget { .. }
        | Command::Archive { .. }
        | Command::Conflicts { .. }
        | Command::CheckDuplicate(_) => memory::run(client, &cli.command, json).await,
        Command::Export { file, archived, filter } => {
            transfer::export(client, file, *archived, filter).await
        }
        Command::Import { file, despite_breaks } => {
            transfer::import(client, file, *despite_breaks, json).await
        }
        Command::Backup { name } => transfer::backup(client, config, name.as_deref(), json).await,
        #[cfg(feature = "host")]
        Command::Mcp { profile } => crate::api::mcp::stdio(client.caller(), profile).await,
        Command::Lock { command } => lock::run(client, command, json).await,
        Command::Governance { command } => root::governance(client, command, json).await,
        Command::Pending { command } => root::pending(client, command, json).await,
        Command::Identity { command: IdentityCommand::Export(args) } => {
            trust::export(client, args, json).await
        }
        Command::Peers { command } => peers::peers(client, command, json).await,
        Command::Sync { command: SyncCommand::Status } => peers::status(client, json).await,
        Command::Dlq { command } => peers::dead_letters(client, command, json).await,
        Command::Root { command } => root::root(client, command, json).await,
        command => operate::run(client, command, config, json).await,
    }
}

/// Leaves out what was not given, so that the node's defaults apply.
pub(super) fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let given = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let fields = fields.into_iter().filter(|(_, value)| given(value));
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

pub(super) fn filter_json(filter: &FilterArgs) -> Value {
    object([
        ("namespace", json!(filter.namespace)),
        ("namespace_mode", json!(filter.namespace_mode)),
        ("kinds", json!(filter.kind)),
        ("tiers", json!(filter.tier)),
        ("tags", json!(filter.tag)),
        ("agent_id", json!(filter.author)),
        ("created_from", json!(filter.created_from)),
        ("created_until", json!(filter.created_until)),
        ("as_of", json!(filter.as_of)),
    ])
}

/// Parses a JSON argument.
pub(super) fn json_argument(name: &str, text: Option<&str>) -> Result<Value, Failure> {
    text.map_or(Ok(Value::Null), |text| {
        serde_json::from_str(text).map_err(|e| Failure::usage(format!("--{name}: not JSON: {e}")))
    })
}

/// Asks before destroying, where a person can answer; otherwise `--yes` is needed.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} Add --yes to do it without being asked.")));
    }
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::usage("nothing was changed"))
}

/// Prints a result as JSON, or by `text`.
pub(super) fn show(json: bool, value: &Value, text: impl FnOnce(&Value) -> String) {
    let out = if json { format!("{value}\n") } else { text(value) };
    render::print(&out);
}
