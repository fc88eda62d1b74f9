//! Operations of other nodes, as they came.
//!
//! Invariants: `FDS-1` an operation is applied only as the next of its origin's feed, or in the place that
//! was kept for it when it was hidden or refused; `FDS-2` what is refused here leaves its hash behind, so
//! that its feed goes on; `FDS-3` an operation's bytes are kept as its origin made them; `FDS-4` an
//! operation that is covered changes nothing, however often it comes; `FDS-5` in one feed two operations never
//! have one place; `FDS-6` one that is covered by state of which something was hidden is called known only when it
//! is seen to be here.
//!
//! Not here: whom to believe and what to admit (`federation`); this file knows what cannot be applied.

use types::{
    Link, MemoryId, Op, OpId, Payload, Reason, Record, Register, Reject, codec, link::NewLink,
    op::Accessed,
};

use super::{
    group::{Done, Group, Terms},
    overlay::{AliasEntry, Entry},
};
use crate::{
    answer::Applied,
    request::{Incoming, Passed},
    rows::{
        fault::SqlFault,
        row::{alias_key, key_of, signed},
    },
    sql::{OptionalExtension, params},
};

/// A covered operation that is not kept.
#[derive(Clone, Debug)]
pub(crate) struct Unheld {
    pub(crate) id: OpId,
    hash: [u8; 32],
    chain: [u8; 32],
    /// Why it was refused; `None`: it was hidden.
    reason: Option<&'static str>,
    /// The memory that it is about, if that is known.
    about: Option<About>,
}

/// What a refused operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// One memory.
    Memory(MemoryId),
    /// No single memory.
    NoMemory,
}

impl About {
    fn of(payload: &Payload) -> Self {
        payload.memory().map_or(Self::NoMemory, Self::Memory)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Memory(id) => id.as_bytes().as_slice(),
            Self::NoMemory => &[],
        }
    }
}

/// Where an operation belongs.
enum Place {
    /// It is the next of its feed.
    Next,
    /// It is covered and was not kept; this is the chain up to it.
    Unheld([u8; 32]),
    /// It is here.
    Here,
    /// It is covered by state of which something was hidden.
    Unsure,
}

