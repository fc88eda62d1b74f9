//! Paths and query strings, for callers of the HTTP contract inside this binary.
//!
//! Invariant: whatever text goes in, one path segment or one query value comes out.

use serde_json::Value;

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3).
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// A query string of what was given; lists are comma-separated.
pub(crate) fn query(fields: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let pairs: Vec<String> = fields
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", encode(&text(value))))
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}
