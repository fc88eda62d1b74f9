//! Server-sent events (WHATWG HTML §9.2), read from pieces of any size.
//!
//! Invariants: how the bytes are cut into pieces changes nothing; an event is bounded.
//!
//! Not here: reconnecting.

use types::limits::BODY_BYTES_MAX;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its type; empty means `message`.
    pub event: String,
    /// Its data, lines joined by `\n`.
    pub data: String,
    /// Its id, when it has one.
    pub id: Option<String>,
}

/// Collects bytes into events.
#[derive(Clone, Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    current: SseEvent,
    has_data: bool,
    after_cr: bool,
}

impl SseParser {
    /// Takes the next bytes and gives the events that are complete now.
    ///
    /// # Errors
    /// A sentence when a line or an event is larger than any honest one.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, String> {
        let mut events = Vec::new();
        for byte in bytes {
            let second_of_crlf = self.after_cr && *byte == b'\n';
            self.after_cr = *byte == b'\r';
            match byte {
                _ if second_of_crlf => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                other => self.line.push(*other),
            }
            if self.line.len() + self.current.data.len() > BODY_BYTES_MAX {
                return Err(format!("an event is larger than {BODY_BYTES_MAX} bytes"));
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.current);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.current.event = value.to_owned(),
            "id" => self.current.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.current.data.push('\n');
                }
                self.current.data.push_str(value);
                self.has_data = true;
            }
            // A line that starts with a colon is a comment, and unknown fields don't count.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b": hello\n\nevent: change\r\nid: 7\r\ndata: one\r\ndata:two\r\n\r\ndata\n\nid: 8\n\ndata: x: y\n\n";

    fn expected() -> Vec<SseEvent> {
        let event = |event: &str, data: &str, id: Option<&str>| SseEvent {
            event: event.into(),
            data: data.into(),
            id: id.map(str::to_owned),
        };
        vec![event("change", "one\ntwo", Some("7")), event("", "", None), event("", "x: y", None)]
    }

    #[test]
    fn events_come_out_however_the_bytes_are_cut() {
        for size in 1..=STREAM.len() {
            let mut parser = SseParser::default();
            let mut events = Vec::new();
            for piece in STREAM.chunks(size) {
                events.extend(parser.push(piece).expect("bounded"));
            }
            assert_eq!(events, expected(), "pieces of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = SseParser::default();
        let piece = vec![b'x'; BODY_BYTES_MAX];
        assert_eq!(parser.push(&piece), Ok(Vec::new()));
        assert!(parser.push(b"x").is_err());
    }
}
