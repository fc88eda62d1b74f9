//! What changed: the stream a watcher follows and the history a person reads.
//!
//! What a reader is told of an operation:
//! * it concerns a memory that may be seen now, archived or live: the memory as it is now;
//! * it concerns a tombstone whose last audience includes the reader: the id, without a memory;
//! * it is the update that took a memory out of the reader's sight: the id, without a memory, so
//!   that a watcher forgets what it knows. Earlier and later operations on that memory are not told;
//! * it is about a link whose both ends may be seen: the link's source, as it is now;
//! * anything else (reports of recalls, agents) is told to the operator alone.
//!
//! Invariants: `STO-2`; `CHG-1` the position covered never passes an operation that was not
//! examined, so resuming there loses nothing; `CHG-2` positions returned ascend in the stream.
//!
//! Expiry is not judged in the stream: it has no clock, and an expired memory changes again when it
//! is archived.
//!
//! Not here: waiting for the next change.

use std::collections::BTreeMap;

use types::{
    AgentId, Audience, Hlc, LinkId, MemoryId, NodeId, Op, OpId, Payload, Reason, Register, Reject,
    codec, limits::PAGE_MAX,
};

use super::{
    conditions::Conditions,
    memories,
    sight::{Sight, gettable},
    views,
};
use crate::{
    answer::{Change, MemoryView},
    request::TimelineQuery,
    rows::{
        fault::SqlFault,
        row::{signed, unsigned},
    },
    sql::{Connection, OptionalExtension, Row, params_from_iter},
};

/// Operations examined per call for each one asked for; hidden ones cost too.
const EXAMINED_PER_WANTED: u32 = 16;

/// Columns that [`Logged`] is read from; append conditions on `o`.
macro_rules! select_ops {
    () => {
        "SELECT o.position, n.node, o.seq, o.hlc, a.name, e.event_type, o.memory, o.bytes FROM ops o \
         JOIN nodes n ON n.id = o.origin JOIN signed_events e ON e.sequence = o.position \
         JOIN names a ON a.id = e.agent "
    };
}

/// An operation in the log with what its audit row says.
struct Logged {
    position: u64,
    id: OpId,
    hlc: Hlc,
    agent: AgentId,
    event_type: String,
    memory: Option<MemoryId>,
    bytes: Vec<u8>,
}

impl Logged {
    fn read(row: Row<'_>) -> Result<Self, SqlFault> {
        let position: i64 = row.get(0)?;
        let broken = |error: types::Invalid| damaged(position, error.to_string());
        let memory: Option<Vec<u8>> = row.get(6)?;
        Ok(Self {
            position: unsigned(position),
            id: OpId {
                origin: NodeId::from_slice(&row.get::<Vec<u8>>(1)?).map_err(broken)?,
                seq: unsigned(row.get(2)?),
            },
            hlc: Hlc::from_u64(unsigned(row.get(3)?)),
            agent: row.get::<String>(4)?.parse().map_err(broken)?,
            event_type: row.get(5)?,
            memory: memory.map(|id| MemoryId::from_slice(&id)).transpose().map_err(broken)?,
            bytes: row.get(7)?,
        })
    }

    fn decode(&self) -> Result<Op, SqlFault> {
        codec::decode_op(&self.bytes).map_err(|e| damaged(signed(self.position), e.to_string()))
    }

    fn change(self, memory_id: Option<MemoryId>, memory: Option<MemoryView>) -> Change {
        Change {
            position: self.position,
            op: self.id,
            hlc: self.hlc,
            agent: self.agent,
            event_type: self.event_type,
            memory,
            memory_id,
        }
    }
}

fn damaged(position: i64, problem: String) -> SqlFault {
    SqlFault::Damaged { table: "ops", key: format!("position {position}"), problem }
}

