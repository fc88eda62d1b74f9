//! Rules, pending actions, and the group of the root.
//!
//! Not here: locks (`lock`).

use serde_json::{Value, json};

use super::{confirm, encode, json_argument, memory::items, object, query, show};
use crate::cli::{
    client::{Client, Method},
    exit::Failure,
    render,
    root_args::{GovernanceCommand, PendingCommand, RootCommand},
};

pub(super) fn fields(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten();
    fields.map(|(name, _)| format!("{name:<20}{}\n", render::field(value, name))).collect()
}

fn rules_text(rules: &Value) -> String {
    let list = |name: &str| rules[name].as_array().cloned().unwrap_or_default();
    let columns = ["id", "version", "effect", "operations", "namespace", "agent", "note"];
    let policies = ["namespace", "version", "hot_keys", "required_scope", "retention_days", "pii"];
    format!(
        "version {}\n\n{}\n{}",
        rules["version"],
        render::table(&list("rules"), &columns),
        render::table(&list("policies"), &policies)
    )
}

pub(super) async fn governance(
    client: &Client,
    command: &GovernanceCommand,
    json: bool,
) -> Result<(), Failure> {
    let done = match command {
        GovernanceCommand::Show { local } => {
            let path = if *local { "/api/v1/rules?local=true" } else { "/api/v1/rules" };
            let rules = client.call(Method::Get, path, None).await?;
            show(json, &rules, rules_text);
            return Ok(());
        }
        GovernanceCommand::PutRule {
            id,
            effect,
            operation,
            namespace,
            by,
            kind,
            tier,
            note,
            expected_version,
        } => {
            let body = object([
                ("effect", json!(effect)),
                ("operations", json!(operation)),
                ("namespace", json!(namespace)),
                ("agent", json!(by)),
                ("kinds", json!(kind)),
                ("tiers", json!(tier)),
                ("note", json!(note)),
                ("expected_version", json!(expected_version)),
            ]);
            let path = format!("/api/v1/rules/{}", encode(id));
            client.call(Method::Put, &path, Some(body)).await?
        }
        GovernanceCommand::RemoveRule { id } => {
            let path = format!("/api/v1/rules/{}", encode(id));
            client.call(Method::Delete, &path, None).await?
        }
        GovernanceCommand::PutPolicy { policy } => {
            let policy = json_argument("policy", Some(policy))?;
            client.call(Method::Put, "/api/v1/policies", Some(policy)).await?
        }
        GovernanceCommand::RemovePolicy { namespace } => {
            let fields = object([("namespace", json!(namespace))]);
            let path = format!("/api/v1/policies{}", query(&fields));
            client.call(Method::Delete, &path, None).await?
        }
        GovernanceCommand::Evaluate { operation, namespace, title } => {
            let body = object([
                ("operation", json!(operation)),
                ("namespace", json!(namespace)),
                ("title", json!(title)),
            ]);
            client.call(Method::Post, "/api/v1/rules/evaluate", Some(body)).await?
        }
    };
    show(json, &done, fields);
    Ok(())
}

/// An action in a line.
fn action_line(action: &Value) -> String {
    let word = |name: &str| render::field(action, name);
    let what = format!("{} {} in {}", word("kind"), word("operation"), word("namespace"));
    let state = match word("decided_by") {
        who if who.is_empty() => word("state"),
        who => format!("{} by {who}", word("state")),
    };
    let needs = match word("state").as_str() {
        "pending" => format!(", proposed by {}, needs {}", word("proposer"), word("approvers")),
        _ => String::new(),
    };
    format!("{} {state}: {what}{needs}\n", word("id"))
}

/// The same, and all else that there is to say of it.
fn action_text(action: &Value) -> String {
    let mut said = action.clone();
    if let Some(fields) = said.as_object_mut() {
        fields.retain(|name, _| !render::field(action, name).is_empty());
    }
    format!("{}\n{}", action_line(action), fields(&said))
}

pub(super) async fn pending(
    client: &Client,
    command: &PendingCommand,
    json: bool,
) -> Result<(), Failure> {
    let decide = async |id: &u64, word: &str, note: &str| {
        let path = format!("/api/v1/pending/{id}/{word}");
        client.call(Method::Post, &path, Some(json!({ "note": note }))).await
    };
    let action = match command {
        PendingCommand::List => {
            let all = client.call(Method::Get, "/api/v1/pending", None).await?;
            show(json, &all, |all| {
                let columns = ["id", "kind", "proposer", "namespace", "approvers", "approvals"];
                render::table(&items(all), &columns)
            });
            return Ok(());
        }
        PendingCommand::Show { id } => {
            let path = format!("/api/v1/pending/{id}");
            show(json, &client.call(Method::Get, &path, None).await?, action_text);
            return Ok(());
        }
        PendingCommand::Propose { kind, operation, namespace, title, payload, approver, ttl } => {
            let request = object([
                ("operation", json!(operation)),
                ("namespace", json!(namespace)),
                ("title", json!(title)),
            ]);
            let body = object([
                ("kind", json!(kind)),
                ("request", request),
                ("payload", json!(payload)),
                ("asked", json!(approver)),
                ("ttl_ms", json!(ttl.map(|ttl| ttl.as_millis() as u64))),
            ]);
            client.call(Method::Post, "/api/v1/pending", Some(body)).await?
        }
        PendingCommand::Approve { id, note } => decide(id, "approve", note).await?,
        PendingCommand::Reject { id, note } => decide(id, "reject", note).await?,
    };
    show(json, &action, action_line);
    Ok(())
}

