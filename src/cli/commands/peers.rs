//! The peers: this node's own row for their lists, how they stand, and what they refuse.
//!
//! Not here: the list of peers itself, which is a file (`peers::list`).

use serde_json::{Value, json};

use super::{confirm, memory::items, object, show, trust};
use crate::{
    cli::{
        args::{DeadLetterCommand, PeersCommand},
        client::{Client, Method},
        exit::Failure,
        render,
    },
    peers::{
        list::{self, Row},
        trust::fingerprint,
    },
};

fn peers_text(peers: &Value) -> String {
    let columns = ["name", "endpoint", "settled", "lag", "in_flight", "failures", "dead_letters"];
    format!(
        "{} nodes must have a write\n\n{}",
        peers["quorum"],
        render::table(&items(peers), &columns)
    )
}

fn status_text(peers: &Value) -> String {
    let columns = [
        "name",
        "settled",
        "lag",
        "in_flight",
        "failures",
        "quiet_until",
        "last_heard",
        "clock_offset_ms",
        "dead_letters",
        "quarantined",
        "drifts",
        "trouble",
    ];
    format!(
        "node {} at position {}; {} nodes must have a write\n\n{}",
        peers["node"].as_str().unwrap_or_default(),
        peers["position"],
        peers["quorum"],
        render::table(&items(peers), &columns)
    )
}

/// How the peers stand.
pub(super) async fn status(client: &Client, json: bool) -> Result<(), Failure> {
    let all = client.call(Method::Get, "/api/v1/peers", None).await?;
    show(json, &all, status_text);
    Ok(())
}

fn letters_text(letters: &Value) -> String {
    render::table(&items(letters), &["peer", "seq", "reason", "tries", "next_ms", "detail"])
}

/// This node's row for the lists of others.
async fn row(client: &Client, name: &str, endpoint: &str) -> Result<String, Failure> {
    let row = trust::own(client, name, endpoint).await?;
    let compared = fingerprint(&row)?;
    let row = Row { agents: vec!["*".to_owned()], namespaces: vec!["**".to_owned()], ..row };
    Ok(format!("# compare by another way: {compared}\n{}", list::show(row)))
}

pub(super) async fn peers(
    client: &Client,
    command: &PeersCommand,
    json: bool,
) -> Result<(), Failure> {
    match command {
        PeersCommand::Row { name, endpoint } => {
            render::print(&row(client, name, endpoint).await?);
        }
        PeersCommand::List => {
            let all = client.call(Method::Get, "/api/v1/peers", None).await?;
            show(json, &all, peers_text);
        }
    }
    Ok(())
}

pub(super) async fn dead_letters(
    client: &Client,
    command: &DeadLetterCommand,
    json: bool,
) -> Result<(), Failure> {
    let base = "/api/v1/peers/dead-letters";
    let left = match command {
        DeadLetterCommand::List => client.call(Method::Get, base, None).await?,
        DeadLetterCommand::Retry { peer, seq } => {
            let body = object([("peer", json!(peer)), ("seq", json!(seq))]);
            client.call(Method::Post, &format!("{base}/retry"), Some(body)).await?
        }
        DeadLetterCommand::Purge { peer, seq, yes } => {
            confirm(&format!("Give up what {peer} refuses?"), *yes)?;
            let body = object([("peer", json!(peer)), ("seq", json!(seq))]);
            client.call(Method::Post, &format!("{base}/purge"), Some(body)).await?
        }
    };
    show(json, &left, letters_text);
    Ok(())
}
