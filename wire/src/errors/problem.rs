//! Refusals as problem documents (RFC 9457), and back.
//!
//! Invariants: `ERR-2` of the parent module; members that RFC 9457 defines are never overwritten by
//! a fact.
//!
//! Not here: HTTP responses (the doors).

use serde_json::{Map, Value};
use types::{Reason, Reject};

use super::{facts::static_name, row};

/// The media type of a problem document.
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// `type` is this followed by the reason's code.
const TYPE_PREFIX: &str = "urn:hivemem:problem:";

/// Members that are not facts.
const RESERVED: [&str; 8] =
    ["type", "title", "status", "detail", "instance", "reason", "retryable", "verdict"];

/// A refusal as HTTP and MCP clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The refusal.
    pub reject: Reject,
    /// Which occurrence: the path of the request, or an id that the logs know.
    pub instance: Option<String>,
}

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        Self { reject, instance: None }
    }
}

impl Problem {
    /// The same problem at `instance`.
    #[must_use]
    pub fn at(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// The HTTP status, 400 to 599.
    pub fn status(&self) -> u16 {
        row(self.reject.reason).http
    }

    /// The document: `type`, `title`, `status`, `detail`, `instance`, then `reason`, `retryable`,
    /// `verdict` (`rejected` or `unknown`) and the facts. A fact that is a whole number becomes a
    /// JSON number.
    pub fn to_value(&self) -> Value {
        let row = row(self.reject.reason);
        let mut document = Map::new();
        let mut put = |key: &str, value: Value| document.insert(key.to_owned(), value);
        put("type", format!("{TYPE_PREFIX}{}", row.reason.code()).into());
        put("title", row.title.into());
        put("status", row.http.into());
        put("detail", self.reject.detail.clone().into());
        if let Some(instance) = &self.instance {
            put("instance", instance.clone().into());
        }
        put("reason", row.reason.code().into());
        put("retryable", row.retryable.into());
        put("verdict", row.verdict.as_str().into());
        for (key, value) in &self.reject.facts {
            if !RESERVED.contains(key) {
                put(key, fact_value(key, value));
            }
        }
        Value::Object(document)
    }

    /// The document as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }

    /// Reads a document that a node wrote; `None` for any other.
    pub fn from_value(document: &Value) -> Option<Self> {
        let text = |key: &str| document.get(key).and_then(Value::as_str);
        let reason = Reason::from_code(text("reason")?)?;
        let mut reject = Reject::new(reason, text("detail").unwrap_or_default());
        for (key, value) in document.as_object()? {
            if RESERVED.contains(&key.as_str()) {
                continue;
            }
            let value = match value {
                Value::String(value) => value.clone(),
                other => other.to_string(),
            };
            if let Some(key) = static_name(key) {
                reject = reject.with(key, value);
            }
        }
        Some(Self { reject, instance: text("instance").map(str::to_owned) })
    }
}

/// Counts, versions, positions and durations are numbers; ids stay text even when they are all
/// digits.
fn fact_value(key: &str, value: &str) -> Value {
    const NUMERIC: [&str; 5] = ["got", "needed", "limit", "used", "position"];
    const SUFFIXES: [&str; 7] =
        ["_ms", "_bytes", "_version", "_position", "_max", "_min", "_count"];
    let numeric = NUMERIC.contains(&key) || SUFFIXES.iter().any(|end| key.ends_with(end));
    match value.parse::<u64>() {
        // Only what prints back the same, so that the way back is exact.
        Ok(number) if numeric && number.to_string() == value => number.into(),
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_has_the_members_of_the_standard_and_the_facts() {
        let reject = Reject::new(Reason::VersionConflict, "version 3 was expected, 7 is current")
            .with("current_version", 7)
            .with("id", "0192")
            .with("status", "spoofed");
        let problem = Problem::from(reject).at("/api/v1/memories/0192");
        assert_eq!(problem.status(), 409);
        assert_eq!(
            problem.to_value(),
            json!({
                "type": "urn:hivemem:problem:version_conflict",
                "title": "Version conflict",
                "status": 409,
                "detail": "version 3 was expected, 7 is current",
                "instance": "/api/v1/memories/0192",
                "reason": "version_conflict",
                "retryable": false,
                "verdict": "rejected",
                "current_version": 7,
                "id": "0192",
            })
        );
    }

    #[test]
    fn every_problem_survives_the_way_there_and_back() {
        for reason in Reason::ALL {
            let reject = Reject::new(*reason, "why")
                .with("retry_after_ms", 20)
                .with("limit", "007")
                .with("field", "title");
            let problem = Problem::from(reject);
            assert_eq!(Problem::from_value(&problem.to_value()), Some(problem), "ERR-2");
        }
        assert_eq!(Problem::from_value(&json!({"title": "Bad Gateway", "status": 502})), None);
        assert_eq!(Problem::from_value(&json!([])), None);
    }
}
