//! Checking the audit chain (requirement E2).
//!
//! Rows are read in steps, each its own short read, so that a check of millions of rows neither holds a
//! snapshot open nor memory. Rows are never changed after they are written, so the steps fit
//! together; what is appended meanwhile is checked too.
//!
//! Invariants: `VER-1` the first row that does not fit is named, and why; `VER-2` a row whose key is
//! unknown, weak or not the one its id says counts as not signed; `VER-3` an operation that is kept without
//! its row, or a row behind the beginning of the log without its operation, is a break.
//!
//! Not here: rows of `memories` (`check`), which are not signed themselves.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use types::{
    NodeId, OpId,
    audit::{AttestLevel, EventBody, EventRow, GENESIS},
    codec,
};

use super::{
    fault::SqlFault,
    read::states::log_begins,
    row::{signed, unsigned},
};
use crate::{
    answer::ChainReport,
    sql::{Connection, OptionalExtension, Row},
};

/// Rows per step: a few milliseconds of signatures.
pub(crate) const STEP_ROWS: u32 = 2_000;

/// A check in progress.
#[derive(Debug)]
pub(crate) struct ChainCheck {
    since: i64,
    /// Sequence that the next row must have.
    next: i64,
    /// What is known of each daemon's chain, by number.
    chains: BTreeMap<i64, Chain>,
    begun: bool,
    keys: BTreeMap<[u8; 8], Result<VerifyingKey, String>>,
    /// Operations up to here may have been forgotten.
    log_begins: i64,
    report: ChainReport,
}

/// The chain of one daemon, as far as it was read.
#[derive(Debug)]
struct Chain {
    /// Sequence of its last row; 0 when there is none.
    sequence: i64,
    /// `prev_hash` that its next row must carry; `None` when the row before could not be read.
    hash: Option<[u8; 32]>,
}

impl Default for Chain {
    fn default() -> Self {
        Self { sequence: 0, hash: Some(GENESIS) }
    }
}

/// A row, and what the log keeps of the operation it speaks of.
struct Checked {
    /// Whose chain it belongs to.
    daemon: i64,
    event: EventRow,
    /// Whether it speaks of an operation at all.
    has_op: bool,
    /// Name and bytes of the operation kept at its position.
    kept: Option<(OpId, Vec<u8>)>,
    /// What the event says, where it is no operation.
    payload: Option<Vec<u8>>,
}

impl ChainCheck {
    /// A check of the rows behind `since`; 0 checks all of them.
    pub(crate) fn new(since: i64) -> Self {
        let since = since.max(0);
        Self {
            since,
            next: since + 1,
            chains: BTreeMap::new(),
            begun: false,
            keys: BTreeMap::new(),
            log_begins: 0,
            report: ChainReport::default(),
        }
    }

    /// Checks the next rows within the connection's snapshot; says whether there are more.
    pub(crate) fn step(&mut self, connection: &Connection) -> Result<bool, SqlFault> {
        if !self.begun {
            self.begin(connection)?;
        }
        let mut statement = connection.prepare_cached(SELECT_EVENTS)?;
        let mut rows = statement.query((self.next - 1, STEP_ROWS))?;
        let (mut seen, mut events) = (0, Vec::new());
        while let Some(row) = rows.next()? {
            seen += 1;
            let sequence: i64 = row.get(0)?;
            self.report.rows_checked += 1;
            if sequence != self.next {
                self.broken(self.next, format!("row {} is missing", self.next));
            }
            self.next = sequence + 1;
            match checked(row) {
                Ok(row) => {
                    self.check(&row);
                    events.push(row.event);
                }
                Err(Unreadable::Sql(error)) => return Err(error.into()),
                Err(Unreadable::Content(problem)) => {
                    self.broken(sequence, problem);
                    let chain = self.chains.entry(row.get(17)?).or_default();
                    *chain = Chain { sequence, hash: None };
                    self.report.head_sequence = sequence;
                }
            }
        }
        let (first, second) = events.split_at(events.len() / 2);
        let (mut unsigned, rest) =
            runtime::parallel::join(|| self.unsigned_of(first), || self.unsigned_of(second));
        unsigned.extend(rest);
        self.report.signature_failures.extend(unsigned);
        if seen == STEP_ROWS {
            return Ok(true);
        }
        self.find_stray_operation(connection)?;
        Ok(false)
    }

