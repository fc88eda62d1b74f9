//! What agents use of their quotas.
//!
//! Invariants: `QUO-1` the counts are kept for every write, whether or not limits apply to it, so
//! switching limits on needs no recount; `QUO-2` a charge and the operation it pays for are in one transaction;
//! `QUO-3` what another node made is charged as it would have been here, on the day on which it was made: of a day
//! that is over here, only its bytes count.
//!
//! Not here: who has which limits (they come with the request). A node that stamps its operations with days that
//! are over escapes the limits of a day, but not that of bytes.

use types::{AgentId, Link, MemoryId, Namespace, Op, Payload, Reason, Record, Reject};

use super::{
    group::{Done, Group, Terms},
    overlay::{QuotaEntry, QuotaKey},
    store_memory::quota_bytes,
};
use crate::{
    request::QuotaLimits,
    rows::row::{signed, unsigned},
    sql::OptionalExtension,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What an intent uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Charge {
    /// New memories.
    pub(crate) memories: u64,
    /// New links.
    pub(crate) links: u64,
    /// Bytes of title and content that go.
    pub(crate) bytes_before: u64,
    /// Bytes of title and content that come.
    pub(crate) bytes_after: u64,
}

impl Charge {
    fn of_new(bytes_after: u64) -> Self {
        Self { memories: 1, bytes_after, ..Self::default() }
    }

    fn of_change((bytes_before, bytes_after): (u64, u64)) -> Self {
        Self { bytes_before, bytes_after, ..Self::default() }
    }

    /// The same without what counts on its day alone.
    fn without_counts(self) -> Self {
        Self { memories: 0, links: 0, ..self }
    }
}

/// Whose quota pays, and under which limits.
struct Payer<'p> {
    agent: &'p AgentId,
    namespace: &'p Namespace,
    /// When what is paid for was made, Unix milliseconds.
    made_ms: u64,
    limits: Option<&'p QuotaLimits>,
}

/// Bytes that a record keeps; a tombstone keeps none.
fn kept_bytes(record: &Record) -> u64 {
    match record.deleted {
        Some(_) => 0,
        None => quota_bytes(record.title.value.as_str(), record.content.value.as_str()),
    }
}

