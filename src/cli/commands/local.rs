//! Commands that need no node: identity, configuration, completions, manual page.

use clap::CommandFactory;
use runtime::{blocking, disk::DiskRef};
use serde_json::{Map, Value, json};
use storage::postgres;

use super::show;
use crate::{
    cli::{
        Cli, Settings,
        args::{ConfigCommand, IdentityCommand},
        exit::Failure,
        render,
    },
    config::Config,
    identity::{Keyring, PublicIdentity, read_secret},
    node,
};

/// Prints a completion script.
///
/// # Errors
/// None in practice; the signature is that of every command.
pub fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hivemem", &mut script);
    render::print(&String::from_utf8_lossy(&script));
    Ok(())
}

/// Prints the manual page in roff.
///
/// # Errors
/// When the page cannot be rendered.
pub fn man() -> Result<(), Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|e| Failure::usage(format!("cannot render the manual page: {e}")))?;
    render::print(&String::from_utf8_lossy(&page));
    Ok(())
}

/// Shows or checks the configuration.
///
/// # Errors
/// A file that the configuration names and that cannot be used.
pub fn config(settings: &Settings, command: &ConfigCommand, as_json: bool) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show { origin } => {
            let shown = |r: &crate::config::Resolved| match (r.secret, r.value.is_empty()) {
                (true, false) => "(set)".to_owned(),
                _ => r.value.clone(),
            };
            let all = settings.layers.resolved();
            let value: Value = all
                .iter()
                .map(|r| {
                    let entry = json!({ "value": shown(r), "origin": r.origin.to_string() });
                    (r.setting.to_owned(), entry)
                })
                .collect::<serde_json::Map<_, _>>()
                .into();
            show(as_json, &value, |_| {
                all.iter()
                    .map(|r| {
                        let from =
                            if *origin { format!("  # {}", r.origin) } else { String::new() };
                        format!("{:<32} = {}{from}\n", r.setting, shown(r))
                    })
                    .collect()
            });
        }
        ConfigCommand::Check => {
            check_files(&settings.config)?;
            show(as_json, &json!({ "ok": true }), |_| "the configuration is valid\n".to_owned());
        }
    }
    Ok(())
}

/// Every file that the configuration names can be used.
fn check_files(config: &Config) -> Result<(), Failure> {
    let disk = runtime::disk::OsDisk::shared();
    for path in [&config.api_key_file, &config.operator_key_file].into_iter().flatten() {
        read_secret(&*disk, path).map_err(|e| Failure::usage(e.to_string()))?;
    }
    node::database(&disk, config).map_err(|e| Failure::usage(e.to_string()))?;
    Keyring::new(disk, &config.data_dir).load()?;
    Ok(())
}

/// Brings a database to the schema of this build.
///
/// # Errors
/// Without storage.url; when the database cannot be reached, or does not fit.
pub async fn schema_init(disk: DiskRef, config: &Config, as_json: bool) -> Result<(), Failure> {
    let database = node::database(&disk, config).map_err(|e| Failure::usage(e.to_string()))?;
    let Some(database) = database else {
        return Err(Failure::usage(
            "no database is configured; set storage.url, or give --store-url postgres://…",
        ));
    };
    let done = blocking::run(move || postgres::init(disk, &database)).await;
    let done = done.map_err(|error| Failure::start(error.to_string()))?;
    let server: Value = done
        .server
        .iter()
        .map(|(name, version)| (name.clone(), json!(version)))
        .collect::<Map<_, _>>()
        .into();
    let value = json!({
        "place": done.place, "found": done.found, "schema": done.version, "server": server
    });
    show(as_json, &value, |_| {
        let what = match done.found {
            found if found == done.version => "has".to_owned(),
            0 => "is empty no more: it has".to_owned(),
            found => format!("had schema {found} and has"),
        };
        let with = done.server.iter().map(|(name, version)| format!("{name} {version}"));
        let with = with.collect::<Vec<_>>().join(", ");
        format!("the database at {} {what} schema {}; {with}\n", done.place, done.version)
    });
    Ok(())
}

fn identity_text(id: &PublicIdentity) -> String {
    let state = if id.current { "current" } else { "retired" };
    format!("{state}  {}  {}\n         {}\n", id.key_id, id.public_key, id.fingerprint)
}

/// Makes, takes over or lists the signing key.
///
/// # Errors
/// [`crate::identity::IdentityError`] as a failure.
pub fn identity(
    disk: DiskRef,
    config: &Config,
    command: &IdentityCommand,
    as_json: bool,
) -> Result<(), Failure> {
    let ring = Keyring::new(disk, &config.data_dir);
    let all = match command {
        IdentityCommand::Generate { force } => vec![ring.generate(*force)?.public()],
        IdentityCommand::Restore { file, force } => vec![ring.import(file, *force)?.public()],
        IdentityCommand::List => ring.list()?,
        // Those are about rows of the list of peers.
        IdentityCommand::Export(_) | IdentityCommand::Import(_) => return Ok(()),
    };
    let value = match command {
        IdentityCommand::List => json!(all),
        _ => json!(all.first()),
    };
    show(as_json, &value, |_| all.iter().map(identity_text).collect());
    Ok(())
}
