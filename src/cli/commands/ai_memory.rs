//! `import` of a file of ai-memory: its memories and links as lines of an import, its audit chain as evidence.
//!
//! Invariants: what cannot be taken over is counted by its reason, never left out in silence; a file may be imported again, and
//! what is there already is left as it is.
//!
//! Not here: reading the file and checking its chain (`storage::ai_memory`); what each column becomes is said in
//! docs/reference/ai-memory.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::Path,
};

use runtime::clock;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use storage::ai_memory::{Cell, ChainVerdict, ForeignError, MAGIC, Row, Source, Table};
use types::limits::{TAG_BYTES_MAX, TAGS_MAX, TITLE_CHARS_MAX};
use uuid::Uuid;

use super::{
    show,
    transfer::{FAILURES_SHOWN, Imported, Sending},
};
use crate::{
    cli::{
        client::{Client, Method},
        exit::{Code, Failure},
    },
    node::model::time,
};

/// Rows read at once.
const PAGE_ROWS: u32 = 500;
/// Audit rows carried in one piece of evidence.
const EVIDENCE_ROWS: usize = 50;

/// Columns that stay as they are in the metadata, where they say something.
const KEPT: [(&str, &str); 19] = [
    ("created_at", ""),
    ("updated_at", ""),
    ("last_accessed_at", ""),
    ("access_count", "0"),
    ("version", "1"),
    ("lifecycle_state", "open"),
    ("citations", "[]"),
    ("source_uri", ""),
    ("source_span", ""),
    ("atom_of", ""),
    ("atomised_into", ""),
    ("entity_id", ""),
    ("mentioned_entity_id", ""),
    ("confidence_source", "caller_provided"),
    ("confidence_signals", ""),
    ("reflection_depth", "0"),
    ("kind_provenance", ""),
    ("cid", ""),
    ("archived_at", ""),
];

impl From<ForeignError> for Failure {
    fn from(error: ForeignError) -> Self {
        Failure::usage(error.to_string())
    }
}

/// Whether this is a SQLite file, which no line of an import begins like.
pub(super) fn is_one(file: &Path) -> bool {
    let mut first = [0; MAGIC.len()];
    let read = std::fs::File::open(file).and_then(|mut opened| opened.read_exact(&mut first));
    read.is_ok() && first == *MAGIC
}

/// Imports it.
///
/// # Errors
/// A chain that does not hold, unless it is imported despite that; exit code 1 when rows were refused.
pub(super) async fn import(
    client: &Client,
    file: &Path,
    despite_breaks: bool,
    as_json: bool,
) -> Result<(), Failure> {
    let source = Source::open(file)?;
    let verdict = source.verify_chain()?;
    if !verdict.holds() && !despite_breaks {
        let detail = format!(
            "the audit chain of {} does not hold: {}; give --despite-breaks to import it all the same",
            file.display(),
            broken(&verdict)
        );
        return Err(Failure::new(Code::CheckFailed, detail));
    }
    let mut left_out = BTreeMap::new();
    let mut sending = Sending::new(client, None);
    memories(&source, &mut sending, &mut left_out).await?;
    links(&source, &mut sending).await?;
    let done = sending.finish().await?;
    let carried = evidence(client, &source, &verdict).await?;
    report(&source, &verdict, (&done, &left_out, carried), as_json)
}

fn broken(verdict: &ChainVerdict) -> String {
    let mut all: Vec<String> =
        verdict.breaks.iter().map(|(sequence, why)| format!("row {sequence}: {why}")).collect();
    if verdict.outside > 0 {
        all.push(format!("{} rows have no place in it", verdict.outside));
    }
    all.join("; ")
}

type LeftOut = BTreeMap<&'static str, u64>;

