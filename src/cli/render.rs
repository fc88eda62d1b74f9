//! Results as text for a terminal.
//!
//! Invariant: a closed pipe ends the output quietly.
//!
//! Not here: JSON, which is printed as it came.

use std::io::Write;

use serde_json::Value;

/// Prints to standard output.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has seen enough (head) is no failure.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A field as text; empty when it is missing.
pub fn field(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" "),
        Some(other) => other.to_string(),
    }
}

/// One line of a text, cut to a width in characters.
fn line(text: &str, width: usize) -> String {
    let flat: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= width {
        return flat;
    }
    flat.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A table of the named columns, as wide as its widest cells.
pub fn table(rows: &[Value], columns: &[&str]) -> String {
    let header: Vec<String> = columns.iter().map(|c| c.to_uppercase()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|c| line(&field(row, c), 80)).collect());
    let all: Vec<Vec<String>> = std::iter::once(header).chain(cells).collect();
    let width = |n: usize| all.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    for row in &all {
        let padded: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// One memory with all that matters.
pub fn memory(memory: &Value) -> String {
    let mut out = format!("{}\n", field(memory, "title"));
    let shown = [
        "id",
        "namespace",
        "kind",
        "tier",
        "scope",
        "agent_id",
        "tags",
        "priority",
        "confidence",
        "version",
        "access_count",
        "created_at",
        "updated_at",
        "expires_at",
        "valid_from",
        "valid_until",
        "source",
        "archived_reason",
    ];
    for name in shown {
        let value = field(memory, name);
        if !value.is_empty() {
            out.push_str(&format!("  {name:<16}{value}\n"));
        }
    }
    let content = field(memory, "content");
    if !content.is_empty() {
        out.push_str(&format!("\n{content}\n"));
    }
    out
}

/// A list of memories, one line each.
pub fn memories(items: &[Value]) -> String {
    items
        .iter()
        .map(|m| {
            format!(
                "{}  {:<12} {}\n",
                field(m, "id"),
                field(m, "namespace"),
                line(&field(m, "title"), 80)
            )
        })
        .collect()
}

/// Hits of a recall, best first.
pub fn hits(answer: &Value) -> String {
    let mut out = String::new();
    let hits = answer.get("hits").and_then(Value::as_array);
    for hit in hits.into_iter().flatten() {
        let memory = hit.get("memory").unwrap_or(&Value::Null);
        let score = hit.get("score").and_then(Value::as_f64).unwrap_or_default();
        out.push_str(&format!(
            "{score:.3}  {}  [{}]\n",
            field(memory, "title"),
            field(memory, "id")
        ));
        let content = line(&field(memory, "content"), 160);
        if !content.is_empty() {
            out.push_str(&format!("       {content}\n"));
        }
        if let Some(explanation) = hit.get("explanation").filter(|e| !e.is_null()) {
            out.push_str(&format!("       {explanation}\n"));
        }
    }
    if out.is_empty() {
        out.push_str("nothing found\n");
    }
    if let Some(removed) = answer.get("removed").and_then(Value::as_array) {
        for gone in removed {
            out.push_str(&format!("  −    {} ({})\n", field(gone, "id"), field(gone, "rule")));
        }
    }
    out
}

/// What became of a write.
pub fn written(answer: &Value) -> String {
    let merged = answer.get("merged").and_then(Value::as_bool).unwrap_or(false);
    let version = field(answer, "version");
    let what = match (version.is_empty(), merged) {
        (true, _) => String::new(),
        (false, true) => format!("  version {version}, merged into a memory of the same title"),
        (false, false) => format!("  version {version}"),
    };
    let warnings = answer.get("warnings").and_then(Value::as_array).into_iter().flatten();
    let warnings = warnings.filter_map(Value::as_str).map(|said| format!("warning: {said}\n"));
    format!("{}{what}\n{}", field(answer, "id"), warnings.collect::<String>())
}
