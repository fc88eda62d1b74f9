//! Audit rows of what was decided elsewhere, and how far each such log is kept.
//!
//! Invariants: `EVT-1` an event has one row, however often it is told: its name is unique; `EVT-2`
//! how far a log is kept never goes back, and is written with the events that it speaks of.
//!
//! Not here: what an event says (its payload is opaque), and telling it again after a failure.

use types::{Invalid, audit::EventBody, codec};

use super::group::{Done, Group, Logged, Terms};
use crate::{
    answer::Applied,
    request::Event,
    rows::row::{signed, unsigned},
    sql::OptionalExtension,
};

impl Group<'_> {
    /// Keeps an event, unless its name is known (`EVT-1`).
    pub(crate) fn event(&mut self, terms: &Terms, event: Event) -> Done<Applied> {
        if event.name.is_empty() || event.event_type.is_empty() {
            return Err(Invalid::new("name", "an event needs a name and a type").into());
        }
        if self.knows_event(&event.name)? {
            return Ok(Applied::Other);
        }
        self.head.position += 1;
        let body = EventBody {
            id: event.name,
            agent_id: event.agent,
            event_type: event.event_type,
            payload_hash: codec::op_hash(&event.payload),
            attest_level: terms.viewer.attest,
            timestamp_ms: event.at_ms,
            cause_hash: None,
        };
        let position = self.head.position;
        self.log.push(Logged { position, op: None, bytes: event.payload, body });
        Ok(Applied::Other)
    }

    fn knows_event(&self, name: &str) -> crate::sql::Result<bool> {
        if self.log.iter().any(|logged| logged.op.is_none() && logged.body.id == name) {
            return Ok(true);
        }
        let mut statement =
            self.connection.prepare_cached("SELECT 1 FROM signed_events WHERE name = ?1")?;
        Ok(statement.query_row([name], |_| Ok(())).optional()?.is_some())
    }

    /// Notes how far a log is kept (`EVT-2`).
    pub(crate) fn covered(&mut self, log: String, through: u64) -> Done<Applied> {
        let known = match self.overlay.event_logs.get(&log) {
            Some(known) => Some(*known),
            None => self
                .connection
                .prepare_cached("SELECT through FROM event_logs WHERE log = ?1")?
                .query_row([&log], |row| row.get(0))
                .optional()?
                .map(unsigned),
        };
        if known.is_none_or(|known| through > known) {
            self.overlay.set_event_log(log, through);
        }
        Ok(Applied::Other)
    }

    /// Writes what an event says, beside its row.
    pub(crate) fn write_payload(&self, sequence: i64, bytes: &[u8]) -> crate::sql::Result<()> {
        let mut statement = self
            .connection
            .prepare_cached("INSERT INTO event_payloads (sequence, bytes) VALUES (?1, ?2)")?;
        statement.execute((sequence, bytes)).map(drop)
    }

    /// Writes how far logs are kept.
    pub(crate) fn write_event_logs(&self) -> crate::sql::Result<()> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO event_logs (log, through) VALUES (?1, ?2)
             ON CONFLICT (log) DO UPDATE SET through = excluded.through",
        )?;
        for (log, through) in &self.overlay.event_logs {
            statement.execute((log, signed(*through)))?;
        }
        Ok(())
    }
}