/// Changes after a position and the position covered.
pub(crate) fn changes(
    connection: &Connection,
    sight: &Sight,
    after: u64,
    limit: u32,
) -> Result<(Vec<Change>, u64), SqlFault> {
    let head = head(connection)?;
    if after > head {
        return Err(Reject::new(
            Reason::PositionNotReached,
            format!("position {after} has not been reached here; the last one is {head}"),
        )
        .with("position", head)
        .into());
    }
    check_reach(connection, after)?;
    let limit = limit.clamp(1, PAGE_MAX);
    let examined_max = limit.saturating_mul(EXAMINED_PER_WANTED);
    let mut statement = connection.prepare_cached(concat!(
        select_ops!(),
        "WHERE o.position > ?1 ORDER BY o.position LIMIT ?2"
    ))?;
    let mut rows = statement.query((signed(after), examined_max))?;
    let mut teller = Teller { connection, sight, views: BTreeMap::new() };
    let (mut told, mut examined, mut covered) = (Vec::new(), 0, after);
    while let Some(row) = rows.next()? {
        let logged = Logged::read(row)?;
        (examined, covered) = (examined + 1, logged.position);
        told.extend(teller.tell(logged)?);
        if told.len() == limit as usize {
            return Ok((told, covered));
        }
    }
    // The log was read to its end: rows behind the last operation are audit rows of other events.
    Ok((told, if examined < examined_max { head } else { covered }))
}

/// Position of the last commit in this snapshot.
pub(crate) fn head(connection: &Connection) -> Result<u64, SqlFault> {
    let mut statement =
        connection.prepare_cached("SELECT coalesce(max(sequence), 0) FROM signed_events")?;
    Ok(unsigned(statement.query_row([], |row| row.get(0))?))
}

/// Refuses a position when operations right behind it are no longer kept.
fn check_reach(connection: &Connection, after: u64) -> Result<(), SqlFault> {
    let first = |text: &str| -> Result<Option<i64>, SqlFault> {
        let mut statement = connection.prepare_cached(text)?;
        Ok(statement.query_row([signed(after)], |row| row.get(0)).optional()?)
    };
    if after < super::states::log_begins(connection)? {
        return Err(too_old(after));
    }
    let evidenced = first(
        "SELECT sequence FROM signed_events WHERE sequence > ?1 AND origin IS NOT NULL \
         ORDER BY sequence LIMIT 1",
    )?;
    let kept = first("SELECT position FROM ops WHERE position > ?1 ORDER BY position LIMIT 1")?;
    if evidenced == kept {
        return Ok(());
    }
    Err(too_old(after))
}

fn too_old(after: u64) -> SqlFault {
    let detail = format!(
        "the log no longer holds every change after {after}; list again and watch from there"
    );
    Reject::new(Reason::PositionTooOld, detail).into()
}

/// Decides what a reader is told of an operation.
struct Teller<'a> {
    connection: &'a Connection,
    sight: &'a Sight,
    /// What was already looked up: `None` for what may not be seen.
    views: BTreeMap<MemoryId, Seen>,
}

/// How a memory looks to the reader now.
#[derive(Clone)]
enum Seen {
    Hidden,
    Gone,
    Here(Box<MemoryView>),
}

