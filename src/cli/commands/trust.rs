//! Handing this node's row to others, and adding theirs to the list: trust on first use.
//!
//! Invariant: `TRU-1`: without the fingerprint, or a person who says that it is the same, nothing is written.
//!
//! Not here: the row and its fingerprint (`peers::trust`), the node's private key (`local`).

use std::path::Path;

use runtime::disk::DiskRef;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{confirm, show};
use crate::{
    cli::{
        args::{IdentityExportArgs, IdentityImportArgs},
        client::{Client, Method},
        exit::Failure,
        render,
    },
    config::Config,
    peers::{
        PeersError,
        list::Row,
        trust::{self, add, fingerprint, read, same},
    },
};

impl From<PeersError> for Failure {
    fn from(error: PeersError) -> Self {
        Failure::usage(error.to_string())
    }
}

/// What a node says of itself.
pub(super) async fn own(client: &Client, name: &str, endpoint: &str) -> Result<Row, Failure> {
    let own = client.call(Method::Get, "/api/v1/peers/self", None).await?;
    let texts = |field: &str| -> Vec<String> {
        let all = own[field].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let node = own["node"].as_str().and_then(|node| Uuid::try_parse(node).ok());
    let node = node.ok_or_else(|| Failure::usage("the node did not say which one it is"))?;
    Ok(trust::row(name, node, endpoint, texts("public_keys"), texts("certificates")))
}

/// Prints or writes this node's row, and its fingerprint.
pub(super) async fn export(
    client: &Client,
    args: &IdentityExportArgs,
    as_json: bool,
) -> Result<(), Failure> {
    let row = own(client, &args.name, &args.endpoint).await?;
    let compared = fingerprint(&row)?;
    let text = trust::export(row.clone())?;
    match &args.out {
        None if as_json => {
            render::print(&format!("{}\n", json!({ "row": row, "fingerprint": compared })))
        }
        None => render::print(&text),
        Some(path) => {
            let unwritable = |e| Failure::usage(format!("cannot write {}: {e}", path.display()));
            std::fs::write(path, text).map_err(unwritable)?;
            show(as_json, &json!({ "fingerprint": compared }), |_| format!("{compared}\n"));
        }
    }
    Ok(())
}

/// Adds another node's row to the list of peers.
///
/// # Errors
/// [`Failure`]; then the list is as it was.
pub fn import(
    disk: DiskRef,
    config: &Config,
    args: &IdentityImportArgs,
    as_json: bool,
) -> Result<(), Failure> {
    let Some(federation) = &config.federation else {
        return Err(Failure::usage(
            "federation.peers_file: is not set; it names the list to add to",
        ));
    };
    let given = read(&*disk, &args.file)?;
    let name = args.name.clone().unwrap_or(given.name.clone());
    // What it may do is decided here, whatever the file says.
    let scope = (args.agents.clone(), args.namespaces.clone());
    let row = Row { name, agents: scope.0, namespaces: scope.1, ..given };
    let compared = fingerprint(&row)?;
    check(&args.file, &row, &compared, args.fingerprint.as_deref())?;
    let told = json!({
        "peer": row.name, "node": row.node, "fingerprint": compared,
        "agents": row.agents, "namespaces": row.namespaces,
    });
    add(&*disk, &federation.peers_file, row)?;
    show(as_json, &told, |told| {
        let nothing = told["agents"] == json!([]) && told["namespaces"] == json!([]);
        let hint = "; it may send and see nothing until its row says so";
        let list = federation.peers_file.display();
        format!("added to {list}{}\n", if nothing { hint } else { "" })
    });
    Ok(())
}

/// Compares, or has a person compare.
fn check(file: &Path, row: &Row, compared: &str, given: Option<&str>) -> Result<(), Failure> {
    let shown = format!(
        "{} ({})\nnode         {}\nfingerprint  {compared}",
        row.name,
        file.display(),
        row.node
    );
    match given {
        Some(given) if same(given, compared) => Ok(()),
        Some(given) => Err(Failure::usage(format!(
            "--fingerprint: {given} is not the fingerprint of {}, which is {compared}; nothing was added: \
             ask the node's operator again, by another way than the file came by",
            file.display()
        ))),
        None => confirm_by_eye(&shown),
    }
}

fn confirm_by_eye(shown: &str) -> Result<(), Failure> {
    use std::io::IsTerminal as _;
    if !std::io::stdin().is_terminal() {
        let detail = "--fingerprint: is needed where nobody can compare";
        return Err(Failure::usage(format!("{detail}; nothing was added\n{shown}")));
    }
    eprintln!("{shown}");
    confirm("Is this the fingerprint that the node's operator told you by another way?", false)
}
