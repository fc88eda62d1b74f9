//! One group of requests that are committed together: intents become operations.
//!
//! Invariants: `OP-1` state changes only by applying an operation that is in the group's log;
//! `GRP-1` a refused intent leaves neither an operation nor a change, and in an atomic request
//! neither do the others; `GRP-2` intents of a request see what earlier ones did.
//!
//! Not here: each intent's rules (`store_memory`, `change_memory`, `links`, `others`) and SQL that
//! writes (`flush`).

use std::collections::BTreeSet;

use types::{
    AgentId, MemoryId, Op, OpId, Payload, Reason, Record, Reject, audit::AttestLevel,
    audit::EventBody, codec, ids::IdRef,
};

use super::{
    dealings::Dealing,
    feeds::Unheld,
    head::Head,
    join::Joined,
    overlay::{Entry, Mark, Overlay},
    prepare::{Indexed, Ready},
    vocabulary::Vocabulary,
};
use crate::{
    answer::{Applied, Made, WriteReceipt},
    request::{Intent, QuotaLimits, Viewer, WriteRequest},
    rows::{
        config::StoreConfig,
        fault::SqlFault,
        row::{self, ARCHIVED, DELETED, LIVE},
    },
    sql::Connection,
};

/// An operation or another event of the group, with what its audit row will say.
#[derive(Debug)]
pub(crate) struct Logged {
    /// Its place.
    pub(crate) position: u64,
    /// The operation; `None` for another event, whose name is in the body.
    pub(crate) op: Option<LoggedOp>,
    /// Its encoding.
    pub(crate) bytes: Vec<u8>,
    /// What is signed.
    pub(crate) body: EventBody,
}

/// What the log says of an operation beside its encoding.
#[derive(Debug)]
pub(crate) struct LoggedOp {
    /// Its name.
    pub(crate) id: types::OpId,
    /// Its stamp.
    pub(crate) hlc: types::Hlc,
    /// The memory it changes.
    pub(crate) memory: Option<MemoryId>,
    /// The chain of its feed up to it.
    pub(crate) chain: [u8; 32],
}

/// By whom and under what terms intents are done.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The viewer.
    pub(crate) viewer: Viewer,
    /// The node's wall clock, Unix milliseconds.
    pub(crate) now_ms: u64,
    /// Fencing token.
    pub(crate) fence: u64,
    /// Limits of the agent's quota, when they apply.
    pub(crate) quota: Option<QuotaLimits>,
    /// Greatest reflection depth.
    pub(crate) reflection_depth_max: u8,
}

/// How an intent ended: an inner refusal concerns it alone, an outer fault the whole group.
pub(crate) type Done<T> = Result<T, SqlFault>;

/// A group in the making.
pub(crate) struct Group<'w> {
    pub(crate) connection: &'w Connection,
    pub(crate) config: &'w StoreConfig,
    pub(crate) words: &'w mut Vocabulary,
    pub(crate) head: &'w mut Head,
    pub(crate) overlay: Overlay,
    pub(crate) log: Vec<Logged>,
    /// Operations of other nodes that were passed.
    pub(crate) unheld: Vec<Unheld>,
    /// Operations that had been passed before and are kept now.
    pub(crate) found: Vec<OpId>,
    /// What is to be kept of dealings with peers.
    pub(crate) dealings: Vec<Dealing>,
    /// What was taken as state.
    pub(crate) joined: Joined,
    /// Whether something may be forgotten now: not while an index is built from the log.
    pub(crate) may_forget: bool,
}

/// A place to come back to.
struct Savepoint {
    overlay: Mark,
    logged: usize,
    unheld: usize,
    found: usize,
    dealings: usize,
    joined: Joined,
    head: Head,
}