impl Teller<'_> {
    fn tell(&mut self, logged: Logged) -> Result<Option<Change>, SqlFault> {
        let Some(id) = logged.memory else {
            return self.tell_other(logged);
        };
        match self.look(id)? {
            Seen::Here(view) => Ok(Some(logged.change(Some(view.id), Some(*view)))),
            Seen::Gone => Ok(Some(logged.change(Some(id), None))),
            Seen::Hidden if self.took_away(id, &logged)? => Ok(Some(logged.change(Some(id), None))),
            Seen::Hidden => Ok(None),
        }
    }

    fn look(&mut self, id: MemoryId) -> Result<Seen, SqlFault> {
        if let Some(seen) = self.views.get(&id) {
            return Ok(seen.clone());
        }
        let seen = match memories::any_life(self.connection, self.sight, id)? {
            None => Seen::Hidden,
            Some(shown) if shown.record.deleted.is_some() => Seen::Gone,
            Some(shown) => Seen::Here(Box::new(memories::view(shown))),
        };
        self.views.insert(id, seen.clone());
        Ok(seen)
    }

    /// Whether this operation moved a memory from an audience of the reader's to another.
    fn took_away(&self, id: MemoryId, logged: &Logged) -> Result<bool, SqlFault> {
        if logged.event_type != "memory.update" {
            return Ok(false);
        }
        let Some(after) = audience_set(&logged.decode()?) else {
            return Ok(false);
        };
        let before = audience_before(self.connection, id, logged.position)?;
        Ok(before.is_some_and(|before| self.sight.includes(&before))
            && !self.sight.includes(&after.value))
    }

    fn tell_other(&mut self, logged: Logged) -> Result<Option<Change>, SqlFault> {
        let link = match logged.decode()?.payload {
            Payload::Link(new) => Some((new.source, new.target)),
            Payload::Unlink { id } | Payload::LinkValidity { id, .. } => self.ends(id)?,
            _ => None,
        };
        if let Some((source, target)) = link
            && let (Seen::Here(view), Seen::Here(_)) = (self.look(source)?, self.look(target)?)
        {
            return Ok(Some(logged.change(Some(view.id), Some(*view))));
        }
        let told = self.sight.audiences().is_none();
        Ok(told.then(|| logged.change(None, None)))
    }

    fn ends(&self, id: LinkId) -> Result<Option<(MemoryId, MemoryId)>, SqlFault> {
        let mut statement =
            self.connection.prepare_cached("SELECT source, target FROM links WHERE id = ?1")?;
        let mut rows = statement.query([id.as_bytes().as_slice()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let end = |at: usize| -> Result<MemoryId, SqlFault> {
            let bytes: Vec<u8> = row.get(at)?;
            crate::rows::row::memory_id("links", &bytes)
        };
        Ok(Some((end(0)?, end(1)?)))
    }
}

/// The audience an operation sets, with its stamp.
fn audience_set(op: &Op) -> Option<Register<Audience>> {
    let audience = match &op.payload {
        Payload::Store(new) => &new.audience,
        Payload::Update(body) => &body.patch.scope.as_ref()?.1,
        _ => return None,
    };
    Some(Register::new(audience.clone(), op.stamp()))
}

/// The audience of a memory before a position: that of the greatest stamp among earlier operations.
fn audience_before(
    connection: &Connection,
    id: MemoryId,
    position: u64,
) -> Result<Option<Audience>, SqlFault> {
    let mut statement = connection
        .prepare_cached("SELECT position, bytes FROM ops WHERE memory = ?1 AND position < ?2")?;
    let mut rows = statement.query((id.as_bytes().as_slice(), signed(position)))?;
    let mut audience: Option<Register<Audience>> = None;
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(1)?;
        let at: i64 = row.get(0)?;
        let op = codec::decode_op(&bytes).map_err(|e| damaged(at, e.to_string()))?;
        let Some(set) = audience_set(&op) else { continue };
        match &mut audience {
            Some(known) => known.join(set),
            None => audience = Some(set),
        }
    }
    Ok(audience.map(|register| register.value))
}

/// Changes in order of time: of one memory, or of those that a filter selects.
pub(crate) fn timeline(
    connection: &Connection,
    sight: &Sight,
    query: &TimelineQuery,
) -> Result<Vec<Change>, SqlFault> {
    // Memories the reader may not see have no history either; a resolved one is known to be visible.
    let mut conditions = Conditions::new(sight, query.now_ms, gettable!());
    match &query.id {
        Some(id) => {
            let id = memories::resolve(connection, sight, id, query.now_ms)?;
            let ids = views::members(connection, id)?.into_iter().map(|id| id.as_bytes().to_vec());
            conditions.any_of("id", ids);
        }
        None => conditions.filter_all(connection, &query.filter, query.now_ms)?,
    }
    let from = conditions.bind(signed(Hlc::new(query.from_ms.unwrap_or(0), 0).as_u64()));
    // Stamps beyond the signed range cannot be stored, so an open end is the greatest signed number.
    let until = query.until_ms.map_or(u64::MAX, |ms| Hlc::new(ms, 0).as_u64()).min(i64::MAX as u64);
    let until = conditions.bind(signed(until));
    let wanted = query.limit.clamp(1, PAGE_MAX);
    let text = format!(
        concat!(
            select_ops!(),
            "WHERE o.hlc >= {} AND o.hlc < {} AND o.memory IN (SELECT id FROM memories WHERE {}) \
             ORDER BY o.hlc, o.position LIMIT {}"
        ),
        from,
        until,
        conditions.text(),
        wanted
    );
    let mut statement = connection.prepare_cached(&text)?;
    let mut rows = statement.query(params_from_iter(conditions.values()))?;
    let mut teller = Teller { connection, sight, views: BTreeMap::new() };
    let mut told = Vec::new();
    while let Some(row) = rows.next()? {
        told.extend(teller.tell(Logged::read(row)?)?);
    }
    Ok(told)
}
