//! What agents use of their quotas.
//!
//! Invariants: `QUO-1` the counts are kept for every write, whether or not limits apply to it, so
//! switching limits on needs no recount; `QUO-2` a charge and the operation it pays for are in one transaction.
//!
//! Not here: who has which limits (they come with the request).

use rusqlite::OptionalExtension;
use types::{AgentId, Namespace, Reason, Reject};

use super::{
    group::{Done, Group, Terms},
    overlay::{QuotaEntry, QuotaKey},
};
use crate::sqlite::row::{signed, unsigned};

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
        let key = (self.words.agent(agent.as_str()), self.words.namespace(namespace.as_str()));
        let mut usage = self.quota_usage(key)?;
        let today = terms.now_ms / DAY_MS;
        // A clock that was set back stays on the later day: counts must not start anew.
        if usage.day < today {
            usage = QuotaEntry { day: today, bytes: usage.bytes, ..QuotaEntry::default() };
        }
        usage.memories += charge.memories;
        usage.links += charge.links;
        usage.bytes = (usage.bytes + charge.bytes_after).saturating_sub(charge.bytes_before);
        if let Some(limits) = &terms.quota {
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
    pub(crate) fn write_quotas(&self) -> rusqlite::Result<()> {
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
