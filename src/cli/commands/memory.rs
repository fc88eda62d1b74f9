//! Memories: store, recall, get, list, update, promote, delete, forget, archive.

use std::io::{IsTerminal, Read};

use serde_json::{Value, json};

use super::{confirm, encode, filter_json, json_argument, object, query, show};
use crate::api::call::Conditions;
use crate::cli::{
    args::{ArchiveCommand, Command, ConflictsCommand, DraftArgs, FreshArgs, UpdateArgs},
    client::{Client, Method},
    exit::Failure,
    render,
};

pub(super) async fn run(client: &Client, command: &Command, json: bool) -> Result<(), Failure> {
    match command {
        Command::Store(draft) => store(client, draft, json).await,
        Command::CheckDuplicate(draft) => check_duplicate(client, draft, json).await,
        Command::Recall { .. } => recall(client, command, json).await,
        Command::Get { id, fresh } => {
            let path = memory_path(id, &query(&fresh_json(fresh)));
            let memory = client.call(Method::Get, &path, None).await?;
            show(json, &memory, render::memory);
            Ok(())
        }
        Command::List { limit, after, fresh, filter } => {
            let mut fields = filter_json(filter);
            merge(&mut fields, fresh_json(fresh));
            list(client, "memories", *limit, after.as_deref(), fields, json).await
        }
        Command::Update(patch) => update(client, patch, json).await,
        Command::Promote { id, tier } => {
            let body = json!({ "tier": tier });
            let done = client.call(Method::Post, &memory_path(id, "/promote"), Some(body)).await?;
            show(json, &done, render::written);
            Ok(())
        }
        Command::Delete { id, reason, yes, dry_run } => {
            delete(client, id, reason.as_deref(), *yes, *dry_run, json).await
        }
        Command::Forget { .. } => forget(client, command, json).await,
        Command::Archive { command } => archive(client, command, json).await,
        Command::Conflicts { command } => conflicts(client, command, json).await,
        other => Err(Failure::usage(format!("{other:?} is no command of this family"))),
    }
}

fn memory_path(id: &str, rest: &str) -> String {
    format!("/api/v1/memories/{}{rest}", encode(id))
}

/// The content given, or standard input.
fn content(given: Option<&str>) -> Result<String, Failure> {
    match given {
        Some("-") => {}
        Some(text) => return Ok(text.to_owned()),
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::usage(
                "content is missing: give it as the second argument or on standard input",
            ));
        }
        None => {}
    }
    let mut text = String::new();
    std::io::stdin()
        .take(types::limits::CONTENT_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|e| Failure::usage(format!("content: standard input is not UTF-8 text: {e}")))?;
    Ok(text)
}

fn draft_json(draft: &DraftArgs) -> Result<Value, Failure> {
    Ok(object([
        ("title", json!(draft.title)),
        ("content", json!(content(draft.content.as_deref())?)),
        ("namespace", json!(draft.namespace)),
        ("tier", json!(draft.tier)),
        ("tags", json!(draft.tag)),
        ("priority", json!(draft.priority)),
        ("confidence", json!(draft.confidence)),
        ("source", json!(draft.source)),
        ("kind", json!(draft.kind)),
        ("scope", json!(draft.scope)),
        ("metadata", json_argument("metadata", draft.metadata.as_deref())?),
        ("expires_at", json!(draft.expires_at)),
        ("on_conflict", json!(draft.on_conflict)),
    ]))
}

async fn store(client: &Client, draft: &DraftArgs, json: bool) -> Result<(), Failure> {
    let body = draft_json(draft)?;
    let visible = |key: &str| key.bytes().all(|b| (b' '..=b'~').contains(&b));
    if draft.idempotency_key.as_deref().is_some_and(|key| !visible(key)) {
        return Err(Failure::usage(
            "--idempotency-key: needs visible ASCII characters on one line",
        ));
    }
    let once =
        Conditions { idempotency_key: draft.idempotency_key.as_deref(), ..Conditions::default() };
    let done = client.call_if(Method::Post, "/api/v1/memories", Some(body), once).await?;
    show(json, &done, render::written);
    Ok(())
}

