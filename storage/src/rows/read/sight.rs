//! What a reader may see, as a condition that every statement carries.
//!
//! Invariants: `STO-2` no statement of this folder selects rows of `memories` for a reader without
//! one of the conditions below; the set of audiences is bound as parameter 1, so leaving it out is
//! an error of the statement and not a wider answer.
//!
//! Not here: who is in which audience (`types::agent`).

use types::Audience;

use crate::{request::Reader, sql::Value};

/// Holds for rows whose audience is one of the reader's; parameter 1 is [`Sight::parameter`].
macro_rules! visible {
    () => {
        "(?1 IS NULL OR audience IN (SELECT a.id FROM json_each(?1) j CROSS JOIN audiences a ON a.name = j.value))"
    };
}
/// Holds for rows that `get` returns or shows as part of another: visible, archived or live, and live ones
/// unexpired at parameter 2.
macro_rules! gettable {
    () => {
        concat!(
            "(life = 1 OR life IN (0, 3) AND (expires_ms IS NULL OR expires_ms > ?2)) AND ",
            $crate::rows::read::sight::visible!()
        )
    };
}
/// Holds for rows in use and for those that are shown as part of one: visible, live and unexpired at parameter 2.
macro_rules! present {
    () => {
        concat!(
            "life IN (0, 3) AND (expires_ms IS NULL OR expires_ms > ?2) AND ",
            $crate::rows::read::sight::visible!()
        )
    };
}
/// Holds for rows in use: visible, live, not part of another, and unexpired at parameter 2.
macro_rules! usable {
    () => {
        concat!(
            "life = 0 AND (expires_ms IS NULL OR expires_ms > ?2) AND ",
            $crate::rows::read::sight::visible!()
        )
    };
}
pub(crate) use {gettable, present, usable, visible};

/// A reader, detached from its request so that it can go where blocking is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// `None` sees every row.
    audiences: Option<Vec<Audience>>,
    /// The audiences as a JSON array of strings.
    json: Option<String>,
}

impl Sight {
    /// What this reader may see.
    pub(crate) fn of(reader: Reader<'_>) -> Self {
        let audiences = match reader {
            Reader::Agent(viewer) => Some(viewer.audiences.clone()),
            Reader::Operator => None,
        };
        let json = audiences.as_ref().map(|all| {
            serde_json::Value::from(all.iter().map(Audience::as_str).collect::<Vec<_>>())
                .to_string()
        });
        Self { audiences, json }
    }

    /// Parameter 1 of every statement.
    pub(crate) fn parameter(&self) -> Value {
        self.json.clone().map_or(Value::Null, Value::Text)
    }

    /// Whether rows of this audience may be seen.
    pub(crate) fn includes(&self, audience: &Audience) -> bool {
        self.audiences.as_ref().is_none_or(|all| all.contains(audience))
    }

    /// The audiences; `None` is all of them.
    pub(crate) fn audiences(&self) -> Option<&[Audience]> {
        self.audiences.as_deref()
    }
}