impl Group<'_> {
    /// Charges `agent`, whose memory it is, in `namespace`.
    ///
    /// # Errors
    /// [`Reason::QuotaExceeded`] with `limit`, `used` and, for counts of a day, `reset_at_ms`.
    pub(crate) fn charge(
        &mut self,
        terms: &Terms,
        agent: &AgentId,
        namespace: &Namespace,
        charge: Charge,
    ) -> Done<()> {
        let (made_ms, limits) = (terms.now_ms, terms.quota.as_ref());
        self.pay(terms.now_ms, &Payer { agent, namespace, made_ms, limits }, charge)
    }

    /// Charges for what an operation of another node uses (`QUO-3`). What a node did to keep house is in nobody's
    /// limits, as on that node.
    ///
    /// # Errors
    /// As [`Group::charge`].
    pub(crate) fn charge_op(&mut self, terms: &Terms, op: &Op) -> Done<()> {
        let (agent, namespace, charge) = match &op.payload {
            Payload::Link(link) => {
                let Some(namespace) = self.place_of(link.source)? else { return Ok(()) };
                if self.find_link(link.id)?.is_some() {
                    return Ok(());
                }
                (op.author.clone(), namespace, Charge { links: 1, ..Charge::default() })
            }
            Payload::Store(_) | Payload::Update(_) | Payload::Delete { .. } => {
                let Some(id) = op.payload.memory() else { return Ok(()) };
                match (self.overlay.memory(self.connection, id)?, &op.payload) {
                    (Some(known), _) => {
                        let record = &known.record;
                        let mut changed = record.clone();
                        changed.apply(op);
                        let bytes = (kept_bytes(record), kept_bytes(&changed));
                        (record.author.clone(), record.namespace.clone(), Charge::of_change(bytes))
                    }
                    (None, Payload::Store(new)) => {
                        let bytes = quota_bytes(new.title.as_str(), new.content.as_str());
                        (op.author.clone(), new.namespace.clone(), Charge::of_new(bytes))
                    }
                    (None, _) => return Ok(()),
                }
            }
            _ => return Ok(()),
        };
        let limits = terms.quota.as_ref().filter(|_| op.author != AgentId::node());
        let made_ms = op.hlc.wall_ms();
        let payer = Payer { agent: &agent, namespace: &namespace, made_ms, limits };
        self.pay(terms.now_ms, &payer, charge)
    }

    /// Charges for a record that is taken as state, in place of what is known of it.
    ///
    /// # Errors
    /// As [`Group::charge`].
    pub(crate) fn charge_record(
        &mut self,
        terms: &Terms,
        known: Option<&Record>,
        record: &Record,
    ) -> Done<()> {
        let bytes = kept_bytes(record);
        let charge = match known {
            Some(known) => Charge::of_change((kept_bytes(known), bytes)),
            None if record.deleted.is_some() => return Ok(()),
            None => Charge::of_new(bytes),
        };
        let (made_ms, limits) = (record.created.hlc.wall_ms(), terms.quota.as_ref());
        let (agent, namespace) = (&record.author, &record.namespace);
        self.pay(terms.now_ms, &Payer { agent, namespace, made_ms, limits }, charge)
    }

    /// Charges for a link that is taken as state and was not known.
    ///
    /// # Errors
    /// As [`Group::charge`].
    pub(crate) fn charge_link(&mut self, terms: &Terms, link: &Link) -> Done<()> {
        let Some(namespace) = self.place_of(link.source)? else { return Ok(()) };
        if link.removed {
            return Ok(());
        }
        let limits = terms.quota.as_ref().filter(|_| link.author != AgentId::node());
        let (agent, made_ms) = (&link.author, link.created.hlc.wall_ms());
        let payer = Payer { agent, namespace: &namespace, made_ms, limits };
        self.pay(terms.now_ms, &payer, Charge { links: 1, ..Charge::default() })
    }

    /// Gives back what a record keeps.
    pub(crate) fn discharge(&mut self, terms: &Terms, record: &Record) -> Done<()> {
        let charge = Charge::of_change((kept_bytes(record), 0));
        let (agent, namespace) = (&record.author, &record.namespace);
        let made_ms = record.created.hlc.wall_ms();
        self.pay(terms.now_ms, &Payer { agent, namespace, made_ms, limits: None }, charge)
    }

    /// The namespace in which a link from there counts; `None` where its source is not here.
    fn place_of(&mut self, source: MemoryId) -> Done<Option<Namespace>> {
        let known = self.overlay.memory(self.connection, source)?;
        Ok(known.map(|entry| entry.record.namespace.clone()))
    }

    fn pay(&mut self, now_ms: u64, payer: &Payer<'_>, charge: Charge) -> Done<()> {
        let Payer { agent, namespace, made_ms, limits } = *payer;
        let key = (self.words.agent(agent.as_str()), self.words.namespace(namespace.as_str()));
        let mut usage = self.quota_usage(key)?;
        let today = now_ms / DAY_MS;
        // A clock that was set back stays on the later day: counts must not start anew.
        if usage.day < today {
            usage = QuotaEntry { day: today, bytes: usage.bytes, ..QuotaEntry::default() };
        }
        // What was made on a day that is over was counted on it (`QUO-3`).
        let is_over = made_ms / DAY_MS < today;
        let charge = if is_over { charge.without_counts() } else { charge };
        usage.memories += charge.memories;
        usage.links += charge.links;
        usage.bytes = (usage.bytes + charge.bytes_after).saturating_sub(charge.bytes_before);
        if let Some(limits) = limits {
            let resets_at_ms = (usage.day + 1).saturating_mul(DAY_MS);
            let exceeded = |what: &str, used: u64, limit: Option<u64>| {
                limit.filter(|limit| used > *limit).map(|limit| {
                    let detail = format!(
                        "{agent} would use {used} {what} in {namespace}; the quota is {limit}"
                    );
                    Reject::new(Reason::QuotaExceeded, detail)
                        .with("limit", limit)
                        .with("used", used)
                })
            };
            if charge.memories > 0
                && let Some(reject) =
                    exceeded("new memories today", usage.memories, limits.memories_per_day)
            {
                return Err(reject.with("reset_at_ms", resets_at_ms).into());
            }
            if charge.links > 0
                && let Some(reject) = exceeded("new links today", usage.links, limits.links_per_day)
            {
                return Err(reject.with("reset_at_ms", resets_at_ms).into());
            }
            if charge.bytes_after > charge.bytes_before
                && let Some(reject) = exceeded("bytes", usage.bytes, limits.bytes_total)
            {
                return Err(reject.into());
            }
        }
        self.overlay.set_quota(key, usage);
        Ok(())
    }

    fn quota_usage(&self, key: QuotaKey) -> Done<QuotaEntry> {
        if let Some(usage) = self.overlay.quotas.get(&key) {
            return Ok(*usage);
        }
        let found = self
            .connection
            .prepare_cached(
                "SELECT day, memories, links, bytes FROM quota WHERE agent = ?1 AND namespace = ?2",
            )?
            .query_row(key, |row| {
                Ok(QuotaEntry {
                    day: unsigned(row.get(0)?),
                    memories: unsigned(row.get(1)?),
                    links: unsigned(row.get(2)?),
                    bytes: unsigned(row.get(3)?),
                })
            })
            .optional()?;
        Ok(found.unwrap_or_default())
    }

    /// Writes the changed quotas.
    pub(crate) fn write_quotas(&self) -> crate::sql::Result<()> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO quota (agent, namespace, day, memories, links, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (agent, namespace) DO UPDATE SET
             day = excluded.day, memories = excluded.memories, links = excluded.links,
             bytes = excluded.bytes",
        )?;
        for ((agent, namespace), usage) in &self.overlay.quotas {
            let QuotaEntry { day, memories, links, bytes } = *usage;
            let numbers = (signed(day), signed(memories), signed(links), signed(bytes));
            let (day, memories, links, bytes) = numbers;
            statement.execute((agent, namespace, day, memories, links, bytes))?;
        }
        Ok(())
    }
}
