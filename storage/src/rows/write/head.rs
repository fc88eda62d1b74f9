//! Where the log ends: the feeds of all origins, stamp, position, row, and the chain's last hash.
//!
//! Invariants: `OP-2` sequence numbers of this node have no gaps, and stamps grow whatever the wall
//! clock does, because the clock resumes from the greatest durable stamp; `HEAD-1` a failed group
//! puts the old head back, except for the clock, which never goes back; `HEAD-2` a node among peers says
//! nothing before it is told under which name: what it finds on its disk may be older than what it has said.
//!
//! Not here: the rows themselves (`log`, `memories`).

use std::collections::BTreeMap;

use types::{
    AgentId, FeedHead, Hlc, HlcClock, NodeId, OpId, Reason, Reject, VersionVector,
    audit::{AttestLevel, EventBody, EventRow, GENESIS},
    codec, planted,
};

use crate::{
    rows::{
        daemon::Daemon,
        fault::SqlFault,
        row::{signed, unsigned},
    },
    sql::{Connection, OptionalExtension},
};

/// The end of everything that only grows.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// This node.
    pub(crate) node: NodeId,
    /// Its number in the database.
    pub(crate) daemon: i64,
    /// The feed that it goes on with.
    pub(crate) own: FeedHead,
    /// Whether it may not, until it is told under which name (`HEAD-2`).
    pub(crate) is_mute: bool,
    /// All other feeds, as far as they are covered.
    pub(crate) feeds: BTreeMap<NodeId, FeedHead>,
    /// Position of the last operation, which is the sequence of the last audit row.
    pub(crate) position: u64,
    /// `prev_hash` of the next audit row.
    pub(crate) chain: [u8; 32],
    /// Last row given to a memory.
    pub(crate) row: i64,
    /// What of other nodes' operations is covered here; `feeds` in short.
    pub(crate) others: VersionVector,
    /// The clock.
    pub(crate) clock: HlcClock,
}

impl Head {
    /// Reads the head; the second part says why the chain must not be continued, if so.
    pub(crate) fn load(
        connection: &Connection,
        daemon: &Daemon,
    ) -> Result<(Self, Option<String>), SqlFault> {
        let Daemon { node, number, .. } = *daemon;
        let mut head = Self {
            node,
            daemon: number,
            own: FeedHead::empty(own_origin(connection, node)?),
            is_mute: false,
            feeds: BTreeMap::new(),
            position: 0,
            chain: GENESIS,
            row: connection
                .query_row("SELECT coalesce(max(row), 0) FROM memories", [], |row| row.get(0))?,
            others: VersionVector::default(),
            clock: HlcClock::default(),
        };
        let mut last_stamp = Hlc::default();
        let mut statement = connection.prepare_cached(
            "SELECT n.node, f.seq, f.hlc, f.chain FROM feeds f JOIN nodes n ON n.id = f.origin",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let origin = NodeId(uuid::Uuid::from_bytes(row.get(0)?));
            let feed = FeedHead { origin, seq: unsigned(row.get(1)?), chain: row.get(3)? };
            last_stamp = last_stamp.max(Hlc::from_u64(unsigned(row.get(2)?)));
            head.covers(feed);
        }
        head.clock = HlcClock::resume(last_stamp);
        if planted::is_on("nonces-forgotten") {
            connection.execute("DELETE FROM nonces", [])?;
        }
        let broken = head.load_chain(connection)?;
        Ok((head, broken))
    }

    /// Goes on behind what others have written to the database since.
    #[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
    pub(crate) fn catch_up(
        &mut self,
        connection: &Connection,
        daemon: &Daemon,
    ) -> Result<(), SqlFault> {
        let (mut found, broken) = Self::load(connection, daemon)?;
        if let Some(problem) = broken {
            let (table, key) = ("signed_events", format!("of daemon {}", daemon.number));
            return Err(SqlFault::Damaged { table, key, problem });
        }
        found.is_mute = self.is_mute;
        found.clock.pass(self.clock.last());
        *self = found;
        Ok(())
    }

    /// Whether what was to be written at this end is there.
    pub(crate) fn was_kept(&self, connection: &Connection) -> crate::sql::Result<bool> {
        let text = "SELECT chain_head FROM daemons WHERE id = ?1";
        let mark: Vec<u8> = connection.query_row(text, [self.daemon], |row| row.get(0))?;
        Ok(mark.ends_with(&self.chain))
    }