impl<'w> Group<'w> {
    /// An empty group.
    pub(crate) fn new(
        connection: &'w Connection,
        config: &'w StoreConfig,
        words: &'w mut Vocabulary,
        head: &'w mut Head,
    ) -> Self {
        let (overlay, log, unheld, found, dealings) = Default::default();
        let (joined, may_forget) = Default::default();
        Self {
            connection,
            config,
            words,
            head,
            overlay,
            log,
            unheld,
            found,
            dealings,
            joined,
            may_forget,
        }
    }

    /// Does a request.
    ///
    /// # Errors
    /// [`SqlFault::Rejected`] when the whole request is refused; another fault when the database could not be
    /// read. Either way nothing of the request is left in the group.
    pub(crate) fn request(&mut self, ready: Ready) -> Done<WriteReceipt> {
        let Ready { request, indexed, .. } = ready;
        let WriteRequest {
            viewer,
            now_ms,
            fence,
            idempotency,
            intents,
            atomic,
            quota,
            reflection_depth_max,
        } = request;
        if let Some(key) = &idempotency
            && let Some(receipt) = self.remembered(&viewer.agent, key, now_ms)?
        {
            return Ok(receipt);
        }
        let terms = Terms { viewer, now_ms, fence, quota, reflection_depth_max };
        self.overlay.settle();
        let (start, first) = (self.savepoint(), self.head.own.seq);
        let mut results = Vec::with_capacity(intents.len());
        for (at, (intent, indexed)) in intents.into_iter().zip(indexed).enumerate() {
            let before = self.savepoint();
            match self.intent(&terms, intent, indexed) {
                Ok(applied) => results.push(Ok(applied)),
                Err(SqlFault::Rejected(reject)) if !atomic => {
                    self.roll_back(before);
                    results.push(Err(reject));
                }
                Err(SqlFault::Rejected(reject)) => {
                    self.roll_back(start);
                    return Err(reject.with("index", at).into());
                }
                Err(fault) => {
                    self.roll_back(start);
                    return Err(fault);
                }
            }
        }
        let note = idempotency.as_ref().map(|key| key.note.clone()).unwrap_or_default();
        let position = self.head.position;
        let (first, last) = (first + 1, self.head.own.seq);
        let origin = self.head.own.origin;
        let operations = (first <= last).then_some(Made { origin, first, last });
        let receipt = WriteReceipt { results, position, operations, replayed: false, note };
        if let Some(key) = idempotency {
            self.remember(&terms, key, &receipt);
        }
        Ok(receipt)
    }

    pub(crate) fn intent(
        &mut self,
        terms: &Terms,
        intent: Intent,
        indexed: Option<Box<Indexed>>,
    ) -> Done<Applied> {
        match intent {
            Intent::Store { memory, on_conflict } => {
                self.store(terms, *memory, on_conflict, indexed)
            }
            Intent::Update { id, patch, expected_version } => {
                self.update(terms, &id, *patch, expected_version)
            }
            Intent::Promote { id, tier, expires_at_ms, automatic, expected_version } => {
                let change = super::change_memory::Promotion { tier, expires_at_ms, automatic };
                self.promote(terms, &id, change, expected_version)
            }
            Intent::Delete { id, reason, expected_version } => {
                self.delete(terms, &id, reason, expected_version)
            }
            Intent::Archive { id, reason } => self.archive(terms, &id, reason),
            Intent::Restore { id } => self.restore(terms, &id),
            Intent::Access(accessed) => self.access(terms, accessed),
            Intent::Link(link) => self.link(terms, link),
            Intent::Unlink { id } => self.unlink(terms, id),
            Intent::LinkValidity { id, validity } => self.link_validity(terms, id, validity),
            Intent::Alias { id, alias, remove } => self.alias(terms, &id, alias, remove),
            Intent::Agent(agent) => self.agent(terms, *agent),
            Intent::Guarded { keys, intent } => self.guarded(terms, keys, *intent, indexed),
            Intent::Event(event) => self.event(terms, *event),
            Intent::Covered { log, through } => self.covered(log, through),
            Intent::Take(incoming) => self.take(terms, *incoming),
            Intent::Pass(passed) => self.pass(&passed),
            Intent::Vouch(signed) => self.vouch(signed),
            Intent::KeepLetter { peer, letter } => Ok(self.deal(Dealing::Letter(peer, *letter))),
            Intent::DropLetter { peer, id } => Ok(self.deal(Dealing::NoLetter(peer, id))),
            Intent::Nonce { peer, nonce, until_ms } => self.nonce(peer, nonce, until_ms),
            Intent::Join(item) => self.join(terms, *item),
            Intent::Drop(key) => self.drop_item(terms, key),
            Intent::CoverFeed(covered) => self.cover_feed(&covered),
            Intent::Forget(forget) => self.forget(&forget),
            Intent::SpeakAs(life) => self.speak_as(life),
            Intent::Refuse(reject) => Err((*reject).into()),
        }
    }