async fn memories(
    source: &Source,
    sending: &mut Sending<'_>,
    left_out: &mut LeftOut,
) -> Result<(), Failure> {
    let now_ms = clock::now_unix_ms();
    let mut live = BTreeSet::new();
    for table in [Table::Memories, Table::Archived] {
        let mut after = 0;
        loop {
            let page = source.page(table, after, PAGE_ROWS)?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (_, row) in &page {
                let id = row.text("id").unwrap_or_default();
                let line = match table {
                    // The same one, as it was before an edit.
                    Table::Archived if live.contains(id) => Err("earlier texts of live memories"),
                    Table::Archived => memory(row, true, now_ms),
                    _ => memory(row, false, now_ms),
                };
                match line {
                    Ok(line) => sending.line(&line.to_string()).await?,
                    Err(why) => *left_out.entry(why).or_default() += 1,
                }
                live.insert(id.to_owned());
            }
        }
    }
    Ok(())
}

async fn links(source: &Source, sending: &mut Sending<'_>) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let page = source.page(Table::Links, after, PAGE_ROWS)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        for (_, row) in &page {
            sending.line(&link(row).to_string()).await?;
        }
    }
}

/// The id under which something goes on: its own where that is a UUID, else one made of it.
fn id_of(text: &str) -> Uuid {
    Uuid::try_parse(text).unwrap_or_else(|_| made_of(&["memory", text]))
}

/// A UUID of version 8 (RFC 9562, section 5.8) that is the same whenever it is made of the same.
fn made_of(parts: &[&str]) -> Uuid {
    let hash = parts.iter().fold(Sha256::new_with_prefix("ai-memory"), |hash, part| {
        hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
    });
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// A memory as a line of an import, or why it is left out.
fn memory(row: &Row, is_archived: bool, now_ms: u64) -> Result<Value, &'static str> {
    let text = |column: &str| row.text(column).unwrap_or_default();
    if text("namespace") == "_agents" {
        return Err("registered agents");
    }
    if row.bytes("encrypted_envelope").is_some() {
        return Err("encrypted contents");
    }
    if matches!(text("lifecycle_state"), "tombstoned" | "quarantined") {
        return Err("deleted or quarantined memories");
    }
    let expires_at = if is_archived { None } else { row.text("expires_at") };
    if let Some(at) = expires_at
        && time::from_text("expires_at", at).is_ok_and(|at_ms| at_ms <= now_ms)
    {
        return Err("expired memories");
    }
    let metadata: Value = serde_json::from_str(text("metadata")).unwrap_or(Value::Null);
    let metadata = metadata.as_object().cloned().unwrap_or_default();
    let scope = match metadata.get("scope").and_then(Value::as_str) {
        Some(scope @ ("team" | "unit" | "org" | "collective")) => scope.to_owned(),
        _ => "private".to_owned(),
    };
    let tier = row.text("original_tier").unwrap_or(text("tier"));
    let tier = if is_archived && row.text("original_tier").is_none() { "long" } else { tier };
    let confidence = row.real("confidence").unwrap_or(1.0).clamp(0.0, 1.0);
    let (kind, tags) = (kind(text("memory_kind")), tags(text("tags")));
    let mut line = json!({
        "id": id_of(text("id")).to_string(),
        "namespace": row.text("namespace").filter(|n| !n.is_empty()).unwrap_or("global"),
        "title": title(text("title")),
        "content": text("content"),
        "content_sha256": "",
        "tier": if matches!(tier, "short" | "long") { tier } else { "mid" },
        "tags": tags,
        "priority": row.integer("priority").unwrap_or(5).clamp(1, 10),
        "confidence": confidence,
        "source": text("source"),
        "kind": kind,
        "scope": scope,
        "agent_id": "",
        "metadata": kept(row, metadata, (kind, &tags)),
        "version": 1,
        "access_count": 0,
        "created_at": "",
        "updated_at": "",
        "expires_at": expires_at,
        "valid_from": row.text("valid_from"),
        "valid_until": row.text("valid_until"),
        "legal_hold": false,
        "fence": 0,
        "hlc": "",
        "version_vector": {},
        "persona_version": 0,
    });
    if is_archived {
        let reason = row.text("archive_reason").unwrap_or("ttl_expired");
        line["archived_reason"] = json!(reason);
    }
    Ok(json!({ "memory": line }))
}

