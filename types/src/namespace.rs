//! Namespaces: slash-separated paths, their ancestors, and globs over them.
//!
//! Invariants: a [`Namespace`] is non-empty, within its limits, and every segment consists of
//! lower-case letters, digits, `-`, `_` and `.`, not starting with a dot. A [`NamespaceGlob`]'s `*` never crosses a
//! slash; `**` does.
//!
//! Not here: who may use a namespace (`rule`).

use std::{fmt, str::FromStr};

use globset::{GlobBuilder, GlobMatcher};

use crate::{
    Invalid,
    limits::{NAMESPACE_BYTES_MAX, NAMESPACE_DEPTH_MAX},
};

/// A validated namespace such as `acme/eng/search`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(String);

impl Namespace {
    /// The namespace of a memory that names none.
    pub fn global() -> Self {
        Self("global".to_owned())
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This namespace and those above it, nearest first: `a/b/c`, `a/b`, `a`.
    pub fn with_ancestors(&self) -> impl Iterator<Item = Namespace> + '_ {
        let mut rest = Some(self.0.as_str());
        std::iter::from_fn(move || {
            let here = rest?;
            rest = here.rfind('/').map(|slash| &here[..slash]);
            Some(Namespace(here.to_owned()))
        })
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &Namespace) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn segment_is_valid(segment: &str) -> bool {
    !segment.is_empty()
        && !segment.starts_with('.')
        && segment
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

impl FromStr for Namespace {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |problem: String| Err(Invalid::new("namespace", problem));
        if text.is_empty() || text.len() > NAMESPACE_BYTES_MAX {
            return invalid(format!("needs 1 to {NAMESPACE_BYTES_MAX} bytes, got {}", text.len()));
        }
        if text.split('/').count() > NAMESPACE_DEPTH_MAX {
            return invalid(format!("has more than {NAMESPACE_DEPTH_MAX} segments"));
        }
        match text.split('/').find(|segment| !segment_is_valid(segment)) {
            None => Ok(Self(text.to_owned())),
            Some(bad) => invalid(format!(
                "segment {bad:?} is not allowed: use a-z, 0-9, '-', '_' and '.', not starting with '.', e.g. acme/eng"
            )),
        }
    }
}

/// A pattern over namespaces: `*` matches within one segment, `**` across segments.
#[derive(Clone, Debug)]
pub struct NamespaceGlob {
    pattern: String,
    matcher: GlobMatcher,
}

impl NamespaceGlob {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the namespace fits.
    pub fn matches(&self, namespace: &Namespace) -> bool {
        self.matcher.is_match(namespace.as_str())
    }
}

impl PartialEq for NamespaceGlob {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for NamespaceGlob {}

impl FromStr for NamespaceGlob {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > NAMESPACE_BYTES_MAX {
            return Err(Invalid::new(
                "namespace_glob",
                format!("needs 1 to {NAMESPACE_BYTES_MAX} bytes"),
            ));
        }
        let glob =
            GlobBuilder::new(text)
                .literal_separator(true)
                .backslash_escape(false)
                .build()
                .map_err(|e| Invalid::new("namespace_glob", format!("{text:?}: {}", e.kind())))?;
        Ok(Self { pattern: text.to_owned(), matcher: glob.compile_matcher() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(text: &str) -> Namespace {
        text.parse().expect("a namespace")
    }

    #[test]
    fn ancestors_come_nearest_first() {
        let all: Vec<String> = ns("a/b/c").with_ancestors().map(|n| n.to_string()).collect();
        assert_eq!(all, ["a/b/c", "a/b", "a"]);
        assert!(ns("a/b/c").is_within(&ns("a/b")) && !ns("a/bc").is_within(&ns("a/b")));
    }

    #[test]
    fn malformed_namespaces_are_refused() {
        for bad in ["", "/a", "a/", "a//b", "A/b", "a b", "..", "a/../b", "ä"] {
            assert_eq!(bad.parse::<Namespace>().expect_err(bad).field, "namespace");
        }
        let deep = vec!["a"; NAMESPACE_DEPTH_MAX + 1].join("/");
        assert!(deep.parse::<Namespace>().is_err());
    }

    #[test]
    fn one_star_stays_within_a_segment() {
        let one: NamespaceGlob = "acme/*".parse().expect("a glob");
        let all: NamespaceGlob = "acme/**".parse().expect("a glob");
        assert!(one.matches(&ns("acme/eng")) && !one.matches(&ns("acme/eng/core")));
        assert!(all.matches(&ns("acme/eng/core")) && !all.matches(&ns("beta/eng")));
        assert!("acme/[".parse::<NamespaceGlob>().is_err());
    }
}