impl Group<'_> {
    /// Takes an operation of another node. One that cannot be applied, or for which a quota is too small, is
    /// answered with [`Applied::Refused`], and its place is kept; one of which it cannot be told whether it is here
    /// with [`Applied::Passed`] (`FDS-6`).
    ///
    /// # Errors
    /// [`Reason::PositionNotReached`] when something before it is missing, [`Reason::ChainBroken`] when
    /// another one has its place. Neither leaves a trace.
    pub(crate) fn take(&mut self, terms: &Terms, incoming: Incoming) -> Done<Applied> {
        let Incoming { op, bytes } = incoming;
        let hash = codec::op_hash(&bytes);
        let place = self.place(op.id, &hash)?;
        match place {
            Place::Here => return Ok(Applied::Known),
            Place::Unsure if self.holds(&op)? => return Ok(Applied::Known),
            Place::Unsure => return Ok(Applied::Passed),
            Place::Next | Place::Unheld(_) => {}
        }
        if let Err(reject) = self.acceptable(terms, &op)? {
            if matches!(place, Place::Next) {
                let about = Some(About::of(&op.payload));
                self.pass_next(op.id, hash, Some(reject.reason.code()), about);
            }
            return Ok(Applied::Refused(reject));
        }
        match place {
            Place::Unheld(chain) => {
                self.found.push(op.id);
                self.log_at(&op, bytes, chain, &op.author, terms.viewer.attest);
            }
            _ => self.log(&op, bytes, &op.author, terms.viewer.attest),
        }
        self.head.clock.pass(op.hlc);
        self.merge_op(&op)?;
        Ok(Applied::Other)
    }

    /// Goes past an operation that is hidden from this node, or not let in; [`Applied::Known`] when there is nothing
    /// to go past.
    ///
    /// # Errors
    /// As [`Group::take`].
    pub(crate) fn pass(&mut self, passed: &Passed) -> Done<Applied> {
        match self.place(passed.id, &passed.hash)? {
            Place::Next => {
                let reason = passed.refused.map(|reason| reason.code());
                let about = passed.about.as_ref().map(|about| match about {
                    Some(id) => About::Memory(*id),
                    None => About::NoMemory,
                });
                self.pass_next(passed.id, passed.hash, reason, about);
            }
            // What is kept is not refused any more, whatever the rules say by now.
            Place::Unheld(_) | Place::Unsure if passed.refused.is_some() => {}
            Place::Unheld(_) | Place::Unsure | Place::Here => return Ok(Applied::Known),
        }
        Ok(Applied::Other)
    }

    fn pass_next(
        &mut self,
        id: OpId,
        hash: [u8; 32],
        reason: Option<&'static str>,
        about: Option<About>,
    ) {
        let feed = self.head.feed(id.origin).with(&hash);
        self.head.covers(feed);
        self.unheld.push(Unheld { id, hash, chain: feed.chain, reason, about });
    }

    fn place(&mut self, id: OpId, hash: &[u8; 32]) -> Done<Place> {
        let feed = self.head.feed(id.origin);
        if id.seq == feed.seq + 1 {
            return Ok(Place::Next);
        }
        if id.seq > feed.seq {
            let detail = format!("operation {id} comes after {}; some are missing", feed.seq);
            let reject = Reject::new(Reason::PositionNotReached, detail);
            return Err(reject.with("expected_seq", feed.seq + 1).into());
        }
        let (known, place) = self.covered_at(id)?;
        if known.is_some_and(|known| known != *hash) {
            let detail = format!("operation {id} is another one here: node {} has two", id.origin);
            return Err(Reject::new(Reason::ChainBroken, detail).into());
        }
        Ok(place)
    }

    /// What is covered under this name: its hash, if that is still known, and whether it is kept.
    fn covered_at(&self, id: OpId) -> Done<(Option<[u8; 32]>, Place)> {
        if let Some(unheld) = self.unheld.iter().find(|unheld| unheld.id == id) {
            return Ok((Some(unheld.hash), Place::Unheld(unheld.chain)));
        }
        let in_group = self.log.iter().find(|l| l.op.as_ref().is_some_and(|op| op.id == id));
        if let Some(logged) = in_group {
            return Ok((Some(codec::op_hash(&logged.bytes)), Place::Here));
        }
        let Some(origin) = self.words.known_node(id.origin) else { return Ok((None, Place::Here)) };
        let unheld = self
            .connection
            .prepare_cached("SELECT hash, chain FROM unheld WHERE origin = ?1 AND seq = ?2")?
            .query_row((origin, signed(id.seq)), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((hash, chain)) = unheld {
            return Ok((Some(hash), Place::Unheld(chain)));
        }
        let kept: Option<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT bytes FROM ops WHERE origin = ?1 AND seq = ?2")?
            .query_row((origin, signed(id.seq)), |row| row.get(0))
            .optional()?;
        if let Some(bytes) = kept {
            return Ok((Some(codec::op_hash(&bytes)), Place::Here));
        }
        let taken = self.joined.unseen_of(id.origin).is_some_and(|unseen_seq| id.seq <= unseen_seq);
        let place =
            if taken || self.was_hidden(origin, id.seq)? { Place::Unsure } else { Place::Here };
        Ok((None, place))
    }

    /// Whether a place of a feed came as state of which something was hidden.
    fn was_hidden(&self, origin: u32, seq: u64) -> Done<bool> {
        let found = self
            .connection
            .prepare_cached("SELECT whole < ?2 AND ?2 <= unseen FROM feeds WHERE origin = ?1")?
            .query_row((origin, signed(seq)), |row| row.get(0))
            .optional()?;
        Ok(found.unwrap_or(false))
    }

    /// Whether what an operation made is seen to be here.
    fn holds(&mut self, op: &Op) -> Done<bool> {
        if let Payload::Link(link) = &op.payload {
            return Ok(self.find_link(link.id)?.is_some_and(|link| link.created == op.stamp()));
        }
        let Some(id) = op.payload.memory() else { return Ok(false) };
        let known = self.overlay.memory(self.connection, id)?;
        Ok(known.is_some_and(|entry| entry.record.vector.contains(op.id)))
    }

    /// Whether the operation can be applied, and is paid for.
    fn acceptable(&mut self, terms: &Terms, op: &Op) -> Done<Result<(), Reject>> {
        if let Err(reject) = self.applicable(op)? {
            return Ok(Err(reject));
        }
        match self.charge_op(terms, op) {
            Ok(()) => Ok(Ok(())),
            Err(SqlFault::Rejected(reject)) => Ok(Err(reject)),
            Err(fault) => Err(fault),
        }
    }

    /// Whether what the operation rests on is here.
    fn applicable(&mut self, op: &Op) -> Done<Result<(), Reject>> {
        if let Err(invalid) = op.payload.check() {
            return Ok(Err(invalid.into()));
        }
        let missing = match &op.payload {
            Payload::Store(_) | Payload::Access(_) | Payload::Link(_) | Payload::Agent(_) => None,
            Payload::Unlink { id } | Payload::LinkValidity { id, .. } => {
                self.find_link(*id)?.is_none().then(|| format!("link {id}"))
            }
            payload => match payload.memory() {
                Some(id) if self.overlay.memory(self.connection, id)?.is_none() => {
                    Some(format!("memory {id}"))
                }
                _ => None,
            },
        };
        Ok(match missing {
            None => Ok(()),
            Some(what) => {
                let detail = format!("operation {} changes {what}, which is not here", op.id);
                Err(Reject::new(Reason::NotFound, detail))
            }
        })
    }

    /// Applies an operation of which everything is here.
    fn merge_op(&mut self, op: &Op) -> Done<()> {
        match &op.payload {
            Payload::Store(new) => self.merge_store(op, new)?,
            Payload::Access(accessed) => self.merge_access(op, accessed)?,
            Payload::Link(link) => self.merge_link(op, link)?,
            Payload::Unlink { id } => {
                if let Some(mut link) = self.find_link(*id)? {
                    link.removed = true;
                    self.overlay.set_link(link, self.head.position);
                }
            }
            Payload::LinkValidity { id, validity } => {
                if let Some(mut link) = self.find_link(*id)? {
                    link.validity.offer(*validity, op.stamp());
                    self.overlay.set_link(link, self.head.position);
                }
            }
            Payload::Alias { id, alias, remove } => self.merge_alias(op, *id, alias, *remove)?,
            Payload::Agent(agent) => self.merge_agent(agent)?,
            Payload::Update(_)
            | Payload::Promote { .. }
            | Payload::Delete { .. }
            | Payload::Archive { .. }
            | Payload::Restore { .. } => {
                if let Some(id) = op.payload.memory() {
                    self.apply(id, op, true);
                    self.retitle(id);
                }
            }
        }
        Ok(())
    }

    fn merge_store(&mut self, op: &Op, new: &types::NewMemory) -> Done<()> {
        if self.overlay.memory(self.connection, new.id)?.is_some() {
            self.apply(new.id, op, true);
            self.retitle(new.id);
            return Ok(());
        }
        let record = Record::create(op, new);
        let title_key = key_of(&record);
        self.head.row += 1;
        let entry = Entry::fresh(self.head.row, self.head.position, record);
        self.overlay.create(title_key, entry);
        Ok(())
    }

    fn merge_access(&mut self, op: &Op, accessed: &[Accessed]) -> Done<()> {
        for access in accessed {
            // A recall of what is hidden here counts for nothing.
            if self.overlay.memory(self.connection, access.id)?.is_some() {
                self.apply(access.id, op, false);
            }
        }
        Ok(())
    }

    fn merge_link(&mut self, op: &Op, link: &NewLink) -> Done<()> {
        let NewLink { id, source, target, relation, validity } = link.clone();
        let fresh = Link {
            id,
            source,
            target,
            relation,
            author: op.author.clone(),
            created: op.stamp(),
            validity: Register::new(validity, op.stamp()),
            removed: false,
        };
        let merged = match self.find_link(id)? {
            None => fresh,
            Some(mut known) => {
                known.join(fresh);
                known
            }
        };
        self.overlay.set_link(merged, self.head.position);
        Ok(())
    }

    fn merge_alias(&mut self, op: &Op, id: MemoryId, alias: &str, removed: bool) -> Done<()> {
        let key = (alias_key(alias), id);
        let entry = AliasEntry { alias: alias.to_owned(), removed, stamp: op.stamp() };
        if self.find_alias(&key)?.is_none_or(|known| entry.stamp > known.stamp) {
            self.overlay.set_alias(key, entry);
        }
        Ok(())
    }

    pub(super) fn merge_agent(&mut self, agent: &types::AgentRecord) -> Done<()> {
        let known = match self.overlay.agents.get(agent.agent_id.as_str()) {
            Some(known) => Some(signed(known.changed.as_u64())),
            None => self
                .connection
                .prepare_cached("SELECT changed_hlc FROM agents WHERE agent = ?1")?
                .query_row([agent.agent_id.as_str()], |row| row.get(0))
                .optional()?,
        };
        if known.is_none_or(|known| signed(agent.changed.as_u64()) > known) {
            self.overlay.set_agent(agent.clone());
        }
        Ok(())
    }

    /// Notes the title that a memory has now.
    pub(super) fn retitle(&mut self, id: MemoryId) {
        let Some(entry) = self.overlay.edit(id) else { return };
        let key = key_of(&entry.record);
        self.overlay.retitled(key, id);
    }

    /// Writes what was passed, and takes out what was kept after all.
    pub(crate) fn write_unheld(&mut self) -> crate::sql::Result<()> {
        let mut found =
            self.connection.prepare_cached("DELETE FROM unheld WHERE origin = ?1 AND seq = ?2")?;
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO unheld (origin, seq, hash, chain, reason, memory, after_hlc)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce(
                (SELECT hlc FROM ops WHERE origin = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT 1),
                (SELECT hlc FROM feeds WHERE origin = ?1 AND seq < ?2), 0))",
        )?;
        let late = |id: &OpId| self.found.contains(id);
        for passed in self.unheld.iter().filter(|passed| !late(&passed.id)) {
            let origin = self.words.node(passed.id.origin);
            let (seq, reason) = (signed(passed.id.seq), passed.reason);
            let about = passed.about.as_ref().map(About::bytes);
            statement.execute(params![origin, seq, passed.hash, passed.chain, reason, about])?;
        }
        for id in &self.found {
            found.execute((self.words.node(id.origin), signed(id.seq)))?;
        }
        Ok(())
    }
}
