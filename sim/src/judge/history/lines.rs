//! A history as text: JSON lines, the header first, so that a run can be judged again offline.
//!
//! Invariants: what is written is read back equal; a reader refuses what it does not know completely,
//! because a judge that skips a field can acquit the guilty.
//!
//! Not here: files.

use serde::{Deserialize, Serialize};

use super::{Event, Header, History, VERSION};

/// Why a recording cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ReadError {
    /// Which line, counted from 1; 0 when there is none.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// The one field that every version's header has.
#[derive(Deserialize)]
struct Versioned {
    history_version: u32,
}

fn line<T: Serialize>(value: &T) -> String {
    // No map with keys that are not strings and no failing `Serialize` occurs in these types.
    serde_json::to_string(value).unwrap_or_default()
}

fn parse<'a, T: Deserialize<'a>>(line: usize, text: &'a str) -> Result<T, ReadError> {
    serde_json::from_str(text).map_err(|error| ReadError { line, problem: error.to_string() })
}

impl History {
    /// The recorded form, one line for the header and one per event.
    pub fn to_lines(&self) -> String {
        let mut text = line(self.header());
        text.push('\n');
        for event in self.events() {
            text.push_str(&line(event));
            text.push('\n');
        }
        text
    }

    /// Reads the recorded form.
    ///
    /// # Errors
    /// [`ReadError`] names the line: no header, another version, an unknown field or event, a value
    /// of the wrong type, an order of events that no run can have.
    pub fn from_lines(text: &str) -> Result<Self, ReadError> {
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        let Some((at, first)) = lines.next() else {
            return Err(ReadError { line: 0, problem: "the recording is empty".to_owned() });
        };
        let versioned: Versioned = parse(at, first)?;
        if versioned.history_version != VERSION {
            let found = versioned.history_version;
            let problem = format!("history version {found}; this judge reads version {VERSION}");
            return Err(ReadError { line: at, problem });
        }
        let header: Header = parse(at, first)?;
        let events: Result<Vec<Event>, ReadError> =
            lines.map(|(at, line)| parse(at, line)).collect();
        // Line 1 is the header, so event n is on line n + 1.
        Self::new(header, events?).map_err(|malformed| ReadError {
            line: malformed.position + 1,
            problem: malformed.problem,
        })
    }
}
