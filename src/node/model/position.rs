//! How new a read must be, as a client says it.
//!
//! A position is a place in one node's own log, so it means something at that node alone. A token is the name of an
//! operation, `<UUID of a node>:<sequence>`, or several with commas between them; it means the same everywhere.
//!
//! Invariant: what is written here reads back as the same.
//!
//! Not here: waiting for it (`node::service`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use types::{Invalid, NodeId, VersionVector};

/// Feeds in one token.
const FEEDS_MAX: usize = 256;

/// What must have been reached before a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MinPosition {
    /// A position of the node that is asked.
    Own(u64),
    /// These operations, and all before them of the same nodes.
    Of(VersionVector),
}

/// What a read asks for besides its question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fresh {
    /// What must have been reached.
    pub min_position: Option<MinPosition>,
    /// `local` or `quorum`.
    pub consistency: Option<String>,
}

fn invalid(problem: impl Into<String>) -> Invalid {
    Invalid::new("min_position", problem)
}

fn one(part: &str) -> Result<(NodeId, u64), Invalid> {
    let needs =
        || invalid(format!("{part:?} needs the form <UUID of a node>:<sequence>, as a write said"));
    let (node, seq) = part.split_once(':').ok_or_else(needs)?;
    Ok((node.parse().map_err(|_| needs())?, seq.parse().map_err(|_| needs())?))
}

impl FromStr for MinPosition {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Own).map_err(|_| invalid("is too large for a position"));
        }
        let parts: Vec<(NodeId, u64)> = text.split(',').map(one).collect::<Result<_, _>>()?;
        if parts.len() > FEEDS_MAX {
            return Err(invalid(format!("names at most {FEEDS_MAX} nodes, got {}", parts.len())));
        }
        let mut vector = VersionVector::default();
        parts.into_iter().for_each(|(node, seq)| vector.raise(node, seq));
        Ok(Self::Of(vector))
    }
}

impl fmt::Display for MinPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(position) => write!(f, "{position}"),
            Self::Of(vector) => {
                let parts: Vec<String> =
                    vector.iter().map(|(node, seq)| format!("{node}:{seq}")).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

impl Serialize for MinPosition {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Own(position) => to.serialize_u64(*position),
            Self::Of(_) => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for MinPosition {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl de::Visitor<'_> for Either {
            type Value = MinPosition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a position, or the token of a write")
            }

            fn visit_u64<E: de::Error>(self, position: u64) -> Result<MinPosition, E> {
                Ok(MinPosition::Own(position))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MinPosition, E> {
                text.parse().map_err(|invalid: Invalid| E::custom(invalid.problem))
            }
        }

        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_number_and_a_token_names_operations() {
        let node = "0199aabb-0000-7000-8000-000000000001";
        let text = format!("{node}:7");
        for written in [text.clone(), format!("{node}:3,{node}:7")] {
            let token: MinPosition = written.parse().expect("a token");
            assert_eq!(token.to_string(), text);
            let json = serde_json::to_string(&token).expect("JSON");
            assert_eq!(serde_json::from_str::<MinPosition>(&json).expect("it reads back"), token);
        }
        assert_eq!("12".parse(), Ok(MinPosition::Own(12)));
        assert_eq!(serde_json::from_str::<MinPosition>("12").expect("one"), MinPosition::Own(12));
        for bad in [
            "",
            "x",
            "1.5",
            &format!("{node}:"),
            &format!("{node}:-1"),
            "a:1",
            "99999999999999999999",
        ] {
            assert_eq!(bad.parse::<MinPosition>().expect_err(bad).field, "min_position");
        }
    }
}