async fn check_duplicate(client: &Client, draft: &DraftArgs, json: bool) -> Result<(), Failure> {
    let body = object([
        ("title", json!(draft.title)),
        ("content", json!(content(draft.content.as_deref())?)),
        ("namespace", json!(draft.namespace)),
    ]);
    let found = client.call(Method::Post, "/api/v1/check-duplicate", Some(body)).await?;
    show(json, &found, |found| {
        let rows = items(found);
        let line = |row: &Value| {
            let memory = row.get("memory").unwrap_or(&Value::Null);
            format!(
                "{}  {}  {}\n",
                render::field(row, "similarity"),
                render::field(memory, "id"),
                render::field(memory, "title")
            )
        };
        if rows.is_empty() {
            "nothing similar\n".to_owned()
        } else {
            rows.iter().map(line).collect()
        }
    });
    Ok(())
}

/// The rows of an answer that is a list or a page.
pub(super) fn items(value: &Value) -> Vec<Value> {
    let list = value.as_array().or_else(|| value.get("items").and_then(Value::as_array));
    list.cloned().unwrap_or_default()
}

async fn recall(client: &Client, command: &Command, json: bool) -> Result<(), Failure> {
    let Command::Recall { query, limit, token_budget, mode, explain, fresh, filter } = command
    else {
        return Err(Failure::usage("not a recall"));
    };
    let mut body = object([
        ("query", json!(query)),
        ("limit", json!(limit)),
        ("token_budget", json!(token_budget)),
        ("mode", json!(mode)),
        ("explain", json!(explain)),
        ("filter", filter_json(filter)),
    ]);
    merge(&mut body, fresh_json(fresh));
    let answer = client.call(Method::Post, "/api/v1/recall", Some(body)).await?;
    show(json, &answer, render::hits);
    Ok(())
}

async fn list(
    client: &Client,
    what: &str,
    limit: u32,
    after: Option<&str>,
    mut fields: Value,
    json: bool,
) -> Result<(), Failure> {
    fields["limit"] = json!(limit);
    if let Some(after) = after {
        fields["after"] = json!(after);
    }
    let page = client.call(Method::Get, &format!("/api/v1/{what}{}", query(&fields)), None).await?;
    show(json, &page, |page| {
        let next = render::field(page, "next");
        let more = if next.is_empty() { String::new() } else { format!("more: --after {next}\n") };
        render::memories(&items(page)) + &more
    });
    Ok(())
}