fn member(text: &str) -> Result<Value, Failure> {
    let parts = text.split_once('=').and_then(|(n, at)| Some((n.parse::<u64>().ok()?, at)));
    let (member, endpoint) = parts.ok_or_else(|| {
        Failure::usage(format!("{text:?}: write MEMBER=HOST:PORT, e.g. 1=10.0.0.1:7747"))
    })?;
    Ok(json!({ "member": member, "endpoint": endpoint }))
}

pub(super) fn status_text(status: &Value) -> String {
    let mut shown = status.clone();
    let members = shown["members"].take();
    let members = members.as_array().cloned().unwrap_or_default();
    format!("{}\n{}", fields(&shown), render::table(&members, &["member", "endpoint", "voter"]))
}

pub(super) async fn root(
    client: &Client,
    command: &RootCommand,
    json: bool,
) -> Result<(), Failure> {
    let post = async |path: &str, body: Option<Value>| {
        client.call(Method::Post, &format!("/api/v1/root/{path}"), body).await
    };
    let status = match command {
        RootCommand::Status => client.call(Method::Get, "/api/v1/root/status", None).await?,
        RootCommand::Init { members } => {
            let members = members.iter().map(|m| member(m)).collect::<Result<Vec<_>, _>>()?;
            post("init", Some(json!({ "members": members }))).await?
        }
        RootCommand::Add { member: text, vote } => {
            let added = member(text)?;
            let number = added["member"].clone();
            let status = post("members", Some(added)).await?;
            match vote {
                true => post(&format!("members/{number}/promote"), None).await?,
                false => status,
            }
        }
        RootCommand::Remove { member, force, yes } => {
            confirm(&format!("Take member {member} out of the root?"), *yes)?;
            let force = if *force { "?force=true" } else { "" };
            let path = format!("/api/v1/root/members/{member}{force}");
            client.call(Method::Delete, &path, None).await?
        }
        RootCommand::Replace { gone, member: text, yes } => {
            confirm(&format!("Put {text} in the place of member {gone}?"), *yes)?;
            post(&format!("members/{gone}/replace"), Some(member(text)?)).await?
        }
        RootCommand::Transfer { member } => {
            post("transfer", Some(json!({ "member": member }))).await?
        }
        RootCommand::Snapshot => post("snapshot", None).await?,
        RootCommand::Recover(_) => return Err(Failure::usage("this runs without a node")),
        RootCommand::Readmit { node, reason } => {
            post("readmit", Some(json!({ "node": node, "reason": reason }))).await?
        }
        RootCommand::Digest => {
            let digest = client.call(Method::Get, "/api/v1/root/digest", None).await?;
            show(json, &digest, fields);
            return Ok(());
        }
        RootCommand::Agent { .. }
        | RootCommand::Agents { .. }
        | RootCommand::RotateKey { .. }
        | RootCommand::Revoke { .. } => return agents(client, command, json).await,
    };
    show(json, &status, status_text);
    Ok(())
}

/// The registry of agents.
async fn agents(client: &Client, command: &RootCommand, json: bool) -> Result<(), Failure> {
    let post = async |path: &str, body: Value| {
        client.call(Method::Post, &format!("/api/v1/root/agents{path}"), Some(body)).await
    };
    let agent = match command {
        RootCommand::Agent { name, affiliation, human, public_key } => {
            let body = object([
                ("agent_id", json!(name)),
                ("affiliation", json!(affiliation)),
                ("human", json!(human)),
                ("public_key", json!(public_key)),
            ]);
            post("", body).await?
        }
        RootCommand::RotateKey { name, public_key } => {
            let path = format!("/{}/rotate-key", encode(name));
            post(&path, json!({ "public_key": public_key })).await?
        }
        RootCommand::Revoke { name, reason, yes } => {
            confirm(&format!("Shut agent {name} out everywhere, for ever?"), *yes)?;
            post(&format!("/{}/revoke", encode(name)), json!({ "reason": reason })).await?
        }
        RootCommand::Agents { after, limit } => {
            let page = object([("after", json!(after)), ("limit", json!(limit))]);
            let path = format!("/api/v1/root/agents{}", query(&page));
            let agents = client.call(Method::Get, &path, None).await?;
            show(json, &agents, |agents| {
                let columns = ["agent_id", "affiliation", "human", "revoked", "public_key"];
                render::table(&items(agents), &columns)
            });
            return Ok(());
        }
        _ => return Err(Failure::usage("this is no command about agents")),
    };
    show(json, &agent, fields);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_told_in_a_line() {
        let mut action = json!({
            "id": 11, "kind": "memory.delete", "operation": "delete", "namespace": "acme/prod", "state": "pending",
            "proposer": "carl", "approvers": ["human"], "decided_by": null, "note": "",
        });
        let pending =
            "11 pending: memory.delete delete in acme/prod, proposed by carl, needs human\n";
        assert_eq!(action_line(&action), pending);
        (action["state"], action["decided_by"]) = ("rejected".into(), "bob".into());
        let line = "11 rejected by bob: memory.delete delete in acme/prod\n";
        assert_eq!(action_line(&action), line);
        let text = action_text(&action);
        assert!(text.starts_with(line) && text.contains("proposer            carl"), "{text}");
        assert!(!text.contains("note"), "{text}");
    }
}