fn kind(theirs: &str) -> &'static str {
    match theirs {
        "claim" => "claim",
        "event" | "intervention" => "event",
        "decision" => "decision",
        "goal" => "goal",
        "plan" => "plan",
        "step" => "step",
        "conversation" | "told" => "conversation",
        "instruction" => "instruction",
        "concept" => "concept",
        "entity" => "entity",
        "relation" => "relation",
        "reflection" => "reflection",
        "persona" => "persona",
        _ => "observation",
    }
}

fn title(theirs: &str) -> String {
    let line = theirs.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(TITLE_CHARS_MAX).collect()
}

/// Labels without white space, each once.
fn tags(theirs: &str) -> Vec<String> {
    let all: Vec<String> = serde_json::from_str(theirs).unwrap_or_default();
    let plain = all.iter().map(|tag| tag.split_whitespace().collect::<Vec<_>>().join("-"));
    let fits = plain.filter(|tag| !tag.is_empty() && tag.len() <= TAG_BYTES_MAX);
    let each: BTreeSet<String> = fits.collect();
    each.into_iter().take(TAGS_MAX).collect()
}

/// The metadata, with what has no place of its own here under `ai_memory`.
fn kept(row: &Row, mut metadata: Map<String, Value>, (kind, tags): (&str, &[String])) -> Value {
    let mut more = Map::new();
    let id = row.text("id").unwrap_or_default();
    if Uuid::try_parse(id).is_err() {
        more.insert("id".into(), json!(id));
    }
    if row.text("memory_kind").is_some_and(|theirs| theirs != kind) {
        more.insert("memory_kind".into(), value(row, "memory_kind"));
    }
    let theirs: Vec<String> =
        serde_json::from_str(row.text("tags").unwrap_or_default()).unwrap_or_default();
    if theirs.iter().any(|tag| !tags.contains(tag)) {
        more.insert("tags".into(), json!(theirs));
    }
    if row.text("title").is_some_and(|theirs| title(theirs) != theirs) {
        more.insert("title".into(), value(row, "title"));
    }
    for (column, usual) in KEPT {
        let said = value(row, column);
        let told = match &said {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if !told.is_empty() && told != usual {
            more.insert(column.into(), said);
        }
    }
    metadata.insert("ai_memory".into(), Value::Object(more));
    Value::Object(metadata)
}

/// A column as JSON; bytes in hexadecimal.
fn value(row: &Row, column: &str) -> Value {
    match row.0.get(column) {
        None | Some(Cell::Null) => Value::Null,
        Some(Cell::Integer(number)) => json!(number),
        Some(Cell::Real(number)) => json!(number),
        Some(Cell::Text(text)) => json!(text),
        Some(Cell::Blob(bytes)) => json!({ "hex": hex::encode(bytes) }),
    }
}

fn link(row: &Row) -> Value {
    let text = |column: &str| row.text(column).unwrap_or_default();
    let (source, target, theirs) = (text("source_id"), text("target_id"), text("relation"));
    let relation = match theirs {
        "supersedes" | "contradicts" | "derived_from" | "reflects_on" | "decomposes_into"
        | "depends_on" | "advances" => theirs,
        "derives_from" => "derived_from",
        _ => "related_to",
    };
    json!({ "link": {
        "id": made_of(&["link", source, target, theirs]).to_string(),
        "source": id_of(source).to_string(),
        "target": id_of(target).to_string(),
        "relation": relation,
        "agent_id": "",
        "created_at": "",
        "valid_from": row.text("valid_from"),
        "valid_until": row.text("valid_until"),
    } })
}

/// Carries the audit chain, and links that were signed, as they are; gives how many rows.
async fn evidence(
    client: &Client,
    source: &Source,
    verdict: &ChainVerdict,
) -> Result<u64, Failure> {
    let first = source.page(Table::Events, 0, 1)?;
    let of = first.first().and_then(|(_, row)| row.text("id")).unwrap_or("no rows").to_owned();
    let mut carried = 0;
    for (table, name) in [(Table::Events, "signed_events"), (Table::Links, "memory_links")] {
        let mut after = 0;
        loop {
            let page = source.page(table, after, PAGE_ROWS)?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            let says = |row: &Row| table == Table::Events || row.bytes("signature").is_some();
            let rows: Vec<&(i64, Row)> = page.iter().filter(|(_, row)| says(row)).collect();
            for part in rows.chunks(EVIDENCE_ROWS) {
                carry(client, &of, name, part).await?;
                carried += part.len() as u64;
            }
        }
    }
    let facts = json!({
        "schema": source.schema.to_string(),
        "rows": verdict.rows.to_string(),
        "holds": verdict.holds().to_string(),
        "breaks": broken(verdict),
        "separated_links": verdict.separated.to_string(),
        "prefixed_links": verdict.prefixed.to_string(),
        "encoding_changes_at": format!("{:?}", verdict.switches),
        "signatures_not_checked": verdict.signed.to_string(),
    });
    let name = format!("ai-memory:{of}:verdict:{}", verdict.head_sequence);
    let subject = format!("the audit chain of ai-memory that begins with {of}");
    let body = json!({ "name": name, "subject": subject, "facts": facts });
    client.call(Method::Post, "/api/v1/admin/evidence", Some(body)).await?;
    Ok(carried)
}

async fn carry(
    client: &Client,
    of: &str,
    table: &str,
    rows: &[&(i64, Row)],
) -> Result<(), Failure> {
    let (Some((from, _)), Some((to, _))) = (rows.first(), rows.last()) else { return Ok(()) };
    let facts: BTreeMap<String, String> = rows
        .iter()
        .map(|(number, row)| {
            let columns = row.0.keys().map(|column| (column.clone(), value(row, column)));
            (format!("{number:012}"), Value::Object(columns.collect()).to_string())
        })
        .collect();
    let body = json!({
        "name": format!("ai-memory:{of}:{table}:{from}-{to}"),
        "subject": format!("rows {from} to {to} of {table} of ai-memory"),
        "facts": facts,
    });
    client.call(Method::Post, "/api/v1/admin/evidence", Some(body)).await.map(drop)
}

fn report(
    source: &Source,
    verdict: &ChainVerdict,
    (done, left_out, carried): (&Imported, &LeftOut, u64),
    as_json: bool,
) -> Result<(), Failure> {
    let refused: Vec<&String> = done.failed.iter().map(|(_, detail)| detail).collect();
    let value = json!({
        "schema": source.schema,
        "imported": done.imported,
        "skipped": done.skipped,
        "left_out": left_out,
        "refused": refused,
        "chain_rows": verdict.rows,
        "chain_holds": verdict.holds(),
        "evidence_rows": carried,
    });
    show(as_json, &value, |_| {
        let mut text = format!(
            "{} imported, {} already there, {} refused\n",
            done.imported,
            done.skipped,
            refused.len()
        );
        for (what, count) in left_out {
            text.push_str(&format!("left out: {count} {what}\n"));
        }
        let holds = if verdict.holds() { "holds" } else { "does not hold" };
        text.push_str(&format!(
            "its audit chain of {} rows {holds}; {carried} rows are carried as evidence (hivemem audit --type import.)\n",
            verdict.rows
        ));
        text
    });
    if refused.is_empty() {
        return Ok(());
    }
    refused.iter().take(FAILURES_SHOWN).for_each(|detail| eprintln!("{detail}"));
    Err(Failure::found(format!("{} rows were refused; the others are stored", refused.len())))
}