    /// Reads the end of the chain, and says what does not fit.
    fn load_chain(&mut self, connection: &Connection) -> Result<Option<String>, SqlFault> {
        let mark: Vec<u8> = connection.query_row(
            "SELECT chain_head FROM daemons WHERE id = ?1",
            [self.daemon],
            |row| row.get(0),
        )?;
        let (last, last_op): (i64, i64) = connection.query_row(
            "SELECT (SELECT coalesce(max(sequence), 0) FROM signed_events),
                (SELECT coalesce(max(position), 0) FROM ops)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        self.position = unsigned(last);
        let last = last_event(connection, self.daemon)?;
        if let Some(event) = &last {
            self.chain = event.chain_hash();
        }
        if last_op > signed(self.position) {
            return Ok(Some(format!("the operation at {last_op} has no audit row")));
        }
        let sequence = last.as_ref().map_or(0, |event| event.sequence);
        if mark != self.chain_mark(sequence) {
            return Ok(Some(format!("row {sequence} is not the last row that was written")));
        }
        let Some(event) = last else { return Ok(None) };
        let bytes: Option<Vec<u8>> = connection
            .query_row("SELECT bytes FROM ops WHERE position = ?1", [event.sequence], |row| {
                row.get(0)
            })
            .optional()?;
        let fits = bytes.is_none_or(|bytes| codec::op_hash(&bytes) == event.body.payload_hash);
        Ok((!fits).then(|| format!("row {} does not fit its operation", event.sequence)))
    }

    fn chain_mark(&self, sequence: i64) -> Vec<u8> {
        [sequence.to_be_bytes().as_slice(), &self.chain].concat()
    }

    /// Writes the end of the chain, whose last row has this sequence, beside the chain, so that cutting its last rows off is
    /// noticed.
    pub(crate) fn write(&self, connection: &Connection, sequence: i64) -> crate::sql::Result<()> {
        connection
            .prepare_cached("UPDATE daemons SET chain_head = ?2 WHERE id = ?1")?
            .execute((self.daemon, self.chain_mark(sequence)))?;
        Ok(())
    }

    /// Names the next operation of this node.
    ///
    /// # Errors
    /// [`Reason::Starting`] (`HEAD-2`).
    pub(crate) fn next_op(&self) -> Result<OpId, Reject> {
        if self.is_mute {
            let detail = "this node asks its peers what it had said before it started; try again";
            return Err(Reject::new(Reason::Starting, detail).with("retry_after_ms", 200));
        }
        Ok(OpId { origin: self.own.origin, seq: self.own.seq + 1 })
    }

    /// Goes on under this name, which is its own or one that nobody has used.
    pub(crate) fn speak_as(&mut self, origin: NodeId) {
        self.is_mute = false;
        if origin != self.own.origin {
            let own = self.feeds.remove(&origin).unwrap_or(FeedHead::empty(origin));
            let before = std::mem::replace(&mut self.own, own);
            if before.seq > 0 {
                self.covers(before);
            }
        }
    }

    /// The feed of an origin, as far as it is covered.
    pub(crate) fn feed(&self, origin: NodeId) -> FeedHead {
        if origin == self.own.origin {
            return self.own;
        }
        self.feeds.get(&origin).copied().unwrap_or(FeedHead::empty(origin))
    }

    /// A feed is covered up to here.
    pub(crate) fn covers(&mut self, feed: FeedHead) {
        if feed.origin == self.own.origin {
            self.own = feed;
        } else {
            self.others.raise(feed.origin, feed.seq);
            self.feeds.insert(feed.origin, feed);
        }
    }

    /// Takes `old` back after a failed group (`HEAD-1`).
    pub(crate) fn take_back(&mut self, old: Head) {
        let clock = self.clock.clone();
        *self = Self { clock, ..old };
    }
}

/// The name under which a node speaks.
pub(crate) fn own_origin(connection: &Connection, node: NodeId) -> crate::sql::Result<NodeId> {
    let noted: Option<Option<[u8; 16]>> = connection
        .prepare_cached("SELECT origin FROM daemons WHERE node = ?1")?
        .query_row([node.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(noted.flatten().map_or(node, |bytes| NodeId(uuid::Uuid::from_bytes(bytes))))
}

/// The last row of a daemon's chain.
fn last_event(connection: &Connection, daemon: i64) -> Result<Option<EventRow>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, n.node, seq, e.name, a.name, event_type, payload_hash, attest_level,
                timestamp_ms, cause_hash, signature, key_id, prev_hash
         FROM signed_events e JOIN names a ON a.id = e.agent LEFT JOIN nodes n ON n.id = e.origin
         WHERE e.daemon = ?1 ORDER BY sequence DESC LIMIT 1",
    )?;
    let mut rows = statement.query([daemon])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let sequence: i64 = row.get(0)?;
    let damaged = |problem: String| SqlFault::Damaged {
        table: "signed_events",
        key: sequence.to_string(),
        problem,
    };
    let id = match (row.get::<Option<[u8; 16]>>(1)?, row.get::<Option<i64>>(2)?) {
        (Some(node), Some(seq)) => {
            let origin = NodeId(uuid::Uuid::from_bytes(node));
            EventBody::op_event_id(OpId { origin, seq: unsigned(seq) })
        }
        _ => row.get(3)?,
    };
    let agent: AgentId =
        row.get::<String>(4)?.parse().map_err(|e: types::Invalid| damaged(e.to_string()))?;
    let attest_level = AttestLevel::from_number(row.get(7)?)
        .ok_or_else(|| damaged("unknown attest level".into()))?;
    Ok(Some(EventRow {
        sequence,
        body: EventBody {
            id,
            agent_id: agent,
            event_type: row.get(5)?,
            payload_hash: row.get(6)?,
            attest_level,
            timestamp_ms: unsigned(row.get(8)?),
            cause_hash: row.get(9)?,
        },
        signature: row.get(10)?,
        key_id: row.get(11)?,
        prev_hash: row.get(12)?,
    }))
}