    /// What was found.
    pub(crate) fn finish(self) -> ChainReport {
        self.report
    }

    fn begin(&mut self, connection: &Connection) -> Result<(), SqlFault> {
        self.begun = true;
        self.keys = keys(connection)?;
        self.log_begins = signed(log_begins(connection)?);
        if self.since == 0 {
            return Ok(());
        }
        self.go_on(connection)
    }

    /// Reads the last row of each chain up to where the check begins.
    fn go_on(&mut self, connection: &Connection) -> Result<(), SqlFault> {
        for daemon in daemons(connection)?.into_keys() {
            let text = "SELECT sequence FROM signed_events WHERE daemon = ?1 AND sequence <= ?2 \
                 ORDER BY sequence DESC LIMIT 1";
            let last = connection.query_row(text, (daemon, self.since), |row| row.get(0));
            let Some(last): Option<i64> = last.optional()? else { continue };
            let mut statement = connection.prepare_cached(SELECT_EVENTS)?;
            let mut rows = statement.query((last - 1, 1))?;
            let Some(row) = rows.next()? else { continue };
            let hash = match checked(row) {
                Ok(row) => Some(row.event.chain_hash()),
                Err(Unreadable::Sql(error)) => return Err(error.into()),
                Err(Unreadable::Content(problem)) => {
                    self.broken(last, problem);
                    None
                }
            };
            if last > self.report.head_sequence {
                self.report.head_sequence = last;
                self.report.head_hash = hash.unwrap_or_default();
            }
            self.chains.insert(daemon, Chain { sequence: last, hash });
        }
        if self.report.head_sequence != self.since {
            self.broken(self.since, format!("row {} is missing", self.since));
        }
        Ok(())
    }

    fn check(&mut self, row: &Checked) {
        let event = &row.event;
        let sequence = event.sequence;
        let before = self.chains.entry(row.daemon).or_default();
        if before.hash.is_some_and(|expected| expected != event.prev_hash) {
            let before = before.sequence;
            let problem =
                format!("prev_hash is not the hash of row {before}: one of the two was changed");
            self.broken(sequence, problem);
        }
        let forgotten = row.has_op && row.kept.is_none() && sequence <= self.log_begins;
        if let Some(problem) = op_problem(row).filter(|_| !forgotten) {
            self.broken(sequence, problem);
        }
        let hash = event.chain_hash();
        self.chains.insert(row.daemon, Chain { sequence, hash: Some(hash) });
        self.report.head_sequence = sequence;
        self.report.head_hash = hash;
    }

    /// Sequences of the rows whose signature does not verify.
    fn unsigned_of(&self, events: &[EventRow]) -> Vec<i64> {
        let unsigned = events.iter().filter(|event| !self.is_signed(event));
        unsigned.map(|event| event.sequence).collect()
    }

    fn is_signed(&self, event: &EventRow) -> bool {
        let Some(Ok(key)) = self.keys.get(&event.key_id) else {
            return false;
        };
        key.verify_strict(&event.body.digest(), &Signature::from_bytes(&event.signature)).is_ok()
    }

    fn broken(&mut self, sequence: i64, problem: String) {
        if self.report.chain_break.as_ref().is_none_or(|(first, _)| sequence < *first) {
            self.report.chain_break = Some((sequence, problem));
        }
    }

    /// An operation whose audit row is gone: the only trace of a chain that was cut off at its end.
    fn find_stray_operation(&mut self, connection: &Connection) -> Result<(), SqlFault> {
        let mut statement = connection.prepare_cached(
            "SELECT position FROM ops WHERE position > ?1 AND NOT EXISTS \
             (SELECT 1 FROM signed_events WHERE sequence = position) ORDER BY position LIMIT 1",
        )?;
        let stray: Option<i64> = statement.query_row([self.since], |row| row.get(0)).optional()?;
        if let Some(position) = stray {
            self.broken(position, format!("operation {position} is kept without its audit row"));
        }
        self.compare_with_mark(connection)
    }

