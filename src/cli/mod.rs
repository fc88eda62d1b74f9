//! The command line: one binary that serves, and talks to a node that serves.
//!
//! A command reaches the node over its local socket when a daemon runs on the data folder, over `--url`
//! when one is given, and otherwise opens the data folder itself for the length of the command.
//!
//! Invariants: standard output carries results only (`--json`: one JSON document, or one a line);
//! everything else goes to standard error; exit codes are those of [`exit::Code`].
//!
//! Not here: what operations mean (the service).

pub mod args;
pub mod bench_args;
pub mod client;
pub mod commands;
pub mod exit;
pub mod pki_args;
mod render;
pub mod root_args;
mod serve;
pub mod up_args;

use std::{ffi::OsString, path::PathBuf};

use clap::Parser;
use runtime::disk::OsDisk;

pub use self::args::{Cli, Command};
use self::{args::IdentityCommand, client::Client, exit::Failure, root_args::RootCommand};
use crate::{
    config::{Config, ConfigError, Layers, Origin},
    telemetry::log::{self, LogSettings},
};

/// The configuration with its origins.
pub struct Settings {
    /// What everything else uses.
    pub config: Config,
    /// Where each value comes from.
    pub layers: Layers,
}

/// Folder for data when nothing is set: `$XDG_DATA_HOME/hivemem` or `~/.local/share/hivemem`.
fn default_data_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    match (set("XDG_DATA_HOME"), set("HOME")) {
        (Some(data), _) => data.join("hivemem"),
        (None, Some(home)) => home.join(".local/share/hivemem"),
        (None, None) => PathBuf::from("hivemem-data"),
    }
}

/// The configuration file: the one named, or `hivemem.toml` in the data folder if it exists.
fn read_file(cli: &Cli) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let unreadable = |path: &PathBuf, error: std::io::Error| ConfigError::Unreadable {
        path: path.clone(),
        problem: error.to_string(),
    };
    if let Some(path) = &cli.config {
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, e))?;
        return Ok(Some((path.clone(), text)));
    }
    let folder = cli.data_dir.clone().unwrap_or_else(default_data_dir);
    let path = folder.join("hivemem.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, error)),
    }
}

/// Merges all layers.
///
/// # Errors
/// The first problem, with its origin.
pub fn settings(cli: &Cli) -> Result<Settings, ConfigError> {
    let mut layers = Layers::default();
    if let Some(folder) = &cli.data_dir {
        layers.add("data_dir", folder.display().to_string(), Origin::Flag)?;
    }
    if let Some(url) = &cli.store_url {
        layers.add("storage.url", url.clone(), Origin::Flag)?;
    }
    if let Some(agent) = &cli.agent {
        layers.add("agent", agent.clone(), Origin::Flag)?;
    }
    for pair in &cli.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| ConfigError::Unknown {
            origin: Origin::Flag,
            key: format!("{pair} (write --set key=value)"),
            suggestion: None,
        })?;
        layers.add(key, value.to_owned(), Origin::Flag)?;
    }
    layers.add_environment(std::env::vars())?;
    if let Some((path, text)) = read_file(cli)? {
        layers.add_file(path, &text)?;
    }
    let config = Config::build(&layers, default_data_dir())?;
    Ok(Settings { config, layers })
}

/// What to log: a command says less than a daemon, unless it is asked to say more.
fn log_settings(cli: &Cli, settings: &Settings) -> LogSettings {
    let serves = matches!(cli.command, Command::Serve);
    let asked = settings.layers.get("log.filter").1 != Origin::Default;
    let filter =
        if serves || asked { settings.config.log_filter.clone() } else { "warn".to_owned() };
    LogSettings { filter, json: settings.config.log_json }
}

async fn dispatch(mut cli: Cli) -> Result<(), Failure> {
    commands::migrate::configure(&mut cli)?;
    if let Command::Completions { shell } = &cli.command {
        return commands::local::completions(*shell);
    }
    if matches!(cli.command, Command::Man) {
        return commands::local::man();
    }
    if let Command::Pki { command } = &cli.command {
        return commands::pki::run(&OsDisk, command, cli.json);
    }
    match &cli.command {
        Command::Up(args) => return commands::up::run(args, &cli.set, cli.json).await,
        Command::Demo { folder, cast } => {
            return commands::demo::run(folder.as_deref(), cast.as_deref()).await;
        }
        Command::Down { folder } => return commands::up::down(folder, cli.json).await,
        _ => {}
    }
    let settings = settings(&cli)?;
    log::install(&log_settings(&cli, &settings)).map_err(|e| Failure::usage(e.to_string()))?;
    let disk = OsDisk::shared();
    match &cli.command {
        Command::Serve => return serve::serve(disk, settings.config).await,
        Command::Config { command } => {
            return commands::local::config(&settings, command, cli.json);
        }
        Command::Identity { command: IdentityCommand::Import(args) } => {
            return commands::trust::import(disk, &settings.config, args, cli.json);
        }
        Command::Identity { command } if !matches!(command, IdentityCommand::Export(_)) => {
            return commands::local::identity(disk, &settings.config, command, cli.json);
        }
        Command::SchemaInit => {
            return commands::local::schema_init(disk, &settings.config, cli.json).await;
        }
        Command::Migrate(args) => {
            return commands::migrate::run(disk, &settings.config, args, cli.json).await;
        }
        Command::Restore { from } => {
            return commands::transfer::restore(disk, &settings.config, from).await;
        }
        Command::Root { command: RootCommand::Recover(args) } => {
            return commands::recover::run(disk, &settings.config, args, cli.json).await;
        }
        Command::Bench { command } => {
            return commands::bench::run(disk, &settings.config, command, cli.json).await;
        }
        _ => {}
    }
    let client = Client::open(disk, &cli, &settings.config).await?;
    let done = commands::run(&client, &cli, &settings.config).await;
    client.close().await;
    done
}

/// Runs the command line; the process ends with the returned code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap prints each to where it belongs.
            let code = if error.use_stderr() { exit::Code::Usage } else { exit::Code::Ok };
            let _ = error.print();
            return code as u8;
        }
    };
    let json = cli.json;
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match threads {
        Ok(threads) => threads.block_on(dispatch(cli)),
        Err(error) => Err(Failure::start(format!("cannot start the runtime: {error}"))),
    };
    match outcome {
        Ok(()) => exit::Code::Ok as u8,
        Err(failure) => {
            failure.print(json);
            failure.exit_code()
        }
    }
}
