//! The strict decoder: JSON and query parameters into the service's structs.
//!
//! Why not serde's defaults: a derived struct also accepts a JSON array, which the OpenAPI document
//! does not promise; and an error has to name the field, as a path such as `filter.limit`, whichever
//! of the two it came in by.
//!
//! Invariants: an object is the only form of a struct; a whole number may be written `5` or `5.0`;
//! every error names where it happened; text that is not UTF-8 is refused, never replaced.
//!
//! Not here: limits and meaning (`node::model`).

mod json;
mod query;

use std::fmt;

use serde::de::{self, DeserializeOwned};
use types::{Reason, Reject};

use self::json::Strict;
pub(super) use self::query::Query;

/// What does not fit, and where.
#[derive(Debug)]
pub(super) struct Mismatch {
    /// Names and indices from the outside in.
    path: Vec<String>,
    problem: String,
}

impl Mismatch {
    fn within(mut self, step: &str) -> Self {
        self.path.insert(0, step.to_owned());
        self
    }

    /// The refusal; `whole` names the input when nothing inside it is to blame.
    fn refuse(self, whole: &str) -> Reject {
        let field = if self.path.is_empty() { whole.to_owned() } else { self.path.join(".") };
        Reject::new(Reason::InvalidArgument, format!("{field}: {}", self.problem))
            .with("field", field)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self { path: Vec::new(), problem: problem.to_string() }
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("needs {expected}, got {unexpected}"))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("needs {expected}, got {unexpected}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom("is required").within(field)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let problem = match expected {
            [] => "is not known here".to_owned(),
            known => format!("is not known here; known are {}", known.join(", ")),
        };
        Self::custom(problem).within(field)
    }
}

/// Decodes a JSON body.
///
/// # Errors
/// `malformed` with `line` and `column` when it is not JSON; `invalid_argument` naming the field.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Reject> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| {
        Reject::new(Reason::Malformed, format!("the body is not JSON: {e}"))
            .with("line", e.line())
            .with("column", e.column())
    })?;
    T::deserialize(Strict(&value)).map_err(|e| e.refuse("body"))
}

#[cfg(test)]
mod tests {
    use crate::node::model::{FilterInput, MemoryDraft, RecallInput};

    use super::*;

    fn refused<T: DeserializeOwned + fmt::Debug>(body: &str) -> Reject {
        json::<T>(body.as_bytes()).expect_err(body)
    }

    #[test]
    fn a_struct_is_an_object_at_every_depth() {
        for body in ["[]", "[\"a\"]", "\"a\"", "null", "7"] {
            assert_eq!(refused::<RecallInput>(body).fact("field"), Some("body"), "{body}");
        }
        let nested = refused::<RecallInput>(r#"{"query":"a","filter":[]}"#);
        assert_eq!(nested.fact("field"), Some("filter"));
        assert!(json::<RecallInput>(br#"{"query":"a","filter":{}}"#).is_ok());
    }

    #[test]
    fn errors_name_the_place() {
        let deep = refused::<RecallInput>(r#"{"query":"a","filter":{"tags":["x",5]}}"#);
        assert_eq!(deep.fact("field"), Some("filter.tags.1"), "{deep}");
        let unknown = refused::<MemoryDraft>(r#"{"title":"a","content":"b","tittle":"c"}"#);
        assert_eq!(unknown.fact("field"), Some("tittle"));
        let missing = refused::<MemoryDraft>(r#"{"title":"a"}"#);
        assert_eq!(missing.fact("field"), Some("content"));
        assert_eq!(missing.detail, "content: is required");
    }

    #[test]
    fn what_is_no_json_is_malformed_with_its_position() {
        let bad = refused::<MemoryDraft>("{\n \"title\": }");
        assert_eq!(bad.reason, Reason::Malformed);
        assert_eq!((bad.fact("line"), bad.fact("column")), (Some("2"), Some("11")));
        let deep = "[".repeat(100_000);
        assert_eq!(refused::<MemoryDraft>(&deep).reason, Reason::Malformed);
    }

    #[test]
    fn whole_numbers_may_have_a_point_and_must_fit() {
        let limit = |text: &str| {
            json::<RecallInput>(format!(r#"{{"query":"a","limit":{text}}}"#).as_bytes())
                .map(|input| input.limit)
        };
        assert_eq!(limit("5.0").ok(), Some(Some(5)));
        assert_eq!(limit("null").ok(), Some(None));
        for bad in ["5.5", "-1", "1e300", "99999999999999999999", "\"5\"", "true"] {
            assert_eq!(limit(bad).expect_err(bad).fact("field"), Some("limit"), "{bad}");
        }
    }

    #[test]
    fn a_query_string_gives_the_same_struct_as_json() {
        let mut query =
            Query::parse("namespace=acme%2Feng&tags=a,b&min_priority=3&tags=c+d").expect("a query");
        let filter: FilterInput = query.rest().expect("a filter");
        assert_eq!(filter.namespace.as_deref(), Some("acme/eng"));
        assert_eq!(filter.tags, ["a", "b", "c d"]);
        assert_eq!(filter.min_priority, Some(3));
    }

    #[test]
    fn bad_queries_name_the_parameter() {
        let field = |text: &str| {
            let refusal = match Query::parse(text) {
                Ok(mut query) => query.rest::<FilterInput>().expect_err(text),
                Err(refusal) => refusal,
            };
            refusal.fact("field").map(str::to_owned)
        };
        assert_eq!(field("min_priority=x").as_deref(), Some("min_priority"));
        assert_eq!(field("min_priority=300").as_deref(), Some("min_priority"));
        assert_eq!(field("min_confidence=NaN").as_deref(), Some("min_confidence"));
        assert_eq!(field("namespace=a&namespace=b").as_deref(), Some("namespace"));
        assert_eq!(field("include_invalid=yes").as_deref(), Some("include_invalid"));
        assert_eq!(field("nonsense=1").as_deref(), Some("nonsense"));
        for raw in ["namespace=%ff", "namespace=%zz", "%f=1", "namespace=%2"] {
            assert!(Query::parse(raw).is_err(), "{raw}");
        }
    }
}
