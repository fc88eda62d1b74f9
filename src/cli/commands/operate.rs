//! Links, history, agents, and looking after a node.

use serde_json::{Value, json};

use super::{confirm, encode, filter_json, memory::items, object, query, show};
use crate::cli::{
    args::{AgentsCommand, Command, VectorsCommand},
    client::{Client, Method},
    exit::{Code, Failure},
    render,
    root_args::AuditArgs,
};
use crate::config::Config;

pub(super) async fn run(
    client: &Client,
    command: &Command,
    config: &Config,
    json: bool,
) -> Result<(), Failure> {
    match command {
        Command::Link { source, relation, target } => {
            let body = json!({ "source": source, "relation": relation, "target": target });
            let done = client.call(Method::Post, "/api/v1/links", Some(body)).await?;
            show(json, &done, render::written);
        }
        Command::Unlink { id } => {
            let path = format!("/api/v1/links/{}", encode(id));
            let done = client.call(Method::Delete, &path, None).await?;
            show(json, &done, render::written);
        }
        Command::Graph { id, depth } => {
            let body = json!({ "id": id, "depth": depth });
            let graph = client.call(Method::Post, "/api/v1/kg/query", Some(body)).await?;
            show(json, &graph, graph_text);
        }
        Command::Paths { from, to } => {
            let body = json!({ "from": from, "to": to });
            let paths = client.call(Method::Post, "/api/v1/kg/find_paths", Some(body)).await?;
            show(json, &paths, |paths| {
                items(paths)
                    .iter()
                    .map(|p| render::field(p, "nodes").replace(' ', " → ") + "\n")
                    .collect()
            });
        }
        Command::Timeline { id, limit, filter } => {
            let body = object([
                ("id", json!(id)),
                ("limit", json!(limit)),
                ("filter", filter_json(filter)),
            ]);
            let all = client.call(Method::Post, "/api/v1/kg/timeline", Some(body)).await?;
            show(json, &all, |all| {
                render::table(
                    &items(all),
                    &["position", "at", "agent_id", "event_type", "memory_id"],
                )
            });
        }
        Command::Namespaces => {
            let all = client.call(Method::Get, "/api/v1/namespaces", None).await?;
            show(json, &all, |all| render::table(&items(all), &["namespace", "memories"]));
        }
        Command::Watch { after } => return client.watch(*after).await,
        Command::Agents { command } => return agents(client, command, json).await,
        Command::Quota { of, namespace } => {
            let fields = object([("agent_id", json!(of)), ("namespace", json!(namespace))]);
            let path = format!("/api/v1/quota/status{}", query(&fields));
            let quota = client.call(Method::Get, &path, None).await?;
            show(json, &quota, fields_text);
        }
        Command::Status => {
            let status = client.call(Method::Get, "/api/v1/status", None).await?;
            show(json, &status, fields_text);
        }
        Command::Vectors { command } => return vectors(client, command, json).await,
        Command::Audit(which) => return audit(client, which, json).await,
        Command::VerifySignedEventsChain { since, format } => {
            return verify(client, *since, json || format == "json").await;
        }
        Command::Doctor { hardening } => return doctor(client, config, *hardening, json).await,
        other => return Err(Failure::usage(format!("{other:?} is not offered here"))),
    }
    Ok(())
}

async fn vectors(client: &Client, command: &VectorsCommand, json: bool) -> Result<(), Failure> {
    match command {
        VectorsCommand::Dead => {
            let dead = client.call(Method::Get, "/api/v1/admin/vectors/dead", None).await?;
            show(json, &dead, |dead| render::table(&items(dead), &["id", "problem"]));
        }
        VectorsCommand::Retry => {
            let done = client.call(Method::Post, "/api/v1/admin/vectors/retry", None).await?;
            show(json, &done, fields_text);
        }
    }
    Ok(())
}

async fn audit(client: &Client, which: &AuditArgs, json: bool) -> Result<(), Failure> {
    let fields = object([
        ("after", json!(which.after)),
        ("type", json!(which.type_prefix)),
        ("limit", json!(which.limit)),
    ]);
    let path = format!("/api/v1/admin/audit{}", query(&fields));
    let rows = client.call(Method::Get, &path, None).await?;
    let columns = ["sequence", "at", "agent_id", "event_type", "subject", "facts", "id"];
    show(json, &rows, |rows| render::table(&items(rows), &columns));
    Ok(())
}

fn fields_text(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten();
    fields.map(|(name, _)| format!("{name:<20}{}\n", render::field(value, name))).collect()
}

fn graph_text(graph: &Value) -> String {
    let mut out = String::new();
    for node in graph["nodes"].as_array().into_iter().flatten() {
        let memory = &node["memory"];
        out.push_str(&format!(
            "{}  {}  {}\n",
            node["distance"],
            render::field(memory, "id"),
            render::field(memory, "title")
        ));
    }
    for link in graph["links"].as_array().into_iter().flatten() {
        out.push_str(&format!(
            "   {} —{}→ {}\n",
            render::field(link, "source"),
            render::field(link, "relation"),
            render::field(link, "target")
        ));
    }
    out
}

async fn agents(client: &Client, command: &AgentsCommand, json: bool) -> Result<(), Failure> {
    match command {
        AgentsCommand::List => {
            let all = client.call(Method::Get, "/api/v1/agents", None).await?;
            show(json, &all, |all| {
                render::table(&items(all), &["agent_id", "affiliation", "has_token", "revoked"])
            });
        }
        AgentsCommand::Register { name, affiliation, token } => {
            let body =
                json!({ "agent_id": name, "affiliation": affiliation, "issue_token": token });
            let done = client.call(Method::Post, "/api/v1/agents", Some(body)).await?;
            show(json, &done, fields_text);
        }
        AgentsCommand::Revoke { name, yes } => {
            confirm(&format!("Refuse agent {name} everywhere from now on?"), *yes)?;
            let path = format!("/api/v1/agents/{}/revoke", encode(name));
            let done = client.call(Method::Post, &path, None).await?;
            show(json, &done, fields_text);
        }
    }
    Ok(())
}

async fn verify(client: &Client, since: i64, json: bool) -> Result<(), Failure> {
    let body = json!({ "since": since });
    let report = client.call(Method::Post, "/api/v1/admin/verify-chain", Some(body)).await?;
    show(json, &report, fields_text);
    if report["chain_holds"] == json!(true) {
        return Ok(());
    }
    Err(Failure::found("the audit chain does not hold"))
}

async fn doctor(
    client: &Client,
    config: &Config,
    hardening: bool,
    json: bool,
) -> Result<(), Failure> {
    let mut report = client.call(Method::Post, "/api/v1/admin/doctor", None).await?;
    let mut findings = report["findings"].as_array().cloned().unwrap_or_default();
    if hardening {
        findings.extend(super::hardening::check(config));
        report["findings"] = json!(findings);
        report["healthy"] = json!(findings.is_empty());
    }
    show(json, &report, |_| {
        if findings.is_empty() {
            "no problem found\n".to_owned()
        } else {
            findings
                .iter()
                .map(|f| {
                    format!("{}: {}\n", render::field(f, "check"), render::field(f, "problem"))
                })
                .collect()
        }
    });
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Code::CheckFailed, format!("{} problems found", findings.len())))
}
