//! The free-text parts of a memory: title, content, tags and metadata, each within its limits.
//!
//! Invariants: a value of one of these types is valid; metadata is a JSON object in canonical form
//! (RFC 8785), so equal objects have equal bytes.
//!
//! Not here: what the text means.

use std::{fmt, str::FromStr};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    Invalid,
    limits::{
        CONTENT_BYTES_MAX, METADATA_BYTES_MAX, METADATA_DEPTH_MAX, TAG_BYTES_MAX, TITLE_CHARS_MAX,
    },
};

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(
    /// What a memory is about, 1 to 512 characters on one line.
    Title
);
text_type!(
    /// The memory itself, at most 64 KiB of UTF-8. May be empty.
    Content
);
text_type!(
    /// A label, 1 to 64 bytes without white space or control characters.
    Tag
);
text_type!(
    /// A JSON object in canonical form (RFC 8785), at most 16 KiB.
    Metadata
);

impl Title {
    /// What stands in the place of the title of a deleted memory.
    pub fn erased() -> Self {
        Self("(deleted)".to_owned())
    }
}

impl FromStr for Title {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let trimmed = text.trim();
        let chars = trimmed.chars().count();
        if chars == 0 || chars > TITLE_CHARS_MAX {
            return Err(Invalid::new(
                "title",
                format!("needs 1 to {TITLE_CHARS_MAX} characters, got {chars}"),
            ));
        }
        if trimmed.chars().any(char::is_control) {
            return Err(Invalid::new(
                "title",
                "contains a control character; put multi-line text into content",
            ));
        }
        Ok(Self(trimmed.to_owned()))
    }
}

impl Content {
    /// SHA-256 of the UTF-8 bytes.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl TryFrom<String> for Content {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        if text.len() > CONTENT_BYTES_MAX {
            return Err(Invalid::new(
                "content",
                format!(
                    "is {} bytes; at most {CONTENT_BYTES_MAX} fit one memory: split it",
                    text.len()
                ),
            ));
        }
        if text.contains('\0') {
            return Err(Invalid::new("content", "contains a NUL character"));
        }
        Ok(Self(text))
    }
}

impl Default for Content {
    /// The empty content.
    fn default() -> Self {
        Self(String::new())
    }
}

impl FromStr for Content {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.to_owned().try_into()
    }
}

impl FromStr for Tag {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > TAG_BYTES_MAX {
            return Err(Invalid::new(
                "tags",
                format!("a tag needs 1 to {TAG_BYTES_MAX} bytes, got {}", text.len()),
            ));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == ',') {
            return Err(Invalid::new(
                "tags",
                format!("tag {text:?} contains white space, a comma or a control character"),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

impl Metadata {
    /// The object without any field.
    pub fn empty() -> Self {
        Self("{}".to_owned())
    }

    /// Takes canonical text that was made here before; empty text stands for the empty object. Checks
    /// that it is a JSON object within the limit and believes the rest.
    pub(crate) fn from_canonical(text: String) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Ok(Self::empty());
        }
        if text.len() > METADATA_BYTES_MAX || !text.starts_with('{') {
            return Err(Invalid::new(
                "metadata",
                format!("is not a JSON object of at most {METADATA_BYTES_MAX} bytes"),
            ));
        }
        serde_json::from_str::<serde::de::IgnoredAny>(&text)
            .map_err(|error| Invalid::new("metadata", error.to_string()))?;
        Ok(Self(text))
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0 == "{}"
    }

    /// The parsed object.
    pub fn to_value(&self) -> Value {
        // The text came out of the canonicaliser, so it parses; an empty object stands in otherwise.
        serde_json::from_str(&self.0).unwrap_or_else(|_| Value::Object(Default::default()))
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self::empty()
    }
}

impl TryFrom<&Value> for Metadata {
    type Error = Invalid;

    fn try_from(value: &Value) -> Result<Self, Invalid> {
        let invalid = |problem: String| Err(Invalid::new("metadata", problem));
        if !value.is_object() {
            return invalid("is not a JSON object".to_owned());
        }
        if depth(value) > METADATA_DEPTH_MAX {
            return invalid(format!("is nested deeper than {METADATA_DEPTH_MAX}"));
        }
        match serde_json_canonicalizer::to_string(value) {
            Ok(text) if text.len() <= METADATA_BYTES_MAX => Ok(Self(text)),
            Ok(text) => {
                invalid(format!("is {} bytes; at most {METADATA_BYTES_MAX} fit", text.len()))
            }
            Err(error) => invalid(error.to_string()),
        }
    }
}

impl FromStr for Metadata {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| Invalid::new("metadata", e.to_string()))?;
        (&value).try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_inclusive() {
        assert!("x".repeat(TITLE_CHARS_MAX).parse::<Title>().is_ok());
        assert!("ä".repeat(TITLE_CHARS_MAX).parse::<Title>().is_ok());
        assert!("x".repeat(TITLE_CHARS_MAX + 1).parse::<Title>().is_err());
        assert!(Content::try_from("x".repeat(CONTENT_BYTES_MAX)).is_ok());
        assert!(Content::try_from("x".repeat(CONTENT_BYTES_MAX + 1)).is_err());
        assert!("a b".parse::<Tag>().is_err() && "a".repeat(65).parse::<Tag>().is_err());
    }

    #[test]
    fn equal_objects_have_equal_bytes() {
        let a: Metadata = r#"{"b": 1.0, "a": [true, null]}"#.parse().expect("an object");
        let b: Metadata = r#"{"a":[true,null],"b":1}"#.parse().expect("an object");
        assert_eq!(a, b);
        assert!("[1]".parse::<Metadata>().is_err());
    }
}
