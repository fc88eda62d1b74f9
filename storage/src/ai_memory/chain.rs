//! The audit chain of ai-memory, in its own encodings.
//!
//! A row is linked to the one before by the SHA-256 of that one's bytes. Releases up to 0.8 join the fields by a separator,
//! later ones put lengths before them; an upgrade leaves old rows as they are, so a file may change from the one to the other,
//! at the row that the later release appended first.
//!
//! Invariant: each link is checked in both encodings, and which one fits is told; a chain that fits in neither is broken there.
//!
//! Not here: signatures, whose keys are not in the file and whose messages differ by kind of event.

use sha2::{Digest, Sha256};

use super::{Cell, ForeignError, Row, Source, Table};

/// Rows read at once.
const PAGE_ROWS: u32 = 1000;
/// Breaks that are told.
const BREAKS_MAX: usize = 20;
/// What the fields of a row are joined by up to 0.8.
const SEPARATOR: u8 = 0x1f;

/// How a row becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Fields joined by a separator: up to 0.8.
    Separated,
    /// Each field behind its length: from 0.9 on.
    Prefixed,
}

/// What a chain was found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainVerdict {
    /// Rows with a place in it.
    pub rows: u64,
    /// Rows without one, which nothing vouches for.
    pub outside: u64,
    /// Rows with a signature, which is not looked at here.
    pub signed: u64,
    /// Links that fit in either encoding.
    pub separated: u64,
    /// Links that fit in the other.
    pub prefixed: u64,
    /// Sequences at which the encoding changes.
    pub switches: Vec<i64>,
    /// Sequences at which the chain does not hold, and why; the first ones.
    pub breaks: Vec<(i64, String)>,
    /// Sequence of the last row; 0 without one.
    pub head_sequence: i64,
}

impl ChainVerdict {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.breaks.is_empty() && self.outside == 0
    }
}

impl Source {
    /// Checks the audit chain.
    ///
    /// # Errors
    /// [`ForeignError::Sql`].
    pub fn verify_chain(&self) -> Result<ChainVerdict, ForeignError> {
        let mut walk = Walk::default();
        let mut after = 0;
        loop {
            let page = self.in_chain(after)?;
            let Some(last) = page.last().and_then(|row| row.integer("sequence")) else { break };
            page.iter().for_each(|row| walk.step(row));
            after = last;
        }
        walk.verdict.outside = self.outside()?;
        Ok(walk.verdict)
    }

    fn in_chain(&self, after: i64) -> Result<Vec<Row>, ForeignError> {
        let text = format!(
            "SELECT rowid AS number_in_file, * FROM {} WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            Table::Events.name()
        );
        let rows = self.rows(&text, after, PAGE_ROWS).map_err(|source| self.failed(source))?;
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    fn outside(&self) -> Result<u64, ForeignError> {
        let text = "SELECT count(*) FROM signed_events WHERE sequence IS NULL OR sequence <= 0";
        let count = self.connection.query_row(text, [], |row| row.get::<_, i64>(0));
        count.map(i64::cast_unsigned).map_err(|source| self.failed(source))
    }
}

#[derive(Default)]
struct Walk {
    verdict: ChainVerdict,
    /// Hashes of the row before, in both encodings.
    before: Option<[[u8; 32]; 2]>,
    last: Option<Encoding>,
}

impl Walk {
    fn step(&mut self, row: &Row) {
        let sequence = row.integer("sequence").unwrap_or_default();
        let verdict = &mut self.verdict;
        verdict.rows += 1;
        verdict.signed += u64::from(row.bytes("signature").is_some_and(|s| !s.is_empty()));
        if sequence != verdict.head_sequence + 1 {
            let problem = format!("the row before has sequence {}", verdict.head_sequence);
            broken(verdict, sequence, problem);
        }
        verdict.head_sequence = sequence;
        let before = self.before.unwrap_or([[0; 32]; 2]);
        let link = row.bytes("prev_hash").unwrap_or_default();
        if self.before.is_none() {
            if link != [0; 32] {
                broken(verdict, sequence, "the first row goes on from another one".to_owned());
            }
        } else if link == before[0] {
            verdict.separated += 1;
            note(&mut self.last, &mut verdict.switches, Encoding::Separated, sequence);
        } else if link == before[1] {
            verdict.prefixed += 1;
            note(&mut self.last, &mut verdict.switches, Encoding::Prefixed, sequence);
        } else {
            broken(verdict, sequence, "the row before is not the one it goes on from".to_owned());
        }
        self.before = Some([Encoding::Separated, Encoding::Prefixed].map(|e| hash(row, e)));
    }
}

fn broken(verdict: &mut ChainVerdict, sequence: i64, problem: String) {
    if verdict.breaks.len() < BREAKS_MAX {
        verdict.breaks.push((sequence, problem));
    }
}

fn note(last: &mut Option<Encoding>, switches: &mut Vec<i64>, now: Encoding, sequence: i64) {
    if last.replace(now).is_some_and(|before| before != now) {
        switches.push(sequence);
    }
}

/// The hash of a row, which the next one carries.
pub(super) fn hash(row: &Row, encoding: Encoding) -> [u8; 32] {
    const FIELDS: [&str; 7] =
        ["id", "agent_id", "event_type", "payload_hash", "signature", "attest_level", "timestamp"];
    let sequence = row.integer("sequence").unwrap_or_default().to_be_bytes();
    let mut bytes = Vec::with_capacity(256);
    for field in FIELDS {
        let value = match row.0.get(field) {
            Some(Cell::Text(text)) => text.as_bytes(),
            Some(Cell::Blob(bytes)) => bytes,
            _ => &[],
        };
        match encoding {
            Encoding::Separated => {
                bytes.extend_from_slice(value);
                bytes.push(SEPARATOR);
            }
            Encoding::Prefixed => prefixed(&mut bytes, value),
        }
    }
    bytes.extend_from_slice(&sequence);
    if encoding == Encoding::Prefixed {
        match row.bytes("cause_hash") {
            None => bytes.push(0),
            Some(cause) => {
                bytes.push(1);
                prefixed(&mut bytes, cause);
            }
        }
    }
    Sha256::digest(&bytes).into()
}

fn prefixed(bytes: &mut Vec<u8>, value: &[u8]) {
    bytes.extend_from_slice(&(value.len() as u64).to_be_bytes());
    bytes.extend_from_slice(value);
}