    /// The writer notes the end of the chain beside it; a chain that ends elsewhere was cut.
    fn compare_with_mark(&mut self, connection: &Connection) -> Result<(), SqlFault> {
        for (daemon, mark) in daemons(connection)? {
            let chain = self.chains.entry(daemon).or_default();
            let (last, hash) = (chain.sequence, chain.hash.unwrap_or_default());
            if mark != [last.to_be_bytes().as_slice(), &hash].concat() {
                let problem = format!("row {last} is not the last row that was written");
                self.broken(last + 1, problem);
            }
        }
        Ok(())
    }
}

/// The daemons that have chains here, and how each has noted its end.
fn daemons(connection: &Connection) -> Result<BTreeMap<i64, Vec<u8>>, SqlFault> {
    let mut statement = connection.prepare_cached("SELECT id, chain_head FROM daemons")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What is wrong between a row and the operation kept at its position.
fn op_problem(row: &Checked) -> Option<String> {
    match (&row.kept, row.has_op) {
        (None, false) => match &row.payload {
            None => Some(format!("what event {} says is no longer kept", row.event.body.id)),
            Some(bytes) => (codec::op_hash(bytes) != row.event.body.payload_hash)
                .then(|| format!("what event {} says is not what was signed", row.event.body.id)),
        },
        (None, true) => Some(format!("operation {} is no longer kept", row.event.body.id)),
        (Some(_), false) => Some("an operation is kept at a row that speaks of none".into()),
        (Some((id, _)), true) if EventBody::op_event_id(*id) != row.event.body.id => {
            Some(format!("operation {id} is kept where {} was signed", row.event.body.id))
        }
        (Some((id, bytes)), true) => (codec::op_hash(bytes) != row.event.body.payload_hash)
            .then(|| format!("the bytes of operation {id} are not those that were signed")),
    }
}

/// Every key that signed here, with the reason why it can't be believed.
fn keys(
    connection: &Connection,
) -> Result<BTreeMap<[u8; 8], Result<VerifyingKey, String>>, SqlFault> {
    let mut statement = connection.prepare_cached("SELECT key_id, public_key FROM signing_keys")?;
    let mut rows = statement.query([])?;
    let mut all = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (id, public): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let Ok(key_id) = <[u8; 8]>::try_from(id.as_slice()) else { continue };
        all.insert(key_id, key(&key_id, &public));
    }
    Ok(all)
}

fn key(key_id: &[u8; 8], public: &[u8]) -> Result<VerifyingKey, String> {
    let bytes = <[u8; 32]>::try_from(public).map_err(|e| e.to_string())?;
    if Sha256::digest(bytes)[..8] != key_id[..] {
        return Err("its id is not the hash of the key".into());
    }
    let key = VerifyingKey::from_bytes(&bytes).map_err(|e| e.to_string())?;
    if key.is_weak() {
        return Err("it is of small order".into());
    }
    Ok(key)
}

const SELECT_EVENTS: &str = "SELECT e.sequence, n.node, e.seq, e.name, a.name, e.event_type, \
     e.payload_hash, e.attest_level, e.timestamp_ms, e.cause_hash, e.signature, e.key_id, e.prev_hash, \
     kn.node, o.seq, o.bytes, p.bytes, e.daemon FROM signed_events e LEFT JOIN nodes n ON n.id = e.origin \
     LEFT JOIN event_payloads p ON p.sequence = e.sequence \
     LEFT JOIN names a ON a.id = e.agent LEFT JOIN ops o ON o.position = e.sequence \
     LEFT JOIN nodes kn ON kn.id = o.origin WHERE e.sequence > ?1 ORDER BY e.sequence LIMIT ?2";

/// Why a row could not be read.
enum Unreadable {
    /// SQLite failed.
    Sql(crate::sql::Error),
    /// The row is there and makes no sense.
    Content(String),
}

