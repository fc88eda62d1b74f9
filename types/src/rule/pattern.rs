//! Text with stars: how rules name agents, titles and places.
//!
//! Invariant: `GOV-4` a pattern covers another exactly when it matches everything the other matches.
//! That is decided by matching the other pattern's own text, in which only a star can stand for a
//! star.
//!
//! Not here: namespaces, whose globs know about segments (`namespace`).

use std::{fmt, str::FromStr};

use crate::{Invalid, root_limits::PATTERN_BYTES_MAX};

/// 1 to 256 bytes without control characters; `*` stands for any text, the empty one too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern that matches everything.
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text fits.
    pub fn matches(&self, text: &str) -> bool {
        fits(self.0.as_bytes(), text.as_bytes())
    }

    /// Whether everything that fits `other` fits this.
    pub fn covers(&self, other: &Pattern) -> bool {
        fits(self.0.as_bytes(), other.0.as_bytes())
    }
}

/// Matches without recursion: a mismatch goes back to the last star and lets it take one byte more.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, t) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(Invalid::new(
                "pattern",
                format!("needs 1 to {PATTERN_BYTES_MAX} bytes without control characters"),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

crate::proto_text!(Pattern);