    /// Whether there is anything to write.
    pub(crate) fn has_rows(&self) -> bool {
        let Overlay { answers, event_logs, key_fences, .. } = &self.overlay;
        let noted = answers.len() + event_logs.len() + key_fences.len();
        let dealt = self.unheld.len() + self.dealings.len();
        !self.log.is_empty() || dealt + noted > 0 || !self.joined.is_empty()
    }

    fn savepoint(&self) -> Savepoint {
        Savepoint {
            overlay: self.overlay.mark(),
            logged: self.log.len(),
            unheld: self.unheld.len(),
            found: self.found.len(),
            dealings: self.dealings.len(),
            joined: self.joined.clone(),
            head: self.head.clone(),
        }
    }

    fn roll_back(&mut self, to: Savepoint) {
        self.overlay.undo_to(to.overlay);
        self.log.truncate(to.logged);
        self.unheld.truncate(to.unheld);
        self.found.truncate(to.found);
        self.dealings.truncate(to.dealings);
        self.joined = to.joined;
        self.head.take_back(to.head);
    }

    /// Makes an operation: the next of this node, at the next stamp. The caller applies it.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`] when the payload breaks a rule of its type.
    pub(crate) fn operation(&mut self, terms: &Terms, payload: Payload) -> Result<Op, Reject> {
        payload.check()?;
        let op = Op {
            id: self.head.next_op()?,
            hlc: self.head.clock.tick(terms.now_ms),
            author: terms.viewer.agent.clone(),
            fence: terms.fence,
            context: self.head.others.clone(),
            payload,
        };
        self.log(&op, codec::encode_op(&op), &terms.viewer.agent, terms.viewer.attest);
        Ok(op)
    }

    /// Adds an operation to the log and to its origin's feed, of which it is the next.
    pub(crate) fn log(
        &mut self,
        op: &Op,
        bytes: Vec<u8>,
        agent: &AgentId,
        attest_level: AttestLevel,
    ) {
        let feed = self.head.feed(op.id.origin).with(&codec::op_hash(&bytes));
        self.head.covers(feed);
        self.log_at(op, bytes, feed.chain, agent, attest_level);
    }

    /// Adds an operation to the log whose place in its feed is covered already, with the chain up to it.
    pub(crate) fn log_at(
        &mut self,
        op: &Op,
        bytes: Vec<u8>,
        chain: [u8; 32],
        agent: &AgentId,
        attest_level: AttestLevel,
    ) {
        self.head.position += 1;
        let body = EventBody {
            id: EventBody::op_event_id(op.id),
            agent_id: agent.clone(),
            event_type: op.payload.event_type().to_owned(),
            payload_hash: codec::op_hash(&bytes),
            attest_level,
            timestamp_ms: op.hlc.wall_ms(),
            cause_hash: None,
        };
        let memory = op.payload.memory();
        let logged = LoggedOp { id: op.id, hlc: op.hlc, memory, chain };
        self.log.push(Logged { position: self.head.position, op: Some(logged), bytes, body });
    }