impl From<crate::sql::Error> for Unreadable {
    fn from(error: crate::sql::Error) -> Self {
        match error {
            crate::sql::Error::Column { .. } => Self::Content(error.to_string()),
            other => Self::Sql(other),
        }
    }
}

impl From<types::Invalid> for Unreadable {
    fn from(invalid: types::Invalid) -> Self {
        Self::Content(invalid.to_string())
    }
}

fn bytes<const N: usize>(row: Row<'_>, at: usize, name: &str) -> Result<[u8; N], Unreadable> {
    let bytes: Vec<u8> = row.get(at)?;
    let len = bytes.len();
    bytes.try_into().map_err(|_| Unreadable::Content(format!("{name} has {len} bytes, not {N}")))
}

fn op_id(row: Row<'_>, node: usize, seq: usize) -> Result<Option<OpId>, Unreadable> {
    let (node, seq): (Option<Vec<u8>>, Option<i64>) = (row.get(node)?, row.get(seq)?);
    match (node, seq) {
        (Some(node), Some(seq)) => {
            Ok(Some(OpId { origin: NodeId::from_slice(&node)?, seq: unsigned(seq) }))
        }
        (None, None) => Ok(None),
        _ => Err(Unreadable::Content("names half an operation".into())),
    }
}

fn checked(row: Row<'_>) -> Result<Checked, Unreadable> {
    let op = op_id(row, 1, 2)?;
    let name: Option<String> = row.get(3)?;
    let id = match (op, name) {
        (Some(op), None) => EventBody::op_event_id(op),
        (None, Some(name)) => name,
        _ => return Err(Unreadable::Content("has not exactly one of operation and name".into())),
    };
    let attest: u8 = row.get(7)?;
    let cause: Option<Vec<u8>> = row.get(9)?;
    let body = EventBody {
        id,
        agent_id: row.get::<String>(4)?.parse()?,
        event_type: row.get(5)?,
        payload_hash: bytes(row, 6, "payload_hash")?,
        attest_level: AttestLevel::from_number(attest)
            .ok_or_else(|| Unreadable::Content(format!("unknown attest_level {attest}")))?,
        timestamp_ms: unsigned(row.get(8)?),
        cause_hash: cause.map(|_| bytes(row, 9, "cause_hash")).transpose()?,
    };
    let event = EventRow {
        sequence: row.get(0)?,
        body,
        signature: bytes(row, 10, "signature")?,
        key_id: bytes(row, 11, "key_id")?,
        prev_hash: bytes(row, 12, "prev_hash")?,
    };
    let kept: Option<Vec<u8>> = row.get(15)?;
    let kept = match (op_id(row, 13, 14)?, kept) {
        (Some(id), Some(bytes)) => Some((id, bytes)),
        (None, None) => None,
        _ => return Err(Unreadable::Content("its operation has no origin".into())),
    };
    let daemon = row.get(17)?;
    Ok(Checked { daemon, event, has_op: op.is_some(), kept, payload: row.get(16)? })
}

/// Checks the whole chain on one connection.
pub(crate) fn verify_all(connection: &Connection, since: i64) -> Result<ChainReport, SqlFault> {
    let mut check = ChainCheck::new(since);
    while check.step(connection)? {}
    Ok(check.finish())
}

/// Sequence and chain hash of the last row; 0 and the genesis hash when there is none.
pub(crate) fn head(connection: &Connection) -> Result<(i64, [u8; 32]), SqlFault> {
    let mut statement =
        connection.prepare_cached("SELECT coalesce(max(sequence), 0) FROM signed_events")?;
    let last: i64 = statement.query_row([], |row| row.get(0))?;
    if last == 0 {
        return Ok((0, GENESIS));
    }
    let mut check = ChainCheck::new(last);
    check.begin(connection)?;
    match check.report.chain_break {
        None => Ok((check.report.head_sequence, check.report.head_hash)),
        Some((sequence, problem)) => Err(SqlFault::Damaged {
            table: "signed_events",
            key: format!("sequence {sequence}"),
            problem,
        }),
    }
}