/// How new an answer must be, as a request says it.
fn fresh_json(fresh: &FreshArgs) -> Value {
    object([("min_position", json!(fresh.min_position)), ("consistency", json!(fresh.consistency))])
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

async fn conflicts(client: &Client, command: &ConflictsCommand, json: bool) -> Result<(), Failure> {
    let ConflictsCommand::List { limit, after } = command;
    let fields = object([("limit", json!(limit)), ("after", json!(after))]);
    let path = format!("/api/v1/conflicts{}", query(&fields));
    let page = client.call(Method::Get, &path, None).await?;
    show(json, &page, conflicts_text);
    Ok(())
}

fn conflicts_text(page: &Value) -> String {
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut out = String::new();
    for conflict in items(page) {
        out.push_str(&format!(
            "{}  {}  {}  differ in: {}\n",
            render::field(&conflict, "id"),
            render::field(&conflict, "namespace"),
            render::field(&conflict, "title"),
            texts(&conflict["differs"]).join(", ")
        ));
        for record in conflict["records"].as_array().into_iter().flatten() {
            out.push_str(&format!(
                "  {}  made by {} at {}, changed {}\n",
                render::field(record, "id"),
                render::field(record, "origin"),
                render::field(record, "created_at"),
                render::field(record, "updated_at")
            ));
        }
    }
    let next = render::field(page, "next");
    match (out.is_empty(), next.is_empty()) {
        (true, _) => "no conflicts\n".to_owned(),
        (false, true) => out,
        (false, false) => format!("{out}more: --after {next}\n"),
    }
}

async fn update(client: &Client, patch: &UpdateArgs, json: bool) -> Result<(), Failure> {
    let mut body = object([
        ("title", json!(patch.title)),
        ("content", json!(patch.content)),
        ("tier", json!(patch.tier)),
        ("add_tags", json!(patch.add_tag)),
        ("remove_tags", json!(patch.remove_tag)),
        ("priority", json!(patch.priority)),
        ("confidence", json!(patch.confidence)),
        ("kind", json!(patch.kind)),
        ("scope", json!(patch.scope)),
        ("metadata", json_argument("metadata", patch.metadata.as_deref())?),
        ("expected_version", json!(patch.expected_version)),
    ]);
    match patch.expires_at.as_deref() {
        None => {}
        Some("never") => body["expires_at"] = Value::Null,
        Some(at) => body["expires_at"] = json!(at),
    }
    let done = client.call(Method::Patch, &memory_path(&patch.id, ""), Some(body)).await?;
    show(json, &done, render::written);
    Ok(())
}

async fn delete(
    client: &Client,
    id: &str,
    reason: Option<&str>,
    yes: bool,
    dry_run: bool,
    json: bool,
) -> Result<(), Failure> {
    let memory = client.call(Method::Get, &memory_path(id, ""), None).await?;
    if dry_run {
        show(json, &memory, |m| {
            format!("would delete {}  {}\n", render::field(m, "id"), render::field(m, "title"))
        });
        return Ok(());
    }
    confirm(&format!("Delete {:?} for good?", render::field(&memory, "title")), yes)?;
    // What was shown is what is deleted, not a version that came after it.
    let as_shown =
        Conditions { expected_version: memory["version"].as_u64(), ..Conditions::default() };
    let fields = object([("reason", json!(reason))]);
    let path = memory_path(&render::field(&memory, "id"), &query(&fields));
    let done = client.call_if(Method::Delete, &path, None, as_shown).await?;
    show(json, &done, |done| format!("deleted {}\n", render::field(done, "id")));
    Ok(())
}

async fn forget(client: &Client, command: &Command, json: bool) -> Result<(), Failure> {
    let Command::Forget { namespace, within, title, tier, reason, yes, dry_run } = command else {
        return Err(Failure::usage("not a forget"));
    };
    let mut body = object([
        ("namespace", json!(namespace)),
        ("namespace_mode", json!(within.then_some("within"))),
        ("title", json!(title)),
        ("tier", json!(tier)),
        ("reason", json!(reason)),
        ("dry_run", json!(true)),
    ]);
    let path = "/api/v1/forget";
    let listed = |answer: &Value, verb: &str| -> String {
        let ids = answer["ids"].as_array().cloned().unwrap_or_default();
        let titles = answer["titles"].as_array().cloned().unwrap_or_default();
        let mut out = format!("{verb} {} memories\n", ids.len());
        for (id, title) in ids.iter().zip(&titles) {
            out.push_str(&format!(
                "  {}  {}\n",
                id.as_str().unwrap_or(""),
                title.as_str().unwrap_or("")
            ));
        }
        out
    };
    if !yes || *dry_run {
        let would = client.call(Method::Post, path, Some(body.clone())).await?;
        if *dry_run {
            show(json, &would, |answer| listed(answer, "would forget"));
            return Ok(());
        }
        eprint!("{}", listed(&would, "would forget"));
        if would["ids"].as_array().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        confirm("Move them into the archive?", false)?;
    }
    body["dry_run"] = json!(false);
    let done = client.call(Method::Post, path, Some(body)).await?;
    show(json, &done, |answer| listed(answer, "forgot"));
    Ok(())
}

async fn archive(client: &Client, command: &ArchiveCommand, json: bool) -> Result<(), Failure> {
    let done = match command {
        ArchiveCommand::List { limit, filter } => {
            return list(client, "archive", *limit, None, filter_json(filter), json).await;
        }
        ArchiveCommand::Restore { id } => {
            let path = format!("/api/v1/archive/{}/restore", encode(id));
            client.call(Method::Post, &path, None).await?
        }
        ArchiveCommand::Purge { id, yes } => {
            confirm(&format!("Delete {id} from the archive for good?"), *yes)?;
            client.call(Method::Delete, &format!("/api/v1/archive/{}", encode(id)), None).await?
        }
    };
    show(json, &done, render::written);
    Ok(())
}