    /// Applies an operation to a memory that was loaded before.
    pub(crate) fn apply(&mut self, id: MemoryId, op: &Op, text_changed: bool) {
        let position = self.head.position;
        if let Some(entry) = self.overlay.edit(id) {
            entry.record.apply(op);
            entry.position = position;
            if text_changed {
                entry.text_changed = true;
                entry.indexed = None;
            }
        }
    }

    /// The id under which the memory that a reference names is shown, if the viewer may see it.
    ///
    /// # Errors
    /// [`Reason::NotFound`] also when it exists and may not be seen; [`Reason::AmbiguousPrefix`].
    pub(crate) fn seen(&mut self, terms: &Terms, id: &IdRef) -> Done<MemoryId> {
        let id = match id {
            IdRef::Full(id) => *id,
            IdRef::Prefix(digits) => self.by_prefix(terms, id, digits)?,
        };
        let connection = self.connection;
        if self.overlay.memory(connection, id)?.is_some() {
            let id = self.face(id)?;
            if is_seen(terms, &*self.shown(id)?) {
                return Ok(id);
            }
        }
        Err(not_found(&id.to_string()).into())
    }

    fn by_prefix(&mut self, terms: &Terms, id: &IdRef, digits: &str) -> Done<MemoryId> {
        let (low, high) = id.range();
        let known = self.overlay.memories().map(|entry| entry.record.id);
        let mut fitting: BTreeSet<MemoryId> =
            known.filter(|id| (low..=high).contains(id)).collect();
        let mut statement = self.connection.prepare_cached(
            "SELECT m.id FROM memories m JOIN audiences a ON a.id = m.audience
             WHERE m.id BETWEEN ?1 AND ?2
               AND (m.life = 1 OR m.life IN (0, 3) AND (m.expires_ms IS NULL OR m.expires_ms > ?3))
               AND (?4 IS NULL OR a.name IN (SELECT value FROM json_each(?4))) LIMIT 16",
        )?;
        let audiences: Vec<&str> = terms.viewer.audiences.iter().map(|a| a.as_str()).collect();
        let audiences =
            (!terms.viewer.operator).then(|| serde_json::Value::from(audiences).to_string());
        let mut rows = statement.query((
            low.as_bytes().as_slice(),
            high.as_bytes().as_slice(),
            row::signed(terms.now_ms),
            audiences,
        ))?;
        while let Some(next) = rows.next()? {
            fitting.insert(row::memory_id("memories", &next.get::<[u8; 16]>(0)?)?);
        }
        let mut found: BTreeSet<MemoryId> = BTreeSet::new();
        for id in fitting {
            // The group may have changed the row; its entry decides.
            let id = self.face(id)?;
            if is_seen(terms, &*self.shown(id)?) {
                found.insert(id);
            }
        }
        match found.first() {
            None => Err(not_found(digits).into()),
            Some(one) if found.len() == 1 => Ok(*one),
            Some(_) => {
                let detail = format!("prefix {digits} fits more than one memory; give more digits");
                Err(Reject::new(Reason::AmbiguousPrefix, detail).into())
            }
        }
    }

    /// The entry of a memory that [`Group::seen`] found.
    pub(crate) fn entry(&mut self, id: MemoryId) -> Done<&Entry> {
        let connection = self.connection;
        let entry = self.overlay.memory(connection, id)?;
        entry.ok_or_else(|| not_found(&id.to_string()).into())
    }
}

/// Whether the viewer may see a memory: archived ones too, expired and deleted ones not.
fn is_seen(terms: &Terms, record: &Record) -> bool {
    let expired = record.expires_at_ms().is_some_and(|at| at <= terms.now_ms);
    match row::life(record) {
        DELETED => false,
        _ if terms.viewer.operator => true,
        LIVE if expired => false,
        LIVE | ARCHIVED => terms.viewer.audiences.contains(&record.scope.value.1),
        _ => false,
    }
}

/// The refusal that says the same for what does not exist and what may not be seen.
pub(crate) fn not_found(what: &str) -> Reject {
    Reject::new(Reason::NotFound, format!("no memory {what}"))
}
